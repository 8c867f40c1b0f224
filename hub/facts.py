"""A finished run as its folder tells it: what the card and the upload are allowed to state.

Invariants: a fact is read from the run folder or it is absent; a run that has not finished has no facts.

    facts = RunFacts.read(Path("runs/arithmetic-0"))
    facts.heldout                       # None where the run was never evaluated
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..configs.errors import BadInput
from ..configs.read import read_yaml

_DATASET_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_DATA_SUFFIXES = {".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt", ".yaml", ".yml", ".arrow"}

HELDOUT_KEYS = ("n", "k", "before", "after", "difference", "low", "high")
"""What a held-out result in results.json must hold to be stated."""


@dataclass(frozen=True)
class RunFacts:
    """`run.json`, and `results.json` and `config.yaml` where they are there; the records stay in `folder`."""

    folder: Path
    run: Mapping[str, Any]
    results: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> RunFacts:
        """The facts of the run in `folder`.

        Raises:
            BadInput: not a run folder, a file that can't be read, or a run that has not finished.
        """
        if not folder.is_dir():
            raise BadInput(f"{folder}: no such run; give the folder that 'journeyman train' wrote")
        if not (folder / "run.json").is_file():
            raise BadInput(f"{folder}: not a run's folder (no run.json); give the one that 'journeyman train' wrote")
        run = read_object(folder / "run.json")
        if run.get("status", "finished") != "finished":
            raise BadInput(
                f"{folder}: the run is '{run['status']}', not finished; the command that began it goes on with it"
            )
        results = read_object(folder / "results.json") if (folder / "results.json").is_file() else {}
        missing = [key for key in HELDOUT_KEYS if key not in (results.get("heldout") or dict.fromkeys(HELDOUT_KEYS))]
        if missing:
            raise BadInput(f"{folder / 'results.json'}: 'heldout' lacks {', '.join(missing)}; evaluate the run again")
        config = read_yaml(folder / "config.yaml") if (folder / "config.yaml").is_file() else {}
        return cls(folder, run, results, config)

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.run.get("run") or self.folder.name)

    @property
    def recipe(self) -> str:
        """How it was learned: `grpo`, `ppo` and so on."""
        return str(self.run.get("recipe") or "grpo")

    @property
    def base(self) -> Mapping[str, Any]:
        """The base model: name, revision, sha256, hub_id, build."""
        return self.run.get("base") or {}

    @property
    def base_name(self) -> str:
        """A plain name for a base that is not on the Hub, never a path: `nano-arithmetic`."""
        words = shlex.split(str(self.base.get("build") or ""))[1:]
        plain = [word for word in words if re.fullmatch(r"\w[\w.-]*", word)]
        return "-".join(plain) or re.split(r"[\\/]", str(self.base.get("name") or "").rstrip("\\/"))[-1] or "unknown"

    @property
    def environment(self) -> Mapping[str, Any]:
        """The environment: name, version, kwargs."""
        return self.run.get("environment") or {}

    @property
    def heldout(self) -> Mapping[str, Any] | None:
        """The held-out result, or None where the run was never evaluated."""
        return self.results.get("heldout") or None

    @property
    def dataset(self) -> str | None:
        """The Hub dataset that the environment reads: its `path` looks like owner/name and not like a file."""
        path = str((self.environment.get("kwargs") or {}).get("path") or "")
        is_id = _DATASET_ID.fullmatch(path) and Path(path).suffix.lower() not in _DATA_SUFFIXES
        return path if is_id and not Path(path).exists() else None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        BadInput: unreadable, not JSON, or not an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path.name}: can't be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise BadInput(f"{path.name}: should hold one JSON object, it holds a {type(values).__name__}")
    return values
