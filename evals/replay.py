"""Recorded rollouts under other rewards: what a changed function would have paid for the same work.

Always true here: no model and no engine; the old values are those of the records, or come from the old function and must
equal them; what a reward needs beyond the record (the row's columns) comes from the environment, by item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..configs import BadInput
from ..envs.core import Row
from ..rewards.core import Reward
from ..rewards.executor import Executor
from ..rewards.scores import Scores
from ..rollouts.record import Rollout
from ..rollouts.scoring import as_scored

Advantages = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(values [B, F], total [B]) of one step -> advantages [B]."""
SHOWN = 5


def by_step(rollouts: Sequence[Rollout]) -> Iterator[list[Rollout]]:
    """The rollouts of each step, in the order of their rows."""
    steps: dict[int, list[Rollout]] = {}
    for rollout in rollouts:
        steps.setdefault(rollout.step, []).append(rollout)
    for step in sorted(steps):
        yield sorted(steps[step], key=lambda rollout: rollout.row)


def group_size(rollouts: Sequence[Rollout]) -> int:
    """G: how many rollouts of a step share a group."""
    first = next(by_step(rollouts))
    return sum(rollout.group == first[0].group for rollout in first)


def rescore(
    rollouts: Sequence[Rollout],
    rows: Mapping[str, Row],
    rewards: Sequence[Reward],
    on_step: Callable[[int], None] = print,
) -> list[tuple[list[Rollout], Scores]]:
    """Score each step's rollouts under `rewards`.

    Args:
        rows: item -> its row.
        on_step: called with the number of rollouts of each step that is done, for progress.

    Raises:
        BadInput: an item that `rows` lacks, or a reward that reads the state of an environment.
    """
    for reward in rewards:
        if "environment" in reward.columns():
            raise BadInput(f"reward '{reward.name}' reads the state of the environment, which records do not hold")
    size, result = group_size(rollouts), []
    with Executor(rewards) as executor:
        for step in by_step(rollouts):
            for rollout in step:
                if rollout.item not in rows:
                    raise BadInput(
                        f"the environment no longer has item {rollout.item} (its version in the record: "
                        f"{rollout.env_version}); give it the arguments and data of the run"
                    )
            items = [as_scored(rollout, rows[rollout.item]) for rollout in step]
            result.append((step, executor.score(items, size)))
            on_step(len(step))
    return result


@dataclass(frozen=True)
class Reproduction:
    """The run's own rewards against the values in its records."""

    values: int
    """How many rewards of rollouts were compared."""
    differing: list[tuple[Rollout, str, float | None, float | None]]
    """(rollout, reward, recorded, now)"""
    changed: list[str]
    """Rewards whose source is not the one that the records name."""

    @property
    def exact(self) -> bool:
        """Whether every value is the recorded one."""
        return not self.differing

    def lines(self) -> list[str]:
        """What the command prints."""
        same = self.values - len(self.differing)
        lines = [f"{same:,} of {self.values:,} recorded rewards reproduced exactly"]
        lines += [f"  the source of '{name}' is not the one that the records name" for name in self.changed]
        for rollout, name, recorded, now in self.differing[:SHOWN]:
            lines.append(f"  step {rollout.step} row {rollout.row} {name}: recorded {recorded}, now {now}")
        return lines


def reproduction(scored: Sequence[tuple[list[Rollout], Scores]], rewards: Sequence[Reward]) -> Reproduction:
    """Compare what the run's own rewards say now with what its records hold."""
    differing, values, changed = [], 0, set()
    for step, scores in scored:
        for i, rollout in enumerate(step):
            now = scores.of(i)
            for reward in rewards:
                values += 1
                recorded = rollout.rewards.get(reward.name)
                if rollout.reward_hashes.get(reward.name) != reward.source_hash:
                    changed.add(reward.name)
                if recorded != now[reward.name]:
                    differing.append((rollout, reward.name, recorded, now[reward.name]))
    return Reproduction(values, differing, sorted(changed))


@dataclass
class Change:
    """What new rewards would have paid, against what was paid. Counts are of rollouts but where they say otherwise."""

    n: int = 0
    gained: int = 0
    lost: int = 0
    mean_before: float = 0.0
    mean_after: float = 0.0
    unscorable_before: int = 0
    unscorable_after: int = 0
    groups: int = 0
    groups_reordered: int = 0
    """Groups in which at least one pair of completions changed its order."""
    pairs: int = 0
    """Pairs of completions of one group that were in some order before."""
    pairs_reversed: int = 0
    pairs_tied: int = 0
    """Pairs that were in some order and are level now."""
    pairs_untied: int = 0
    """Pairs that were level and are in some order now."""
    flips: dict[str, int] = field(default_factory=dict)
    """"+ -> -" and the like: how many advantages changed their sign so."""
    gainers: list[tuple[float, Rollout, float, float]] = field(default_factory=list)
    """(change, rollout, before, after), the largest first."""
    losers: list[tuple[float, Rollout, float, float]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What the command prints."""
        same = self.n - self.gained - self.lost
        lines = [
            f"{self.n:,} rollouts in {self.groups:,} groups: {self.gained:,} gain, {self.lost:,} lose, {same:,} stay",
            f"  mean total   {self.mean_before:.4f} -> {self.mean_after:.4f}",
            f"  unscorable   {self.unscorable_before:,} -> {self.unscorable_after:,}",
            f"  order        {self.pairs_reversed:,} of {self.pairs:,} ordered pairs reversed, {self.pairs_tied:,} level now; "
            f"{self.pairs_untied:,} level pairs ordered now; {self.groups_reordered:,} groups touched",
            "  advantages   "
            + (", ".join(f"{n:,} from {s}" for s, n in sorted(self.flips.items())) or "no sign changes"),
        ]
        for title, found in (("who gains most", self.gainers), ("who loses most", self.losers)):
            if found:
                lines.append(f"{title}:")
            for _, rollout, before, after in found:
                text = " ".join(str(rollout.messages[-1]["content"]).split())
                lines.append(f"  {before:.3f} -> {after:.3f}  item {rollout.item} step {rollout.step}: {text[-100:]!r}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For --json: the counts, and the examples by their keys."""
        plain = {key: value for key, value in vars(self).items() if key not in ("gainers", "losers")}
        for name, found in (("gainers", self.gainers), ("losers", self.losers)):
            plain[name] = [
                {"step": r.step, "row": r.row, "item": r.item, "before": b, "after": a} for _, r, b, a in found
            ]
        return plain


def change(
    steps: Sequence[list[Rollout]],
    before: Sequence[np.ndarray],
    after: Sequence[np.ndarray],
    weights: tuple[np.ndarray, np.ndarray],
    advantages: tuple[Advantages, Advantages],
    size: int,
) -> Change:
    """Compare two sets of reward values [B, F] a step (NaN: not applied), each with its weights and way to advantages."""
    found = Change()
    totals: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    moved: list[tuple[float, Rollout, float, float]] = []
    for rollouts, *values in zip(steps, before, after, strict=True):
        pair = [_total(v, w) for v, w in zip(values, weights, strict=True)]
        for kept, total in zip(totals, pair, strict=True):
            kept.append(total)
        signs = [np.sign(np.round(f(v, t), 9)) for f, v, t in zip(advantages, values, pair, strict=True)]
        for a, b in zip(*signs, strict=True):
            if a != b:
                name = f"{_SIGN[int(a)]} to {_SIGN[int(b)]}"
                found.flips[name] = found.flips.get(name, 0) + 1
        for start in range(0, len(rollouts), size):
            _order(found, pair[0][start : start + size], pair[1][start : start + size])
        moved += [
            (b - a, r, a, b) for r, a, b in zip(rollouts, *pair, strict=True) if np.isfinite(a) and np.isfinite(b)
        ]
    old, new = (np.concatenate(t) for t in totals)
    found.n = len(old)
    found.mean_before, found.mean_after = float(np.nanmean(old)), float(np.nanmean(new))
    found.unscorable_before, found.unscorable_after = int(np.isnan(old).sum()), int(np.isnan(new).sum())
    found.gained, found.lost = (int(sum(way * d[0] > 0 for d in moved)) for way in (1, -1))
    ranked = sorted(moved, key=lambda entry: -entry[0])
    found.gainers = [entry for entry in ranked[:SHOWN] if entry[0] > 0]
    found.losers = [entry for entry in ranked[::-1][:SHOWN] if entry[0] < 0]
    return found


_SIGN = {-1: "below 0", 0: "0", 1: "above 0"}


def _total(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    weighted = values[:, weights != 0]
    total = np.nansum(values * weights, axis=1)
    total[np.isnan(weighted).all(axis=1)] = np.nan
    return total


def _order(found: Change, old: np.ndarray, new: np.ndarray) -> None:
    """Count what happened to the order of one group's completions."""
    first, second = np.triu_indices(len(old), 1)
    a, b = np.sign(old[first] - old[second]), np.sign(new[first] - new[second])
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    reversed_, tied, untied = ((a * b < 0).sum(), ((a != 0) & (b == 0)).sum(), ((a == 0) & (b != 0)).sum())
    found.groups += 1
    found.groups_reordered += bool(reversed_ or tied or untied)
    found.pairs += int((a != 0).sum())
    found.pairs_reversed += int(reversed_)
    found.pairs_tied += int(tied)
    found.pairs_untied += int(untied)
