"""What a held-out figure measures, and what it was measured of: two values beside the records of every side.

Invariants: both are plain JSON; a difference is formed of two sides that share the measure and whose candidates differ in
nothing but what is compared; a side counts only with the records that it was written with, to the byte.

    before, after = read_side(records, "heldout-before"), read_side(records, "heldout-after")
    check_comparable(before, after)             # BadInput, naming the parts in which they differ

The side of the record files `heldout-before.*` is `heldout-before.json` in the same folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..configs import BadInput
from ..configs.files import content_hash
from ..rollouts.record import record_files

COMPARED = ("adapter",)
"""The part of a candidate in which the sides of `evaluate` and `prove` differ."""


@dataclass(frozen=True)
class Measure:
    """Everything that a held-out figure depends on but for what it is measured of."""

    metric: str
    """The reward that measures the job."""
    rewards: Mapping[str, Any]
    """name -> `hash` of its source, `weight`"""
    environment: Mapping[str, Any]
    """`name`, `version`, `kwargs`"""
    files: Mapping[str, Any]
    """Each file of the user's that the config names -> hashes of what it holds."""
    items: Mapping[str, Any]
    """`n`, and a `hash` over all columns of the rows, in their order."""
    sampling: Mapping[str, Any]
    limits: Mapping[str, Any]
    """Of a rollout: turns, tokens, seconds."""
    k: int
    """Rollouts of each item."""
    seed: int
    """Of the order of the items and of the sampling."""


@dataclass(frozen=True)
class Candidate:
    """What is measured, and by which means."""

    base: Mapping[str, Any]
    """`name`, `revision` and `sha256` of the weights"""
    adapter: Mapping[str, str] | None
    """Each of the adapter's files -> hash of its content; None for the base alone."""
    template: Mapping[str, Any]
    """`hash` of the chat template, and the `kwargs` that it is given."""
    prompts: str
    """Hash of some of the items' prompts, spread over all, as the template renders them."""
    tokenizer: str
    engine: Mapping[str, Any]
    """Which engine sampled, and its version."""
    precision: Mapping[str, Any]
    """Of the weights and the arithmetic."""


@dataclass(frozen=True)
class Side:
    """One side of a difference: what was measured, of what, and the record files that hold it."""

    measure: Mapping[str, Any]
    candidate: Mapping[str, Any]
    records: Mapping[str, str]
    """Name of each record file -> hash of its content."""


def side_of(records: Path, stem: str, measure: Measure, candidate: Candidate) -> Side:
    """The side that the record files `stem` in the folder `records` are, as they lie there now."""
    files = {path.name: content_hash(path) for path in record_files(records, stem)}
    return Side(plain(dataclasses.asdict(measure)), plain(dataclasses.asdict(candidate)), files)


def side_path(records: Path, stem: str) -> Path:
    """The file that says what the records `stem` are records of."""
    return records / f"{stem}.json"


def side_text(side: Side) -> str:
    """What that file holds."""
    return json.dumps({"measure_hash": digest(side.measure), **dataclasses.asdict(side)}, indent=1) + "\n"


def read_side(records: Path, stem: str) -> Side:
    """The side of the records `stem`.

    Raises:
        BadInput: there are none, nothing says what they measure, or they are not as they were written.
    """
    path = side_path(records, stem)
    files = record_files(records, stem)
    if not files:
        raise BadInput(f"{records}: no records '{stem}'; evaluate the run")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        side = Side(values["measure"], values["candidate"], values["records"])
    except (OSError, ValueError, LookupError, TypeError):
        raise BadInput(
            f"{path}: nothing says what the records '{stem}' measure (they are of a measurement that was cut short, or of "
            "an older version); evaluate the run again"
        ) from None
    if digest(side.measure) != values.get("measure_hash"):
        raise BadInput(f"{path}: was changed by hand; evaluate the run again")
    if side.records != {file.name: content_hash(file) for file in files}:
        raise BadInput(f"{records}: the records '{stem}' are not as they were written; evaluate the run again")
    return side


def why_stale(records: Path, stem: str, measure: Measure, candidate: Candidate) -> str | None:
    """Why the records `stem` do not serve for this measure and candidate; None where they do, "" where there are none."""
    if not record_files(records, stem):
        return ""
    try:
        side = read_side(records, stem)
    except BadInput:
        return "are not whole, or nothing says what they measure"
    parts = differing(side.measure, plain(dataclasses.asdict(measure)))
    parts += differing(side.candidate, plain(dataclasses.asdict(candidate)))
    return f"are of another measurement ({', '.join(parts)})" if parts else None


def check_comparable(first: Side, second: Side, compared: Sequence[str] = COMPARED) -> None:
    """Raise BadInput unless a difference of the two sides says something about `compared` alone."""
    parts = differing(first.measure, second.measure)
    parts += differing(_without(first.candidate, compared), _without(second.candidate, compared))
    if parts:
        raise BadInput(
            f"no difference can be formed: the two sides differ in {', '.join(parts)}; measure both of them again"
        )


def _without(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def differing(first: Mapping[str, Any], second: Mapping[str, Any], within: str = "") -> list[str]:
    """The parts in which two values differ, as `sampling.temperature (0.0, now 1.0)`; long values are only named."""
    found: list[str] = []
    for name in dict.fromkeys([*first, *second]):
        a, b = first.get(name), second.get(name)
        if a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differing(a, b, f"{within}{name}.")
            continue
        shown = f" ({a!r}, now {b!r})" if len(f"{a!r}{b!r}") < 40 and "hash" not in name else ""
        found.append(f"{within}{name}{shown}")
    return found


def digest(value: Any) -> str:
    """SHA-256 (16 hex digits) of a value as JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def plain(value: Any) -> Any:
    """`value` as JSON gives it back."""
    return json.loads(json.dumps(value, default=str))


def adapter_files(folder: Path) -> dict[str, str]:
    """Each file of an adapter that takes part in what it does -> hash of its content.

    Of the configuration, the name of the base does not count: it is a place.

    Raises:
        BadInput: no adapter there, or its configuration is not JSON.
    """
    found = {
        path.name: content_hash(path) for path in sorted(folder.glob("*")) if path.suffix in (".safetensors", ".bin")
    }
    found.pop("training_args.bin", None)
    for name in ("chat_template.jinja", "tokenizer.json"):
        if (folder / name).is_file():
            found[name] = content_hash(folder / name)
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder}: no adapter that can be read (adapter_config.json: {error})") from None
    return {**found, "adapter_config.json": digest(_without(config, ("base_model_name_or_path", "revision")))}
