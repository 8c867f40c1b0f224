"""Run model-written Python and say what it answered: `Sandbox`.

Always true here: the code runs in a confined process of its own, which holds no test and no expected value; a wrong,
hanging or hostile completion is an answer, a failure of the sandbox is an exception; nothing a completion started is left
when a call returns; safe from many threads, of which no more than `workers` run a completion at once.

    from journeyman.rewards.sandbox import Sandbox

    with Sandbox() as box:
        (reply,) = box.calls("def double(n): return 2 * n", "double", [[21]])
        reply.value          # 42
        box.program("print(int(input()) + 1)", "41").stdout          # "42\\n"
        box.check("def double(n): return 2 * n", "assert double(2) == 4", "double").passed          # True
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...configs.errors import BadInput
from . import wire
from .client import PATIENCE, SandboxFailure, Zygote, greet
from .levels import choose
from .session import Ended, Raised, Session
from .zygote import ANSWER, JUDGE, PROGRAM

SECONDS, MEMORY_MB, SCRATCH_MB = 5.0, 512, 64
_OUTPUT, _AT_ONCE = 4 << 20, 64 << 10
_JUDGE_GRACE = 2.0
_WINDOW, _LEAST, _SHARE = 200, 5, 0.05


@dataclass(frozen=True)
class Reply:
    """What one call came to: a value made of plain data, or the reason why there is none."""

    value: Any = None
    why: str = ""


@dataclass(frozen=True)
class Output:
    """What a program printed, and why that does not count where it does not."""

    stdout: str
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether the tests passed, and why not."""

    passed: bool
    why: str = ""


class Sandbox:
    """A fork server and what it is asked to do.

    Args:
        level: `ns`, `lite`, or `auto` for the stronger of them that passes a live test here; `unsafe` (limits alone)
            only where it is asked for by name.
        python: the interpreter that runs completions; this one by default. It needs nothing installed.
        workers: completions at once; as many as there are processors by default, so that the clock is a fair limit.

    Raises:
        BadInput: no such level.
        SandboxFailure: this machine can't give that level.
    """

    def __init__(self, level: str = "auto", python: str | None = None, workers: int | None = None) -> None:
        self.level = choose(level, python)
        self._python = python
        self._slots = threading.BoundedSemaphore(workers or len(os.sched_getaffinity(0)))
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None
        self._past: deque[bool] = deque(maxlen=_WINDOW)
        self.warm()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self) -> None:
        """Have the fork server running."""
        self._server()

    def close(self) -> None:
        """End the fork server; the next use starts another."""
        with self._lock:
            if self._zygote:
                self._zygote.close()
            self._zygote = None
            self._past.clear()

    def calls(self, code: str, entry_point: str, arguments: Sequence[Sequence[Any]], *, in_place: bool = False,
              seconds: float = SECONDS, memory_mb: int = MEMORY_MB) -> list[Reply]:  # fmt: skip
        """Run `code`, then call its `entry_point` once for each argument list.

        Args:
            code: the model's.
            entry_point: a function or class that it should define.
            arguments: plain data.
            in_place: make each value the pair (returned value, argument list as the call left it).
            seconds: by the clock, for all of it.
            memory_mb: MiB of address space.

        Returns:
            One Reply an argument list. An object that is not plain data comes as a `wire.Handle`.

        Raises:
            SandboxFailure: the completion is neither right nor wrong.
            BadInput: an argument is not plain data.
        """
        operation = "changed" if in_place else "global"
        with self._child(ANSWER, seconds, memory_mb) as (end, _):
            session, replies = Session(end, PATIENCE), []
            try:
                load = session.question("load", code)
                questions = [session.question(operation, entry_point, list(given)) for given in arguments]
                # Small ones wait for the child while it confines itself, and cost no turns of the two processes.
                frames = b"".join(question.frame for question in [load, *questions])
                together = len(frames) <= _AT_ONCE
                session.put(frames if together else b"")
                greet(end)
                session.begin(seconds)
                session.put(b"" if together else load.frame)
                session.take(load)
                for question in questions:
                    session.put(b"" if together else question.frame)
                    try:
                        replies.append(Reply(session.take(question)))
                    except Raised as error:
                        replies.append(Reply(why=str(error)))
            except wire.WireError as error:
                raise _not_data(error) from None
            except (Raised, Ended) as error:
                replies += [Reply(why=str(error))] * (len(arguments) - len(replies))
            return replies

    def program(self, code: str, stdin: str = "", *, seconds: float = SECONDS, memory_mb: int = MEMORY_MB) -> Output:
        """Run `code` as a program that reads `stdin`.

        Raises:
            SandboxFailure: the completion is neither right nor wrong.
        """
        given = os.memfd_create("stdin", os.MFD_CLOEXEC)
        try:
            with open(given, "wb", closefd=False) as file:
                file.write(stdin.encode("utf-8", "surrogateescape"))
            os.lseek(given, 0, os.SEEK_SET)
            printed, theirs = os.pipe()
            try:
                with self._child(PROGRAM, seconds, memory_mb, given, theirs) as (end, leave):
                    os.close(theirs)
                    theirs = -1
                    with contextlib.suppress(OSError):
                        greet(end)
                    wire.send(end, code)
                    out, why = _listen(end, printed, time.monotonic() + seconds)
                    code_ = leave()
                    return Output(out.decode("utf-8", "replace"), why or (f"exit code {code_}" if code_ else ""))
            finally:
                os.close(printed)
                if theirs >= 0:
                    os.close(theirs)
        finally:
            os.close(given)

    def check(self, code: str, test: str, entry_point: str, *, starter: str = "", seconds: float = SECONDS,
              memory_mb: int = MEMORY_MB) -> Verdict:  # fmt: skip
        """Run test code against `code`, each in a process of its own.

        Args:
            code: the model's.
            test: trusted code that defines `check(candidate)`, as HumanEval has it, or asserts about `entry_point`.
            entry_point: what `candidate` stands for.
            starter: trusted code that the test may lean on.
            seconds: by the clock, for all calls together.
            memory_mb: MiB of address space, for each of the two.

        Raises:
            SandboxFailure: the completion is neither right nor wrong.
            BadInput: the test can't be run from outside, or tests nothing.
        """
        with self._child(ANSWER, seconds, memory_mb) as (end, _):
            session = Session(end, PATIENCE)
            load = session.question("load", code)
            together = len(load.frame) <= _AT_ONCE
            session.put(load.frame if together else b"")
            greet(end)
            session.begin(seconds)
            session.put(b"" if together else load.frame)
            try:
                session.take(load)
            except (Raised, Ended) as error:
                return Verdict(False, str(error))
            left = max(session.deadline - time.monotonic(), 0.01)
            end.setblocking(True)
            with self._child(JUDGE, seconds + _JUDGE_GRACE, memory_mb, end.fileno()) as (judge, _):
                greet(judge)
                try:
                    wire.send(judge, [test, starter, entry_point, left])
                    said = wire.receive(judge, time.monotonic() + left + _JUDGE_GRACE)
                except (OSError, EOFError, wire.WireError) as error:
                    # What the solver sent is all that differs from a check that went well.
                    return Verdict(False, "time" if isinstance(error, TimeoutError) else "the judge was brought down")
        if "unsupported" in said:
            raise BadInput(f"column 'test': {said['unsupported']}")
        return Verdict(said["passed"] is True, said["why"])

    @contextlib.contextmanager
    def _child(self, kind: bytes, seconds: float, memory_mb: int, *others: int
               ) -> Iterator[tuple[socket.socket, Callable[[], int]]]:  # fmt: skip
        """A confined child's socket, and how to end it early; it is ended and reaped in any case."""
        with contextlib.nullcontext() if kind == JUDGE else self._slots:
            zygote = self._server()
            ours, theirs = socket.socketpair()
            pid, ended = 0, False

            def leave() -> int:
                nonlocal ended
                ended = True
                return zygote.end(pid)

            with ours:
                try:
                    with theirs:
                        pid = zygote.fork(
                            kind, memory_mb << 20, int(seconds) + 2, SCRATCH_MB << 20, [theirs.fileno(), *others]
                        )
                    yield ours, leave
                    self._note(True)
                except SandboxFailure:
                    self._note(False)
                    raise
                finally:
                    if pid and not ended:
                        with contextlib.suppress(SandboxFailure):
                            leave()

    def _server(self) -> Zygote:
        with self._lock:
            failures = self._past.count(False)
            if failures >= _LEAST and failures > _SHARE * len(self._past):
                raise SandboxFailure(
                    f"the sandbox has switched itself off: it failed {failures} of the last {len(self._past)} times"
                )
            if self._zygote is None or self._zygote.owner != os.getpid():
                self._zygote = Zygote(self.level, self._python)
            return self._zygote

    def _note(self, well: bool) -> None:
        with self._lock:
            self._past.append(well)
            if not well and self._zygote:
                self._zygote.close()
                self._zygote = None


def _not_data(error: Exception) -> BadInput:
    return BadInput(f"column 'tests': an argument can't be sent to the code under test: {error}")


def _listen(end: socket.socket, printed: int, deadline: float) -> tuple[bytes, str]:
    """What a program prints until it has ended, and why it was cut short where it was."""
    out = bytearray()
    poll = select.poll()
    for descriptor in (printed, end.fileno()):
        poll.register(descriptor, select.POLLIN)
    waiting = 2
    while waiting:
        left = deadline - time.monotonic()
        ready = poll.poll(left * 1000) if left > 0 else []
        if not ready:
            return bytes(out), "time"
        for descriptor, _ in ready:
            data = os.read(descriptor, 1 << 16)
            if not data:
                poll.unregister(descriptor)
                waiting -= 1
            elif descriptor == printed:
                out += data
                if len(out) > _OUTPUT:
                    return bytes(out[:_OUTPUT]), f"printed over {_OUTPUT >> 20} MB"
    return bytes(out), ""


_default: Sandbox | None = None
_default_lock = threading.Lock()


def default() -> Sandbox:
    """The process's own sandbox, at the strongest level that works here."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Sandbox()
            atexit.register(_default.close)
        return _default


def warm(level: str = "auto") -> Sandbox:
    """Make the process's own sandbox now, before a model is loaded, at `level`; a training run records `.level`.

    Raises:
        BadInput: no such level.
        SandboxFailure: this machine can't give that level.
    """
    global _default
    with _default_lock:
        if _default is not None and level not in ("auto", _default.level):
            _default.close()
            _default = None
        if _default is None:
            _default = Sandbox(level)
            atexit.register(_default.close)
        return _default
