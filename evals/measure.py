"""A policy's quality on a split, as records: what validation, `evaluate`, `try` and `prove` all run.

Always true here: every number is the mean of `quality` over records that were written; a rollout without a quality (its
reward failed) is counted apart, never as a zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..configs import BadInput
from ..envs.core import Limits, Row, pays_steps
from ..rewards.executor import Executor
from ..rollouts.chat import Chat
from ..rollouts.collect import Batch, collect
from ..rollouts.engine import Engine, Sampling
from ..rollouts.pool import Pool
from ..rollouts.record import Rollout
from ..rollouts.scoring import scored_rollouts


def sampling_of(evaluation: Mapping[str, Any], max_tokens: int) -> Sampling:
    """The sampling that a config's `evaluation` states."""
    return Sampling(max_tokens, float(evaluation["temperature"]), float(evaluation["top_p"]), int(evaluation["top_k"]))


def measure(
    engine: Engine,
    chat: Chat,
    pool: Pool,
    rows: Sequence[Row],
    executor: Executor,
    quality: str,
    sampling: Sampling,
    batch: Batch,
    *,
    context: int | None = None,
    limits: Limits | None = None,
) -> list[Rollout]:
    """`batch.group_size` scored rollouts of each row, in order.

    Raises:
        BadInput: several rollouts of a row with greedy sampling, which would be the same one each time.
    """
    k = batch.group_size
    if k > 1 and sampling.temperature == 0:
        raise BadInput(
            f"evaluation: k is {k} and the temperature 0: the {k} rollouts would be one; raise the temperature"
        )
    repeated = [row for row in rows for _ in range(k)]
    rollouts, scores = scored_rollouts(
        lambda on_finished: collect(
            engine, chat, pool, repeated, sampling, batch, context=context, limits=limits, on_finished=on_finished
        ),
        executor, repeated, quality, k, pays_steps(pool.env),
    )  # fmt: skip
    executor.count(scores)
    return rollouts


def by_item(rollouts: Sequence[Rollout]) -> dict[str, list[float]]:
    """item -> the quality of each of its rollouts that has one."""
    result: dict[str, list[float]] = {}
    for rollout in rollouts:
        if rollout.quality is not None:
            result.setdefault(rollout.item, []).append(rollout.quality)
    return result
