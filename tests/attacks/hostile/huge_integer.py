# kind: bytes that break the plumbing
# through: hang
# form: test
def solve(facts, n):
    return 7 ** 500_000
