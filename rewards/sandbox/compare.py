"""Whether what a solver gave is what a test expects: by exact types, as far as a row can express them.

Invariants: only plain data is compared, so no object decides for itself; True is not 1, and "1" is not 1, as a value, as a
key and in a set. Linear in the size of what is expected; numbers that cross the wire are bounded there.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

_MOST_DEPTH = 200
_SETS: tuple[type, ...] = (set, frozenset, type({}.keys()))
_KEY_DIGITS = 1 << 62


def same(got: Any, expected: Any, tolerance: float = 0.0, depth: int = _MOST_DEPTH) -> bool:
    """Whether `got` is `expected`.

    Rows come as JSON, which has one kind of sequence and only texts as keys: so a tuple is accepted where a list is
    expected, and a dict's keys may be numbers where their texts are expected. An int is accepted for an equal float, and
    two NaNs are the same. A float is accepted for an int only where the test has a tolerance.

    Args:
        got: plain data.
        expected: plain data, from the row.
        tolerance: how far a float may be off, absolutely or relative to the larger of the two.
    """
    if depth <= 0:
        return False
    if type(expected) is float or (tolerance > 0 and type(expected) is int and type(got) is float):
        return type(got) in (float, int) and _close(got, expected, tolerance)
    if type(expected) in (list, tuple, deque):
        kinds = (list, tuple) if type(expected) is list else (type(expected),)
        return (
            type(got) in kinds
            and len(got) == len(expected)
            and all(same(g, e, tolerance, depth - 1) for g, e in zip(got, expected, strict=True))
        )
    if type(got) is not type(expected):
        return False
    if type(expected) is dict:
        return _same_dict(got, expected, tolerance, depth)
    try:
        if type(expected) in _SETS:
            return len(got) == len(expected) and _paired(got, expected, depth) is not None
        return bool(got == expected)
    except (ArithmeticError, RecursionError):  # a signalling NaN of Decimal's
        return False


def _close(got: float, expected: float, tolerance: float) -> bool:
    try:
        if math.isnan(expected):
            return math.isnan(got)
        return bool(got == expected) or math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:  # an int beyond every float
        return False


def _same_dict(got: dict[Any, Any], expected: dict[Any, Any], tolerance: float, depth: int) -> bool:
    if len(got) != len(expected):
        return False
    keys = _paired(got, expected, depth)
    if keys is None and all(type(key) is str for key in expected):
        got = {_as_text(key): value for key, value in got.items()}
        # Two keys of one text, 1 and "1", are no row's one key.
        keys = _paired(got, expected, depth) if len(got) == len(expected) else None
    return keys is not None and all(same(got[mine], expected[e], tolerance, depth - 1) for mine, e in keys)


def _as_text(key: Any) -> Any:
    """A number as JSON writes it where it is a key."""
    small = (type(key) is int and abs(key) < _KEY_DIGITS) or type(key) is float
    return repr(key) if small else key


def _paired(got: Any, expected: Any, depth: int) -> list[tuple[Any, Any]] | None:
    """(got, expected) for each key that is expected; None where one has no counterpart of the same types."""
    mine = {key: key for key in got}
    pairs = [(mine[key], key) for key in expected if key in mine and same(mine[key], key, depth=depth - 1)]
    return pairs if len(pairs) == len(expected) else None


def same_output(got: str, expected: str) -> bool:
    """Whether two outputs agree line by line; white space at the end of a line, and empty lines at the end, don't count."""
    return _lines(got) == _lines(expected)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
