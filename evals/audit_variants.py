"""The audit of every variant of an environment, such as each of reasoning-gym's tasks.

Invariants: each variant runs in a process with a deadline, so one that never gets its tasks made is listed and holds
nothing up.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..configs.errors import BadInput
from ..configs.read import load_attribute
from ..envs.build import make_environment
from ..envs.core import Environment
from .audit_all import Entry, Sweep, audit_job
from .audit_sources import Job, rewards_beside


def audit_variants(
    spec: str,
    rows: int = 50,
    seconds: float = 5.0,
    budget: float = 15.0,
    seed: int = 0,
    progress: Callable[[Entry], None] = lambda entry: None,
) -> Sweep:
    """Audit every variant of an environment's class under the rewards beside it, each in a process with a deadline.

    Args:
        spec: `module:Class`, whose `variants()` yields the arguments of each.
        rows: tasks of a variant.
        seconds: see `audit`.
        budget: seconds for the attacks on one variant; making its tasks may take as long again.
        seed: see `audit`.
        progress: called with each entry as it is done.

    Raises:
        BadInput: the class has no `variants()`.
    """
    began = time.perf_counter()
    cls = load_attribute(spec)
    if not hasattr(cls, "variants"):
        raise BadInput(f"--env {spec}: the class has no variants(); name it without --variants")
    entries = []
    for kwargs in cls.variants():
        name = ", ".join(f"{key}={value}" for key, value in kwargs.items())
        load = functools.partial(_variant, cls, kwargs, spec)
        entry = within(2 * budget, audit_job, spec, name, load, rows, seconds, budget, seed)
        late = Entry("environment", f"{spec} ({name})", "not audited", f"its tasks or calls took over {2 * budget:g} s")
        entries.append(entry or late)
        progress(entries[-1])
    return Sweep(entries, time.perf_counter() - began)


def _variant(cls: type[Environment], kwargs: Mapping[str, Any], spec: str) -> Job:
    return Job(spec, make_environment(spec, kwargs, Path.cwd(), spec), rewards_beside(cls))


def within(seconds: float, function: Callable[..., Entry], *arguments: Any) -> Entry | None:
    """`function(*arguments)` in a process of its own; None where it took longer than `seconds`, or died."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def work() -> None:
        with open(os.devnull, "w") as nowhere:  # what a library prints is no part of the report
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        theirs.send(function(*arguments))

    child = context.Process(target=work)
    sys.stdout.flush()
    sys.stderr.flush()
    child.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(seconds) else None
    except EOFError:
        return None
    finally:
        child.kill()
        child.join()
        ours.close()
