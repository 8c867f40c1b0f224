"""Whether a run's held-out figure is one of the run as it lies there: only such a one may be stated.

Invariants: nothing is run and no model is loaded; what is compared is what `evaluate` wrote beside the figure, and the run's own
files as they are now.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs.errors import BadInput
from ..configs.files import content_hash
from ..evals.comparison import compare
from ..evals.measurement import COMPARED, adapter_files, differing, plain, side_path
from ..rollouts.record import record_files

STEMS = ("heldout-before", "heldout-after")


def check_figure(folder: Path, run: Mapping[str, Any], heldout: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuse a figure that is not of this run.

    Args:
        run: `run.json`
        heldout: the figure, of `results.json`.
        config: `config.yaml`

    Raises:
        BadInput: it does not say what it measured; or rewards, environment, files, sampling, base or adapter of the run, or
            the records that it was made of, are others; or it is not the figure that the records give.
    """
    try:
        measure, sides, records = heldout["measure"], heldout["candidates"], heldout["records"]
        before, after = sides["before"], sides["after"]
        reasons = [
            *differing(measure, {**measure, **_began(run, measure), **_asked(config, measure)}),
            *differing(_candidate(after, run, config, before), before),
        ]
    except (LookupError, TypeError, AttributeError):
        reasons = ["it does not say what it measured"]
        records, after = {}, {}
    if (folder / "adapter" / "adapter_config.json").is_file() and after:
        changed = differing({"adapter": after.get("adapter") or {}}, {"adapter": adapter_files(folder / "adapter")})
        reasons += [part.partition(" (")[0] for part in changed]
    kept = {file.name: content_hash(file) for stem in STEMS for file in record_files(folder / "records", stem)}
    if kept and records and kept != records:
        reasons.append("records")
    if not reasons and all(side_path(folder / "records", stem).is_file() for stem in STEMS):
        made = plain(compare(folder / "records", *STEMS).as_dict())
        reasons += [f"{part} is not what the records give" for part in differing(heldout, made)]
    if reasons:
        parts = ", ".join(dict.fromkeys(reasons))
        raise BadInput(
            f"{folder / 'results.json'}: the held-out figure is not of this run as it is now: {parts}; "
            f"measure it again by 'journeyman evaluate {folder}', or remove the file to publish without a figure"
        )


def _began(run: Mapping[str, Any], measure: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of the measure that `run.json` says."""
    environment = run.get("environment") or {}
    return {
        "rewards": {r["name"]: {"hash": r["hash"], "weight": r["weight"]} for r in run.get("rewards") or []},
        "environment": {**measure["environment"], **environment},
        "files": {name: file["holds"] for name, file in run["files"].items()} if "files" in run else measure["files"],
    }


def _asked(config: Mapping[str, Any], measure: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of the measure that `config.yaml` asks for now."""
    asked = dict(config.get("evaluation") or {})
    k = asked.pop("k", 1)
    if config.get("max_completion_length"):
        asked["max_tokens"] = config["max_completion_length"]
    return {
        "metric": config.get("quality") or measure["metric"],
        "sampling": {**measure["sampling"], **asked},
        "limits": {**measure["limits"], **(config.get("limits") or {})},
        "k": k,
        "seed": config.get("seed", measure["seed"]),
    }


def _candidate(
    after: Mapping[str, Any], run: Mapping[str, Any], config: Mapping[str, Any], before: Mapping[str, Any]
) -> dict[str, Any]:  # fmt: skip
    """The candidate that run and config say, with the other side's value for what is compared."""
    base = {key: value for key, value in (run.get("base") or {}).items() if key in after["base"] and value is not None}
    said = {"kwargs": config.get("chat_template_kwargs") or {}, "raw_prompt": bool(config.get("raw_prompt"))}
    template = {**after["template"], **said}
    return {**after, **{key: before[key] for key in COMPARED}, "base": {**after["base"], **base}, "template": template}
