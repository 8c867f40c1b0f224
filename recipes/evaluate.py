"""`journeyman evaluate`: a run's adapter against its base on the held-out split; rollouts and figures go into its folder.

Invariants: before and after answer the same rows, under the same rewards, with the same sampling and limits, whatever was
recorded earlier; the run's own files are what it began with; every figure comes from the records.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from ..configs import BadInput
from ..envs.core import Environment, Row, tools_of
from ..evals.comparison import Evaluation, compare
from ..evals.measure import measure, sampling_of
from ..evals.measurement import Candidate, Measure, adapter_files, digest, side_of, side_path, side_text, why_stale
from ..rewards import Reward
from ..rewards.executor import Executor
from ..rollouts.chat import Chat
from ..rollouts.collect import Batch
from ..rollouts.pool import Pool
from ..rollouts.record import RecordWriter, compact, record_files
from ..trainers.config import RunConfig
from ..trainers.models import Base, load_adapter, load_base
from ..trainers.origin import origin
from ..trainers.rolling import context_length
from ..trainers.run_folder import RunFolder, write
from .held_out_engine import HeldOutEngine, engine_facts

CHUNK = 256
"""Items measured between two updates of the progress bar."""
BEFORE, AFTER = "heldout-before", "heldout-after"
"""Stems of the record files."""
PROMPTS = 64
"""How many rendered prompts are hashed at most: rows, template and tokenizer are hashed whole, and they decide all of them."""


def evaluate(run: str | Path, n: int | None = None, quiet: bool = False) -> Evaluation:
    """Measure base and adapter of a finished run on its held-out split; records and results.json go into its folder.

    The base's answers are kept for the next time, and measured anew where they are of another measure.

    Args:
        run: the run's folder.
        n: how many held-out items; what the run's config says where None.

    Raises:
        BadInput: no finished run there, one whose rewards, environment, files or base are no longer what it began with, or one
            that another process works on.
    """
    folder = RunFolder(Path(run))
    facts = folder.read()
    if not folder.adapter.is_dir():
        raise BadInput(f"{folder.path}: the run is {facts.get('status')} and has no adapter yet; finish it first")
    with folder.at_work():
        job = HeldOut.of(folder.own_config(), n)
        model, chat, base = load_base(job.config, job.env)
        folder.same_origin(origin(job.config, job.env, job.rewards, base.as_dict()))
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        with HeldOutEngine(job.config, job.env, chat, job.rows) as engines:
            why = held_out_once(job, chat, model, base, engines, folder, BEFORE, quiet=quiet)
            tuned, step = load_adapter(model, folder.adapter), int(facts.get("adapter_step") or 0)
            held_out(job, chat, tuned, base, engines, folder, AFTER, folder.adapter, step, quiet)
        result = compare(folder.records, BEFORE, AFTER)
        store(folder, "heldout", result.as_dict())
    return replace(result, notes=(f"the base was measured anew: its recorded answers {why}",)) if why else result


def store(folder: RunFolder, key: str, value: Any) -> None:
    """Set `key` of the run's results.json to `value`."""
    known = json.loads(folder.results.read_text(encoding="utf-8")) if folder.results.exists() else {}
    write(folder.results, json.dumps({**known, key: value}, indent=1) + "\n")


@dataclass(frozen=True)
class HeldOut:
    """The held-out work of a job: what is the same on all sides of a difference."""

    config: RunConfig
    env: Environment
    rewards: Sequence[Reward]
    rows: Sequence[Row]
    measure: Measure

    @classmethod
    def of(cls, config: RunConfig, n: int | None = None) -> HeldOut:
        """That of `config`, of `n` items (as many as it says where None).

        Raises:
            BadInput: environment or rewards can't be used, or there are fewer items.
        """
        env, rewards = config.environment(), config.rewards()
        rows = env.tasks("heldout", config.seed, n if n is not None else config.job.heldout_rows)
        made = origin(config, env, rewards)
        measure = Measure(
            metric=config.quality(),
            rewards={r["name"]: {"hash": r["hash"], "weight": r["weight"]} for r in made["rewards"]},
            environment=made["environment"],
            files={name: file["holds"] for name, file in made["files"].items()},
            items={"n": len(rows), "hash": digest(rows)},
            sampling=asdict(sampling_of(config.evaluation, config.max_tokens)),
            limits=asdict(config.limits(env)),
            k=int(config.evaluation["k"]),
            seed=config.seed,
        )
        return cls(config, env, rewards, rows, measure)

    def candidate(self, chat: Chat, model: Any, base: Base, adapter: Path | None) -> Candidate:
        """What is measured on this work: the base, or the base with the adapter in a folder."""
        parts = base.as_dict()
        kept = ("revision", "sha256", "files") if base.sha256 else ("name", "revision")
        first, options = next(model.parameters()), self.config.model
        some = self.rows[:: len(self.rows) // PROMPTS + 1]
        return Candidate(
            base={key: parts[key] for key in kept},
            adapter=None if adapter is None else adapter_files(adapter),
            template={
                "hash": digest(chat.tokenizer.chat_template), "kwargs": chat.template_kwargs, "raw_prompt": chat.raw_prompt,
            },
            prompts=digest([chat.prompt_ids(row["prompt"], tools_of(self.env)) for row in some]),
            tokenizer=tokenizer_hash(chat.tokenizer),
            engine=engine_facts(self.config),
            precision={
                "dtype": str(first.dtype).removeprefix("torch."), "device": first.device.type,
                "4bit": options.load_in_4bit, "8bit": options.load_in_8bit, "attention": options.attn_implementation,
            },
        )  # fmt: skip


def tokenizer_hash(tokenizer: Any) -> str:
    """Over everything that decides which ids a text becomes."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return digest(backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items()))


def held_out_once(
    job: HeldOut, chat: Chat, model: Any, base: Base, engines: HeldOutEngine, folder: RunFolder, stem: str,
    adapter: Path | None = None, step: int = 0, quiet: bool = False,
) -> str:  # fmt: skip
    """`held_out` where the records of `stem` do not hold the same already; why they don't, "" where there were none."""
    candidate = job.candidate(chat, model, base, adapter)
    why = why_stale(folder.records, stem, job.measure, candidate)
    if why is not None:
        held_out(job, chat, model, base, engines, folder, stem, adapter, step, quiet)
    return why or ""


def held_out(
    job: HeldOut, chat: Chat, model: Any, base: Base, engines: HeldOutEngine, folder: RunFolder, stem: str,
    adapter: Path | None = None, step: int = 0, quiet: bool = False,
) -> None:  # fmt: skip
    """Measure `model` and write the records under `stem`, in place of any that are there, with what they measure.

    Args:
        base: what `model` is, or is with the adapter of the folder `adapter`.
        step: of the adapter, for the records.
    """
    config, env = job.config, job.env
    candidate = job.candidate(chat, model, base, adapter)
    engine = engines.sampling_from(model, step)
    # First of all: what is half written must not count as the records that were there.
    for path in [side_path(folder.records, stem), *record_files(folder.records, stem)]:
        path.unlink(missing_ok=True)
    executor, k = Executor(job.rewards), job.measure.k
    writer, pool = RecordWriter(folder.records, stem), Pool(env)
    starts = range(0, len(job.rows), CHUNK)
    console = Console(file=sys.stderr)
    for start in track(starts, f"{stem.replace('-', ' ')}", console=console, disable=quiet or not console.is_terminal):
        part = measure(
            engine, chat, pool, job.rows[start : start + CHUNK], executor, job.measure.metric,
            sampling_of(config.evaluation, config.max_tokens), Batch(config.name, step, "heldout", config.seed, k, start * k),
            context=context_length(model.config), limits=config.limits(env),
        )  # fmt: skip
        writer.write(part)
    pool.close()
    writer.close()
    compact(folder.records, stem)
    side = side_of(folder.records, stem, job.measure, candidate)
    write(side_path(folder.records, stem), side_text(side))
