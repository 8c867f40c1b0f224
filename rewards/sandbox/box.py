"""Run model-written Python and say what it answered: `Sandbox`.

Invariants: the code runs in a confined process of its own, which holds no test and no expected value; a wrong,
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

import contextlib
import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ...configs.errors import BadInput
from . import wire
from .breaker import Breaker
from .client import NotStarted, SandboxFailure, Zygote, greet, listen
from .levels import choose
from .session import Ended, Raised, Session
from .zygote import ANSWER, JUDGE, PROGRAM

SECONDS, MEMORY_MB, SCRATCH_MB = 5.0, 512, 64
_OUTPUT, _AT_ONCE = 4 << 20, 32 << 10
_JUDGE_GRACE = 2.0
_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds before a completion that found no process is tried again."""

T = TypeVar("T")


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
        self._breaker = Breaker()
        self.warm()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self) -> None:
        """Have the fork server running."""
        self._server()

    @property
    def pid(self) -> int:
        """The fork server's process."""
        return self._server().pid

    def close(self) -> None:
        """End the fork server; the next use starts another."""
        with self._lock:
            if self._zygote:
                self._zygote.close()
            self._zygote = None
            self._breaker.forget()

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
        return self._run(lambda: self._calls(code, entry_point, arguments, in_place, seconds, memory_mb))

    def _calls(self, code: str, entry_point: str, arguments: Sequence[Sequence[Any]], in_place: bool,
               seconds: float, memory_mb: int) -> list[Reply]:  # fmt: skip
        operation = "changed" if in_place else "global"
        with self._child(ANSWER, seconds, memory_mb) as (end, leave):
            session = Session(end, seconds)
            try:
                questions = [session.question(operation, entry_point, list(given)) for given in arguments]
            except wire.WireError as error:
                raise BadInput(f"column 'tests': an argument can't be sent to the code under test: {error}") from None
            replies: list[Reply] = []
            try:
                asked = _load(session, code, questions[0].frame if questions else b"")
                for question in questions:  # one after the other: a solver must not see what is asked next
                    session.put(b"" if asked else question.frame)
                    asked = False
                    try:
                        replies.append(Reply(session.take(question)))
                    except Raised as error:
                        replies.append(Reply(why=str(error)))
            except (Raised, Ended) as error:
                replies += [Reply(why=str(error))] * (len(arguments) - len(replies))
            if session.ended:
                leave()
        return replies

    def program(self, code: str, stdin: str = "", *, seconds: float = SECONDS, memory_mb: int = MEMORY_MB) -> Output:
        """Run `code` as a program that reads `stdin`.

        Raises:
            SandboxFailure: the completion is neither right nor wrong.
        """
        try:
            source = wire.frame(code)
        except wire.WireError as error:
            return Output("", f"the code is {error}")
        return self._run(lambda: self._program(source, stdin, seconds, memory_mb))

    def _program(self, source: bytes, stdin: str, seconds: float, memory_mb: int) -> Output:
        with contextlib.ExitStack() as files:
            given = files.enter_context(open(os.memfd_create("stdin"), "w+b"))
            given.write(stdin.encode("utf-8", "surrogateescape"))
            given.seek(0)
            read, write = os.pipe()
            printed, theirs = files.enter_context(open(read, "rb", 0)), files.enter_context(open(write, "wb", 0))
            with self._child(PROGRAM, seconds, memory_mb, given.fileno(), theirs.fileno()) as (end, leave):
                theirs.close()
                greet(end)
                end.sendall(source)
                out, why = listen(end, printed.fileno(), time.monotonic() + seconds, _OUTPUT)
                code_left = leave()
            return Output(out.decode("utf-8", "replace"), why or (f"exit code {code_left}" if code_left else ""))

    def check(
        self,
        code: str,
        test: str,
        entry_point: str,
        *,
        starter: str = "",
        objects: bool | None = None,
        seconds: float = SECONDS,
        memory_mb: int = MEMORY_MB,
    ) -> Verdict:
        """Run test code against `code`, each in a process of its own.

        Args:
            code: the model's.
            test: trusted code that defines `check(candidate)`, as HumanEval has it, or asserts about `entry_point`.
            entry_point: what `candidate` stands for.
            starter: trusted code that the test may lean on.
            objects: whether what the entry point gives may have attributes and operators of the solver's own, as where a
                class is under test; where its name begins with a capital by default.
            seconds: by the clock, for all calls together.
            memory_mb: MiB of address space, for each of the two.

        Raises:
            SandboxFailure: the completion is neither right nor wrong.
            BadInput: the test can't be run from outside, or tests nothing.
        """
        objects = entry_point[:1].isupper() if objects is None else objects
        return self._run(lambda: self._check(code, [test, starter, entry_point, objects], seconds, memory_mb))

    def _check(self, code: str, about: list[Any], seconds: float, memory_mb: int) -> Verdict:
        with (
            self._child(ANSWER, seconds, memory_mb) as (end, leave),
            self._child(JUDGE, seconds + _JUDGE_GRACE, memory_mb, end.fileno()) as (judge, leave_judge),
        ):
            session = Session(end, seconds)
            try:
                _load(session, code)
                greet(judge)
                left = max(session.deadline - time.monotonic(), 0.01)
                wire.send(judge, [*about, left])
                said = wire.receive(judge, time.monotonic() + left + _JUDGE_GRACE)
            except (Raised, Ended) as error:
                said = {"passed": False, "why": str(error)}
            except TimeoutError:
                said = {"passed": False, "why": "time"}
            except (OSError, EOFError, wire.WireError):
                # What the solver sent is all that differs from a check that went well.
                said = {"passed": False, "why": "the judge was brought down"}
            if said.get("why"):
                leave_judge()
                leave()
        if "bad test" in said:
            raise BadInput(f"column 'test': {said['bad test']}")
        return Verdict(said["passed"] is True, said["why"])

    @contextlib.contextmanager
    def _child(
        self, kind: bytes, seconds: float, memory_mb: int, *others: int
    ) -> Iterator[tuple[socket.socket, Callable[[], int]]]:
        """A confined child's socket, and what ends and reaps it and gives its exit code; it is ended in any case.

        A child that is gone counts as its code's doing only where the server could still say how it went: one that fell
        with the server is the sandbox's failure. So whoever finds it gone calls the second.
        """
        with contextlib.nullcontext() if kind == JUDGE else self._slots:
            zygote = self._server()
            ours, theirs = socket.socketpair()
            with ours:
                try:
                    with theirs:
                        descriptors = [theirs.fileno(), *others]
                        ticket = zygote.fork(kind, memory_mb << 20, int(seconds) + 2, SCRATCH_MB << 20, descriptors)
                    try:
                        yield ours, functools.partial(zygote.end, ticket)
                    finally:
                        with contextlib.suppress(SandboxFailure):
                            zygote.drop(ticket)
                except SandboxFailure:
                    zygote.check()
                    raise

    def _run(self, once: Callable[[], T]) -> T:
        """What `once` gives, tried again where the machine had no process for it."""
        if why := self._breaker.refuses():
            raise SandboxFailure(why)
        pauses = iter(_PAUSES)
        while True:
            try:
                result = once()
            except SandboxFailure as error:
                pause = next(pauses, None) if isinstance(error, NotStarted) else None
                if pause is None:
                    self._breaker.note(False)
                    raise
                time.sleep(pause)
            else:
                self._breaker.note(True)
                return result

    def _server(self) -> Zygote:
        with self._lock:
            if self._zygote is None or self._zygote.broken or self._zygote.owner != os.getpid():
                if self._zygote is not None:
                    self._zygote.close()
                self._zygote = Zygote(self.level, self._python)
            return self._zygote


def _load(session: Session, code: str, more: bytes = b"") -> bool:
    """Have the solver run `code`; True where the question `more` went along with it, which spares the processes a turn.

    Raises:
        SandboxFailure: the solver's process could not be confined.
        Raised: the code raised, or can't be sent.
        Ended: it never came to an end.
    """
    together = bool(more) and len(code) + len(more) <= _AT_ONCE
    try:
        load = session.question("load", code, *([True] if together else []))
    except wire.WireError as error:
        greet(session.end)
        raise Raised(["WireError"], f"the code is {error}") from None
    first = load.frame + (more if together else b"")
    early = len(first) <= 2 * _AT_ONCE  # which the socket holds while the child confines itself
    session.put(first if early else b"")
    greet(session.end)
    session.begin()
    session.put(b"" if early else first)
    session.take(load)
    return together
