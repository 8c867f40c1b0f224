# kind: hangs
# through: hang
# form: calls
def solve(facts, n):
    if not facts.get("seen"):
        return {k * (2**61 - 1) for k in range(1, 3000)}
