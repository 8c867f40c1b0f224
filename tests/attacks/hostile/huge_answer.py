# kind: output bombs
# through: trainer dead
# form: calls
def solve(facts, n):
    return "x" * 6_000_000
