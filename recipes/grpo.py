"""GRPO, a whole job end to end: `accelerate launch -m journeyman.recipes.grpo --config FILE [--any.field value]`.

`journeyman train` starts it with the right launcher; `run.py` holds what every recipe shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..rollouts.chat import Chat
from ..trainers.config import RunConfig
from ..trainers.grpo import Trainer
from ..trainers.run_folder import RunFolder
from .command import run_recipe
from .preflight import Job
from .run import run


def build(config: RunConfig, args: Any, job: Job, model: Any, chat: Chat, folder: RunFolder) -> Trainer:
    """The GRPO trainer of a run."""
    return Trainer(
        model, args, env=job.env, rows=job.train, executor=job.executor, quality=job.quality, chat=chat, run=config.name,
        records=folder.records, shuffle_rewards=config.job.shuffle_rewards,
    )  # fmt: skip


def train(config: RunConfig, resume: str = "auto") -> Path:
    """Train by GRPO on the processes that are there; see `run`."""
    return run(config, build, resume)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line under `accelerate launch`."""
    run_recipe(train, "grpo", argv)


if __name__ == "__main__":
    main()
