"""`journeyman evaluate`: a run's adapter against its base, held out, from records that anyone can recompute.

Always true here: before and after answer the same rows with the same sampling; every figure comes from the record
files; the interval is a paired bootstrap over items.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from ..configs import BadInput
from ..envs.core import Environment, Row
from ..rollouts.chat import Chat, end_ids
from ..rollouts.record import RecordWriter, Rollout, compact, read_records, record_files
from ..rollouts.transformers_engine import TransformersEngine
from ..trainers.config import RunConfig, load_config
from ..trainers.models import load_adapter, load_base
from ..trainers.rolling import context_length
from ..trainers.run_folder import RunFolder, write
from .measure import by_item, measure, sampling_of
from .statistics import Difference, interval_text, paired_difference, pass_at_k, wilson

CHUNK = 256
"""Items measured between two updates of the progress bar."""


@dataclass(frozen=True)
class Evaluation:
    """A run against its base on held-out rows."""

    run: str
    metric: str
    difference: Difference
    sampling: dict[str, Any]
    pass_at: dict[int, tuple[float, float]]
    """k -> pass@k (before, after), where k rollouts an item were drawn and the metric is binary."""
    records: Path

    def lines(self) -> list[str]:
        """What the command prints."""
        d = self.difference
        n, k = d.n, d.k_after
        lines = [
            f"held-out {self.metric}, n = {n} items x {k} rollout{'s' if k > 1 else ''}, "
            f"{'greedy' if not self.sampling['temperature'] else 'temperature ' + format(self.sampling['temperature'], 'g')}",
        ]
        for name, mean in (("before", d.mean_before), ("after", d.mean_after)):
            bounds = ""
            if k == 1:
                low, high = wilson(round(mean * n), n)
                bounds = f"  [{low:.3f}, {high:.3f}]"
            lines.append(f"  {name:<7}{mean:.3f}{bounds}")
        lines.append(
            f"  change {interval_text(d.difference, d.low, d.high)}  (95% interval, paired bootstrap over items)"
        )
        if d.smallest_detectable > 0:  # 0 where no item changed: nothing to tell it from
            lines.append(f"  smallest change this sample would have shown: {d.smallest_detectable:.3f}")
        lines += [f"  pass@{k}  {a:.3f} -> {b:.3f}" for k, (a, b) in sorted(self.pass_at.items())]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For results.json."""
        d = self.difference
        return {
            "n": d.n, "k": d.k_after, "metric": self.metric, "before": d.mean_before, "after": d.mean_after,
            "difference": d.difference, "low": d.low, "high": d.high, "smallest_detectable": d.smallest_detectable,
            "sampling": self.sampling, "pass_at_k": {str(k): list(v) for k, v in self.pass_at.items()},
        }  # fmt: skip


def evaluate(run: str | Path, n: int | None = None, quiet: bool = False) -> Evaluation:
    """Measure base and adapter of a finished run on its held-out split; records and results.json go into its folder.

    Args:
        run: the run's folder.
        n: how many held-out items; what the run's config says where None.

    Raises:
        BadInput: no finished run there.
    """
    folder = RunFolder(Path(run))
    facts = folder.read()
    if not folder.adapter.is_dir():
        raise BadInput(f"{folder.path}: the run is {facts.get('status')} and has no adapter yet; finish it first")
    config = load_config(folder.config)
    env = config.environment()
    rows = env.tasks("heldout", config.seed, n if n is not None else config.job.heldout_rows)
    model, chat, base = load_base(config, env)
    if facts["base"]["sha256"] != base.sha256:
        raise BadInput(f"{folder.path}: the base model is not the one this run started from (its sha256 differs)")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    if not any(record_files(folder.records, "heldout-before")) or _items(folder, "heldout-before") != _ids(
        rows, config
    ):
        held_out(config, env, chat, model, rows, folder, "heldout-before", 0, quiet)
    tuned = load_adapter(model, folder.adapter)
    held_out(config, env, chat, tuned, rows, folder, "heldout-after", int(facts.get("adapter_step") or 0), quiet)
    result = compare(folder, config.quality(), config.evaluation)
    store(folder, "heldout", result.as_dict())
    return result


def store(folder: RunFolder, key: str, value: Any) -> None:
    """Lay `value` under `key` of the run's results.json."""
    known = json.loads(folder.results.read_text(encoding="utf-8")) if folder.results.exists() else {}
    write(folder.results, json.dumps({**known, key: value}, indent=1) + "\n")


def _ids(rows: Sequence[Row], config: RunConfig) -> list[str]:
    return [row["item"] for row in rows for _ in range(int(config.evaluation["k"]))]


def _items(folder: RunFolder, stem: str) -> list[str]:
    return [rollout.item for rollout in read_records(folder.records, stem)]


def held_out(
    config: RunConfig,
    env: Environment,
    chat: Chat,
    model: Any,
    rows: Sequence[Row],
    folder: RunFolder,
    stem: str,
    step: int,
    quiet: bool = False,
) -> list[Rollout]:
    """Measure `model` on `rows` and write the records under `stem`, in place of any that are there."""
    engine = TransformersEngine(
        model, chat.tokenizer.pad_token_id, end_ids(chat.tokenizer, model.generation_config), config.job.decode_rows
    )
    engine.sync(None, step)
    rewards, k = config.rewards(), int(config.evaluation["k"])
    sampling = sampling_of(config.evaluation, config.max_tokens)
    for path in record_files(folder.records, stem):
        path.unlink()
    writer = RecordWriter(folder.records, stem)
    rollouts: list[Rollout] = []
    starts = range(0, len(rows), CHUNK)
    console = Console(file=sys.stderr)
    for start in track(starts, f"{stem.replace('-', ' ')}", console=console, disable=quiet or not console.is_terminal):
        part = measure(
            engine, chat, env, rows[start : start + CHUNK], rewards, config.quality(), sampling, run=config.name, step=step,
            split="heldout", seed=config.seed, k=k, first_row=start * k, context=context_length(model.config),
        )  # fmt: skip
        writer.write(part)
        rollouts += part
    writer.close()
    compact(folder.records, stem)
    return rollouts


def compare(folder: RunFolder, metric: str, sampling: dict[str, Any]) -> Evaluation:
    """The evaluation that the records in `folder` hold: nothing is run."""
    before = by_item(list(read_records(folder.records, "heldout-before")))
    after = by_item(list(read_records(folder.records, "heldout-after")))
    common = before.keys() & after.keys()  # an item whose reward failed has no quality on that side
    before, after = ({item: side[item] for item in side if item in common} for side in (before, after))
    difference = paired_difference(before, after)
    return Evaluation(
        str(folder.read().get("run")), metric, difference, dict(sampling), _pass_at(before, after), folder.records
    )


def _pass_at(before: dict[str, list[float]], after: dict[str, list[float]]) -> dict[int, tuple[float, float]]:
    k_most = min(len(scores) for side in (before, after) for scores in side.values())
    if k_most < 2 or any(score not in (0.0, 1.0) for side in (before, after) for s in side.values() for score in s):
        return {}

    def mean(side: dict[str, list[float]], k: int) -> float:
        return float(np.mean([pass_at_k(len(scores), int(sum(scores)), k) for scores in side.values()]))

    return {k: (mean(before, k), mean(after, k)) for k in sorted({1, 2, 4, 8, 16, 32, k_most}) if k <= k_most}
