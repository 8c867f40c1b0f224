"""The judge's end of a conversation with one solver: questions with a nonce, answers made of plain data.

Invariants: every answer has a deadline, and reading all answers of one solver has a budget, so that what a completion can
cost this process is bounded; a question leaves only after the answer to the one before it, so a solver never sees ahead; an
`Ended` is not an `Exception`, so no test code swallows it; what the solver sends can be wrong, late or malformed, and is
nothing worse. Standard library only.
"""

from __future__ import annotations

import secrets
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import wire


class Ended(BaseException):
    """The solver can't be asked any more: `time`, `gone` (it exited, crashed or was killed) or `protocol`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Raised(Exception):
    """The solver's code raised: the names of the exception's classes, and its text."""

    def __init__(self, names: Sequence[str], text: str) -> None:
        super().__init__(f"{names[0]}: {text}" if text else names[0])
        self.names, self.text = list(names), text


class Question(NamedTuple):
    """One question: its nonce, and how it goes over the socket."""

    nonce: int
    frame: bytes


class Session:
    """Asks one solver.

    Args:
        end: the private socket.
        seconds: for everything that will be asked; the clock starts here.
        handle: makes what stands for an object of the solver's; a plain `wire.Handle` by default.
    """

    def __init__(self, end: socket.socket, seconds: float, handle: Callable[[int], Any] = wire.Handle) -> None:
        self.end, self.handle, self._seconds = end, handle, seconds
        self.begin()
        self.ended: Ended | None = None
        self.answered = 0
        self._budget, self._reader = wire.Budget(), wire.Reader(self._more)

    def begin(self) -> None:
        """Start the clock anew."""
        self.end.setblocking(False)  # what is waited for is waited for by `_wait`, with fewer calls of the system
        self.deadline = time.monotonic() + self._seconds

    def ask(self, operation: str, *arguments: Any, names: dict[str, Any] | None = None,
            keep: Callable[[Any], int] | None = None) -> Any:  # fmt: skip
        """Have the solver do `operation`; `arguments` are packed here.

        Returns:
            The answer's value.

        Raises:
            Raised: the solver's code raised.
            Ended: there is no answer and won't be one.
            wire.WireError: an argument is not data; nothing was sent.
        """
        question = self.question(operation, *arguments, names=names, keep=keep)
        self.put(question.frame)
        return self.take(question)

    def question(self, operation: str, *arguments: Any, names: dict[str, Any] | None = None,
                 keep: Callable[[Any], int] | None = None) -> Question:  # fmt: skip
        """What `put` sends and `take` awaits the answer to.

        Raises:
            wire.WireError: an argument is not data.
        """
        nonce = secrets.randbits(60)
        named = {name: wire.pack(value, keep) for name, value in (names or {}).items()}
        return Question(
            nonce, wire.frame([nonce, operation, [wire.pack(argument, keep) for argument in arguments], named])
        )

    def put(self, frames: bytes) -> None:
        """Send a question; two at once only where they fit the socket's buffer."""
        if self.ended or not frames:  # even nothing can't be sent to one that is gone, whose answers may still be here
            return
        left = memoryview(frames)
        try:
            while left:
                try:
                    left = left[self.end.send(left) :]
                except BlockingIOError:
                    self._wait(select.POLLOUT)
        except TimeoutError:
            self.ended = Ended("time")
        except OSError:
            self.ended = Ended("gone")

    def _wait(self, what: int) -> None:
        poll = select.poll()
        poll.register(self.end, what)
        left = self.deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError

    def _more(self, size: int) -> bytes:
        if time.monotonic() > self.deadline:  # one who always has another byte ready is never waited for
            raise TimeoutError
        if (part := wire.soon(self.end, size)) is not None:
            return part
        self._wait(select.POLLIN)
        return self.end.recv(max(size, wire.AHEAD))

    def take(self, question: Question) -> Any:
        """The answer to the oldest question that has none yet; returns and raises as `ask` does."""
        if not self.ended:
            try:
                self.answered += 1
                return self._answer(self._reader.receive(self._budget), question.nonce)
            except TimeoutError:
                self.ended = Ended("time")
            except (OSError, EOFError):
                self.ended = Ended("gone")
            except wire.WireError:
                self.ended = Ended("protocol")
        raise self.ended

    def _answer(self, message: Any, nonce: int) -> Any:
        match message:
            case [int(n), "value", value] if n == nonce:
                return wire.unpack(value, self.handle, self._budget)
            case [int(n), "raised", [str(), *_] as names, str(text)] if n == nonce:
                if all(type(name) is str for name in names):
                    raise Raised([name[:100] for name in names[:20]], text[:500])
        raise wire.WireError("not an answer")
