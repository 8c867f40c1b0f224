"""Messages between judge and solver, over a stream: four bytes of length, then JSON of at most 4 MB.

Invariants: what the values of a message are is for `values` to say, whose names are used from here; every fault of the
other side is a WireError; reading one takes time in proportion to its length. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from .values import Budget, Handle, WireError, pack, unpack

__all__ = [
    "AHEAD",
    "MOST_BYTES",
    "Budget",
    "Handle",
    "Reader",
    "WireError",
    "frame",
    "pack",
    "receive",
    "send",
    "soon",
    "unpack",
]

MOST_BYTES = 4 << 20
AHEAD, _TURNS, _AWAKE = 1 << 16, 20, 0.0005
"""Bytes read at once, how often a processor is offered to others before this process sleeps, and for how many seconds."""
_BYTES_A_UNIT = 8
_LENGTH = struct.Struct("!I")
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG = b"0" * 4300
"""Python's own bound on an int in decimal digits, which take it time as their square; a process may have lifted it."""


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


class Reader:
    """Reads messages out of a stream.

    Args:
        more: what came, one byte or many, when so many are missing; nothing at the stream's end. What it
            gives beyond them is kept for the next message.
    """

    def __init__(self, more: Callable[[int], bytes]) -> None:
        self._more, self._held = more, b""

    def receive(self, budget: Budget | None = None) -> Any:
        """The next message; reading it is paid for from `budget`.

        Raises:
            WireError: not a message, or one too many.
            EOFError: the other side has gone.
        """
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > MOST_BYTES:
            raise WireError(f"over {MOST_BYTES >> 20} MB")
        if budget is not None:
            budget.spend(length // _BYTES_A_UNIT)
        try:
            return _parse(self._exactly(length))
        except (ValueError, RecursionError) as error:
            raise WireError(f"not a message: {type(error).__name__}") from None

    def _exactly(self, size: int) -> bytes:
        data = self._held
        if len(data) < size:
            whole = bytearray(data)
            while len(whole) < size:
                part = self._more(min(size - len(whole), 1 << 20))
                if not part:
                    raise EOFError("the connection was closed")
                whole += part
            data = bytes(whole)
        self._held = data[size:]
        return data[:size]


def soon(end: socket.socket, size: int) -> bytes | None:
    """What came of a message by now or in some microseconds, sooner than a process could fall asleep and be woken; None
    where nothing did. At least `size` bytes are missing.

    On a busy machine others keep the processor that they are offered for milliseconds each time, and one who sleeps is
    served sooner: there the first offer is the last.
    """
    until = time.monotonic() + _AWAKE
    for _ in range(_TURNS):
        with contextlib.suppress(BlockingIOError):
            return end.recv(max(size, AHEAD), socket.MSG_DONTWAIT)
        if time.monotonic() > until:
            break
        os.sched_yield()
    return None


def receive(end: socket.socket, deadline: float | None = None) -> Any:
    """The next message, and not a byte more. `deadline` is a moment of `time.monotonic`.

    Raises:
        WireError: not a message.
        EOFError: the other side has gone.
        TimeoutError: none came in time.
    """

    def more(size: int) -> bytes:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            end.settimeout(left)
        return end.recv(size)

    return Reader(more).receive()


def _parse(data: bytes) -> Any:
    if len(data) > len(_LONG) and _LONG in data.translate(_DIGITS):  # in a text, most likely; a number is refused
        return json.loads(data, parse_int=_short)
    return json.loads(data)


def _short(digits: str) -> int:
    if len(digits) > len(_LONG):
        raise WireError("a giant number")
    return int(digits)
