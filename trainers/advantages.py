"""Advantages of a batch of groups, as TRL's GRPOTrainer has them. Pure: numbers in, numbers out.

Always true here: a row that could not be scored (NaN) is left out of its group's mean and spread, with an advantage of
0; with every row scored, the values are those of stock TRL.
"""

from __future__ import annotations

import warnings

import numpy as np

EPSILON = 1e-4


def advantages(
    values: np.ndarray,
    total: np.ndarray,
    weights: np.ndarray,
    group_size: int,
    scale: str = "group",
    aggregation: str = "sum_then_normalize",
) -> tuple[np.ndarray, np.ndarray]:
    """(advantages [N], whether each row's spread is zero [N]).

    Args:
        values: [N, F] each reward of each row, NaN where it did not apply.
        total: [N] weighted sums, NaN where the row is unscorable.
        weights: [F]
        group_size: rows of a group stand next to one another.
        scale: `group`, `batch` or `none` (GRPO, Shao et al. 2024; `none` is Dr. GRPO, Liu et al. 2025).
        aggregation: `sum_then_normalize`, or `normalize_then_sum` (GDPO, Liu et al. 2026).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means over groups in which nothing was scored
        if aggregation == "sum_then_normalize":
            centred = total - np.repeat(np.nanmean(total.reshape(-1, group_size), axis=1), group_size)
            if scale == "batch":
                spread = np.full_like(total, _spread(total[:, None], 0)[0])
            else:
                spread = np.repeat(_spread(total.reshape(-1, group_size), 1), group_size)
            result = centred if scale == "none" else centred / (spread + EPSILON)
        else:
            known = np.where(np.isnan(total)[:, None], np.nan, values)
            grouped = known.reshape(-1, group_size, values.shape[1])
            normal = (grouped - np.nanmean(grouped, axis=1, keepdims=True)) / (_spread(grouped, 1)[:, None] + EPSILON)
            summed = np.nansum(normal.reshape(known.shape) * weights, axis=1)
            summed[np.isnan(total)] = np.nan
            spread = np.full_like(total, _spread(summed[:, None], 0)[0])
            result = (summed - np.nanmean(summed)) / (spread + EPSILON)
    return np.nan_to_num(result, nan=0.0), np.isclose(np.nan_to_num(spread), 0.0)


def _spread(values: np.ndarray, axis: int) -> np.ndarray:
    """Standard deviation with Bessel's correction, NaN left out; 0 where fewer than two are known."""
    return np.nan_to_num(np.nanstd(values, axis=axis, ddof=1))


def permuted(
    values: np.ndarray, total: np.ndarray, group_size: int, stream: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The rewards of each group dealt to its rows anew: the control in which reward says nothing about the completion.

    `stream` = (seed, step) fixes the deal. Group means and spreads stay what they were.
    """
    rng = np.random.default_rng(stream)
    order = np.concatenate(
        [start + rng.permutation(group_size) for start in range(0, len(total), group_size)] or [np.zeros(0, int)]
    )
    return values[order], total[order]
