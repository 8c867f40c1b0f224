"""A seeded search over small changes of a completion, which follows what the reward pays, and shortens what it finds.

Invariants: bounded in calls, so the same seed tries the same completions; a recipe that pays on one task is tried on the others
before it is a finding, and is shortened to the fewest changes that still pay.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..rewards.attacks import SEARCH
from ..rewards.attempts import Attempt, Expect, Target
from ..rewards.mutations import applied, for_right, for_wrong, starts
from .audit_calls import Outcome
from .audit_evidence import Facts, Tried
from .audit_rules import unlikely

TASKS, BEAM, DEPTH = 2, 3, 3
"""Tasks that are searched on, completions that are gone on from, changes one upon another."""
SAMPLE = 12
"""Changes that are tried on each completion, drawn by the seed."""
OTHERS = 20
"""Tasks that a recipe is tried on before it counts."""
GAIN = 0.5
"""The share of full marks that a recipe must add to what its start earns by itself."""
RECIPES = 4
"""Recipes that are looked into, the best paid first."""

KILLED = 2
"""Calls that had to be killed after which the search gives up: what hangs is found by other attacks."""

Score = Callable[[Sequence[tuple[str, Target]]], Iterator[tuple[int, Outcome]]]
"""Scores (completion, task) pairs; yields (number, outcome) in their order."""


@dataclass(frozen=True)
class Found:
    """What was tried and is to be judged, and the line that says how much was."""

    tried: list[Tried]
    summary: str


@dataclass(frozen=True)
class _Step:
    start: str
    recipe: tuple[str, ...]
    text: str
    value: float

    @property
    def name(self) -> str:
        return " + ".join((self.start, *self.recipe))


def search(score: Score, targets: Sequence[Target], facts: Facts, seed: int, deadline: float) -> Found:
    """Look for wrong completions that are paid and for right ones that a change of form robs of their marks.

    Args:
        facts: whether tasks are few and chosen, and what a guess gets: luck and a hole differ by it.
        deadline: of `time.perf_counter()`; where it comes first, the summary says so.
    """
    counted = _Counted(score, deadline)
    rng = random.Random(f"search/{seed}")
    targets = [target for target in targets if target.right or target.wrong]
    tried: list[Tried] = []
    recipes: dict[tuple[str, tuple[str, ...]], float] = {}
    for target in targets[:TASKS]:
        steps = _climb(counted, target, rng)
        alone = {step.start: step.value for step in steps if not step.recipe}
        for step in steps:
            gained = step.value - alone.get(step.start, 0.0)  # a graded reward pays a part of some wrong answers
            if step.recipe and gained >= GAIN * target.full > 0 and not target.reads(step.text):
                recipes.setdefault((step.start, step.recipe), step.value)
    best = sorted(recipes, key=lambda key: (-recipes[key], len(key[1]), key))[:RECIPES]
    shown: dict[str, list[Tried]] = {}
    for start, recipe in best:
        calls, kept = _shortest(counted, targets, facts, start, recipe)
        if calls:
            name = " + ".join((start, *kept))
            shown.setdefault(name, [replace(t, attempt=replace(t.attempt, kind=name)) for t in calls])
    tried += [t for calls in shown.values() for t in calls]
    tried += _lost(counted, targets[:TASKS])
    if not counted.calls:
        return Found([], "")
    tried = tried or [counted.last]
    late = "; it was stopped early, for calls hung or took long" if counted.late else ""
    return Found(
        tried,
        f"search: seed {seed}, {counted.calls} completions on {len(targets[:TASKS])} tasks, {len(shown)} recipes{late}",
    )


class _Counted:
    """`score` with its calls counted, and none of them after the deadline."""

    def __init__(self, score: Score, deadline: float) -> None:
        self.score, self.deadline = score, deadline
        self.calls, self.killed, self.late = 0, 0, False
        self.last: Tried

    def __call__(self, calls: Sequence[tuple[str, Target]]) -> list[float | None]:
        values: list[float | None] = [None] * len(calls)
        if not calls or self._over():
            return values
        for number, outcome in self.score(calls):
            values[number] = outcome.value
            self.calls += 1
            self.killed += outcome.killed
            self.last = Tried(
                Attempt(SEARCH, "no recipe", calls[number][0], Expect.SAFE), calls[number][1], -1, outcome
            )
            if self._over():
                break
        return values

    def _over(self) -> bool:
        self.late = self.late or self.killed >= KILLED or time.perf_counter() > self.deadline
        return self.late


def _climb(score: _Counted, target: Target, rng: random.Random) -> list[_Step]:
    """Every completion that was scored, the best of each round changed once more in the next."""
    changes = for_wrong(target)
    front = [_Step(name, (), text, 0.0) for name, text in starts(target).items()]
    seen: set[str] = set()
    found: list[_Step] = []
    for _ in range(DEPTH + 1):
        fresh = list({step.text: step for step in front if step.text not in seen and len(step.text) < 20_000}.values())
        seen |= {step.text for step in fresh}
        values = score([(step.text, target) for step in fresh])
        paid = [replace(s, value=v) for s, v in zip(fresh, values, strict=True) if v is not None]
        found += paid
        # Equal pay is no reason to prefer: the seed draws among them.
        best = sorted(paid, key=lambda step: (-step.value, rng.random()))[:BEAM]
        front = [
            _Step(step.start, (*step.recipe, name), changes[name](step.text), 0.0)
            for step in best
            for name in rng.sample(sorted(changes), min(SAMPLE, len(changes)))
            if name not in step.recipe
        ]
    return found


def _shortest(
    score: _Counted, targets: Sequence[Target], facts: Facts, start: str, recipe: tuple[str, ...]
) -> tuple[list[Tried], tuple[str, ...]]:
    """The fewest changes of `recipe` that are still paid more than luck would be, and its calls; nothing where it was luck."""
    alone = {t.task: t.outcome.value or 0.0 for t in _on_all(score, targets[:OTHERS], start, ())}
    for n in range(1, len(recipe) + 1):
        for shorter in itertools.combinations(recipe, n):
            calls = _on_all(score, targets[:OTHERS], start, shorter)
            mistakes = [t for t in calls if t.mistake]
            paid = sum((t.outcome.value or 0.0) - alone.get(t.task, 0.0) >= GAIN * t.target.full > 0 for t in mistakes)
            if paid and (facts.by_hand or unlikely(paid, len(mistakes), facts.guess)):
                return calls, shorter
    return [], recipe


def _on_all(score: _Counted, targets: Sequence[Target], start: str, recipe: tuple[str, ...]) -> list[Tried]:
    made: list[tuple[str, Target, int]] = []
    for i, target in enumerate(targets):
        changes: Mapping[str, Callable[[str], str]] = for_wrong(target)
        text = starts(target).get(start)
        if text is not None and all(name in changes for name in recipe):
            made.append((applied(recipe, text, changes), target, i))
    values = score([(text, target) for text, target, _ in made])
    return [
        Tried(Attempt(SEARCH, start, text, Expect.CHANCE), target, i, Outcome(value))
        for (text, target, i), value in zip(made, values, strict=True)
    ]


def _lost(score: _Counted, targets: Sequence[Target]) -> list[Tried]:
    """Right completions after changes of form alone, singly and two at a time where the single ones lose nothing."""
    tried: list[Tried] = []
    for i, target in enumerate(targets):
        for text in target.right[:1]:
            changes = for_right(target)
            robbed: set[str] = set()
            for n in (1, 2):
                recipes = [r for r in itertools.combinations(changes, n) if not robbed & set(r)]
                values = score([(applied(recipe, text, changes), target) for recipe in recipes])
                for recipe, value in zip(recipes, values, strict=True):
                    if value is not None and value < 0.99 * target.full:
                        robbed |= set(recipe) if n == 1 else set()
                        kind = " + ".join(("a right answer", *recipe))
                        attempt = Attempt(SEARCH, kind, applied(recipe, text, changes), Expect.KEPT, weak=True)
                        tried.append(Tried(attempt, target, i, Outcome(value)))
    return tried
