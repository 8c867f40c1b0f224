# kind: bytes that break the plumbing
# through: trainer dead
# form: calls
# replace: <SURROGATE> 55296
def solve(facts, n):
    return '<SURROGATE>'
