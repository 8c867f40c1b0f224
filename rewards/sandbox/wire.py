"""Plain data between judge and solver: what arrives is made of exact base types, whatever was sent.

Always true here: no pickle and no object of the other side's; subclasses arrive as their base; a message is at most 4 MB
and its nesting bounded; every fault of the other side is a WireError. Standard library only.

A message is four bytes of length and JSON. JSON's own types stand for themselves; the rest is an object with one key.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

MOST_BYTES = 4 << 20
MOST_DEPTH = 200
_LENGTH = struct.Struct("!I")
_SMALL = 1 << 62
_HASH_CHECK, _SAME_HASH = 1000, 16


class WireError(ValueError):
    """The other side broke the rules, or a value can't be sent."""


class Handle:
    """Stands for an object that stays in the solver's process."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


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
    if isinstance(value, complex):
        return {"c": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"b" if isinstance(value, bytes) else "y": bytes(value).decode("latin-1")}
    if kind is range:
        return {"r": [pack(n) for n in (value.start, value.stop, value.step)]}
    if kind is Fraction:
        return {"q": [pack(value.numerator), pack(value.denominator)]}
    if kind is Decimal:
        return {"m": str(value)}
    if keep is None:
        raise WireError(f"a {kind.__name__} is not data")
    return {"h": keep(value)}


def unpack(value: Any, handle: Callable[[int], Any] = Handle, depth: int = MOST_DEPTH) -> Any:
    """What `pack` sent. `handle` makes what stands for an object of the other side.

    Raises:
        WireError: nothing that `pack` makes.
    """
    kind = type(value)
    if kind is list:
        if depth <= 0:
            raise WireError("nested too deep")
        return [unpack(item, handle, depth - 1) for item in value]
    if kind is not dict:
        return value
    try:
        ((tag, inner),) = value.items()
        return _tagged(tag, inner, handle, depth - 1)
    except WireError:
        raise
    except (ValueError, TypeError, ArithmeticError, KeyError) as error:
        raise WireError(f"not a value: {type(error).__name__}") from None


def _tagged(tag: str, inner: Any, handle: Callable[[int], Any], depth: int) -> Any:
    if depth <= 0:
        raise WireError("nested too deep")
    if tag == "d":
        keys = [unpack(key, handle, depth) for key, _ in inner]
        _check_hashes(keys)
        return dict(zip(keys, [unpack(item, handle, depth) for _, item in inner], strict=True))
    if tag in ("t", "s", "f"):
        items = [unpack(item, handle, depth) for item in inner]
        if tag == "t":
            return tuple(items)
        _check_hashes(items)
        return set(items) if tag == "s" else frozenset(items)
    if tag == "i":
        return int(inner, 16)
    if tag == "c":
        return complex(*inner)
    if tag in ("b", "y"):
        return bytes(inner, "latin-1") if tag == "b" else bytearray(inner, "latin-1")
    if tag == "r":
        return range(*(unpack(n) for n in inner))
    if tag == "q":
        return Fraction(*(unpack(n) for n in inner))
    if tag == "m":
        return Decimal(inner)
    if tag == "h" and type(inner) is int:
        return handle(inner)
    raise WireError("unknown kind of value")


def _check_hashes(keys: list[Any]) -> None:
    """Keys made to share one hash would hold the judge for minutes as it builds the set or dict."""
    if len(keys) > _HASH_CHECK:
        hashes = sorted(map(hash, keys))
        if any(a == b for a, b in zip(hashes, hashes[_SAME_HASH:], strict=False)):
            raise WireError("keys that share one hash")


def frame(message: Any) -> bytes:
    """One message as it goes over a socket.

    Raises:
        WireError: it is over 4 MB.
    """
    data = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(data) > MOST_BYTES:
        raise WireError(f"over {MOST_BYTES >> 20} MB")
    return _LENGTH.pack(len(data)) + data


def send(end: socket.socket, message: Any) -> None:
    """Send one message.

    Raises:
        WireError: it is over 4 MB.
        OSError: the other side has gone.
    """
    end.sendall(frame(message))


def receive(end: socket.socket, deadline: float | None = None) -> Any:
    """The next message. `deadline` is a moment of `time.monotonic`.

    Raises:
        WireError: not a message.
        EOFError: the other side has gone.
        TimeoutError: none came in time.
    """
    (length,) = _LENGTH.unpack(_exactly(end, _LENGTH.size, deadline))
    if length > MOST_BYTES:
        raise WireError(f"over {MOST_BYTES >> 20} MB")
    try:
        return json.loads(_exactly(end, length, deadline))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a message: {type(error).__name__}") from None


def _exactly(end: socket.socket, size: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            end.settimeout(left)
        part = end.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError("the connection was closed")
        data += part
    return bytes(data)
