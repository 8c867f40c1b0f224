"""The audit of a reward function: attack it, count what it pays for, show the evidence.

Always true here: evidence, not verdicts: each finding is a count with completions and what they earned; the reward runs in a
killable process, so one that hangs or crashes is reported and holds nothing up. No torch.

    from journeyman.evals.audit import audit

    report = audit(my_reward, env=my_environment)      # or worked cases: audit("my_rewards.py:my_reward")
    print("\\n".join(report.lines()))
    assert not report.defects
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..configs.errors import BadInput
from ..envs.core import Environment
from ..rewards.attacks import ATTACKS, COSTLY, PROPERTIES, Attempt, Expect, Target, attempts
from ..rewards.cases import Case
from ..rewards.core import Reward, Scored, as_reward
from .audit_calls import Outcome, outcomes
from .audit_rules import Facts, Finding, Tried, best_guess, declared, example, judge, slow_pairs
from .audit_targets import (
    case_targets,
    cases_of,
    check_columns,
    check_fit,
    environment_targets,
    known_weaknesses,
    load_environment,
    load_reward,
    rows_of,
)

PATIENCE = 6
"""Killed calls of one attack before the rest of it is left out; of one kind, two are enough."""
AGAIN = 200
"""Calls that are made a second time, in the reverse order, in another process."""


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
            mean = "-" if row.mean is None else f"{row.mean:.3f}"
            lines.append(
                f"{row.attack:<12}{row.n:>7}{row.paid:>7}{mean:>10}{row.slowest * 1000:>7.1f} ms  {row.verdict}"
            )
        lines += ["", f"false positives: {self.false_positives}; false negatives: {self.false_negatives}"]
        for title, findings in (("defect", self.defects), ("note", self.notes)):
            for finding in findings:
                lines += ["", f"{title}, {finding.attack}: {finding.message}"]
                lines += [f"    {text}" for text in finding.examples]
        if self.untried:
            lines += ["", f"{self.untried} attempts were left out: calls hung, or the time was up"]
        lines += ["", f"{len(self.defects)} defects, {len(self.notes)} notes in {self.seconds:.1f} s"]
        return lines


def audit(
    reward: Reward | Callable[..., Any] | str,
    env: Environment | str | None = None,
    *,
    cases: Sequence[Case] | None = None,
    attacks: Sequence[str] | None = None,
    rows: int = 50,
    seconds: float = 5.0,
    budget: float = 60.0,
) -> Audit:
    """Attack a reward.

    Args:
        reward: made by `@reward` or any function that TRL takes; or `module:function`, `path.py:function`.
        env: where tasks come from, their oracle giving the right answers; or its name, see `load_environment`.
        cases: worked cases, where there is no environment; those of the reward's own module by default.
        attacks: names of `ATTACKS` and `PROPERTIES`; all of them by default.
        rows: tasks to try.
        seconds: what a call may take at most; an isolated reward has its own timeout.
        budget: seconds after which no further attempt is begun.

    Raises:
        BadInput: neither environment nor cases, a name that there is not, a column that rows lack.
    """
    began = time.perf_counter()
    reward = load_reward(reward) if isinstance(reward, str) else as_reward(reward)
    names = list(attacks) if attacks else [*ATTACKS, *PROPERTIES]
    source = "worked cases"
    if env is not None:
        source = env if isinstance(env, str) else type(env).__name__
        env = load_environment(env).env if isinstance(env, str) else env
        found = rows_of(env, rows)
        check_fit(reward, env, found)
        targets = environment_targets(env, found)
    else:
        known = cases_of(reward) if cases is None else cases
        if not known:
            raise BadInput(
                f"reward '{reward.name}' has no worked cases to try it on: give --env, or end its module with "
                f"CASES = {{'{reward.name}': [Case({{'answer': '42'}}, right=['42'], wrong=['43'])]}}"
            )
        check_columns(reward, known)
        targets = case_targets(known[:rows])
    tried, untried = _try_all(reward, targets, env, names, seconds, began + budget)
    if env is not None:
        # What the best right answer earns is full marks; a price on length or form pays 0 at best.
        golds = [t.outcome.value for t in tried if _is_gold(t) and t.outcome.value is not None]
        if golds and (max(golds) > 0 or not reward.needs_reference):
            tried = [_with_full(t, max(golds)) for t in tried]
    tried = _measured_again(reward, tried, env, seconds)
    facts = Facts(reward.needs_reference, env is None, best_guess(targets))
    findings = [finding for finding in judge(tried, facts) if finding.attack in names]
    if "determinism" in names and tried:
        findings += _determinism(reward, tried, env, seconds, min(budget / 4, 10))
    findings = declared(findings, [name for name in known_weaknesses(reward) if name in names])
    positives = [t for t in tried if t.mistake]
    rights = [t for t in tried if _is_gold(t) and (t.outcome.value is not None or t.outcome.problem or env is None)]
    return Audit(
        reward.name,
        source,
        reward.needs_reference,
        len(targets),
        _table(tried, findings, names),
        findings,
        Rate(sum(t.paid for t in positives), len(positives)),
        Rate(sum(not t.paid for t in rights), len(rights)),
        untried,
        time.perf_counter() - began,
    )


def _try_all(
    reward: Reward,
    targets: Sequence[Target],
    env: Environment | None,
    names: Sequence[str],
    seconds: float,
    deadline: float,
) -> tuple[list[Tried], int]:
    """Every attempt on every task, then the long texts on the first; what came of them, and how many were left out."""
    costly = [name for name in names if name in COSTLY]
    plan: list[tuple[Attempt, int]] = []
    for i, target in enumerate(targets):
        plan += [(attempt, i) for attempt in attempts(target, [name for name in names if name not in COSTLY])]
    plan += [(attempt, 0) for attempt in attempts(targets[0], costly)]
    tried: list[Tried] = []
    killed: Counter[tuple[str, str]] = Counter()
    pending = list(range(len(plan)))
    while pending and time.perf_counter() < deadline:
        items = [_scored(plan[number][0].text, targets[plan[number][1]], env) for number in pending]
        done = 0
        for position, outcome in outcomes(reward, items, seconds, first=_honest(targets[0], env)):
            attempt, i = plan[pending[position]]
            tried.append(Tried(attempt, targets[i], i, outcome))
            done = position + 1
            if outcome.killed:
                killed[attempt.attack, ""] += 1
                killed[attempt.attack, attempt.kind] += 1
                break
            if time.perf_counter() > deadline:
                break
        pending = [number for number in pending[done:] if not _given_up(plan[number][0], killed)]
    return tried, len(plan) - len(tried)


def _measured_again(reward: Reward, tried: Sequence[Tried], env: Environment | None, seconds: float) -> list[Tried]:
    """`tried` with the suspiciously slow calls made twice more, each with its least time: a busy machine is no defect."""
    suspects = list({id(t): t for pair in slow_pairs(tried) for t in pair}.values())
    least = {id(t): t for t in suspects}
    for _ in range(2 if suspects else 0):
        items = [_scored(t.attempt.text, t.target, env) for t in suspects]
        for position, outcome in outcomes(reward, items, seconds, first=_honest(suspects[0].target, env)):
            known = least[id(suspects[position])]
            if not outcome.killed and outcome.cpu < known.outcome.cpu:
                least[id(suspects[position])] = dataclasses.replace(known, outcome=outcome)
    return [least.get(id(t), t) for t in tried]


def _given_up(attempt: Attempt, killed: Counter[tuple[str, str]]) -> bool:
    return killed[attempt.attack, ""] >= PATIENCE or killed[attempt.attack, attempt.kind] >= 2


def _scored(text: str, target: Target, env: Environment | None) -> Scored:
    return Scored({"prompt": [], **target.row}, [{"role": "assistant", "content": text}], environment=env)


def _honest(target: Target, env: Environment | None) -> Scored:
    return _scored(target.right[0] if target.right else "", target, env)


def _is_gold(t: Tried) -> bool:
    return t.attempt.expect is Expect.FULL


def _with_full(t: Tried, full: float) -> Tried:
    return dataclasses.replace(t, target=dataclasses.replace(t.target, full=full))


def _determinism(
    reward: Reward, tried: Sequence[Tried], env: Environment | None, seconds: float, budget: float
) -> list[Finding]:
    """Calls made again in another process and order: those that are paid another value."""
    calls = [t for t in tried if not t.outcome.problem and len(t.attempt.text) < 20_000 and t.outcome.seconds < 0.1]
    calls = calls[:: max(1, len(calls) // AGAIN)][::-1]
    items = [_scored(t.attempt.text, t.target, env) for t in calls]
    deadline = time.perf_counter() + budget
    changed: list[tuple[Tried, Outcome]] = []
    count = 0
    for position, outcome in outcomes(reward, items, seconds, first=_honest(tried[0].target, env)):
        count += 1
        if outcome.value != calls[position].outcome.value:
            changed.append((calls[position], outcome))
        if time.perf_counter() > deadline:
            break
    if not changed:
        return []
    examples = tuple(
        f"{example(t)}; again: {'no value' if again.value is None else f'{again.value:g}'}" for t, again in changed[:3]
    )
    return [Finding("determinism", True, f"{len(changed)} of {count} completions earn another value again", examples)]


def _table(tried: Sequence[Tried], findings: Sequence[Finding], names: Sequence[str]) -> list[Row]:
    rows = []
    for name in names:
        mine = tried if name in PROPERTIES else [t for t in tried if t.attempt.attack == name]
        about = [finding for finding in findings if finding.attack == name]
        verdict = "DEFECT" if any(f.defect for f in about) else "note" if about else "ok"
        values = [t.outcome.value for t in mine if t.outcome.value is not None]
        slowest = max((t.outcome.seconds for t in mine), default=0.0)
        mean = sum(values) / len(values) if values and name not in PROPERTIES else None
        paid = 0 if name in PROPERTIES else sum(t.paid for t in mine)
        rows.append(Row(name, len(mine), paid, mean, slowest, verdict if mine else "not tried"))
    return rows
