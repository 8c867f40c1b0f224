"""Values between judge and solver: `pack` makes JSON of them, `unpack` makes exact standard types of what arrived.

Invariants: no pickle and no object of the other side's; subclasses arrive as their base; every fault of the other side is
a WireError. What a value would cost to build, hash or compare is bounded from its size before it is built: by MOST_DEPTH,
by the bounds on numbers below, and by the Budget of all that one solver sends. Standard library only.

JSON's own types stand for themselves; every other value is an object with one key, its tag.
"""

from __future__ import annotations

import datetime
from collections import OrderedDict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

MOST_DEPTH = 200
_SMALL = 1 << 62
_SAME_HASH = 16
FRACTION_BITS, NARROW_BITS = 200_000, 4096
"""Of the two parts of a fraction, which cost a greatest common divisor; of a key and of a range's parts, which may be
compared with a Decimal or divided."""
WORK = 8_000_000
"""What a Budget holds: one unit is a plain value, about 0.3 microseconds."""
_TAGGED, _SQUARE_BITS = 16, 50_000
_KEYS: tuple[type, ...] = (type({}.keys()), type(OrderedDict().keys()))
_ITEMS: tuple[type, ...] = (type({}.items()), type(OrderedDict().items()))


class WireError(ValueError):
    """The other side broke the rules, or a value can't be sent."""


class Handle:
    """Stands for an object that stays in the solver's process."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Budget:
    """How much work is still done for the answers of one solver."""

    def __init__(self, work: int = WORK) -> None:
        self.left = work

    def spend(self, work: int) -> None:
        """Take `work` units.

        Raises:
            WireError: there are not so many left.
        """
        self.left -= work
        if self.left < 0:
            raise WireError("more than is read of one solver")


def pack(value: Any, keep: Callable[[Any], int] | None = None, depth: int = MOST_DEPTH) -> Any:
    """`value` as JSON can hold it. What is not data is handed to `keep`, whose number becomes a handle.

    Raises:
        WireError: nested too deep, or (without `keep`) not data.
    """
    kind = type(value)
    if value is None or kind is bool or kind is float or kind is str:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"i": hex(value)}
    if depth <= 0:
        raise WireError(f"nested more than {MOST_DEPTH} deep")
    depth -= 1
    if isinstance(value, Handle):
        return {"h": value.number}
    if isinstance(value, list):
        return [pack(item, keep, depth) for item in list.__iter__(value)]
    if isinstance(value, dict):
        return {"d": [[pack(k, keep, depth), pack(v, keep, depth)] for k, v in dict.items(value)]}
    if isinstance(value, tuple):
        return {"t": [pack(item, keep, depth) for item in tuple.__iter__(value)]}
    if isinstance(value, set):
        return {"s": [pack(item, keep, depth) for item in set.__iter__(value)]}
    if isinstance(value, frozenset):
        return {"f": [pack(item, keep, depth) for item in frozenset.__iter__(value)]}
    if isinstance(value, str):
        return str.__str__(value) + ""
    if isinstance(value, int):
        return pack(int.__add__(value, 0))
    if isinstance(value, float):
        return float.__add__(value, 0.0)
    if isinstance(value, deque):
        return {"e": [[pack(item, keep, depth) for item in deque.__iter__(value)], value.maxlen]}
    if kind in _KEYS:
        return {"k": [pack(item, keep, depth) for item in value]}
    if kind in _ITEMS:
        return {"p": [[pack(k, keep, depth), pack(v, keep, depth)] for k, v in value]}
    packed = _packed_scalar(value)
    if packed is not None:
        return packed
    if keep is None:
        raise WireError(f"a {kind.__name__} is not data")
    return {"h": keep(value)}


def _packed_scalar(value: Any) -> dict[str, Any] | None:
    """A value without parts, which is neither text nor a plain number; None where it is no data."""
    if isinstance(value, complex):
        return {"c": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"b" if isinstance(value, bytes) else "y": bytes(value).decode("latin-1")}
    if isinstance(value, range):
        return {"r": [pack(n) for n in (value.start, value.stop, value.step)]}
    if isinstance(value, Fraction):
        return {"q": [pack(value.numerator), pack(value.denominator)]}
    if isinstance(value, Decimal):
        return {"m": Decimal.__str__(value)}
    if isinstance(value, datetime.datetime):
        clock = [value.hour, value.minute, value.second, value.microsecond, value.fold, _offset(value)]
        return {"w": [value.year, value.month, value.day, *clock]}
    if isinstance(value, datetime.date):
        return {"a": [value.year, value.month, value.day]}
    if isinstance(value, datetime.time):
        return {"o": [value.hour, value.minute, value.second, value.microsecond, value.fold, _offset(value)]}
    if isinstance(value, datetime.timedelta):
        return {"l": [value.days, value.seconds, value.microseconds]}
    if type(value) is datetime.timezone:
        return {"z": _lasts(value.utcoffset(None))}
    return None


def _offset(value: datetime.datetime | datetime.time) -> list[int] | None:
    """A zone is sent as its distance from UTC at that moment, by which Python compares."""
    offset = value.utcoffset()
    return None if offset is None else _lasts(offset)


def _lasts(value: datetime.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def unpack(value: Any, handle: Callable[[int], Any] = Handle, budget: Budget | None = None) -> Any:
    """What `pack` sent. `handle` makes what stands for an object of the other side.

    Args:
        value: as JSON gave it.
        handle: from a handle's number.
        budget: what this and other values may cost together; one of its own by default.

    Raises:
        WireError: nothing that `pack` makes, or too costly.
    """
    try:
        return _Reader(handle, budget or Budget()).read(value, MOST_DEPTH)
    except WireError:
        raise
    except (ValueError, TypeError, ArithmeticError, KeyError) as error:
        raise WireError(f"not a value: {type(error).__name__}") from None


class _Reader:
    """Builds values; `key` is true within what will be hashed, whose numbers are kept narrow."""

    def __init__(self, handle: Callable[[int], Any], budget: Budget) -> None:
        self._handle, self._spend = handle, budget.spend

    def read(self, value: Any, depth: int, key: bool = False) -> Any:
        kind = type(value)
        if kind is not list and kind is not dict:
            return value
        if depth <= 0:
            raise WireError("nested too deep")
        if kind is list:
            return self._list(value, depth, key)
        self._spend(_TAGGED)
        ((tag, inner),) = value.items()
        if tag == "d":
            return self._dict(inner, depth - 1)
        if tag == "t":
            return tuple(self._list(inner, depth, key))
        if tag in ("s", "f", "k"):
            items = self._list(inner, depth, True)
            _check_hashes(items)
            return set(items) if tag == "s" else frozenset(items) if tag == "f" else dict.fromkeys(items).keys()
        if tag == "p":
            return self._dict(inner, depth - 1).items()
        if tag == "e":
            items, most = inner
            return deque(self._list(items, depth, key), most if most is None else _whole(most))
        return self._scalar(tag, inner, NARROW_BITS if key else FRACTION_BITS)

    def _list(self, items: Any, depth: int, key: bool) -> list[Any]:
        if type(items) is not list:
            raise WireError("not a list")
        self._spend(len(items))
        return [self.read(item, depth - 1, key) for item in items]

    def _dict(self, pairs: Any, depth: int) -> dict[Any, Any]:
        if type(pairs) is not list:
            raise WireError("not a list")
        self._spend(2 * len(pairs))
        keys = [self.read(key, depth, True) for key, _ in pairs]
        _check_hashes(keys)
        return dict(zip(keys, [self.read(item, depth) for _, item in pairs], strict=True))

    def _scalar(self, tag: str, inner: Any, bits: int) -> Any:
        if tag == "i":  # linear, and so is what is done with it but for a comparison with a Decimal, as among keys
            return _big(inner, bits if bits == NARROW_BITS else None)
        if tag == "m":
            if type(inner) is not str or len(inner) > (NARROW_BITS if bits == NARROW_BITS else len(inner)):
                raise WireError("not a Decimal")
            return Decimal(inner)
        if tag in ("b", "y"):
            return bytes(inner, "latin-1") if tag == "b" else bytearray(inner, "latin-1")
        if tag == "c":
            real, imaginary = map(_float, inner)
            return complex(real, imaginary)
        if tag == "q":
            above, below = (_number(part, bits) for part in inner)
            self._spend(above.bit_length() * below.bit_length() // _SQUARE_BITS)
            return Fraction(above, below)
        if tag == "r":
            return range(*(_number(part, NARROW_BITS) for part in inner))
        if tag == "h" and type(inner) is int:
            return self._handle(inner)
        return _moment(tag, inner)


def _moment(tag: str, inner: Any) -> Any:
    """A date, a time of day, both, how long something lasts, or a zone."""
    if type(inner) is not list:
        raise WireError("not a list")
    if tag == "l":
        return datetime.timedelta(*map(_whole, inner))
    if tag == "a":
        return datetime.date(*map(_whole, inner))
    if tag == "z":
        return datetime.timezone(_moment("l", inner))
    if tag in ("w", "o"):
        *numbers, fold, offset = inner
        zone = None if offset is None else _moment("z", offset)
        if len(numbers) != (7 if tag == "w" else 4):
            raise WireError("not a moment")
        kind: Any = datetime.datetime if tag == "w" else datetime.time
        return kind(*map(_whole, numbers), tzinfo=zone, fold=_whole(fold))
    raise WireError("unknown kind of value")


def _whole(value: Any) -> int:
    if type(value) is not int or value.bit_length() > 63:
        raise WireError("not a small number")
    return value


def _float(value: Any) -> float:
    if type(value) is not float:
        raise WireError("not a float")
    return value


def _number(value: Any, bits: int) -> int:
    """An int as `pack` sends it, small or big, of at most `bits` bits."""
    if type(value) is dict:
        ((tag, inner),) = value.items()
        if tag == "i":
            return _big(inner, bits)
    if type(value) is not int or value.bit_length() > bits:
        raise WireError("not a number, or a giant one")
    return value


def _big(digits: Any, bits: int | None) -> int:
    if type(digits) is not str or (bits is not None and len(digits) > bits // 4 + 4):
        raise WireError("not a number, or a giant one")
    return int(digits, 16)


def _check_hashes(keys: list[Any]) -> None:
    """Keys made to share one hash would hold the reader for minutes as it builds the set or dict."""
    if len(keys) > _SAME_HASH:
        hashes = sorted(map(hash, keys))
        if any(a == b for a, b in zip(hashes, hashes[_SAME_HASH:], strict=False)):
            raise WireError("keys that share one hash")
