"""What the audit has seen: an attempt on a task with what came of it, a finding, and how a call is shown.

Invariants: pure; whether something was paid, and whether paying it is a mistake, is said here once for all rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..rewards.attempts import Attempt, Expect, Target
from .audit_calls import Outcome


@dataclass(frozen=True)
class Tried:
    """One attempt on one task, and what came of it."""

    attempt: Attempt
    target: Target
    task: int
    outcome: Outcome

    @property
    def paid(self) -> bool:
        """Whether it earned what its expectation calls payment."""
        value, full = self.outcome.value, self.target.full
        if value is None:
            return False
        if self.attempt.expect is Expect.FULL:
            return value >= full - 1e-6 * max(1.0, abs(full))
        if self.attempt.expect is Expect.NOTHING:
            return value > 0 or value >= full
        return full > 0 and value >= self.attempt.half * full

    @property
    def mistake(self) -> bool:
        """Whether paying for it would be a false positive: it is not, format aside, the task's own answer."""
        kind = self.attempt.expect
        if kind is Expect.NOTHING:
            return True
        return kind in (Expect.UNPAID, Expect.CHANCE) and not self.target.reads(self.attempt.text)


@dataclass(frozen=True)
class Finding:
    """Something to know about a reward: a defect or a note, by which attack, and the evidence."""

    attack: str
    defect: bool
    message: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What the rules need to know beside the calls.

    Args:
        needs_reference: whether the reward reads a gold answer.
        by_hand: whether the tasks are worked cases, few and chosen, rather than rows of an environment.
        guess: the share of tasks that the best guesser without a prompt gets right.
        sees_gold: whether what is paid can depend on what is right: it reads a gold answer, or what an episode came to.
    """

    needs_reference: bool = True
    by_hand: bool = False
    guess: float = 0.0
    sees_gold: bool = True


def one_a_kind(calls: Iterable[Tried]) -> list[Tried]:
    """The first of `calls` of each attack and kind."""
    return list({(t.attempt.attack, t.attempt.kind): t for t in reversed(list(calls))}.values())[::-1]


def examples(calls: Sequence[Tried], most: int = 3) -> tuple[str, ...]:
    """The first few of `calls` as evidence."""
    return tuple(example(t) for t in calls[:most])


def example(t: Tried) -> str:
    """One call as evidence: the completion, what it was paid, and the right answer beside it."""
    paid = "no value" if t.outcome.value is None else f"{t.outcome.value:g}"
    why = f" ({t.outcome.detail})" if t.outcome.detail else ""
    gold = f"; right: {short(t.target.right[0])}" if t.target.right and t.attempt.expect is not Expect.FULL else ""
    return f"{t.attempt.kind}: {short(t.attempt.text)} -> {paid}{why}{gold}"


def short(text: str, most: int = 72) -> str:
    """`text` as one printable line of at most so many characters; of a long one, the length too."""
    if len(text) <= most:
        return ascii(text) if not text.isprintable() else repr(text)
    half = most // 2 - 2
    return f"{text[:half]!a}...{text[-half:]!a} ({len(text):,} characters)"
