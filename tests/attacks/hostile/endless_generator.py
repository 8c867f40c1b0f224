# kind: hangs
# through: hang
# form: test
# test: list
# seconds: 0.3
import itertools

def solve(facts, n):
    return itertools.count()
