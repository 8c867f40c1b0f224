"""Two policies on the same items: the difference and its interval, recomputed from the record files alone.

Invariants: nothing is run; both sides share the measure, and their candidates differ in the adapter alone; an item counts
where both sides have a quality for it; the interval is a paired bootstrap over items.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..rollouts.record import read_records
from .measure import by_item
from .measurement import Side, check_comparable, read_side
from .statistics import Difference, interval_text, paired_difference, pass_at_k, wilson


@dataclass(frozen=True)
class Evaluation:
    """A run against its base on held-out rows."""

    metric: str
    difference: Difference
    sampling: dict[str, Any]
    binary: bool
    """Whether every quality is 0 or 1."""
    pass_at: dict[int, tuple[float, float]]
    """k -> pass@k (before, after), where several rollouts an item were drawn and the metric is binary."""
    before: Side
    after: Side
    notes: tuple[str, ...] = ()
    """What a reader should know of how it was measured, a line each."""

    def lines(self) -> list[str]:
        """What the command prints."""
        d = self.difference
        n, k = d.n, d.k_after
        lines = [
            *self.notes,
            f"held-out {self.metric}, n = {n} items x {k} rollout{'s' if k > 1 else ''}, "
            f"{'greedy' if not self.sampling['temperature'] else 'temperature ' + format(self.sampling['temperature'], 'g')}",
        ]
        for name, mean in (("before", d.mean_before), ("after", d.mean_after)):
            bounds = ""
            if k == 1 and self.binary:
                low, high = wilson(round(mean * n), n)
                bounds = f"  [{low:.3f}, {high:.3f}]"
            lines.append(f"  {name:<7}{mean:.3f}{bounds}")
        lines.append(
            f"  change {interval_text(d.difference, d.low, d.high)}  (95% interval, paired bootstrap over items)"
        )
        if d.smallest_detectable > 0:  # 0 where no item changed: nothing to tell it from
            lines.append(f"  smallest change this sample would have shown: {d.smallest_detectable:.3f}")
        lines += [f"  pass@{k}  {a:.3f} -> {b:.3f}" for k, (a, b) in sorted(self.pass_at.items())]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For results.json."""
        d = self.difference
        return {
            "n": d.n, "k": d.k_after, "metric": self.metric, "before": d.mean_before, "after": d.mean_after,
            "difference": d.difference, "low": d.low, "high": d.high, "smallest_detectable": d.smallest_detectable,
            "sampling": self.sampling, "pass_at_k": {str(k): list(v) for k, v in self.pass_at.items()}, "binary": self.binary,
            "measure": self.before.measure, "candidates": {"before": self.before.candidate, "after": self.after.candidate},
            "records": {**self.before.records, **self.after.records},
        }  # fmt: skip


def compare(records: Path, before: str, after: str) -> Evaluation:
    """The evaluation that the record files `before` and `after` (their stems) in the folder `records` hold.

    Raises:
        BadInput: a side is missing or not as it was written, or the two are not of one measure.
    """
    first, second = (read_side(records, stem) for stem in (before, after))
    check_comparable(first, second)
    sides = [by_item(list(read_records(records, stem))) for stem in (before, after)]
    common = sides[0].keys() & sides[1].keys()  # an item whose reward failed has no quality on that side
    a, b = ({item: side[item] for item in sides[0] if item in common} for side in sides)
    binary = all(score in (0.0, 1.0) for side in (a, b) for scores in side.values() for score in scores)
    pass_at = _pass_at(a, b) if binary else {}
    metric, sampling = first.measure["metric"], {**first.measure["sampling"], "k": first.measure["k"]}
    return Evaluation(metric, paired_difference(a, b), sampling, binary, pass_at, first, second)


def _pass_at(before: dict[str, list[float]], after: dict[str, list[float]]) -> dict[int, tuple[float, float]]:
    k_most = min(len(scores) for side in (before, after) for scores in side.values())
    if k_most < 2:
        return {}

    def mean(side: dict[str, list[float]], k: int) -> float:
        return float(np.mean([pass_at_k(len(scores), int(sum(scores)), k) for scores in side.values()]))

    return {k: (mean(before, k), mean(after, k)) for k in sorted({1, 2, 4, 8, 16, 32, k_most}) if k <= k_most}
