"""What a measured number is worth: intervals, paired differences, the smallest difference a sample could show.

Always true here: the unit that is resampled is the ITEM (a task), never the rollout, because rollouts of one item are
not independent; a comparison is paired, item by item, on exactly the same items; the same seed gives the same interval.
numpy only, no torch.

    before = {"item-1": [0.0, 0.0], "item-2": [1.0, 0.0]}     # item -> the score of each rollout
    after = {"item-1": [1.0, 0.0], "item-2": [1.0, 1.0]}
    change = paired_difference(before, after)
    print(interval_text(change.difference, change.low, change.high))     # +0.500 [+0.500, +0.500]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ..configs.errors import BadInput

Scores = Mapping[str, Sequence[float]]
"""item -> one score a rollout, in [0, 1] or any other finite unit"""

CONFIDENCE = 0.95
POWER = 0.80
_CHUNK = 1_000_000
"""Resampled values held at once: 8 MB of indices and 8 MB of values, which stay in a core's cache better than more."""


@dataclass(frozen=True)
class Interval:
    """An estimate over `n` items and its 95% interval, in the unit of the scores."""

    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference over `n` items, its 95% interval, and what the sample could have shown."""

    n: int
    k_before: int
    """Rollouts an item, of the item that has fewest."""
    k_after: int
    mean_before: float
    mean_after: float
    difference: float
    low: float
    high: float
    smallest_detectable: float
    """The smallest true difference that n items of this spread show with 80% power at two-sided 5%."""

    @property
    def shown(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def wilson(successes: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927): for binary scores with one rollout an item.

    Raises:
        BadInput: no trials, or `successes` outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise BadInput(f"an interval of {successes} successes in {n} trials; it needs 0 <= successes <= n and n >= 1")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, z2 = successes / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At the ends the bound is 0 or 1 exactly; the formula misses it by a rounding error.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of k rollouts succeeds, from c successes in n: 1 - C(n-c, k) / C(n, k), unbiased.

    Chen et al. 2021, "Evaluating Large Language Models Trained on Code", section 2.1; the product keeps the binomial
    coefficients from overflowing.

    Raises:
        BadInput: not 0 <= c <= n, or not 1 <= k <= n.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise BadInput(f"pass@{k} from {c} successes in {n} rollouts; it needs 0 <= c <= n and 1 <= k <= n")
    if n - c < k:
        return 1.0
    return float(1 - np.prod(1 - k / np.arange(n - c + 1, n + 1)))


def item_bootstrap(
    scores_by_item: Scores | Sequence[Sequence[float]] | np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The percentile interval of a statistic of the items' means, over resampled items (Efron 1979).

    Args:
        scores_by_item: item -> its scores, or one sequence of scores an item.
        statistic: item means [..., n] -> values [...], along the last axis; the mean by default.
        resamples: how many times the n items are drawn anew, with replacement.
        seed: of the draws.

    Raises:
        BadInput: fewer than 2 items, an item without scores, or a score that is not a finite number.
    """
    means = _item_means(scores_by_item if isinstance(scores_by_item, Mapping) else dict(enumerate(scores_by_item)))
    return _interval(means, statistic, resamples, seed)


def paired_difference(before: Scores, after: Scores, resamples: int = 10_000, seed: int = 0) -> Difference:
    """How much better `after` is than `before`: the mean of the items' differences, with its paired interval.

    Raises:
        BadInput: the two hold different items (how many are missing on each side is said), or bad scores.
    """
    check_same_items({"before": before, "after": after})
    items = list(before)
    return _difference(
        _item_means({item: before[item] for item in items}),
        _item_means({item: after[item] for item in items}),
        (_fewest(before), _fewest(after)),
        resamples,
        seed,
    )


def difference_of_differences(
    base: Scores, real: Scores, control: Scores, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """How much more a real run gained over `base` than its control run did, paired by item.

    In the result `mean_before` is the control's gain and `mean_after` the real run's; `difference` is real - control.
    Both gains are from the same base, so its scores cancel out of the difference and of its interval.

    Raises:
        BadInput: the three hold different items, or bad scores.
    """
    check_same_items({"base": base, "real": real, "control": control})
    items = list(base)
    start, gained, controlled = (
        _item_means({item: scores[item] for item in items}) for scores in (base, real, control)
    )
    return _difference(controlled - start, gained - start, (_fewest(control), _fewest(real)), resamples, seed)


def check_same_items(scores: Mapping[str, Scores]) -> None:
    """Raise BadInput, with how many items each of `scores` lacks, unless all hold the same items."""
    everything = set().union(*scores.values())
    missing = {name: everything - set(those) for name, those in scores.items()}
    if any(missing.values()):
        told = ", ".join(f"{len(lacks)} are missing from '{name}'" for name, lacks in missing.items() if lacks)
        example = min((str(item) for lacks in missing.values() for item in lacks), default="")
        raise BadInput(
            f"a paired comparison needs the same items on each side: of {len(everything)} items {told} "
            f"(such as {example}); evaluate both on the same split, n and seed"
        )


def interval_text(value: float, low: float, high: float, *, signed: bool = True, digits: int = 3) -> str:
    """`+0.214 [+0.192, +0.236]`, or without signs for a quantity that is not a difference."""
    sign = "+" if signed else ""
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    shown = [f"{round(x, digits) + 0.0:{sign}.{digits}f}" for x in (value, low, high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _item_means(scores: Mapping[str, Sequence[float]] | Mapping[int, Sequence[float]]) -> np.ndarray:
    """The mean score of each item [n], in the mapping's order."""
    if len(scores) < 2:
        raise BadInput(f"an interval over items needs at least 2 items; there are {len(scores)}")
    means = np.empty(len(scores))
    for i, (item, values) in enumerate(scores.items()):
        means[i] = np.mean(np.asarray(values, dtype=float)) if len(values) else math.nan
        if not math.isfinite(means[i]):
            what = f"the scores {list(values)!r}" if len(values) else "no scores"
            raise BadInput(
                f"item {item} has {what}; each needs at least one finite score (leave a failed item out of every side)"
            )
    return means


def _fewest(scores: Scores) -> int:
    return min(len(values) for values in scores.values())


def _difference(before: np.ndarray, after: np.ndarray, k: tuple[int, int], resamples: int, seed: int) -> Difference:
    d = after - before
    interval = _interval(d, None, resamples, seed)
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) + NormalDist().inv_cdf(POWER)  # 1.96 + 0.84
    return Difference(
        n=len(d),
        k_before=k[0],
        k_after=k[1],
        mean_before=float(before.mean()),
        mean_after=float(after.mean()),
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        smallest_detectable=z * float(d.std(ddof=1)) / math.sqrt(len(d)),
    )


def _interval(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] | None, resamples: int, seed: int
) -> Interval:
    if resamples < 1:
        raise BadInput(f"resamples is {resamples}; it should be at least 1 (10,000 gives a stable 95% interval)")
    n = len(values)
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    rows = max(1, _CHUNK // n)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        sample = values.take(rng.integers(n, size=(stop - start, n)))
        drawn[start:stop] = sample.mean(axis=-1) if statistic is None else statistic(sample)
    low, high = np.quantile(drawn, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    value = values.mean() if statistic is None else statistic(values)
    return Interval(n=n, value=float(value), low=float(low), high=float(high))
