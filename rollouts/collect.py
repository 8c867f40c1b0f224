"""Rows in, finished rollouts out: every row is a coroutine, and each is handed on as it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..envs.core import Environment, EnvironmentFailed, Limits, Row
from .chat import Chat
from .engine import Engine, Sampling, run_async
from .play import Play
from .pool import Pool
from .record import Rollout, StopReason

OnFinished = Callable[[int, Rollout, Any], None]
"""Called as each rollout ends, with its number among the rows, the rollout and its environment."""


@dataclass(frozen=True)
class Batch:
    """Which rollouts of a run these are, as their records say it.

    Args:
        group_size: the rows hold each prompt so many times, next to one another.
        first_row: number of the first row in this step, over all processes; with seed and step it keys the sampling.
    """

    run: str
    step: int
    split: str
    seed: int
    group_size: int = 1
    first_row: int = 0


def collect(
    engine: Engine,
    chat: Chat,
    pool: Pool,
    rows: Sequence[Row],
    sampling: Sampling,
    batch: Batch,
    *,
    context: int | None = None,
    limits: Limits | None = None,
    on_finished: OnFinished | None = None,
) -> list[Rollout]:
    """One rollout a row, in the order of `rows`.

    Args:
        context: most tokens that prompt and completion may have together.
        limits: in place of the environment's own.

    Raises:
        BadInput: a prompt leaves no room for a completion in the model's context.
    """
    return run_async(collecting(engine, chat, pool, rows, sampling, batch, context, limits, on_finished))


async def collecting(
    engine: Engine, chat: Chat, pool: Pool, rows: Sequence[Row], sampling: Sampling, batch: Batch,
    context: int | None = None, limits: Limits | None = None, on_finished: OnFinished | None = None,
) -> list[Rollout]:  # fmt: skip
    """`collect` inside an event loop."""
    play = Play(engine, chat, sampling, limits or pool.env.limits, context)
    held: list[Environment] = []

    async def one(i: int, row: Row) -> Rollout:
        rollout, env = await _tried(play, pool, row, lambda: _blank(batch, i, row, engine, pool.env))
        if env is not None:
            held.append(env)
        if on_finished is not None:
            on_finished(i, rollout, env)
        return rollout

    tasks = [asyncio.ensure_future(one(i, row)) for i, row in enumerate(rows)]
    rollouts = asyncio.gather(*tasks)
    try:
        if engine.in_step:
            await engine.keep_in_step(rollouts)
        return list(await rollouts)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    finally:
        for env in held:  # only now: a reward of the whole group may still have read it
            pool.give(env)


async def _tried(
    play: Play, pool: Pool, row: Row, blank: Callable[[], Rollout]
) -> tuple[Rollout, Environment | None]:  # fmt: skip
    """A finished rollout and its environment; after a second failure of the environment, an error and None."""
    rollout = blank()
    for last in (False, True):
        rollout, env = blank(), pool.take()
        try:
            await play(rollout, env, row)
            return rollout, env
        except EnvironmentFailed as failed:
            pool.discard(env)
            if last:
                rollout.stop_reason, rollout.error = StopReason.ERROR.value, f"environment: {failed}"
        except BaseException:
            pool.discard(env)
            raise
    return rollout, None


def _blank(batch: Batch, i: int, row: Row, engine: Engine, env: Environment) -> Rollout:
    number = batch.first_row + i
    return Rollout(
        run=batch.run, step=batch.step, split=batch.split, item=row["item"], group=number // batch.group_size, row=number,
        seed=batch.seed, policy_version=engine.policy_version, messages=[], prompt_ids=[], completion_ids=[], logprobs=[],
        env_mask=[], turns=0, env_version=env.version,
    )  # fmt: skip
