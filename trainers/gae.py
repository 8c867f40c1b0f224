"""Generalized advantage estimation over the tokens that the policy wrote. Pure: numbers in, numbers out.

Always true here: what tools replied is skipped, neither discounted nor counted as a step; a reward is paid at the token that ends
its turn; float64 throughout. Array names carry their axes: B rollouts, C completion tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def gae(
    rewards_BC: np.ndarray, values_BC: np.ndarray, after_B: np.ndarray, written_BC: np.ndarray, gamma: float, lam: float
) -> np.ndarray:  # fmt: skip
    """Advantages [B, C] of written tokens, 0 elsewhere; with lam 1 they are discounted returns less the values.

    Args:
        values_BC: of the state before each token.
        after_B: of the state after the last token: 0 where the rollout is over, a critic's value where it was only cut off.
        written_BC: whether the policy wrote the token.

    Source: Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", eq. 16.
    """
    advantages_BC = np.zeros(values_BC.shape)
    next_B, carry_B = np.array(after_B, dtype=np.float64), np.zeros(len(values_BC))
    for t in range(values_BC.shape[1] - 1, -1, -1):
        own_B = written_BC[:, t].astype(bool)
        delta_B = rewards_BC[:, t] + gamma * next_B - values_BC[:, t]
        advantages_BC[:, t] = np.where(own_B, delta_B + gamma * lam * carry_B, 0.0)
        carry_B = np.where(own_B, advantages_BC[:, t], carry_B)
        next_B = np.where(own_B, values_BC[:, t], next_B)
    return advantages_BC


def token_rewards(written_BC: np.ndarray, steps: Sequence[Sequence[float]], last_B: np.ndarray) -> np.ndarray:
    """Rewards [B, C]: each turn's at its last written token, and `last_B` on top at the last written token of all.

    Args:
        steps: of each rollout, a reward for each turn; those of turns that were not asked for may be missing at the end.
    """
    rewards_BC = np.zeros(written_BC.shape)
    own_BC = written_BC.astype(bool)
    ends_BC = own_BC & ~np.pad(own_BC, ((0, 0), (0, 1)))[:, 1:]
    for row, paid in enumerate(steps):
        ends = np.flatnonzero(ends_BC[row])
        if len(ends):
            for end, reward in zip(ends, paid, strict=False):
                rewards_BC[row, end] += reward
            rewards_BC[row, ends[-1]] += last_B[row]
    return rewards_BC


def explained_variance(returns: np.ndarray, values: np.ndarray) -> float:
    """1 - Var(returns - values) / Var(returns): 1 for a perfect critic, 0 for a constant; NaN where returns are all alike."""
    spread = returns.var() if len(returns) else 0.0
    return float(1 - (returns - values).var() / spread) if spread > 0 else float("nan")
