"""The run folder: everything a run leaves behind, in one place. docs/run-folder.md describes each file.

Invariants: a folder is made only once everything has been checked, never overwritten in silence, and every file in it is
written to a temporary name and moved into place (records and metrics, which only grow, excepted). It says where the run's own
files were and what they held, and what was measured under others is not the run's.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ..configs import BadInput
from ..configs.files import KEYS, look_up, names_in
from ..configs.read import CONFIGS, read_yaml
from ..configs.schema import RETIRED
from ..envs.core import Environment
from ..rewards import Reward
from ..rollouts.record import uncompact
from .config import RunConfig, load_config
from .origin import ORIGIN, changes, origin

PACKAGES = ("journeyman", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy")


class RunFolder:
    """Paths of a run's files, and the few writes that are not records or checkpoints."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.facts = path / "config.yaml", path / "run.json"
        self.adapter, self.records, self.checkpoints = path / "adapter", path / "records", path / "checkpoints"
        self.metrics, self.results = path / "metrics.jsonl", path / "results.json"

    def differences(self, config: RunConfig) -> list[str]:
        """The keys in which the run of this folder differs from `config`; where a run lies does not make it another one."""
        places = ("output_dir", "folder", *RETIRED)
        theirs = {k: v for k, v in read_yaml(self.config).items() if k not in places}
        ours = {k: v for k, v in config.values.items() if k not in places}
        return sorted(k for k in {*theirs, *ours} if theirs.get(k) != ours.get(k))

    def check(self, config: RunConfig, resume: str = "auto") -> bool:
        """Whether a run of `config` may be written here, and whether it goes on with one (True); writes nothing.

        Args:
            resume: `auto` goes on with an unfinished run of the same config, `never` refuses it.

        Raises:
            BadInput: another run's folder, a finished run, one that a process is working on, an unfinished one that may not
                be resumed, a folder that holds other files, or one that can't be written.
        """
        if resume not in ("auto", "never"):
            raise BadInput(f"--resume is '{resume}'; it should be auto or never")
        if not self.path.exists():
            parent = next(p for p in [*self.path.resolve().parents] if p.exists())
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise BadInput(f"{self.path}: can't be made ({parent} is not writable); choose another --output_dir")
            return False
        if not self.path.is_dir() or not os.access(self.path, os.W_OK):
            raise BadInput(f"{self.path}: is not a writable folder; choose another --output_dir")
        if not any(self.path.iterdir()):
            return False
        if not self.facts.exists():
            raise BadInput(f"{self.path}: holds files that are no run's; choose another --output_dir")
        status = self.read().get("status")
        if changed := self.differences(config):
            raise BadInput(
                f"{self.path}: is the folder of another run (it differs in {', '.join(changed)}); choose another --output_dir"
            )
        if status == "finished":
            raise BadInput(f"{self.path}: this run is finished; choose another --output_dir for a new one")
        if resume == "never":
            raise BadInput(f"{self.path}: holds a run that is {status}; --resume auto goes on with it")
        try:
            self.lock(seconds=5).release()  # the ranks of one run all look
        except Timeout:
            raise BadInput(f"{self.path}: a process is at work on this run; wait for it, or stop it") from None
        return True

    def own_config(self, keys: Sequence[str] = KEYS) -> RunConfig:
        """The run's configuration, with its own files in the places where they are now.

        Args:
            keys: of the config: the files that are named under these have to be what they were.

        Raises:
            BadInput: one of the files has changed, or is gone.
        """
        config = load_config(self.config)
        places, wrong = look_up(self.read().get("files") or {}, config.folder)
        needed = names_in({key: config.values.get(key) for key in keys})
        if reasons := [reason for name, reason in wrong.items() if name in needed]:
            raise BadInput(f"{self.path}: {self.refusal(reasons)}")
        return replace(config, places={**config.places, **places})

    def same_origin(self, now: Mapping[str, Any], keys: Sequence[str] = ORIGIN) -> None:
        """Raise BadInput where the run began with other rewards, another environment, other files or another base than `now`.

        Args:
            now: `origin(...)`
            keys: which of these to compare.
        """
        if reasons := changes(self.read(), now, keys):
            raise BadInput(f"{self.path}: {self.refusal(reasons)}")

    def refusal(self, reasons: Sequence[str]) -> str:
        """What to say where the run is no longer what it was."""
        held = "; journeyman replay scores its rollouts by other rewards" if self.adapter.is_dir() else ""
        return f"is the run of something else: {'; '.join(reasons)}. Put it back as it was, or train a new run{held}"

    def lock(self, seconds: float = 0) -> FileLock:
        """Keep other processes from this folder until the lock is released or this process ends.

        Raises:
            Timeout: another process holds it, and did so for `seconds`.
        """
        lock = FileLock(self.path / ".lock")
        lock.acquire(timeout=seconds)
        return lock

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the lock for a block of code.

        Raises:
            BadInput: another process holds it.
        """
        try:
            lock = self.lock()
        except Timeout:
            raise BadInput(f"{self.path}: another process is at work on this run; wait for it, or stop it") from None
        try:
            yield
        finally:
            lock.release()

    def start(self, config: RunConfig, facts: dict[str, Any]) -> None:
        """Make the folder and write what is known before the first step."""
        for folder in (self.path, self.records, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        write(self.config, config.dump())
        self.update(**facts, status="running", finished=None)

    def read(self) -> dict[str, Any]:
        """`run.json`.

        Raises:
            BadInput: there is none, or it can't be read.
        """
        try:
            facts: dict[str, Any] = json.loads(self.facts.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(f"{self.path}: not a run's folder (no run.json)") from None
        except ValueError as error:
            raise BadInput(f"{self.facts}: not valid JSON: {error}") from error
        return facts

    def update(self, **facts: Any) -> None:
        """Lay `facts` on `run.json`."""
        known = self.read() if self.facts.exists() else {}
        write(self.facts, json.dumps({**known, **facts}, indent=1, ensure_ascii=False) + "\n")

    def append_metrics(self, row: dict[str, Any]) -> None:
        """One line of metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every line of metrics.jsonl."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def rewind(self, step: int | None) -> None:
        """Drop records and metrics of optimizer steps from `step` on, all where None: a resumed run writes them anew."""
        for path in sorted(self.records.glob("*.parquet")):  # it was stopped while it compacted
            uncompact(path)
        for path in sorted(self.records.glob("*.jsonl")):
            after = 1 if path.name.startswith("validation") else 0  # validation after step s is that of policy s
            keep_lines(path, lambda row, after=after: step is not None and row["step"] < step + after)
        if self.metrics.exists():
            keep_lines(self.metrics, lambda row: step is not None and row["step"] <= step)


def keep_lines(path: Path, keep: Any) -> None:
    """Rewrite a JSONL file with the rows that `keep` accepts; a last line that was cut off goes."""
    kept = []
    with path.open(encoding="utf-8") as lines:  # not splitlines(): texts may hold U+2028 and the like
        for line in lines:
            if line.endswith("\n") and keep(json.loads(line)):
                kept.append(line)
    write(path, "".join(kept))


def write(path: Path, text: str) -> None:
    """Write `text` to a temporary name, sync, and move it into place."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def run_facts(
    config: RunConfig, base: dict[str, Any], env: Environment, rewards: Iterable[Reward], processes: int
) -> dict[str, Any]:
    """What `run.json` says of a run before it starts."""
    return {
        "run": config.name,
        "recipe": config.recipe,
        "command": command(config),
        "created": now(),
        "seed": config.seed,
        **origin(config, env, rewards, base),
        "versions": versions(),
        "git": git_state(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "processes": processes,
    }


def command(config: RunConfig) -> str:
    """The command that repeats the run: a shipped job by its name or path, another file by its name."""
    path = config.path.resolve()
    name = path.name
    if path.is_relative_to(CONFIGS):
        by_name = path.name in ("nano.yaml", f"nano-{config.recipe}.yaml")
        name = path.parent.name if by_name else f"configs/{path.relative_to(CONFIGS).as_posix()}"
    words = {**config.overrides, "seed": config.seed}
    flags = [f"--{key} {shlex.quote(json.dumps(value))}" for key, value in words.items() if key != "output_dir"]
    recipe = [] if config.recipe == "grpo" else [f"--recipe {config.recipe}"]
    return " ".join(["journeyman train", name, *recipe, *flags])


def versions() -> dict[str, str]:
    """Python and the packages a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """Commit and whether there are changes, of the folder the run is started in; None outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(dirty.stdout.strip())}


def now() -> str:
    """The time, ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
