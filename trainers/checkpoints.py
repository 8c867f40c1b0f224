"""Checkpoints that lose nothing: a folder under its final name is whole, or it is not there.

Always true here: a checkpoint is written under a temporary name, synced, listed in a manifest (size and SHA-256 of every
file) and renamed; older ones are removed only after that; what does not match its manifest is named, set aside and never
resumed from.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ..configs import BadInput

MANIFEST = "manifest.json"
PARTIAL = ".partial"
OURS = "journeyman-{rank}.pt"
"""What TRL's and transformers' state leave out, a file a rank."""


# Accelerate numbers the CPUs of several processes ("cpu:0"), and torch knows no such place to load an optimizer's state to.
torch.serialization.register_package(
    0, lambda storage: None, lambda storage, place: storage if place.startswith("cpu:") else None
)


class DiskFull(RuntimeError):
    """No room for a checkpoint; the one before it is as it was."""


class SafeCheckpoints:
    """Mixed into a transformers Trainer: `_save_checkpoint` writes whole folders, and what resuming needs beyond them."""

    args: Any
    state: Any
    accelerator: Any
    keep_checkpoints: int = 2
    beside: Iterable[Path] = ()
    """Files of the run that belong to its state (the best adapter so far): copied into every checkpoint."""

    def extra_state(self) -> dict[str, Any]:
        """What a subclass needs to go on exactly: tensors and plain values."""
        return {}

    def restore_extra(self, state: dict[str, Any]) -> None:
        """Take over what `extra_state` gave."""

    def save_beside(self, folder: Path) -> None:
        """Write what a subclass keeps in files of its own; on the main process."""

    def load_beside(self, folder: Path) -> None:
        """Take over what `save_beside` wrote; on every process."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(self.args.output_dir) / PARTIAL)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder, main = Path(self.args.output_dir), self.accelerator.is_main_process
        partial = folder / PARTIAL
        name = f"checkpoint-{self.state.global_step}"
        if main:
            shutil.rmtree(partial, ignore_errors=True)
            (partial / name).mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            torch.save(self.extra_state(), partial / name / OURS.format(rank=self.accelerator.process_index))
            self.accelerator.wait_for_everyone()
            if main:
                self.save_beside(partial / name)
                for path in self.beside:
                    if path.exists():
                        shutil.copy2(path, partial / name / path.name)
                seal(partial / name)
                finish(partial / name, folder / name)
                rotate(folder, self.keep_checkpoints)
        except (OSError, RuntimeError) as error:
            if not _disk_is_full(error, folder):
                raise
            shutil.rmtree(partial, ignore_errors=True)
            raise DiskFull(
                f"{folder}: no room left for a checkpoint; the one before it is whole. Make room, and the same command goes on"
            ) from error
        self.accelerator.wait_for_everyone()

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is not None:
            self.load_beside(Path(checkpoint))
            path = Path(checkpoint) / OURS.format(rank=self.accelerator.process_index)
            if path.exists():
                self.restore_extra(torch.load(path, map_location="cpu", weights_only=False))


def seal(folder: Path) -> None:
    """Write the manifest of a finished checkpoint; every file is on the disk before its name is."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": _sum(path)} for path in files}
    for path in files:
        _sync(path)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
    _sync(manifest)
    _sync(folder)


def finish(partial: Path, final: Path) -> None:
    """Give a sealed folder its name; in place of one of the same step, which is the same state."""
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    _sync(final.parent)
    shutil.rmtree(partial.parent, ignore_errors=True)


def rotate(folder: Path, keep: int) -> None:
    """Remove all but the last `keep` checkpoints."""
    for _, old in steps_of(folder)[:-keep] if keep > 0 else []:
        shutil.rmtree(old)


def steps_of(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every checkpoint by its name, the oldest first."""
    found = [(path.name.rpartition("-")[2], path) for path in folder.glob("checkpoint-*")]
    return sorted((int(step), path) for step, path in found if step.isdigit())


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None where it is as it was written."""
    try:
        sums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except ValueError:
        return f"{MANIFEST} can't be read"
    for name, facts in sums.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != facts["bytes"]:
            return f"{name} has {path.stat().st_size:,} bytes, not {facts['bytes']:,}"
        if _sum(path) != facts["sha256"]:
            return f"{name} is not what was written (its SHA-256 differs)"
    return None


def last_whole(folder: Path) -> tuple[Path | None, int]:
    """The checkpoint with the most steps that is whole, and its steps; (None, 0) where there is none.

    Damaged ones are named on stderr and set aside as `damaged-checkpoint-N`.
    """
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    for step, path in reversed(steps_of(folder)):
        wrong = damage(path)
        if wrong is None:
            return path, step
        aside = path.with_name(f"damaged-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        print(f"journeyman: {path}: {wrong}; set aside as {aside.name}, resuming from an earlier one", file=sys.stderr)
    return None, 0


def check_room(folder: Path, bytes_needed: int) -> None:
    """Raise BadInput where the disk of `folder` has no room for a checkpoint of so many bytes."""
    existing = next(path for path in [folder, *folder.parents] if path.exists())
    free = shutil.disk_usage(existing).free
    if free < bytes_needed:
        raise BadInput(
            f"{folder}: {free / 2**20:,.0f} MiB are free and a checkpoint takes about {bytes_needed / 2**20:,.0f}; make room, or "
            "choose another --output_dir"
        )


def _disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether a write failed for want of room: torch and safetensors say so in errors of their own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if isinstance(error, OSError):
        return False
    text = str(error).lower()
    return "no space" in text or "enospc" in text or ("write" in text and shutil.disk_usage(folder).free < 2**20)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
