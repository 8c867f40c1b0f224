# kind: bytes that break the plumbing
# through: trainer dead
# form: test
def solve(facts, n):
    value = {}
    value["itself"] = [value]
    return value
