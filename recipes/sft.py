"""Supervised fine-tuning of the same adapter on the right answers: what a proof's reference row is.

Same launcher, config, folder and validation as every recipe; it needs the answers that RL does without.
"""

from __future__ import annotations

from ..configs.lifeline import leave_on_signals, tie_to_launcher

if __name__ == "__main__":  # before the seconds that the imports below take
    tie_to_launcher()
    leave_on_signals()

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from ..rollouts.chat import Chat
from ..trainers.config import RunConfig
from ..trainers.keys import APPLIED, RL_ONLY
from ..trainers.run_folder import RunFolder
from ..trainers.sft import Supervised, worked_examples
from .command import run_recipe
from .preflight import Job
from .run import run

OWN = {"output_dir", "per_device_train_batch_size", "logging_steps", "logging_strategy"}
SHARED = tuple(f.name for f in fields(TrainingArguments) if f.name in APPLIED - RL_ONLY - OWN)
"""Fields that GRPO's configuration and SFT's have in common and that a run takes over as they are."""


def build(config: RunConfig, args: Any, job: Job, model: Any, chat: Chat, folder: RunFolder) -> Supervised:
    """The SFT trainer of a run: as many examples a step as RL has prompts."""
    options = {name: getattr(args, name) for name in SHARED}
    options["logging_strategy"] = args.logging_strategy
    options["logging_steps"] = config.trainer.get("logging_steps", 10)
    options["per_device_train_batch_size"] = max(1, args.per_device_train_batch_size // args.num_generations)
    examples = worked_examples(job.env, chat, job.train)
    return Supervised(model, chat, examples, folder.checkpoints, **options)


def train(config: RunConfig, resume: str = "auto") -> Path:
    """Train by SFT on the processes that are there; see `run`."""
    return run(config, build, resume)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line under `accelerate launch`."""
    run_recipe(train, "sft", argv)


if __name__ == "__main__":
    main()
