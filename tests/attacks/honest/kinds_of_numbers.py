# what: big integers, fractions, decimals, complex numbers, ranges, sets
# form: test
# entry: solve
# check: from decimal import Decimal; from fractions import Fraction; assert candidate(100)[:4] == [2 ** 100, Fraction(100, 3), Decimal('10.0'), 100 + 1j]; assert candidate(2)[4:] == [range(2), {2}, frozenset([2]), b'xx', 0.0, None]
from decimal import Decimal
from fractions import Fraction

def solve(n):
    return [2 ** n, Fraction(n, 3), Decimal("0.1") * n, complex(n, 1), range(n), {n}, frozenset([n]), b"x" * n, -0.0, None]
