"""The audit of everything that ships: every reward on its worked cases, every environment under the rewards of its jobs.

Invariants: what ships is found by walking the packages, so nothing is left out by forgetting it; what can't be audited
without a server, a download or a setting is listed with the reason; a shipped reward without worked cases is a defect.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import itertools
import os
import pkgutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from .. import envs, rewards
from ..configs.errors import BadInput
from ..configs.read import CONFIGS, load_attribute, read_yaml
from ..envs.core import Environment, Row, check_disjoint
from ..rewards.core import Reward
from .audit import audit
from .audit_calls import leaves
from .audit_report import Audit
from .audit_sources import (
    Job,
    cases_of,
    defined_rewards,
    environments_in,
    is_factory,
    load_job,
    rewards_beside,
    rewards_of,
    rows_of,
)

Verdict = Literal["passed", "DEFECTS", "not audited"]
CHECKOUT = CONFIGS.parent
"""The folder of this package; in a checkout, the examples of its documentation are jobs too."""


@dataclass(frozen=True)
class Entry:
    """One reward or environment: its name, what the audit says, and why."""

    kind: Literal["reward", "environment"]
    name: str
    verdict: Verdict
    reason: str = ""
    audits: Sequence[Audit] = field(default=())


@dataclass(frozen=True)
class Sweep:
    """Every entry, and how long it all took (seconds)."""

    entries: list[Entry]
    seconds: float

    @property
    def defects(self) -> list[Entry]:
        """Entries that did not pass."""
        return [entry for entry in self.entries if entry.verdict == "DEFECTS"]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        audits = {entry.name: [one.as_dict() for one in entry.audits] for entry in self.entries}
        return {
            "entries": [
                {**dataclasses.asdict(dataclasses.replace(entry, audits=())), "audits": audits[entry.name]}
                for entry in self.entries
            ],
            "counts": {kind: self.counts(kind) for kind in dict.fromkeys(entry.kind for entry in self.entries)},
            "seconds": self.seconds,
        }

    def counts(self, kind: str) -> dict[str, int]:
        """How many of a kind ship, and how many have each verdict."""
        found: Counter[str] = Counter(entry.verdict for entry in self.entries if entry.kind == kind)
        return {"shipped": found.total(), **found}

    def lines(self) -> list[str]:
        """The list by name, and the counts."""
        lines = []
        width = max((len(entry.name) for entry in self.entries), default=0)
        for entry in self.entries:
            lines.append(f"{entry.kind:<12}{entry.name:<{width}}  {entry.verdict:<12}{entry.reason}".rstrip())
            for one in entry.audits:
                lines += [f"    {one.reward}: {defect.attack}: {defect.message}" for defect in one.defects]
                lines += [f"        {text}" for defect in one.defects for text in defect.examples[:1]]
                if entry.verdict != "DEFECTS" and (left := one.left_out()):
                    lines.append(f"    {one.reward}: not tried: {'; '.join(left)}")
        return [*lines, *self.totals()]

    def brief(self) -> list[str]:
        """One line an entry: its name, the verdict, the defects by attack with the first one's message."""
        single = len({entry.name.partition(" (")[0] for entry in self.entries}) == 1
        names = [entry.name.partition("=")[2].rstrip(")") if single else entry.name for entry in self.entries]
        width = max(map(len, names), default=0)
        lines = []
        for name, entry in zip(names, self.entries, strict=True):
            found = [finding for one in entry.audits for finding in one.defects]
            reason = entry.reason if entry.verdict == "not audited" or not found else ""
            if single and entry.verdict == "passed":
                reason = entry.reason.rpartition(": ")[2]
            if found:
                attacks = dict.fromkeys(finding.attack for finding in found)
                reason = f"{', '.join(attacks)}: {found[0].message}"
            reason = reason if len(reason) <= 110 else reason[:107] + "..."
            lines.append(f"{name:<{width}}  {entry.verdict:<12}{reason}".rstrip())
        return [*lines, *self.totals()]

    def totals(self) -> list[str]:
        """How many there are and how many passed, by kind, and the time."""
        lines = []
        for kind in dict.fromkeys(entry.kind for entry in self.entries):
            counts = self.counts(kind)
            parts = [f"{n} {verdict.lower()}" for verdict, n in counts.items() if verdict != "shipped"]
            lines.append(f"{counts['shipped']} {kind}s: {', '.join(parts)}")
        return [*lines, f"{self.seconds:.1f} s"]


def audit_all(
    rows: int = 50,
    seconds: float = 5.0,
    budget: float = 20.0,
    seed: int = 0,
    progress: Callable[[Entry], None] = lambda entry: None,
) -> Sweep:
    """Audit every shipped reward and environment.

    Args:
        rows: tasks of an environment to try a reward on.
        seconds: see `audit`.
        budget: seconds for one audit.
        seed: see `audit`.
        progress: called with each entry as it is done.
    """
    began = time.perf_counter()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # what is not on the disk is listed as such
    options = {"seconds": seconds, "budget": budget, "seed": seed}
    entries = []
    for entry in itertools.chain(_rewards(options), _environments(rows, options)):
        entries.append(entry)
        progress(entry)
    return Sweep(entries, time.perf_counter() - began)


def modules(package: ModuleType) -> Iterator[tuple[str, ModuleType | None, str]]:
    """Every module of a package: name, the module or None, and why it does not import."""
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        try:
            yield info.name, importlib.import_module(info.name), ""
        except Exception as error:
            yield info.name, None, f"does not import: {type(error).__name__}: {error}"


def _rewards(options: Mapping[str, Any]) -> Iterator[Entry]:
    for name, module, reason in [*modules(rewards), *modules(envs)]:
        if module is None:
            yield Entry("reward", name, "DEFECTS", reason)
            continue
        for attribute, reward in defined_rewards(module).items():
            yield _audited(f"{name}:{attribute}", reward, options)
        for attribute, value in list(vars(module).items()):
            # A factory of the library documents its source, as its rewards do; what composes rewards has none.
            if is_factory(value) and value.__module__ == name and "Source:" in (value.__doc__ or ""):
                yield Entry("reward", f"{name}:{attribute}", "not audited", "made from arguments: audit what it makes")


def _audited(name: str, reward: Reward, options: Mapping[str, Any]) -> Entry:
    if reward.columns().get("environment"):
        return Entry("reward", name, "not audited", "says what an environment says: audit it with one")
    if outside := waits_outside(reward):
        return Entry("reward", name, "not audited", outside)
    if not cases_of(reward):
        return Entry("reward", name, "DEFECTS", "has no worked cases: add it to CASES of its module")
    found = audit(reward, **options)
    return Entry("reward", name, _verdict([found]), _summary([found]), [found])


def waits_outside(reward: Reward) -> str:
    """Why a reward can't be audited by itself: an async one asks something beyond this process. Empty where it can."""
    if any(inspect.iscoroutinefunction(leaf.function) for leaf in leaves(reward)):
        return "async: it asks a server, so audit it with a job of yours whose server runs"
    return ""


def _environments(rows: int, options: Mapping[str, Any]) -> Iterator[Entry]:
    jobs = list(shipped_job_files())
    for name, module, reason in modules(envs):
        if module is None:
            yield Entry("environment", name, "DEFECTS", reason)
            continue
        for cls in environments_in(module):
            own = f"{name}:{cls.__name__}"
            mine = [path for path in jobs if _is_of(path, cls)]
            for path in mine:
                load = functools.partial(load_job, path)
                yield audit_job(own, str(path.relative_to(CHECKOUT)), load, rows, **options)
            if not mine:
                yield audit_job(own, "no arguments", functools.partial(_bare, cls), rows, **options)


def shipped_job_files() -> Iterator[Path]:
    """The job of each folder of `configs/`, and the examples beside it in a checkout."""
    yield from sorted(CONFIGS.glob("*/job.yaml"))
    yield from sorted((CHECKOUT / "docs" / "examples").glob("*.yaml"))


def _is_of(path: Path, cls: type) -> bool:
    try:
        return load_attribute(str(read_yaml(path).get("environment")), path.parent) is cls
    except BadInput:
        return False


def _bare(cls: type[Environment]) -> Job:
    needed = [p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty and p.kind < 2]
    if needed:
        raise BadInput(f"no shipped job uses it, and it needs {', '.join(needed)}")
    return Job(cls.__name__, cls(), rewards_beside(cls))


def audit_job(
    cls: str, where: str, load: Callable[[], Job], rows: int, seconds: float, budget: float, seed: int = 0
) -> Entry:
    """The entry of one environment: its rows, then each of its rewards on them.

    Args:
        cls: `module:Class`.
        where: which job or variant it is.
        load: makes the job.
        rows: tasks to try.
        seconds: see `audit`.
        budget: seconds for the attacks on one reward.
        seed: see `audit`.
    """
    name = f"{cls} ({where})"
    try:
        job = load()
        found = rows_of(job.env, rows)
    except BadInput as error:
        return Entry("environment", name, "not audited", str(error))
    if faults := environment_faults(job.env, found):
        return Entry("environment", name, "DEFECTS", "; ".join(faults))
    audits, left = [], []
    for reward in rewards_of(job):
        if outside := waits_outside(reward):
            left.append(f"{reward.name}: {outside}")
        else:
            try:
                audits.append(audit(reward, job.env, rows=rows, seconds=seconds, budget=budget, seed=seed))
            except BadInput as error:
                left.append(str(error))
    if not audits:
        return Entry("environment", name, "not audited", "; ".join(left) or "no reward goes with it")
    return Entry("environment", name, _verdict(audits), "; ".join([_summary(audits), *left]), audits)


def environment_faults(env: Environment, rows: Sequence[Row]) -> list[str]:
    """What is wrong with the rows themselves: another call gives others, or a seed moves one into the held-out split."""
    faults = []
    again = rows_of(env, len(rows))
    if [row.get("item") for row in again] != [row.get("item") for row in rows]:
        faults.append("the same split and seed give other rows when asked again")
    try:
        check_disjoint(
            {"train": [*rows, *_some(env, "train", 1, len(rows))], "heldout": _some(env, "heldout", 0, len(rows))}
        )
    except (BadInput, KeyError) as error:
        faults.append(str(error))
    return faults


def _some(env: Environment, split: str, seed: int, n: int) -> list[Row]:
    try:
        return env.tasks(split, seed, n)
    except BadInput:
        return env.tasks(split, seed)[:n]


def _verdict(audits: Sequence[Audit]) -> Verdict:
    if any(one.defects for one in audits):
        return "DEFECTS"
    # Most of it left out for want of time is no pass, and neither is a reward of which nothing has been learnt.
    return "not audited" if any(one.untried > one.tried or one.blind for one in audits) else "passed"


def _summary(audits: Sequence[Audit]) -> str:
    parts = []
    for one in audits:
        known = list(dict.fromkeys(note.attack for note in one.notes if note.message.startswith("declared: ")))
        text = f"{one.reward}: {one.tasks} task{'s' * (one.tasks != 1)}, {one.tried} completions"
        text += f", false positives {one.false_positives.count}" if one.needs_reference else ", reads no gold"
        text += f", false negatives {one.false_negatives.count}"
        text += f", {one.untried} left out" if one.untried else ""
        text += f", {one.blind}" if one.blind else ""
        parts.append(text + (f", declared weak to {', '.join(known)}" if known else ""))
    return "; ".join(parts)
