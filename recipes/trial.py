"""`journeyman try`: a few rollouts of the base model with each reward's score, before any training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..evals.measure import measure
from ..rewards import Scored
from ..rewards.executor import Executor, score
from ..rollouts.chat import end_ids
from ..rollouts.collect import Batch
from ..rollouts.engine import Sampling
from ..rollouts.pool import Pool
from ..rollouts.record import Rollout
from ..rollouts.transformers_engine import TransformersEngine
from ..trainers.config import load_config
from ..trainers.models import load_base
from ..trainers.rolling import context_length


@dataclass(frozen=True)
class Trial:
    """One rollout, what the rewards say of it, and what they say of the right answer."""

    rollout: Rollout
    oracle: str
    oracle_rewards: dict[str, float | None]

    def text(self) -> str:
        """For a reader: the conversation, then a line a reward."""
        lines = [f"--- item {self.rollout.item} ({self.rollout.stop_reason}, {self.rollout.tokens_out} tokens)"]
        lines += [f"{message['role']}: {message['content']}" for message in self.rollout.messages]
        lines.append(f"right answer: {self.oracle}")
        for name, value in self.rollout.rewards.items():
            gold = self.oracle_rewards[name]
            lines.append(f"  {name:<20} {_shown(value)}   (right answer: {_shown(gold)})")
        if self.rollout.error:
            lines.append(f"  error: {self.rollout.error}")
        return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def try_job(job: str, n: int = 4, split: str = "train", **overrides: Any) -> list[Trial]:
    """`n` rollouts of the job's base model on `split`, sampled as in training.

    Raises:
        BadInput: the job, its environment, rewards or model can't be used.
    """
    config = load_config(job, overrides)
    env, rewards = config.environment(), config.rewards()
    args = config.grpo()
    rows = env.tasks(split, config.seed, n)
    model, chat, _ = load_base(config, env)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    engine = TransformersEngine(model, chat.tokenizer.pad_token_id, end_ids(chat.tokenizer, model.generation_config))
    sampling = Sampling(
        config.max_tokens, args.temperature, args.top_p, args.top_k or 0, args.min_p or 0.0
    )  # fmt: skip
    rollouts = measure(
        engine, chat, Pool(env), rows, Executor(rewards), config.quality(), sampling,
        Batch(config.name, 0, split, config.seed), context=context_length(model.config), limits=config.limits(env),
    )  # fmt: skip
    trials = []
    for row, rollout in zip(rows, rollouts, strict=True):
        gold = Scored(row, [{"role": "assistant", "content": env.oracle(row)}])
        trials.append(Trial(rollout, env.oracle(row), score(rewards, [gold]).of(0)))
    return trials
