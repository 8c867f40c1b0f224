"""`journeyman evaluate`: a run's adapter against its base on the held-out split; rollouts and figures go into its folder.

Always true here: before and after answer the same rows with the same sampling, and every figure comes from the records.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from ..configs import BadInput
from ..envs.core import Environment, Row
from ..evals.comparison import Evaluation, compare
from ..evals.measure import measure, sampling_of
from ..rewards.executor import Executor
from ..rollouts.chat import Chat
from ..rollouts.collect import Batch
from ..rollouts.pool import Pool
from ..rollouts.record import RecordWriter, Rollout, compact, read_records, record_files
from ..trainers.config import RunConfig, load_config
from ..trainers.engines import check_engine
from ..trainers.models import load_adapter, load_base
from ..trainers.rolling import context_length
from ..trainers.run_folder import RunFolder, write
from .held_out_engine import HeldOutEngine

CHUNK = 256
"""Items measured between two updates of the progress bar."""
BEFORE, AFTER = "heldout-before", "heldout-after"
"""Stems of the record files."""


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
    check_engine(config)
    env = config.environment()
    rows = env.tasks("heldout", config.seed, n if n is not None else config.job.heldout_rows)
    model, chat, base = load_base(config, env)
    if facts["base"]["sha256"] != base.sha256:
        raise BadInput(f"{folder.path}: the base model is not the one this run started from (its sha256 differs)")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    with HeldOutEngine(config, env, chat, rows) as engines:
        if not any(record_files(folder.records, BEFORE)) or _items(folder, BEFORE) != _ids(rows, config):
            held_out(config, env, chat, model, rows, folder, BEFORE, 0, quiet, engines=engines)
        tuned, step = load_adapter(model, folder.adapter), int(facts.get("adapter_step") or 0)
        held_out(config, env, chat, tuned, rows, folder, AFTER, step, quiet, engines=engines)
    result = compare(folder.records, config.quality(), config.evaluation, BEFORE, AFTER)
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
    *,
    engines: HeldOutEngine,
) -> list[Rollout]:
    """Measure `model` on `rows` and write the records under `stem`, in place of any that are there."""
    engine = engines.sampling_from(model, step)
    executor, k = Executor(config.rewards()), int(config.evaluation["k"])
    sampling = sampling_of(config.evaluation, config.max_tokens)
    for path in record_files(folder.records, stem):
        path.unlink()
    writer, pool = RecordWriter(folder.records, stem), Pool(env)
    rollouts: list[Rollout] = []
    starts = range(0, len(rows), CHUNK)
    console = Console(file=sys.stderr)
    for start in track(starts, f"{stem.replace('-', ' ')}", console=console, disable=quiet or not console.is_terminal):
        part = measure(
            engine, chat, pool, rows[start : start + CHUNK], executor, config.quality(), sampling,
            Batch(config.name, step, "heldout", config.seed, k, start * k), context=context_length(model.config),
            limits=config.limits(env),
        )  # fmt: skip
        writer.write(part)
        rollouts += part
    pool.close()
    writer.close()
    compact(folder.records, stem)
    return rollouts
