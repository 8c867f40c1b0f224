"""PPO, a whole job end to end: `accelerate launch -m journeyman.recipes.ppo --config FILE [--any.field value]`.

`journeyman train --recipe ppo` starts it with the right launcher; `run.py` holds what every recipe shares.
"""

from __future__ import annotations

from ..configs.lifeline import leave_on_signals, tie_to_launcher

if __name__ == "__main__":  # before the seconds that the imports below take
    tie_to_launcher()
    leave_on_signals()

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft import LoraConfig

from ..configs import BadInput
from ..rollouts.chat import Chat
from ..trainers.config import RunConfig
from ..trainers.engines import plan_of
from ..trainers.models import base_path, load_model, model_name, tokens_of
from ..trainers.ppo import PPOTrainer
from ..trainers.ppo_config import BESIDE
from ..trainers.rolling import context_length
from ..trainers.run_folder import RunFolder
from .command import run_recipe
from .preflight import Job
from .run import run


def build(
    config: RunConfig, args: Any, job: Job, model: Any, chat: Chat, folder: RunFolder, other: Any = None
) -> PPOTrainer:  # fmt: skip
    """The PPO trainer of a run; `other` is what a critic of its own stands on."""
    trainer = PPOTrainer(
        model, args, lora=critic_lora(config, args), critic_base=other,
        env=job.env, rows=job.train, executor=job.executor, quality=job.quality, chat=chat, run=config.name,
        records=folder.records, limits=config.limits(job.env),
        plan=plan_of(config, args, job.env, context_length(model.config) or 4096),
        shuffle_rewards=config.job.shuffle_rewards,
    )  # fmt: skip
    trainer.limits = replace(trainer.limits, tokens=config.job.forward_tokens)
    if trainer.accelerator.is_main_process:
        trained = sum(p.numel() for p in trainer.critic.parameters() if p.requires_grad)
        folder.update(
            critic={"kind": args.critic, "base": other and model_name(str(other.config.name_or_path))},
            update={name: reason or "on" for name, reason in trainer.techniques().items()},
        )
        print(f"critic: {args.critic}, {trained:,} trained parameters", file=sys.stderr)
    return trainer


def critic_lora(config: RunConfig, args: Any) -> LoraConfig:
    """The critic's adapter: the policy's `lora`, with `critic_lora` laid on it; some ways to begin one would rewrite the base."""
    values = {**config.values["lora"], "init_lora_weights": True, **args.critic_lora, **BESIDE}
    try:
        return LoraConfig(task_type="CAUSAL_LM", **values)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{config.path}: critic_lora: {error}") from error


def critic_base(
    config: RunConfig, args: Any, policy: Any, chat: Chat, load: Callable[..., Any] = load_model
) -> Any:  # fmt: skip
    """The model that a critic of its own stands on; None where it shares the policy's.

    Args:
        load: `load_model`, or `model_shape` where its weights are not needed.
    """
    if args.critic != "model":
        return None
    other = args.critic_model_name_or_path or base_path(config, config.environment(), args.critic_nano)
    base = load(config, str(other), "critic_model_name_or_path")
    theirs, ours = base.config.get_text_config().vocab_size, policy.config.get_text_config().vocab_size
    if theirs != ours:
        raise BadInput(
            f"{config.path}: critic_model_name_or_path: {other} has a vocabulary of {theirs:,} and the policy one of {ours:,}; "
            "the critic reads the policy's tokens: take a model of the same family"
        )
    if args.critic_model_name_or_path:
        tokens = tokens_of(config, str(other))
        if tokens is not None and tokens != chat.tokenizer.get_vocab():
            raise BadInput(
                f"{config.path}: critic_model_name_or_path: {other} has other tokens than the policy; the critic reads the "
                "policy's: take a model of the same family"
            )
    return base


def train(config: RunConfig, resume: str = "auto") -> Path:
    """Train by PPO on the processes that are there; the critic's last weights stay in the run's folder. See `run`."""
    others: list[Any] = []
    return run(
        config, lambda *parts: build(*parts, *others), resume,
        ready=lambda args, model, chat: others.append(critic_base(config, args, model, chat)),
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """The command line under `accelerate launch`."""
    run_recipe(train, "ppo", argv)


if __name__ == "__main__":
    main()
