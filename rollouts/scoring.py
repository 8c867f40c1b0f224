"""What finished rollouts are worth: the rewards' verdicts, written into the records. Trainer and evaluation share it.

Always true here: a rollout is scored from the moment it is finished, while others are still being generated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..envs.core import Row
from ..rewards import Scored
from ..rewards.executor import Executor, RewardsFailed
from ..rewards.scores import Scores
from .collect import OnFinished
from .record import Rollout, StopReason

STEP_REWARDS = "step_rewards"
"""Name of the reward that is the sum of what an environment paid per turn."""
Collect = Callable[[OnFinished], list[Rollout]]
"""Makes rollouts, and calls what it is given with each one's number, the rollout and its environment as it finishes."""


def scored_rollouts(
    collect: Collect, executor: Executor, rows: Sequence[Row], quality: str, group_size: int, steps: bool = False,
    **services: Any,
) -> tuple[list[Rollout], Scores]:  # fmt: skip
    """Collect rollouts and score each as it finishes; rewards, quality, errors and hashes go into the records.

    Args:
        rows: the row of each rollout, in the same order.
        quality: name of the reward that goes into the records as the job's own measure.
        steps: whether the environment pays per turn; then the sum of a rollout's is one more reward, of weight 1.
        services: what TRL passes to batch functions (`trainer_state`).

    Whoever holds the records counts the failures (`Executor.count`) once these rollouts are in them.

    Raises:
        RewardsFailed: calls in other processes failed too often to wait for the rest; its `rollouts` are those collected.
    """
    batch = executor.batch(group_size, **services)

    def on_finished(i: int, rollout: Rollout, environment: Any) -> None:
        scored = as_scored(rollout, rows[i], environment)
        if rollout.stop_reason == StopReason.ERROR:
            batch.fail(i, scored, str(rollout.error))
        else:
            batch.add(i, scored)

    rollouts = collect(on_finished)
    try:
        scores = batch.finish()
    except RewardsFailed as failed:
        failed.rollouts = rollouts
        raise
    if steps:
        scores = scores.plus(STEP_REWARDS, [sum(rollout.step_rewards) for rollout in rollouts])
    hashes = {reward.name: reward.source_hash for reward in executor.rewards}
    for i, rollout in enumerate(rollouts):
        rollout.rewards = scores.of(i)
        rollout.quality = rollout.rewards[quality]
        rollout.error = rollout.error or scores.errors[i]
        rollout.extras = scores.extras[i]
        rollout.reward_hashes = hashes
    return rollouts, scores


def as_scored(rollout: Rollout, row: Row, environment: Any = None) -> Scored:
    """What reward functions see of a rollout: its own messages, without those of the prompt."""
    messages = rollout.messages[len(row["prompt"]) :]
    return Scored(row, messages, rollout.completion_ids, rollout.stop_reason, environment)
