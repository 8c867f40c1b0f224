"""The report of an audit: one row an attack, the findings with their evidence, and what was not tried.

Invariants: plain data; what was not tried is never counted as passed: each such attack is listed with the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..rewards.attacks import PROPERTIES
from .audit_evidence import Finding, Tried

NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Row:
    """One attack of the report: `n` completions tried, how many of them were paid, mean pay, the slowest call (seconds)."""

    attack: str
    n: int
    paid: int
    mean: float | None
    slowest: float
    verdict: str


@dataclass(frozen=True)
class Rate:
    """`count` of `n` completions."""

    count: int
    n: int

    def __str__(self) -> str:
        return f"{self.count} of {self.n} ({self.count / self.n:.1%})" if self.n else "none of none"


@dataclass(frozen=True)
class Audit:
    """What the attacks found: `rows`, one an attack; `defects` and `notes`, with their evidence.

    Args:
        reward: its name.
        source: where the tasks came from.
        needs_reference: whether it reads a gold answer.
        tasks: how many there were.
        false_positives: completions that should not be paid and were, chance included.
        false_negatives: right completions without full marks.
        untried: attempts that time did not allow.
        not_tried: attack, or what else -> why it was not tried, or how it differed from a run.
        searched: what the search over mutations did, with its seed; empty where there was none.
        paid_something: whether any call gave a number.
        seconds: how long the audit took.
    """

    reward: str
    source: str
    needs_reference: bool
    tasks: int
    rows: list[Row]
    findings: list[Finding]
    false_positives: Rate
    false_negatives: Rate
    untried: int
    not_tried: Mapping[str, str]
    searched: str
    paid_something: bool
    seconds: float

    @property
    def defects(self) -> list[Finding]:
        """Findings that should keep a reward out of training."""
        return [finding for finding in self.findings if finding.defect]

    @property
    def notes(self) -> list[Finding]:
        """Findings to know about."""
        return [finding for finding in self.findings if not finding.defect]

    @property
    def tried(self) -> int:
        """How many completions were scored."""
        return sum(row.n for row in self.rows if row.attack not in PROPERTIES)

    @property
    def blind(self) -> str:
        """Why nothing is known of what the reward pays for; empty where something is."""
        if not self.paid_something:
            return "it pays no number for any completion that was tried"
        if self.needs_reference and "gold" in self.not_tried:
            return f"no right answer was tried: {self.not_tried['gold']}"
        return ""

    def left_out(self) -> list[str]:
        """What was not tried, one line a reason."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.not_tried.items():
            reasons.setdefault(why, []).append(name)
        return [f"{', '.join(names)}: {why}" for why, names in reasons.items()]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            **dataclasses.asdict(self),
            "defects": [dataclasses.asdict(finding) for finding in self.defects],
            "notes": [dataclasses.asdict(finding) for finding in self.notes],
        }

    def lines(self) -> list[str]:
        """The report as text."""
        lines = [f"{self.reward}: {self.tasks} task{'s' * (self.tasks != 1)} from {self.source}", ""]
        lines.append(f"{'attack':<12}{'n':>7}{'paid':>7}{'mean pay':>10}{'slowest':>10}  verdict")
        for row in self.rows:
            if row.verdict == NOT_TRIED:
                continue  # listed below, with the reason
            mean = "-" if row.mean is None else f"{row.mean:.3f}"
            lines.append(
                f"{row.attack:<12}{row.n:>7}{row.paid:>7}{mean:>10}{row.slowest * 1000:>7.1f} ms  {row.verdict}"
            )
        lines += ["", f"false positives: {self.false_positives}; false negatives: {self.false_negatives}"]
        for title, findings in (("defect", self.defects), ("note", self.notes)):
            for finding in findings:
                lines += ["", f"{title}, {finding.attack}: {finding.message}"]
                lines += [f"    {text}" for text in finding.examples]
        if self.searched:
            lines += ["", self.searched]
        if self.not_tried:
            lines += ["", "not tried:", *(f"    {text}" for text in self.left_out())]
        if self.untried:
            lines += ["", f"{self.untried} attempts were left out: calls hung, or the time was up"]
        lines += ["", f"{len(self.defects)} defects, {len(self.notes)} notes in {self.seconds:.1f} s"]
        return lines


def table(tried: Sequence[Tried], findings: Sequence[Finding], names: Sequence[str]) -> list[Row]:
    """A row for each attack that was asked for, in their order."""
    rows = []
    for name in names:
        mine = tried if name in PROPERTIES else [t for t in tried if t.attempt.attack == name]
        about = [finding for finding in findings if finding.attack == name]
        verdict = "DEFECT" if any(f.defect for f in about) else "note" if about else "ok"
        values = [t.outcome.value for t in mine if t.outcome.value is not None]
        slowest = max((t.outcome.seconds for t in mine), default=0.0)
        mean = sum(values) / len(values) if values and name not in PROPERTIES else None
        paid = 0 if name in PROPERTIES else sum(t.paid for t in mine)
        rows.append(Row(name, len(mine), paid, mean, slowest, verdict if mine else NOT_TRIED))
    return rows
