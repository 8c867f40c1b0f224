"""Rules of the audit about right and wrong answers: full marks for the one, also when dressed up; nothing for the other.

Invariants: pure; a dressed-up answer is compared with what the same task's right answer earned alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ..rewards.attempts import Expect
from .audit_evidence import Facts, Finding, Tried, examples, one_a_kind


def golds(tried: Sequence[Tried], facts: Facts) -> Iterable[Finding]:
    """Right completions without full marks."""
    right = [t for t in tried if t.attempt.expect is Expect.FULL and not t.outcome.problem]
    applied = [t for t in right if t.outcome.value is not None or facts.by_hand]
    unpaid = [t for t in applied if not t.paid]
    if right and not applied:
        yield Finding("gold", False, f"does not apply to any of {len(right)} right completions")
    if unpaid:
        message = f"{len(unpaid)} of {len(applied)} right completions don't earn full marks"
        yield Finding("gold", facts.needs_reference or facts.by_hand, message, examples(unpaid))


def known_wrong(tried: Sequence[Tried]) -> Iterable[Finding]:
    """Wrong completions of the worked cases that are paid."""
    wrong = [t for t in tried if t.attempt.expect is Expect.NOTHING]
    if paid := [t for t in wrong if t.paid]:
        yield Finding("wrong", True, f"{len(paid)} of {len(wrong)} wrong completions are paid", examples(paid))


def changed(tried: Sequence[Tried], facts: Facts) -> Iterable[Finding]:
    """Right answers dressed up: never worth more, never punished; where they lose their marks, that is noted."""
    plain_pay = _alone(tried)
    calls = [
        t for t in tried if t.attempt.expect is Expect.SAFE and t.outcome.value is not None and t.task in plain_pay
    ]
    rules: tuple[tuple[str, Callable[[float, float], bool]], ...] = (
        ("earn more than the right answer alone", lambda value, alone: value > alone + 1e-6 * max(1.0, abs(alone))),
        ("turn a right answer's reward negative", lambda value, alone: value < 0 < alone),
    )
    for message, bad in rules:
        found = [t for t in calls if bad(float(t.outcome.value or 0), plain_pay[t.task])]
        for attack in dict.fromkeys(t.attempt.attack for t in found):
            mine = [t for t in found if t.attempt.attack == attack]
            kinds = ", ".join(dict.fromkeys(t.attempt.kind for t in mine))
            yield Finding(
                attack,
                facts.needs_reference,
                f"{len(mine)} completions {message}: {kinds}",
                examples(one_a_kind(mine)),
            )
    for attack in dict.fromkeys(t.attempt.attack for t in calls):
        mine = [t for t in calls if t.attempt.attack == attack and plain_pay[t.task] > 0]
        lost = [t for t in mine if float(t.outcome.value or 0) < 0.5 * plain_pay[t.task]]
        if lost and facts.needs_reference:
            kinds = ", ".join(f"{kind} x{n}" for kind, n in Counter(t.attempt.kind for t in lost).items())
            yield Finding(attack, False, f"{len(lost)} of {len(mine)} right answers lose their marks: {kinds}")


def kept(tried: Sequence[Tried], facts: Facts) -> Iterable[Finding]:
    """Honest answers that say no less than the right one alone, and lose their marks."""
    alone = _alone(tried)
    calls = [t for t in tried if t.attempt.expect is Expect.KEPT and not t.outcome.problem and alone.get(t.task, 0) > 0]
    lost = [t for t in calls if (t.outcome.value or 0.0) < 0.99 * alone[t.task]]
    for attack in dict.fromkeys(t.attempt.attack for t in lost):
        mine = [t for t in lost if t.attempt.attack == attack]
        n = sum(t.attempt.attack == attack for t in calls)
        kinds = ", ".join(dict.fromkeys(t.attempt.kind for t in mine))
        message = f"{len(mine)} of {n} honest answers lose their marks: {kinds}"
        yield Finding(attack, facts.sees_gold and not mine[0].attempt.weak, message, examples(one_a_kind(mine)))


def agreed(tried: Sequence[Tried], facts: Facts) -> Iterable[Finding]:
    """Rows that ask the same and are paid for different answers."""
    calls = [t for t in tried if t.attempt.expect is Expect.AGREED and not t.outcome.problem]
    apart = [t for t in calls if t.outcome.value is not None and t.outcome.value < 0.99 * t.target.full]
    if apart:
        message = (
            f"{len({t.task for t in apart})} tasks have the prompt of another row whose right answer earns less here: their "
            "answers contradict each other; keep one of the rows, or put what tells them apart into the prompt"
        )
        yield Finding("conflict", facts.needs_reference, message, examples(apart))


def _alone(tried: Sequence[Tried]) -> dict[int, float]:
    """task -> the most that a right answer alone earns."""
    pay: dict[int, float] = {}
    for t in tried:
        if t.attempt.expect is Expect.FULL and t.outcome.value is not None:
            pay[t.task] = max(pay.get(t.task, -math.inf), t.outcome.value)
    return pay
