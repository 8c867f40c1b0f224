# kind: hangs
# through: hang
# form: calls
def solve(facts, n):
    return range(0, 1 << 7_000_000, (1 << 3_500_000) - 1)
