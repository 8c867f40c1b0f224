# kind: hangs
# through: hang
# form: calls
from decimal import Decimal

def solve(facts, n):
    return [Decimal(5), {Decimal(5): 1}, {5 + (2**61 - 1) * (1 << 7_000_000)}, {Decimal(5)} | {7 * (2**61 - 1) + 5}]
