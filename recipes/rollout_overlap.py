"""`journeyman bench rollout --shape overlap`: what a slow reward adds to a step where generation has a long tail.

Always true here: tokens come from real forwards of a small random model; how many each completion has is drawn beforehand
(log-normal), the same for every side and round.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np

from ..rewards import reward
from ..rewards.executor import Executor
from ..rollouts.chat import Chat
from ..rollouts.collect import Batch, OnFinished, collect
from ..rollouts.engine import Completion, Request, Sampling
from ..rollouts.pool import Pool
from ..rollouts.record import Rollout
from ..rollouts.scoring import as_scored, scored_rollouts
from ..rollouts.transformers_engine import TransformersEngine
from .bench_rollout import GROUP, Sums, timed
from .bench_trainers import random_policy

REWARD_S = 0.05
LENGTHS = (64, 1.0, 512)
"""Median, spread (of the logarithm) and most tokens of the completions."""


@reward
def slow(completion: str) -> float:
    """A plain function that takes 50 ms."""
    time.sleep(REWARD_S)
    return len(completion) % 7 / 7


class Tailed:
    """An engine whose completions have lengths of their own, drawn before: most are short and a few are long."""

    def __init__(self, engine: Any, lengths: list[int]) -> None:
        self.engine, self.lengths = engine, lengths
        self.policy_version, self.in_step = engine.policy_version, engine.in_step

    async def complete(self, request: Request, sampling: Sampling) -> Completion:
        """See `Engine.complete`."""
        return await self.engine.complete(request, replace(sampling, max_tokens=self.lengths[request.stream[2]]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def overlap(chat: Chat, rounds: int, groups: int) -> dict[str, Any]:
    """Print the table: generation alone, with rewards beside it, and with the same rewards after it."""
    env, n = Sums(), GROUP * groups
    rows = [row for row in env.tasks("train", 0, groups) for _ in range(GROUP)]
    median, spread, most = LENGTHS
    drawn = np.random.default_rng(0).lognormal(np.log(median), spread, n)
    lengths = [int(length) for length in drawn.clip(1, most)]
    engine = Tailed(TransformersEngine(random_policy(lora=False), chat.tokenizer.pad_token_id, []), lengths)
    pool = Pool(env)
    found: dict[str, Any] = {}

    def collected(on_finished: OnFinished) -> list[Rollout]:
        batch = Batch("bench", 0, "train", 0, GROUP)
        return collect(engine, chat, pool, rows, Sampling(most), batch, on_finished=on_finished)

    def generation() -> None:
        collected(lambda *_: None)

    with Executor([slow]) as executor:

        def beside() -> None:
            found["ours"] = scored_rollouts(collected, executor, rows, "slow", GROUP)[1].total.tolist()

        def after() -> None:
            rollouts = collected(lambda *_: None)
            items = [as_scored(rollout, row) for rollout, row in zip(rollouts, rows, strict=True)]
            found["peer"] = [value for item in items for value in slow.run([item])]

        sides = (generation, beside, after)
        seconds: dict[str, list[float]] = {side.__name__: [] for side in sides}
        beside()
        for _ in range(rounds):
            for side in sides:
                seconds[side.__name__].append(timed(side)[0])
    assert found["ours"] == found["peer"]
    alone, a, b = (statistics.median(seconds[side.__name__]) for side in sides)
    print(
        f"{n} completions of {min(lengths)} to {max(lengths)} tokens (median {statistics.median(lengths):.0f}), a plain reward"
    )
    print(f"of {1000 * REWARD_S:.0f} ms each; medians of {rounds} rounds in turns")
    least = max(alone, n * REWARD_S)
    print(f"  generation alone          {alone:6.2f} s; the rewards alone, one after another, {n * REWARD_S:.2f} s")
    print(f"  rewards beside it (ours)  {a:6.2f} s  {a / least:6.2f} x the longer of the two")
    print(f"  rewards after it          {b:6.2f} s  {b / a:6.2f} x ours")
    return {
        "bench": "rollout", "shape": f"overlap: {n} completions, a reward of {REWARD_S:g} s each", "ours_s": a,
        "peer_s": b, "ratio": b / a, "compared": "scored_rollouts against the same rewards after generation",
        "generation_s": alone, "of_longer": a / least, "reward_s": n * REWARD_S,
    }  # fmt: skip
