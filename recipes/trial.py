"""`journeyman try`: a few rollouts of the base model with each reward's score, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..envs.core import Environment, Row
from ..evals.measure import measure
from ..rewards.executor import Executor
from ..rollouts.chat import Chat
from ..rollouts.collect import Batch
from ..rollouts.engine import Sampling
from ..rollouts.pool import Pool
from ..rollouts.record import Rollout
from ..rollouts.scripted import ScriptedEngine
from ..trainers.config import RunConfig, load_config
from ..trainers.models import load_base
from ..trainers.rolling import context_length
from .held_out_engine import HeldOutEngine
from .launch import find_shape
from .preflight import check_model, prepare


@dataclass(frozen=True)
class Trial:
    """One rollout, what the rewards say of it, and what they say of the right answer."""

    rollout: Rollout
    oracle: str | None
    oracle_rewards: dict[str, float | None]

    def text(self) -> str:
        """For a reader: the conversation, then a line a reward."""
        lines = [f"--- item {self.rollout.item} ({self.rollout.stop_reason}, {self.rollout.tokens_out} tokens)"]
        for message in self.rollout.messages:
            lines.append(f"{message['role']}: {message.get('content') or ''}")
            lines += [f"  calls {call['function']}" for call in message.get("tool_calls") or []]
        lines.append(f"right answer: {'not known' if self.oracle is None else self.oracle}")
        for name, value in self.rollout.rewards.items():
            gold = self.oracle_rewards.get(name)
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
    shape = find_shape(config.job.accelerate)
    checked = prepare(config, shape.processes, shape.sharded)
    env, executor, args = checked.env, checked.executor, config.arguments()
    rows = env.tasks(split, config.seed, n)
    model, chat, _ = load_base(config, env)
    check_model(config, args, checked, model, chat)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    sampling = Sampling(
        config.max_tokens, args.temperature, args.top_p, args.top_k or 0, args.min_p or 0.0
    )  # fmt: skip
    with HeldOutEngine(config, env, chat, rows) as engines:
        rollouts = measure(
            engines.sampling_from(model, 0), chat, Pool(env), rows, executor, config.quality(), sampling,
            Batch(config.name, 0, split, config.seed), context=context_length(model.config), limits=config.limits(env),
        )  # fmt: skip
    golds = _golds(config, env, chat, rows, executor)
    return [
        Trial(rollout, str(gold.messages[-1].get("content")) if gold else None, gold.rewards if gold else {})
        for rollout, gold in zip(rollouts, golds, strict=True)
    ]


def _golds(
    config: RunConfig, env: Environment, chat: Chat, rows: Sequence[Row], executor: Executor
) -> Sequence[Rollout | None]:
    """What the environment's oracle makes of the same rows; None for each where it has none."""
    engine = ScriptedEngine(lambda request: env.oracle_turn(rows[request.stream[2]], request.messages), chat)
    try:
        return measure(
            engine, chat, Pool(env), rows, executor, config.quality(), Sampling(10**6),
            Batch(config.name, 0, "oracle", config.seed), limits=config.limits(env),
        )  # fmt: skip
    except (KeyError, NotImplementedError):
        return [None] * len(rows)
