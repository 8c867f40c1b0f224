"""What finished rollouts are worth: the rewards' verdicts, written into the records. Trainer and evaluation share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..envs.core import Row
from ..rewards.core import Reward, Scored, Scores, score
from .record import Rollout


def score_rollouts(
    rewards: Sequence[Reward], rows: Sequence[Row], rollouts: Sequence[Rollout], quality: str, **services: Any
) -> Scores:
    """Score each rollout against its row and write rewards, quality, errors and hashes into the records.

    Args:
        rows: the row of each rollout, in the same order.
        quality: name of the reward that goes into the records as the job's own measure.
        services: what TRL passes to batch functions (`trainer_state`, `log_extra`, `log_metric`).
    """
    items = [
        Scored(row, rollout.messages[len(row["prompt"]) :], rollout.completion_ids, rollout.stop_reason)
        for row, rollout in zip(rows, rollouts, strict=True)
    ]
    scores = score(rewards, items, **services)
    hashes = {reward.name: reward.source_hash for reward in rewards}
    for i, rollout in enumerate(rollouts):
        rollout.rewards = scores.of(i)
        rollout.quality = rollout.rewards[quality]
        rollout.error = scores.errors[i]
        rollout.reward_hashes = hashes
    return scores
