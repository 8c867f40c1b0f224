"""How the audit reads payments: which of them are defects, which are worth a note, and the evidence for each.

Always true here: pure; a finding rests on counted calls and shows completions with what they were paid. The rules:

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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..rewards.alike import plain
from ..rewards.attacks import PROPERTIES, SIZES, Attempt, Expect, Target
from .audit_calls import Outcome

RARE = 1e-4
"""A guesser reaches such a count less than once in 10,000 times."""
GROWTH = 40.0
"""Times longer for ten times the length: 10 is linear, 100 quadratic."""
NOTICED = 0.002
"""Seconds of the shorter text below which nothing is known of how the time grows."""


NEVER_DECLARED = ("gold", "wrong", "time", "giant", *PROPERTIES)
"""What no reward can be excused from."""

NO_LUCK = ("dump", "truncated", "padding", "repeat")
"""Attacks that take the task's own right answer apart, or another wrong one in its form."""


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
    """

    needs_reference: bool = True
    by_hand: bool = False
    guess: float = 0.0


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
        *_broken(tried),
        *_overruns(tried),
        *_golds(tried, facts),
        *_known_wrong(tried),
        *_unearned(tried, facts),
        *_hedges(tried, facts),
        *_changed(tried, facts),
        *_growth(tried),
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


def _broken(tried: Sequence[Tried]) -> Iterable[Finding]:
    """Calls that ended without a number."""
    rules = (
        ("exceptions", "raised", "raises on {n} of {all} completions ({detail}): their rows become unscorable"),
        ("types", "type", "returns what is no number on {n} of {all} completions: {detail}"),
        ("types", "not finite", "returns no finite number on {n} of {all} completions: {detail}"),
        ("time", "hung", "hangs on {n} of {all} completions: {detail}"),
        ("exceptions", "died", "takes its process down on {n} of {all} completions: {detail}"),
    )
    for attack, problem, message in rules:
        bad = [t for t in tried if t.outcome.problem == problem]
        if bad:
            detail = ", ".join(f"{reason} x{n}" for reason, n in Counter(_cause(t) for t in bad).most_common(3))
            text = message.format(n=len(bad), all=len(tried), detail=detail)
            yield Finding(attack, True, text, _examples(_one_a_kind(bad)))


def _overruns(tried: Sequence[Tried]) -> Iterable[Finding]:
    """Calls of an isolated reward that ran into its timeout and were paid what it says."""
    if late := [t for t in tried if t.outcome.killed and not t.outcome.problem]:
        message = f"{len(late)} completions take longer than its timeout, and earn its overrun"
        yield Finding("time", False, message, _examples(_one_a_kind(late)))


def _cause(t: Tried) -> str:
    head, _, rest = t.outcome.detail.partition(":")
    return head if t.outcome.problem == "raised" and rest else t.outcome.detail


def _golds(tried: Sequence[Tried], facts: Facts) -> Iterable[Finding]:
    right = [t for t in tried if t.attempt.expect is Expect.FULL and not t.outcome.problem]
    applied = [t for t in right if t.outcome.value is not None or facts.by_hand]
    unpaid = [t for t in applied if not t.paid]
    if right and not applied:
        yield Finding("gold", False, f"does not apply to any of {len(right)} right completions")
    if unpaid:
        message = f"{len(unpaid)} of {len(applied)} right completions don't earn full marks"
        yield Finding("gold", facts.needs_reference or facts.by_hand, message, _examples(unpaid))


def _known_wrong(tried: Sequence[Tried]) -> Iterable[Finding]:
    wrong = [t for t in tried if t.attempt.expect is Expect.NOTHING]
    if paid := [t for t in wrong if t.paid]:
        yield Finding("wrong", True, f"{len(paid)} of {len(wrong)} wrong completions are paid", _examples(paid))


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
            weak = attack == "thought" or (attack == "others" and facts.by_hand)
            found[attack, facts.needs_reference and not weak].append((kind, paid, len(calls)))
    for (attack, defect), entries in found.items():
        entries.sort(key=lambda entry: -len(entry[1]) / entry[2])
        shown = ", ".join(f"{kind} on {len(paid)} of {n}" for kind, paid, n in entries[:4])
        more = f", and {len(entries) - 4} kinds more" if len(entries) > 4 else ""
        advice = "" if facts.needs_reference else "; it reads no gold: pair it with a reward that does"
        guess = (
            f" (a guess gets {facts.guess:.0%})" if facts.guess and attack in ("constants", "others", "echo") else ""
        )
        yield Finding(
            attack, defect, f"pays {shown}{more}{guess}{advice}", _examples([paid[0] for _, paid, _ in entries])
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
        yield Finding(
            "hedge", facts.needs_reference and often, message, _examples([t for calls in both for t in calls])
        )


def _changed(tried: Sequence[Tried], facts: Facts) -> Iterable[Finding]:
    """Right answers dressed up: never worth more, never punished; where they lose their marks, that is noted."""
    plain_pay: dict[int, float] = {}
    for t in tried:
        if t.attempt.expect is Expect.FULL and t.outcome.value is not None:
            plain_pay[t.task] = max(plain_pay.get(t.task, -math.inf), t.outcome.value)
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
                _examples(_one_a_kind(mine)),
            )
    for attack in dict.fromkeys(t.attempt.attack for t in calls):
        mine = [t for t in calls if t.attempt.attack == attack and plain_pay[t.task] > 0]
        lost = [t for t in mine if float(t.outcome.value or 0) < 0.5 * plain_pay[t.task]]
        if lost and facts.needs_reference:
            kinds = ", ".join(f"{kind} x{n}" for kind, n in Counter(t.attempt.kind for t in lost).items())
            yield Finding(attack, False, f"{len(lost)} of {len(mine)} right answers lose their marks: {kinds}")


def slow_pairs(tried: Sequence[Tried]) -> list[tuple[Tried, Tried]]:
    """A text and one ten times as long that took over GROWTH times as long."""
    seconds: dict[str, list[Tried]] = defaultdict(list)
    for t in tried:
        if t.attempt.attack in ("time", "giant") and not t.outcome.problem and not t.outcome.killed:
            seconds[t.attempt.kind].append(t)
    pairs = []
    for calls in seconds.values():
        calls.sort(key=lambda t: len(t.attempt.text))
        for shorter, longer in pairwise(calls):
            times = len(longer.attempt.text) / max(len(shorter.attempt.text), 1)
            slow = longer.outcome.cpu > GROWTH * shorter.outcome.cpu
            if 9 < times < 11 and slow and shorter.outcome.cpu > NOTICED:
                pairs.append((shorter, longer))
    return pairs


def _growth(tried: Sequence[Tried]) -> Iterable[Finding]:
    if slow := slow_pairs(tried):
        shown = ", ".join(
            f"{longer.attempt.kind}: x{longer.outcome.cpu / shorter.outcome.cpu:.0f} at {len(longer.attempt.text):,} characters "
            f"({longer.outcome.cpu:.2f} s)"
            for shorter, longer in slow[:3]
        )
        message = f"time grows faster than the length (x10) from {SIZES[0]:,} characters on: {shown}"
        yield Finding("time", True, message)


def _one_a_kind(calls: Iterable[Tried]) -> list[Tried]:
    return list({(t.attempt.attack, t.attempt.kind): t for t in reversed(list(calls))}.values())[::-1]


def _examples(calls: Sequence[Tried], most: int = 3) -> tuple[str, ...]:
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
