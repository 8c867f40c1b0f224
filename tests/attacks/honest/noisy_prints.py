# what: prints a great deal to both streams
# form: calls
# tests: [{"call": [1], "expect": 2}, {"call": [2], "expect": 3}]
import sys

def solve(n):
    for i in range(20_000):
        print("debug", i)
        print("debug", i, file=sys.stderr)
    return n + 1
