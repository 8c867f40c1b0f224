"""What every recipe's command line does: read `--config` and the overrides, run, and turn the end into an exit code.

Always true here: 0 done, 2 bad input (one line on stderr, from one rank), 75 stopped and resumable, 1 anything else. A
launcher that can't pass exit codes on finds the code in the file that JOURNEYMAN_STATUS names.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from ..configs import BadInput, Stopped
from ..configs.errors import EXIT_BAD_INPUT, EXIT_RESUMABLE
from ..trainers.checkpoints import DiskFull
from ..trainers.config import load_config

MEMORY_HELP = (
    "out of memory: lower per_device_train_batch_size (and raise gradient_accumulation_steps by the same factor), "
    "max_completion_length or num_generations; set gradient_checkpointing: true; or set load_in_4bit: true. "
    "`journeyman train CONFIG --dry-run` estimates each part"
)


def overrides(words: Sequence[str]) -> dict[str, Any]:
    """`--lora.r 8 --bf16 false --name=x` as a mapping; values are read as YAML, a flag without one is true.

    Raises:
        BadInput: a word that belongs to no flag.
    """
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise BadInput(f"'{word}' belongs to no flag; overrides read --key value, for example --learning_rate 1e-5")
        key, equals, value = word[2:].partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        try:
            values[key.replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError:
            values[key.replace("-", "_")] = value
    return values


def run_recipe(train: Callable[..., Path], recipe: str, argv: Sequence[str] | None) -> None:
    """Parse, train, exit."""
    parser = argparse.ArgumentParser(
        prog=f"accelerate launch -m journeyman.recipes.{recipe}",
        description=f"Train by {recipe.upper()} on the processes that the launcher started.",
        epilog="Every key of the file can be given as --key value, and --lora.r 8 reaches into a mapping.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="a YAML file, or the name of a shipped job")
    parser.add_argument(
        "--resume", default="auto", help="auto: go on with an unfinished run in the folder; never: refuse it"
    )
    known, rest = parser.parse_known_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):  # until training starts; then they stop it at a checkpoint
        signal.signal(number, signal.default_int_handler)
    raise SystemExit(exit_code(lambda: train(load_config(known.config, overrides(rest), recipe), known.resume)))


def exit_code(work: Callable[[], Any]) -> int:
    """Run `work` and say how it ended; what went wrong is on stderr, and in the status file where there is one."""
    code, line = 0, ""
    try:
        work()
    except BadInput as error:
        code, line = EXIT_BAD_INPUT, f"journeyman: {error}"
    except Stopped as stop:
        code, line = EXIT_RESUMABLE, f"journeyman: {stop}"
    except KeyboardInterrupt:
        code, line = 130, "journeyman: interrupted"
    except DiskFull as error:
        code, line = 1, f"journeyman: {error}"
    except torch.OutOfMemoryError as error:
        code, line = 1, f"journeyman: {MEMORY_HELP} ({str(error).splitlines()[0]})"
    except Exception as error:
        code = 1
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            error = DiskFull(
                f"{error.filename or 'a file of the run'}: no room left; make room, and the same command goes on"
            )
        traceback.print_exc()
        line = f"journeyman: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if line and int(os.environ.get("RANK", "0")) == 0:
        print(line, file=sys.stderr, flush=True)
    status = os.environ.get("JOURNEYMAN_STATUS")
    if status is None:
        return code
    with open(f"{status}.{os.environ.get('RANK', '0')}", "w", encoding="utf-8") as file:
        file.write(str(code))
    # The launcher would turn any code into 1 with a traceback of its own; the file tells the caller what it was. Where
    # other ranks may wait for this one, a failure must still reach the launcher, which ends them.
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    return 0 if alone or code in (0, EXIT_BAD_INPUT, EXIT_RESUMABLE) else 1
