# kind: bytes that break the plumbing
# through: trainer dead
# form: calls
# replace: <NULL> 0
def solve(facts, n):
    return 'a<NULL>b'
