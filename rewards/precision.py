"""Whether two sympy expressions are the same number: worked out to as many digits as what is written in them could hide.

Invariants: two numbers without a decimal point are equal when they agree in all of these digits, 50 at least, and not because
both are small; decimals agree as in `rational.py`, when they do to six places; letters are left to symbolic comparison.

It takes the place of the comparison that math-verify makes with 15 digits and an absolute tolerance, for which 1/2^99 is 1/2^98.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from .rational import rounded_alike

DIGITS, MOST = 50, 20_000
"""Decimal digits that are always compared, and the most that ever are: a number that could hide more equals nothing."""


@contextlib.contextmanager
def exact_comparison() -> Iterator[None]:
    """Within the block, math-verify compares numbers by `same_number`, and by nothing else where that decides."""
    from math_verify import grader

    theirs = grader.sympy_numeric_eq, grader.sympy_symbolic_eq
    decided: dict[tuple[int, int], bool] = {}

    def numeric(one: Any, other: Any, *_: Any) -> bool:
        verdict = same_number(one, other)
        if verdict is not None:
            decided[id(one), id(other)] = verdict
        return bool(verdict)

    def symbolic(one: Any, other: Any) -> bool:
        return decided.get((id(one), id(other))) is None and bool(theirs[1](one, other))

    grader.sympy_numeric_eq, grader.sympy_symbolic_eq = numeric, symbolic
    try:
        yield
    finally:
        grader.sympy_numeric_eq, grader.sympy_symbolic_eq = theirs


def same_number(one: Any, other: Any) -> bool | None:
    """Whether two numbers are equal, or two matrices of them; None where that can't be worked out, as with letters."""
    from math_verify.grader import get_pct_val, is_atomic_or_pct_atomic
    from sympy import Float, Integer, MatrixBase, MatrixExpr

    if isinstance(one, MatrixBase | MatrixExpr) or isinstance(other, MatrixBase | MatrixExpr):
        return _same_matrix(one.doit(), other.doit(), MatrixBase)
    if is_atomic_or_pct_atomic(one, Integer) and is_atomic_or_pct_atomic(other, Integer):
        return bool(get_pct_val(one, one) == get_pct_val(other, other))  # 9% is also 9
    try:
        rounded = [bool(number.atoms(Float)) for number in (one, other)]
        one, other = _exact(one), _exact(other)
        if one == other:
            return True
        if one.free_symbols or other.free_symbols:
            return True if (one - other).expand() == 0 else None
        digits = _digits(one) + _digits(other) + DIGITS
        if digits > MOST:
            return False
        pairs = list(zip(one.evalf(digits).as_real_imag(), other.evalf(digits).as_real_imag(), strict=True))
        whole = any(number.is_Integer for number, point in zip((one, other), rounded, strict=True) if not point)
        return all(_alike(a, b, digits, any(rounded) and not whole) for a, b in pairs)
    except (TypeError, ValueError, AttributeError, ArithmeticError, NotImplementedError):
        return None


def _same_matrix(one: Any, other: Any, matrix: type) -> bool | None:
    if not (isinstance(one, matrix) and isinstance(other, matrix)) or one.shape != other.shape:  # type: ignore[attr-defined]
        return None
    verdicts = [same_number(a, b) for a, b in zip(one.flat(), other.flat(), strict=True)]  # type: ignore[attr-defined]
    return False if False in verdicts else True if None not in verdicts else None


def _exact(number: Any) -> Any:
    """`number` worked out, with its decimals as the fractions that they are written as."""
    from sympy import Float, Rational

    return number.xreplace({point: Rational(str(point)) for point in number.atoms(Float)}).doit()


def _digits(number: Any) -> int:
    """How many digits behind the first what is written in `number` could make a difference in."""
    from sympy import Pow, Rational, exp

    count = sum(len(str(part.p)) + len(str(part.q)) for part in number.atoms(Rational))
    for power in number.atoms(Pow, exp):
        base, exponent = power.as_base_exp()
        size = abs(float(abs(exponent.evalf(5))))
        count += int(size * max(1.0, abs(float(abs(base.evalf(5)).log(10).evalf(5) if base else 1)))) if size > 1 else 0
    return count


def _alike(one: Any, other: Any, digits: int, rounded: bool) -> bool:
    one, other = _fraction(one), _fraction(other)
    if rounded:
        return rounded_alike(one, other)
    return abs(one - other) * Fraction(10) ** (digits - 15) <= max(1, abs(one), abs(other))


def _fraction(number: Any) -> Fraction:
    """The exact value of a floating-point number of sympy's."""
    from sympy import Rational

    exact = Rational(number)
    return Fraction(int(exact.p), int(exact.q))
