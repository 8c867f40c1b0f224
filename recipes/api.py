"""`journeyman.train` for notebooks: what `journeyman train` does, with the same checks and defaults."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ..configs import BadInput, Stopped
from ..configs.errors import EXIT_BAD_INPUT, EXIT_RESUMABLE
from ..trainers.config import load_config
from .launch import check, launch


def train(job: str | Path, recipe: str | None = None, *, resume: str = "auto", **overrides: Any) -> Path:
    """Train a job's adapter and return the run's folder: in this process where the launch shape has one.

    Args:
        job: a shipped job's name, or the path of a YAML file.
        recipe: how it is learned, a module of `journeyman.recipes`; what the file says where not given, else GRPO.
        resume: `auto` goes on with an unfinished run of the same config in its folder, `never` refuses it.
        overrides: keys of the config, such as `max_steps=50` or `lora={"r": 8}`.

    Raises:
        BadInput: whatever the command ends with exit code 2 for.
        Stopped: a signal ended it at a checkpoint; the same call goes on.
        RuntimeError: processes of their own failed; their message stands on stderr.
    """
    config = load_config(job, overrides, recipe)
    shape = check(config, resume)
    if shape.processes == 1:
        folder: Path = importlib.import_module(f".{config.recipe}", __package__).train(config, resume)
        return folder
    code = launch(config, overrides, resume)
    if code == EXIT_BAD_INPUT:
        raise BadInput(f"{config.path}: the training processes refused it; their message stands above")
    if code == EXIT_RESUMABLE:
        raise Stopped(f"{config.output}: stopped at a checkpoint; the same call goes on")
    if code:
        raise RuntimeError(f"{config.output}: training failed with exit code {code}; its message stands above")
    return config.output
