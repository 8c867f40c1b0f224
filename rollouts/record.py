"""The rollout record: ONE row type, written once, read by trainer, evaluation, proof, replay and reports alike.

Always true here: a file of records only grows, a line at a time, and is on the disk when its step ends; the key of a
record is (run, step, row). A finished file is compacted to Parquet; `read_records` reads both.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from ..configs.errors import BadInput

SEGMENT_BYTES = 64 * 2**20
CLOCK_FIELDS = ("first_token_s", "latency_s")
"""Fields measured with a clock: the only ones in which two runs of the same seed may differ."""
_NESTED = (
    "messages", "prompt_ids", "completion_ids", "logprobs", "env_mask", "rewards", "step_rewards", "reward_hashes", "extras",
)  # fmt: skip


class StopReason(StrEnum):
    """Why a rollout ended."""

    EOS = "eos"
    """The policy wrote its end-of-turn token."""
    LENGTH = "length"
    """It ran into the limit on sampled tokens; the text is cut off."""
    TURNS = "turns"
    """It ran into the limit on turns."""
    CONTEXT = "context"
    """The model's context was full."""
    TIMEOUT = "timeout"
    """It ran into the limit on seconds."""
    ERROR = "error"
    """The environment failed: not a zero, but no result."""


@dataclass
class Rollout:
    """One policy's work on one task. Tokens are counted, seconds measured, costs in dollars; None is "not known"."""

    run: str
    step: int
    split: str
    item: str
    group: int
    row: int
    seed: int
    policy_version: int
    messages: list[dict[str, Any]]
    """The whole conversation: the prompt's messages and what the policy and its tools added."""
    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]
    """Of each completion token, under the distribution it was sampled from."""
    env_mask: list[int]
    """1 for tokens the policy wrote, 0 for what tools returned."""
    rewards: dict[str, float | None] = field(default_factory=dict)
    step_rewards: list[float] = field(default_factory=list)
    """What the environment paid for each turn, where it pays per turn; the reward `step_rewards` is their sum."""
    quality: float | None = None
    """The job's own measure of the result, in [0, 1]: what proofs and leaderboards compare."""
    advantage: float | None = None
    stop_reason: str = StopReason.EOS.value
    turns: int = 1
    tool_calls: int = 0
    tool_errors: int = 0
    """Calls that came back as an error text."""
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    first_token_s: float | None = None
    latency_s: float | None = None
    error: str | None = None
    env_version: str = ""
    reward_hashes: dict[str, str] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)
    """What reward functions logged of this rollout by `log_extra`."""

    @property
    def key(self) -> tuple[str, int, int]:
        """(run, step, row)"""
        return self.run, self.step, self.row


FIELDS = tuple(f.name for f in dataclasses.fields(Rollout))
RETIRED = frozenset({"cost"})
"""Fields that earlier versions wrote, always empty; a record that has them is read without."""


class RecordWriter:
    """Appends rollouts to `<folder>/<stem>-00000.jsonl`, -00001 and so on; one writer a stem."""

    def __init__(self, folder: Path, stem: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder, self.stem, self.segment_bytes = folder, stem, segment_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._segment = len(list(folder.glob(f"{stem}-*.jsonl")))
        self._file: IO[str] | None = None

    def write(self, rollouts: Iterable[Rollout]) -> None:
        """Append `rollouts`, and return when they are on the disk."""
        if self._file is None:
            self._file = (self.folder / f"{self.stem}-{self._segment:05d}.jsonl").open("a", encoding="utf-8")
        for rollout in rollouts:
            self._file.write(_line(rollout))
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._file.tell() >= self.segment_bytes:
            self.close()

    def close(self) -> None:
        """Close the open segment; a later `write` begins the next one."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._segment += 1


def record_files(place: Path, stem: str = "") -> list[Path]:
    """The record files of a run folder, of its `records/`, or of one file; only those whose name starts with `stem`."""
    if place.is_file():
        return [place]
    folder = place / "records" if (place / "records").is_dir() else place
    found = [p for p in folder.glob(f"{stem}*") if p.suffix in {".jsonl", ".parquet"}]
    # Segments written after a compaction come after the Parquet file, as they were written.
    return sorted(found, key=lambda p: p.name.replace(".parquet", "-"))


def read_records(place: str | Path, stem: str = "") -> Iterator[Rollout]:
    """Every rollout under `place` (a run folder, a `records` folder or a file), in the order written.

    A last line that was cut off by a crash is left out; any other line that can't be read is an error.

    Raises:
        BadInput: nothing there, or a line that is not a record (the file and line are named).
    """
    files = record_files(Path(place), stem)
    if not files:
        raise BadInput(f"{place}: no rollout records here ({stem or '*'}*.jsonl or .parquet)")
    for path in files:
        yield from _read_parquet(path) if path.suffix == ".parquet" else _read_jsonl(path)


def _read_jsonl(path: Path) -> Iterator[Rollout]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield Rollout(**_known(json.loads(line)))
            except (ValueError, TypeError) as error:
                if not line.endswith("\n"):
                    return
                raise BadInput(f"{path}:{number}: not a rollout record: {error}") from error


def _read_parquet(path: Path) -> Iterator[Rollout]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches():
        for values in batch.to_pylist():
            yield Rollout(**{k: json.loads(v) if k in _NESTED else v for k, v in _known(values).items()})


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """A record's fields without those that earlier versions wrote."""
    return {key: value for key, value in dict(values).items() if key not in RETIRED}


def compact(folder: Path, stem: str) -> Path | None:
    """Rewrite the JSONL segments of `stem` as one Parquet file, then remove them; None where there are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    segments = sorted(folder.glob(f"{stem}-*.jsonl"))
    if not segments:
        return None
    target, partial = folder / f"{stem}.parquet", folder / f".{stem}.parquet.partial"
    schema = _schema()
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        if target.exists():
            for batch in pq.ParquetFile(target).iter_batches():
                writer.write_batch(batch.select(schema.names))
        for segment in segments:
            rows: list[dict[str, Any]] = []
            for rollout in _read_jsonl(segment):
                rows.append(
                    {
                        k: json.dumps(getattr(rollout, k), default=str) if k in _NESTED else getattr(rollout, k)
                        for k in FIELDS
                    }
                )
                if len(rows) == 8192:
                    writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                    rows = []
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    partial.replace(target)
    for segment in segments:
        segment.unlink()
    return target


def uncompact(path: Path) -> None:
    """Turn a Parquet file back into a segment; segments of the same stem that `compact` had left are in it already."""
    stem, partial = path.stem, path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        for rollout in _read_parquet(path):
            file.write(_line(rollout))
        file.flush()
        os.fsync(file.fileno())
    for segment in path.parent.glob(f"{stem}-*.jsonl"):
        segment.unlink()
    path.unlink()
    partial.replace(path.with_name(f"{stem}-00000.jsonl"))


def _line(rollout: Rollout) -> str:
    values = {name: getattr(rollout, name) for name in FIELDS}
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), default=str) + "\n"


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"int": pa.int64(), "str": pa.string(), "float | None": pa.float64(), "str | None": pa.string()}
    return pa.schema(
        [(f.name, pa.string() if f.name in _NESTED else kinds[str(f.type)]) for f in dataclasses.fields(Rollout)]
    )
