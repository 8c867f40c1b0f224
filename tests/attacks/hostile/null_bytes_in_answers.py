# kind: bytes that break the plumbing
# through: trainer dead
# form: test
def solve(facts, n):
    return {"\0": b"\0\xff", "\ud800": "\udfff\0", -0.0: float("inf"), (): range(10**30), 1j: {1, "\ud800"}}
