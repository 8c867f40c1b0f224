"""Whether what a solver gave is what a test expects: by exact types, as far as a row can express them.

Always true here: only plain data is compared, so no object decides for itself; True is not 1, and "1" is not 1. Linear in
the size of what is compared.
"""

from __future__ import annotations

import math
from typing import Any

_MOST_DEPTH = 200


def same(got: Any, expected: Any, tolerance: float = 0.0, depth: int = _MOST_DEPTH) -> bool:
    """Whether `got` is `expected`.

    Rows come as JSON, which has one kind of sequence and only texts as keys: so a tuple is accepted where a list is
    expected, and a dict's keys may be the texts of the expected ones' numbers. An int is accepted for an equal float, and
    two NaNs are the same.

    Args:
        got: plain data.
        expected: plain data, from the row.
        tolerance: how far a float may be off, absolutely or relative to the larger of the two.
    """
    if depth <= 0:
        return False
    if type(expected) is float:
        if type(got) not in (float, int):
            return False
        try:
            if math.isnan(expected):
                return math.isnan(got)
            return bool(got == expected) or math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance)
        except OverflowError:  # an int beyond every float
            return False
    if type(expected) in (list, tuple):
        kinds = (list, tuple) if type(expected) is list else (tuple,)
        return (
            type(got) in kinds
            and len(got) == len(expected)
            and all(same(g, e, tolerance, depth - 1) for g, e in zip(got, expected, strict=True))
        )
    if type(got) is not type(expected):
        return False
    if type(expected) is dict:
        if got.keys() != expected.keys():
            got = {str(k) if type(k) is int and abs(k) < 1 << 62 else k: v for k, v in got.items()}
        return got.keys() == expected.keys() and all(same(got[k], expected[k], tolerance, depth - 1) for k in expected)
    try:
        return bool(got == expected)
    except (ArithmeticError, RecursionError):  # a signalling NaN of Decimal's
        return False


def same_output(got: str, expected: str) -> bool:
    """Whether two outputs agree line by line; white space at the end of a line, and empty lines at the end, don't count."""
    return _lines(got) == _lines(expected)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
