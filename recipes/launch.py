"""Start a recipe the way it will run: checked first, then Accelerate's launcher, with signals and exit codes passed on.

Always true here: a launch shape is one of `configs/accelerate/` or an Accelerate config file of the user's; SIGTERM and
Ctrl-C reach the training processes themselves (the launcher would leave them orphaned), and their exit codes come back; when this
process or the launcher is killed, they are too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from accelerate.commands.config.config_args import load_config_from_file

from ..configs import BadInput
from ..configs.errors import EXIT_BAD_INPUT, EXIT_RESUMABLE, nearest
from ..configs.lifeline import tied
from ..configs.read import CONFIGS
from ..trainers.config import RunConfig
from ..trainers.origin import origin
from ..trainers.run_folder import RunFolder
from .preflight import prepare

SHAPES = CONFIGS / "accelerate"
DEFAULT_SHAPE = "one"


@dataclass(frozen=True)
class Shape:
    """A launch shape: its Accelerate config file, how many processes it starts, and whether they share out a model's weights."""

    path: Path
    processes: int
    sharded: bool = False


def find_shape(name: str | None) -> Shape:
    """The launch shape called `name`, or that of a file.

    Raises:
        BadInput: no such shape, or a file that Accelerate refuses.
    """
    shipped = {path.stem: path for path in SHAPES.glob("*.yaml")}
    path = shipped.get(name or DEFAULT_SHAPE) or Path(str(name))
    if not path.is_file():
        raise BadInput(
            f"there is no launch shape '{name}'{nearest(str(name), shipped)} (shipped: {', '.join(shipped)})"
        )
    try:
        config = load_config_from_file(str(path))
        processes = int(config.num_processes)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"{path}: not an Accelerate config that can be used: {type(error).__name__}: {reason}"
        ) from error
    if processes < 1:
        raise BadInput(f"{path}: num_processes is {processes}; it should be 1 or more")
    return Shape(
        path, processes, str(getattr(config, "distributed_type", "")).rpartition(".")[2] in ("FSDP", "DEEPSPEED")
    )


def check(config: RunConfig, resume: str = "auto") -> Shape:
    """Everything that can be known before a process is started; returns the launch shape."""
    shape = find_shape(config.job.accelerate)
    folder = RunFolder(config.output)
    resuming = folder.check(config, resume)
    job = prepare(config, shape.processes, shape.sharded)
    if resuming:
        folder.same_origin(origin(config, job.env, job.executor.rewards))
    return shape


def launch(config: RunConfig, words: Mapping[str, Any], resume: str = "auto") -> int:
    """Check `config`, run its recipe under Accelerate's launcher, and return the exit code (0, 2, 75 or 1)."""
    shape = check(config, resume)
    flags = [f"--{key}={json.dumps(value)}" for key, value in words.items()]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(shape.path),
        "-m", f"journeyman.recipes.{config.recipe}", "--config", str(config.path), *flags,
        "--resume", resume,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="journeyman-") as scratch:
        status = Path(scratch) / "exit"
        code, stopped = _wait(command, environment(shape.processes, status))
        codes = {int(path.read_text() or 1) for path in Path(scratch).glob("exit.*")}
    for known in (EXIT_BAD_INPUT, EXIT_RESUMABLE, 1):
        if known in codes:
            return known
    if code == 0 and codes == {0}:
        return 0
    if stopped:
        print(f"journeyman: {config.output}: stopped; the same command goes on", file=sys.stderr)
        return EXIT_RESUMABLE
    return 1


def environment(processes: int, status: Path) -> dict[str, str]:
    """The environment of the training processes: the cores shared out, and where their exit codes go."""
    threads = max(1, len(os.sched_getaffinity(0)) // processes) if hasattr(os, "sched_getaffinity") else 1
    return {
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        **os.environ,
        "JOURNEYMAN_PROCESSES": str(processes),
        "JOURNEYMAN_STATUS": str(status),
    }


def _wait(command: Sequence[str], env: Mapping[str, str]) -> tuple[int, bool]:
    """Run `command` in a session of its own; its exit code, and whether a signal came.

    Signals go to the processes below the launcher. Where there is none yet, the launcher is ended.
    """
    stopped = False
    process = subprocess.Popen(tied(command), env=dict(env), start_new_session=True)

    def forward(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped, ranks = True, descendants(process.pid)
        for pid in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
        if not ranks:
            process.kill()

    wanted = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: the run goes on without its terminal
        wanted.append(signal.SIGHUP)
    before = {number: signal.signal(number, forward) for number in wanted}
    try:
        return process.wait(), stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for pid in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The processes below the launcher `pid` that run a recipe (not the launcher's own helpers)."""
    import psutil

    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    found = []
    for process in below:
        try:
            if any(word.startswith("journeyman.recipes.") for word in process.cmdline()):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
