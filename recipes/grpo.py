"""GRPO, a whole job end to end: `accelerate launch -m journeyman.recipes.grpo --config FILE [--any.field value]`.

`journeyman train` starts it with the right launcher; `run.py` holds what every recipe shares.
"""

from __future__ import annotations

from ..configs.lifeline import leave_on_signals, tie_to_launcher

if __name__ == "__main__":  # before the seconds that the imports below take
    tie_to_launcher()
    leave_on_signals()

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..configs import BadInput
from ..rollouts.chat import Chat
from ..trainers.config import RunConfig
from ..trainers.engines import plan_of
from ..trainers.grpo import Trainer
from ..trainers.rolling import context_length
from ..trainers.run_folder import RunFolder
from .command import run_recipe
from .preflight import Job
from .run import run


def build(config: RunConfig, args: Any, job: Job, model: Any, chat: Chat, folder: RunFolder) -> Trainer:
    """The GRPO trainer of a run; what its update leaves out, and why it does not leave out the rest, goes into run.json."""
    trainer = Trainer(
        model, args, env=job.env, rows=job.train, executor=job.executor, quality=job.quality, chat=chat, run=config.name,
        records=folder.records, limits=config.limits(job.env),
        plan=plan_of(config, args, job.env, context_length(model.config) or 4096),
        shuffle_rewards=config.job.shuffle_rewards,
        dynamic_sampling=config.job.dynamic_sampling_rounds if config.job.dynamic_sampling else 0,
        ahead=bool(config.job.async_rollouts),
    )  # fmt: skip
    trainer.limits = replace(trainer.limits, tokens=config.job.forward_tokens)
    if trainer.sharded and trainer.dynamic_sampling:
        raise BadInput(
            f"{config.path}: dynamic_sampling: ranks that share a model's weights generate in step, and would need different "
            "numbers of rounds; use data-parallel processes, or leave it out"
        )
    if trainer.sharded and trainer.plan is not None:
        raise BadInput(
            f"{config.path}: use_vllm: an adapter whose weights are shared out over ranks (FSDP, DeepSpeed) does not get into "
            "vLLM in this version; use data-parallel processes, or use_vllm: false"
        )
    if trainer.accelerator.is_main_process:
        update = {name: reason or "on" for name, reason in trainer.techniques().items()}
        folder.update(update=update)
        for name, reason in trainer.techniques().items():
            if reason:
                print(f"update: no {name}: {reason}", file=sys.stderr)
    return trainer


def train(config: RunConfig, resume: str = "auto") -> Path:
    """Train by GRPO on the processes that are there; see `run`."""
    return run(config, build, resume)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line under `accelerate launch`."""
    run_recipe(train, "grpo", argv)


if __name__ == "__main__":
    main()
