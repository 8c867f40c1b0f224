# what: deep recursion with a raised limit
# form: calls
# tests: [{"call": [30000], "expect": 30000}]
import sys

sys.setrecursionlimit(100_000)

def solve(n):
    return 0 if n == 0 else 1 + solve(n - 1)
