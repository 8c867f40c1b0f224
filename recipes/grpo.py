"""GRPO, a whole job end to end: `accelerate launch -m journeyman.recipes.grpo --config FILE [--any.field value]`.

Always true here: everything is checked before the run folder is made; every rank runs this file; rank 0 alone writes the
folder (each rank its own records). `journeyman train` starts it with the right launcher.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import get_peft_model
from safetensors.torch import load_file, save_file

from ..configs import BadInput, Stopped
from ..evals.measure import measure, sampling_of
from ..rollouts.record import RecordWriter, compact
from ..trainers.callbacks import LiveLine, Metrics, StopOnSignal, TimeLimit, Validation
from ..trainers.config import RunConfig
from ..trainers.grpo import Trainer, context_length
from ..trainers.models import adapter_state, load_base, restore_adapter, save_adapter
from ..trainers.run_folder import RunFolder, now, run_facts
from .command import run_recipe
from .preflight import Job, check_model, prepare


def train(config: RunConfig, resume: bool = False) -> Path:
    """Run `config` on the processes that are there, and return its folder.

    Raises:
        BadInput: see `prepare`; also a folder that holds something else, or fewer processes than were asked for.
        Stopped: a signal ended it at a checkpoint.
    """
    args = config.grpo()
    asked = int(os.environ.get("JOURNEYMAN_PROCESSES", args.world_size))
    if asked != args.world_size:
        raise BadInput(
            f"{asked} processes were asked for and {args.world_size} started; use a launch shape of configs/accelerate "
            "(an Accelerate config file), not --num_processes alone"
        )
    folder = RunFolder(config.output)
    folder.check(config, resume)
    checkpoint, step = folder.last_checkpoint() if resume else (None, 0)
    with args.main_process_first(desc="preparing", local=False):
        job = prepare(config, args.world_size)
        model, chat, base = load_base(config, job.env)
    check_model(config, job, model, chat, args.generation_batch_size // args.num_generations)
    transformers.set_seed(config.seed)  # the adapter's first weights
    model = get_peft_model(model, config.lora)
    if args.process_index == 0:
        if resume:
            folder.rewind(step)
            folder.update(status="running")
        else:
            facts = run_facts(config, base.as_dict(), job.env.version, job.rewards, args.world_size)
            folder.start(config, facts)
    try:
        stopped = _fit(config, args, job, model, chat, folder, checkpoint, step)
    except BaseException:
        if args.process_index == 0:
            folder.update(status="failed", finished=now())
        raise
    if stopped:
        if args.process_index == 0:
            folder.update(status="stopped")
        raise Stopped(f"{folder.path}: stopped at a checkpoint; the same command with --resume goes on")
    return folder.path


def _fit(
    config: RunConfig, args: Any, job: Job, model: Any, chat: Any, folder: RunFolder, checkpoint: Path | None, step: int
) -> bool:
    """Train, select, save; True where a signal stopped it before the end."""
    args.output_dir = str(folder.checkpoints)
    trainer = Trainer(
        model, args, env=job.env, rows=job.train, rewards=job.rewards, quality=job.quality, chat=chat, run=config.name,
        records=folder.records, max_error_rate=config.job.max_error_rate, shuffle_rewards=config.job.shuffle_rewards,
    )  # fmt: skip
    main = trainer.accelerator.is_main_process

    def agree(mine: bool) -> bool:
        return mine if args.world_size == 1 else trainer._any_rank(mine)

    best_file = folder.checkpoints / "best.safetensors"

    def on_best(quality: float, at: int, state: dict[str, torch.Tensor]) -> None:
        if main:
            save_file(state, best_file.with_suffix(".partial"), metadata={"quality": repr(quality), "step": str(at)})
            best_file.with_suffix(".partial").replace(best_file)

    seen = [(row["validation"], row["step"]) for row in folder.read_metrics() if row.get("validation") is not None]
    validation = Validation(
        _validator(config, job, trainer, folder) if job.validation and config.job.validate_every else lambda at: 0.0,
        lambda: adapter_state(trainer.accelerator.unwrap_model(trainer.model)),
        config.job.validate_every,
        on_best,
        best=max(seen, default=(-float("inf"), -1)),
        done=step if checkpoint else -1,
    )
    signals = StopOnSignal(agree)
    # The order matters: validation first, so that the same step's log can hold its score.
    callbacks: list[Any] = [validation, signals, Metrics(folder, validation)]
    if main:
        callbacks.append(LiveLine(validation))
    if config.job.max_seconds is not None:
        callbacks.append(TimeLimit(config.job.max_seconds, agree))
    trainer.remove_callback(transformers.PrinterCallback)
    for callback in callbacks:
        trainer.add_callback(callback)
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - began
    trainer.writer.close()
    if signals.stopped and trainer.state.global_step < trainer.state.max_steps:
        return True
    trainer.accelerator.wait_for_everyone()
    unwrapped = trainer.accelerator.unwrap_model(trainer.model)
    state = adapter_state(unwrapped)
    if main:
        chosen = trainer.state.global_step
        if config.job.select == "best" and best_file.exists():
            state, chosen = load_file(best_file), validation.best[1]
        save_adapter(unwrapped, state, chat, folder.adapter)
        for stem in sorted({path.name.rpartition("-")[0] for path in folder.records.glob("*.jsonl")}):
            compact(folder.records, stem)
        before = folder.read().get("train_seconds", 0.0) if checkpoint else 0.0
        folder.update(
            status="finished", finished=now(), steps=trainer.state.global_step, adapter_step=chosen,
            train_seconds=round(before + seconds, 1), validation=validation.best[0],
        )  # fmt: skip
    if not trainer.sharded:
        restore_adapter(unwrapped, state)
    trainer.accelerator.wait_for_everyone()
    return False


def _validator(config: RunConfig, job: Job, trainer: Trainer, folder: RunFolder) -> Any:
    """step -> mean quality on validation, each rank measuring its share; the rollouts go into the records."""
    accelerator = trainer.accelerator
    rank, world = accelerator.process_index, accelerator.num_processes
    writer = RecordWriter(folder.records, "validation" if world == 1 else f"validation-rank{rank}")
    # Every rank gets as many rows (the last ones twice, once counted): sharded models forward in step.
    each = -(-len(job.validation) // world)
    mine = [job.validation[i % len(job.validation)] for i in range(rank * each, (rank + 1) * each)]
    own = max(0, min(each, len(job.validation) - rank * each))
    sampling = sampling_of(config.evaluation, trainer.max_completion_length)

    def quality(step: int) -> float:
        trainer.engine.sync(None, step)
        rollouts = measure(
            trainer.engine, trainer.chat, job.env, mine, job.rewards, job.quality, sampling, run=config.name, step=step,
            split="validation", seed=config.seed, first_row=rank * each, context=context_length(trainer.model.config),
        )[:own]  # fmt: skip
        writer.write(rollouts)
        known = [r.quality for r in rollouts if r.quality is not None]
        sums = torch.tensor([float(sum(known)), float(len(known))], device=accelerator.device)
        total, count = accelerator.reduce(sums, reduction="sum").tolist()
        return total / max(count, 1.0)

    return quality


def main(argv: list[str] | None = None) -> None:
    """The command line under `accelerate launch`."""
    run_recipe(train, "grpo", argv)


if __name__ == "__main__":
    main()
