"""Calls of a reward that may hang, crash or print: made in a forked process, which is killed when one takes too long.

Invariants: every call ends within its limit; the reward's code runs in the child alone, whatever kind of function it
is (a closure, a function of a notebook); what it pays is what the executor would take: the fast function first, the
overrun where an isolated one has run out of time.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..configs.errors import BadInput
from ..envs.core import Environment, tools_of
from ..rewards.core import Failure, Reward, Scored

T = TypeVar("T")

WARM = 20.0
"""Seconds that the first call of a process may take beyond the limit: it imports what later ones find."""

GRACE = 0.3
"""Seconds beyond an isolated reward's own timeout."""

Problem = Literal["", "raised", "type", "not finite", "hung", "died"]


@dataclass(frozen=True)
class Outcome:
    """What came of one call.

    Args:
        value: what it paid; None where it does not apply, or where there was a problem.
        problem: what went wrong, empty for nothing.
        detail: the reason in one line.
        seconds: how long it took.
        cpu: seconds of processor time of it, which other work on the machine does not lengthen.
        killed: whether its process had to be ended, or ended by itself.
        changed: whether the call has changed its row or its messages.
    """

    value: float | None = None
    problem: Problem = ""
    detail: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    killed: bool = False
    changed: bool = False


def outcomes(
    reward: Reward, items: Sequence[Scored], seconds: float, *, first: Scored, memory_mb: int = 4096
) -> Iterator[tuple[int, Outcome]]:
    """Call `reward` on each of `items`, in their order; yields (number, outcome) as they finish.

    Args:
        seconds: the limit of a call; an isolated reward's own timeout comes before it.
        first: an honest completion, on which a child makes the imports that later calls find done.
        memory_mb: MiB that the child may add.
    """
    limit = max(leaf.timeout + GRACE if leaf.isolated else seconds for leaf in leaves(reward))
    _preload(reward)
    yield from forked(
        len(items),
        lambda number: call(reward, items[number]),
        limit=limit,
        ended=lambda problem, detail, took: _ended(reward, detail, problem, took),
        prepare=lambda: call(reward, first),
        memory_mb=memory_mb,
    )


def forked(
    n: int,
    work: Callable[[int], T],
    *,
    limit: float,
    ended: Callable[[Problem, str, float], T],
    prepare: Callable[[], object] = lambda: None,
    memory_mb: int = 4096,
) -> Iterator[tuple[int, T]]:
    """`work(number)` for each number below `n`, in a forked process; yields (number, result) as they finish.

    Args:
        limit: seconds that one of them may take before its process is killed; the next begins in another.
        ended: the result of one whose process was killed ("hung") or ended by itself ("died"): problem, detail, seconds.
        prepare: called first in each process, with WARM seconds more.
        memory_mb: MiB that the child may add.
    """
    context = multiprocessing.get_context("fork")
    start = 0
    while start < n:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(work, range(start, n), prepare, theirs, memory_mb))
        sys.stdout.flush()
        sys.stderr.flush()
        child.start()
        theirs.close()
        try:
            warm = WARM
            while start < n:
                began = time.perf_counter()
                if not ours.poll(limit + warm):
                    yield start, ended("hung", f"still running after {limit + warm:g} s", limit + warm)
                    start += 1
                    break
                try:
                    received = ours.recv()
                except (EOFError, OSError):
                    child.join(5)
                    yield start, ended("died", f"the process ended with {child.exitcode}", time.perf_counter() - began)
                    start += 1
                    break
                warm = 0.0
                if received is not None:  # None: the imports are done
                    yield start, received
                    start += 1
        finally:
            child.kill()
            child.join()
            ours.close()


def leaves(reward: Reward) -> Iterator[Reward]:
    """The functions that a reward is made of; itself where it is one."""
    for part in reward.parts:
        yield from leaves(part)
    if not reward.parts:
        yield reward


def _preload(reward: Reward) -> None:
    """Import what the modules of the functions name in PRELOAD: a child that follows a killed one finds it there."""
    for leaf in leaves(reward):
        module = sys.modules.get(getattr(leaf.function, "__module__", ""))
        for name in getattr(module, "PRELOAD", ()):
            with contextlib.suppress(Exception):  # the call says what is wrong with it
                importlib.import_module(name)


def _ended(reward: Reward, detail: str, problem: Problem, seconds: float) -> Outcome:
    paid = [leaf.overrun for leaf in leaves(reward) if leaf.isolated]
    if not reward.parts and paid and paid[0] is not None:
        return Outcome(paid[0], "", f"{detail}; paid its overrun", seconds, killed=True)
    return Outcome(None, problem, detail, seconds, killed=True)


def _child(
    work: Callable[[int], object], numbers: Iterable[int], prepare: Callable[[], object], end: Any, memory_mb: int
) -> None:
    with contextlib.suppress(OSError, AttributeError):  # elsewhere than on Linux, the parent's `finally` does it
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    faulthandler.disable()  # a crash is reported as one; its dump would land in the middle of the report
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (memory_mb << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    prepare()
    gc.freeze()  # else a call that makes many objects pays for going through all of the parent's
    end.send(None)
    for number in numbers:
        end.send(work(number))


def call(reward: Reward, item: Scored) -> Outcome:
    """One call, here and now; an environment without tools is reset to the row before it, as for a rollout."""
    before = _inputs(item)
    began, cpu = time.perf_counter(), time.process_time()
    value: float | None = None
    problem: Problem = ""
    detail = ""
    try:
        _reset(item)
        found = _value(reward, item)
        if isinstance(found, Failure):
            problem, detail = ("not finite" if found.reason.startswith("returned") else "raised"), found.reason
        else:
            value = found
    except BadInput as error:
        problem, detail = ("type" if "returned" in str(error) else "raised"), f"BadInput: {error}"
    except Exception as error:  # of the environment's reset: a reward's own is a Failure
        problem, detail = "raised", f"{type(error).__name__}: {error}"
    took, used = time.perf_counter() - began, time.process_time() - cpu
    return Outcome(value, problem, _cut(detail), took, used, changed=_inputs(item) != before)


def _inputs(item: Scored) -> str:
    """What a reward is handed, as one text; not for long completions, where length is what is tried."""
    return "" if len(item.completion) > 20_000 else repr((item.row, item.messages))


def _reset(item: Scored) -> None:
    env = item.environment
    # One with tools holds the episode that is scored.
    if isinstance(env, Environment) and type(env).reset is not Environment.reset and not tools_of(env):
        env.done = False
        env.reset(**item.row)


def _value(reward: Reward, item: Scored) -> Any:
    """What the executor would make of it."""
    if reward.parts:
        return reward.combine([_value(part, item) for part in reward.parts])  # type: ignore[attr-defined]
    values = reward.quickly([item]) if reward.isolated or reward.concurrent else None
    (value,) = reward.run([item]) if values is None else values
    if isinstance(value, Failure) and value.overrun and reward.overrun is not None:
        return reward.overrun
    return value


def _cut(text: str) -> str:
    text = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 200 else text[:197] + "..."
