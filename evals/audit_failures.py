"""Rules of the audit about calls that go wrong: raise, hang, return no number, change what they were given, grow too slow.

Invariants: pure; these are failures of the function whatever the completion deserves, so no reward is excused from them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ..rewards.attacks import SIZES
from .audit_evidence import Finding, Tried, examples, one_a_kind

GROWTH = 40.0
"""Times longer for ten times the length: 10 is linear, 100 quadratic."""
NOTICED = 0.002
"""Seconds of the shorter text below which nothing is known of how the time grows."""


def broken(tried: Sequence[Tried]) -> Iterable[Finding]:
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
            yield Finding(attack, True, text, examples(one_a_kind(bad)))


def inputs(tried: Sequence[Tried]) -> Iterable[Finding]:
    """Calls that left their row or messages changed."""
    if bad := [t for t in tried if t.outcome.changed]:
        message = (
            f"changes its row or messages on {len(bad)} of {len(tried)} completions: what is scored and recorded after it "
            "is not what was asked; let it work on a copy"
        )
        yield Finding("inputs", True, message, examples(one_a_kind(bad)))


def overruns(tried: Sequence[Tried]) -> Iterable[Finding]:
    """Calls of an isolated reward that ran into its timeout and were paid what it says."""
    if late := [t for t in tried if t.outcome.killed and not t.outcome.problem]:
        message = f"{len(late)} completions take longer than its timeout, and earn its overrun"
        yield Finding("time", False, message, examples(one_a_kind(late)))


def _cause(t: Tried) -> str:
    head, _, rest = t.outcome.detail.partition(":")
    return head if t.outcome.problem == "raised" and rest else t.outcome.detail


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


def growth(tried: Sequence[Tried]) -> Iterable[Finding]:
    """Time that grows faster than the length of the text."""
    if slow := slow_pairs(tried):
        shown = ", ".join(
            f"{longer.attempt.kind}: x{longer.outcome.cpu / shorter.outcome.cpu:.0f} at {len(longer.attempt.text):,} characters "
            f"({longer.outcome.cpu:.2f} s)"
            for shorter, longer in slow[:3]
        )
        message = f"time grows faster than the length (x10) from {SIZES[0]:,} characters on: {shown}"
        yield Finding("time", True, message)
