"""Dynamic sampling: groups whose rewards are all alike are replaced by groups of other tasks (DAPO, Yu et al. 2025, section 3.2).

Always true here: pure functions over numbers and rows; which tasks come instead follows from the run's seed, the step and the
round alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..envs.core import Row
from ..rewards.scores import Scores


def dead_groups(total: np.ndarray, size: int) -> list[int]:
    """Groups that teach nothing: fewer than two scored rows, or all of them alike. `total` [B] has NaN for unscorable."""
    dead = []
    for group, rewards in enumerate(total.reshape(-1, size)):
        known = rewards[np.isfinite(rewards)]
        if len(known) < 2 or np.ptp(known) == 0:
            dead.append(group)
    return dead


def other_rows(rows: Sequence[Row], taken: Collection[str], count: int, stream: Sequence[int]) -> list[Row]:
    """`count` rows (fewer where there are no more) whose items are not `taken`, in an order that `stream` fixes."""
    order = np.random.default_rng(list(stream)).permutation(len(rows))
    found: list[Row] = []
    for number in order:
        if len(found) == count:
            break
        if rows[number]["item"] not in taken:
            found.append(rows[number])
    return found


def swap(batch: Any, other: Any, scores: Scores, others: Scores, places: Sequence[tuple[int, int]], size: int) -> None:
    """Exchange whole groups of two batches and their scores: (group of `batch`, group of `other`) each."""
    for here, there in places:
        a, b = slice(here * size, (here + 1) * size), slice(there * size, (there + 1) * size)
        batch[a], other[b] = other[b], batch[a]
        for mine, theirs in ((scores.total, others.total), (scores.values, others.values)):
            mine[a], theirs[b] = theirs[b].copy(), mine[a].copy()
