"""How the audit reads payments: which of them are defects, which are worth a note, and the evidence for each.

Invariants: pure; a finding rests on counted calls and shows completions with what they were paid. The rules:

- A right completion earns full marks, a known wrong one earns 0 or less.
- A completion is *paid* from half marks on; a cut, hedged or dumped one from full marks on, for graded rewards may pay a part.
- Nonsense, emptiness and padding are paid never. Other constants, other tasks' answers, echoes and odd texts may be right by
  luck: a defect is a count that a guesser who names the most common answer every time, or any of the different answers at
  random, would reach less than once in 10,000 (binomial). Where a completion reads as the task's own answer, paying it counts
  as right.
- A hedge is a defect where it is paid in both orders, on more than a tenth of an environment's tasks; in one order, the reward
  has read the first or the last.
- A reward that reads no gold (`needs_reference=False`) is paid by form alone; that is a note, not a defect.
- A weakness that the reward's module declares (`KNOWN = {"recall": ["dump"]}`) is a note that says so; one declared and not
  found is a note too.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..rewards.alike import plain
from ..rewards.attacks import PROPERTIES, SEARCH
from ..rewards.attempts import Expect, Target
from .audit_evidence import Facts, Finding, Tried, examples
from .audit_failures import broken, growth, inputs, overruns
from .audit_rights import agreed, changed, golds, kept, known_wrong

RARE = 1e-4
"""A guesser reaches such a count less than once in 10,000 times."""
NEVER_DECLARED = ("gold", "wrong", "time", "giant", *PROPERTIES)
"""What no reward can be excused from."""

NO_LUCK = (
    "dump", "truncated", "padding", "repeat", "note", "retracted", "denied", "fields", "output", SEARCH
)  # fmt: skip
"""Attacks that take the task's own right answer apart, or dress up a wrong one of its form."""


def best_guess(targets: Sequence[Target]) -> float:
    """The share of the most common right answer, and at least one over the number of different ones."""
    answers = Counter(plain(target.right[0]) for target in targets if target.right)
    return max(max(answers.values()) / answers.total(), 1 / len(answers)) if answers else 0.0


def unlikely(paid: int, n: int, guess: float) -> bool:
    """Whether a guesser who is right with probability `guess` has less than RARE to reach `paid` of `n`."""
    if paid <= n * guess:
        return False
    return sum(math.comb(n, k) * guess**k * (1 - guess) ** (n - k) for k in range(paid, n + 1)) < RARE


def judge(tried: Sequence[Tried], facts: Facts) -> list[Finding]:
    """Every finding, in the order of the rules."""
    return [
        *broken(tried),
        *inputs(tried),
        *overruns(tried),
        *golds(tried, facts),
        *known_wrong(tried),
        *agreed(tried, facts),
        *_unearned(tried, facts),
        *_hedges(tried, facts),
        *kept(tried, facts),
        *changed(tried, facts),
        *growth(tried),
    ]


def declared(findings: Sequence[Finding], known: Sequence[str]) -> list[Finding]:
    """`findings` with those by attacks that the author has declared as notes; payments only, never failures."""
    result = [
        replace(finding, defect=False, message=f"declared: {finding.message}")
        if finding.attack in known and finding.attack not in NEVER_DECLARED
        else finding
        for finding in findings
    ]
    idle = [name for name in known if not any(finding.attack == name for finding in findings)]
    return result + [Finding(name, False, "declared as a known weakness, and not found here") for name in idle]


def _unearned(tried: Sequence[Tried], facts: Facts) -> Iterable[Finding]:
    """What is paid for saying nothing, or for luck that isn't luck."""
    kinds: dict[tuple[str, str], list[Tried]] = defaultdict(list)
    for t in tried:
        if t.mistake and t.attempt.expect is not Expect.NOTHING and not t.outcome.problem:
            kinds[t.attempt.attack, t.attempt.kind].append(t)
    found: dict[tuple[str, bool], list[tuple[str, list[Tried], int]]] = defaultdict(list)
    for (attack, kind), calls in kinds.items():
        paid = [t for t in calls if t.paid]
        # No luck helps these where the tasks are chosen by hand and of one form.
        never = calls[0].attempt.expect is Expect.UNPAID or (facts.by_hand and attack in NO_LUCK)
        if paid and (never or unlikely(len(paid), len(calls), facts.guess)):
            # Hand-made cases may share an answer; and an answer that was thought but not said is a matter of taste.
            weak = calls[0].attempt.weak or (attack == "others" and facts.by_hand)
            found[attack, facts.sees_gold and not weak].append((kind, paid, len(calls)))
    for (attack, defect), entries in found.items():
        entries.sort(key=lambda entry: -len(entry[1]) / entry[2])
        shown = ", ".join(f"{kind} on {len(paid)} of {n}" for kind, paid, n in entries[:4])
        more = f", and {len(entries) - 4} kinds more" if len(entries) > 4 else ""
        advice = "" if facts.sees_gold else "; it reads no gold: pair it with a reward that does"
        guess = (
            f" (a guess gets {facts.guess:.0%})" if facts.guess and attack in ("constants", "others", "echo") else ""
        )
        yield Finding(
            attack, defect, f"pays {shown}{more}{guess}{advice}", examples([paid[0] for _, paid, _ in entries])
        )


def _hedges(tried: Sequence[Tried], facts: Facts) -> Iterable[Finding]:
    pairs: dict[tuple[int, str], list[Tried]] = defaultdict(list)
    for t in tried:
        if t.attempt.expect is Expect.COMMITTED:
            pairs[t.task, t.attempt.pair].append(t)
    both = [calls for calls in pairs.values() if len(calls) > 1 and all(t.paid for t in calls)]
    if both:
        message = f"pays {len(both)} of {len(pairs)} hedges in full, whichever answer comes first"
        # Where tasks have several right answers, the other one may be right too.
        often = facts.by_hand or len(both) > 0.1 * len(pairs)
        yield Finding("hedge", facts.needs_reference and often, message, examples([t for calls in both for t in calls]))
