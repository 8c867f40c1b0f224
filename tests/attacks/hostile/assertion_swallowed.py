# kind: objects that equal anything
# through: rewarded
# form: test
# test: swallow
def solve(facts, n):
    raise AssertionError
