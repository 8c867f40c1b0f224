"""One run of any recipe: check, make the folder, train, select, save. What differs is the trainer that a recipe builds.

Always true here: everything is checked before the run folder is made; every rank runs this; rank 0 alone writes the
folder (each rank its own records); a run that a signal ended never reaches the adapter.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from accelerate.utils import parse_flag_from_env
from datasets.utils.logging import disable_progress_bar
from safetensors.torch import load_file, save_file
from transformers import TrainerState

from ..configs import BadInput, Stopped
from ..evals.measure import measure, sampling_of
from ..rewards.executor import Executor
from ..rollouts.adapter_files import adapter_state
from ..rollouts.chat import Chat
from ..rollouts.collect import Batch
from ..rollouts.engine import SyncFailed
from ..rollouts.pool import Pool
from ..rollouts.record import RecordWriter, compact
from ..rollouts.servers import NoServer
from ..trainers.adapter import adapted, update_norm
from ..trainers.callbacks import LiveLine, Metrics, StopOnSignal, TimeLimit, Validation
from ..trainers.checkpoints import check_room, last_whole
from ..trainers.config import RunConfig
from ..trainers.models import base_checksum, build_embedded, load_base, restore_adapter, save_adapter
from ..trainers.origin import origin
from ..trainers.rolling import Rolling, context_length
from ..trainers.run_folder import RunFolder, now, run_facts
from ..trainers.trackers import close_trackers, trackers_of
from .preflight import Job, check_model, prepare


class Recipe(Protocol):
    """Builds the trainer of a run; `args` is TRL's configuration of it, with `output_dir` set to the checkpoints."""

    def __call__(self, config: RunConfig, args: Any, job: Job, model: Any, chat: Chat, folder: RunFolder) -> Any:
        """A transformers Trainer with `Rolling` mixed in."""
        ...


def run(
    config: RunConfig, recipe: Recipe, resume: str = "auto",
    ready: Callable[[Any, Any, Chat], Any] = lambda args, model, chat: None,
) -> Path:  # fmt: skip
    """Run `config` on the processes that are there, and return its folder.

    Args:
        ready: what else a recipe has to load or check, given TRL's configuration, base and chat: before the folder is made.

    Raises:
        BadInput: see `prepare`; also a folder that holds something else, or fewer processes than were asked for.
        Stopped: a signal ended it at a checkpoint, or a single process found no server to generate on.
    """
    transformers.utils.logging.disable_progress_bar()
    disable_progress_bar()
    build_embedded(config, config.environment())
    args = config.arguments()
    asked = int(os.environ.get("JOURNEYMAN_PROCESSES", args.world_size))
    if asked != args.world_size:
        raise BadInput(
            f"{asked} processes were asked for and {args.world_size} started; use a launch shape of configs/accelerate "
            "(an Accelerate config file), not --num_processes alone"
        )
    main, folder = args.process_index == 0, RunFolder(config.output)
    resuming = folder.check(config, resume)
    with args.main_process_first(desc="preparing", local=False):
        sharded = any(parse_flag_from_env(f"ACCELERATE_USE_{kind}") for kind in ("FSDP", "DEEPSPEED"))
        job = prepare(config, args.world_size, sharded)
        started = job.executor.warm()
        model, chat, base = load_base(config, job.env)
    if resuming:
        folder.same_origin(origin(config, job.env, job.executor.rewards, base.as_dict()))
    check_model(config, args, job, model, chat)
    ready(args, model, chat)
    transformers.set_seed(config.seed)  # the adapter's first weights
    model = adapted(model, config.lora, str(config.path))
    needed = 12 * sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )  # float32 weights and Adam's two moments
    check_room(config.output, needed + 2**20)
    if main and not resuming:
        facts = run_facts(config, base.as_dict(), job.env, job.executor.rewards, args.world_size)
        folder.start(config, {**facts, **started})
    lock = folder.lock() if main else None
    checkpoint, step = _last_checkpoint(folder, main) if resuming else (None, 0)
    if main and resuming:
        folder.rewind(step if checkpoint else None)
        folder.update(status="running", **started)
    try:
        args.output_dir = str(folder.checkpoints)
        stopped = _fit(config, job, recipe(config, args, job, model, chat, folder), folder, checkpoint)
    except NoServer as none:
        if main:
            folder.update(status="stopped")
        if args.world_size > 1:  # the other ranks may wait for this one: the launcher must end them
            raise
        raise Stopped(
            f"{folder.path}: {none}; when one is up, the same command goes on from the last checkpoint"
        ) from none
    except BaseException:
        if main:
            with contextlib.suppress(OSError):  # a full disk, perhaps: what went wrong first is what is told
                folder.update(status="failed", finished=now())
        raise
    finally:
        if lock is not None:
            lock.release()
    if stopped:
        if main:
            folder.update(status="stopped")
        raise Stopped(f"{folder.path}: stopped at a checkpoint; the same command goes on")
    return folder.path


def _last_checkpoint(folder: RunFolder, main: bool) -> tuple[Path | None, int]:
    """The newest checkpoint that is whole, the same one on every rank; rank 0 sets damaged ones aside."""
    found = [last_whole(folder.checkpoints) if main else (None, 0)]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(found)
    return found[0]


def _fit(config: RunConfig, job: Job, trainer: Any, folder: RunFolder, checkpoint: Path | None) -> bool:
    """Train, select, save; True where a signal stopped it before the end."""
    trainer.decode_rows = config.job.decode_rows
    best = _Best(folder.checkpoints / "best.safetensors", trainer)
    trainer.keep_checkpoints, trainer.beside = trainer.args.save_total_limit or 0, [best.path]
    validation = Validation(
        _validator(config, job, trainer, folder), config.job.validate_every, best.keep, best.resume(checkpoint),
        done=int(checkpoint.name.rpartition("-")[2]) if checkpoint else -1,
        report=lambda logs: trainer.callback_handler.on_log(trainer.args, trainer.state, trainer.control, logs),
    )  # fmt: skip
    signals = StopOnSignal(trainer.any_rank)
    # The order matters: whoever ends the run before validation, which measures the last step too; validation before the log of
    # its step, which holds its score; the trackers last, to read it there.
    limit = [TimeLimit(config.job.max_seconds, trainer.any_rank)] if config.job.max_seconds is not None else []
    callbacks: list[Any] = [*limit, validation, signals, Metrics(folder, validation)]
    if trainer.accelerator.is_main_process:
        callbacks.append(LiveLine(validation, config.job.max_seconds))
    trainer.remove_callback(transformers.PrinterCallback)
    for callback in [*callbacks, *trackers_of(trainer)]:
        trainer.add_callback(callback)
    began, base = time.monotonic(), base_checksum(trainer.model)
    begin = adapter_state(trainer.accelerator.unwrap_model(trainer.model))
    try:
        if not _already_trained(trainer, checkpoint):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        signals.restore()
        close_trackers(trainer)
        trainer.close_engine()
    seconds = time.monotonic() - began
    if signals.stopped and trainer.state.global_step < trainer.state.max_steps:
        return True
    if base_checksum(trainer.model) != base:
        raise SyncFailed(
            f"{folder.path}: the base model's own weights changed during the run, which only its adapter may; the adapter is "
            "not saved, since it fits no base that anyone has"
        )
    trainer.accelerator.wait_for_everyone()
    unwrapped = trainer.accelerator.unwrap_model(trainer.model)
    last = state = adapter_state(unwrapped)
    if config.job.select == "best" and config.job.validate_every:
        state = best.state() or last
    if trainer.accelerator.is_main_process:
        save_adapter(unwrapped, state, trainer.chat, folder.adapter)
        trainer.save_beside(folder.path)
        for stem in sorted({path.name.rpartition("-")[0] for path in folder.records.glob("*.jsonl")}):
            compact(folder.records, stem)
        earlier = folder.read().get("train_seconds", 0.0) if checkpoint else 0.0
        folder.update(
            status="finished", finished=now(), steps=trainer.state.global_step,
            adapter_step=trainer.state.global_step if state is last else validation.best[1],
            train_seconds=round(earlier + seconds, 1),
            validation=validation.best[0] if math.isfinite(validation.best[0]) else None,
            update_norm=update_norm(last, begin, config.lora), engine=dict(trainer.engine_facts), base_checksum=base,
            peak_memory=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        )  # fmt: skip
    if not trainer.sharded:
        restore_adapter(unwrapped, state)
    trainer.accelerator.wait_for_everyone()
    return False


def _already_trained(trainer: Any, checkpoint: Path | None) -> bool:
    """Whether the run was stopped after its last step: its state is loaded, and there is nothing left to train."""
    if checkpoint is None:
        return False
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    if state.global_step < state.max_steps:
        return False
    # transformers would make one more step before it looks at how many there are.
    trainer.state = state
    trainer.load_beside(checkpoint)
    # Not by the trainer's own loading, which under sharding wants a model that `train` has wrapped.
    restore_adapter(
        trainer.accelerator.unwrap_model(trainer.model), load_file(checkpoint / "adapter_model.safetensors")
    )
    return True


class _Best:
    """The best adapter so far, on the disk: it outlives a stop."""

    def __init__(self, path: Path, trainer: Any) -> None:
        self.path, self.trainer = path, trainer

    def keep(self, quality: float, step: int) -> None:
        state = adapter_state(self.trainer.accelerator.unwrap_model(self.trainer.model))  # every rank: may be sharded
        if self.trainer.accelerator.is_main_process:
            partial = self.path.with_suffix(".partial")
            save_file(state, partial, metadata={"quality": repr(quality), "step": str(step)})
            partial.replace(self.path)

    def resume(self, checkpoint: Path | None) -> tuple[float, int]:
        """Go back to the best adapter of the checkpoint's time; its quality and step."""
        kept = checkpoint / self.path.name if checkpoint is not None else None
        if self.trainer.accelerator.is_main_process:
            self.path.unlink(missing_ok=True)
            if kept is not None and kept.exists():
                shutil.copy2(kept, self.path)
        self.trainer.accelerator.wait_for_everyone()
        if not self.path.exists():
            return -math.inf, -1
        from safetensors import safe_open

        with safe_open(self.path, "pt") as file:
            facts = file.metadata()
        return float(facts["quality"]), int(facts["step"])

    def state(self) -> dict[str, torch.Tensor] | None:
        return load_file(self.path) if self.path.exists() else None


def _validator(config: RunConfig, job: Job, trainer: Rolling, folder: RunFolder) -> Callable[[int], float]:
    """step -> mean quality on validation, each rank measuring its share; the rollouts go into the records."""
    if not job.validation or not config.job.validate_every:
        return lambda step: math.nan
    accelerator, chat = trainer.accelerator, trainer.chat
    rank, world = accelerator.process_index, accelerator.num_processes
    writer = RecordWriter(folder.records, "validation" if world == 1 else f"validation-rank{rank}")
    # Every rank gets as many rows (the last ones twice, once counted): sharded models forward in step.
    each = -(-len(job.validation) // world)
    mine = [job.validation[i % len(job.validation)] for i in range(rank * each, (rank + 1) * each)]
    own = max(0, min(each, len(job.validation) - rank * each))
    sampling, k = sampling_of(config.evaluation, config.max_tokens), int(config.evaluation["k"])
    pool = Pool(job.env)
    executor = Executor(job.executor.rewards)  # its own count of failures: none of them stops a run

    def quality(step: int) -> float:
        trainer.sync(step)
        rollouts = measure(
            trainer.engine, chat, pool, mine, executor, job.quality, sampling,
            Batch(config.name, step, "validation", config.seed, k, rank * each),
            context=context_length(trainer.model.config), limits=config.limits(job.env),
        )[: own * k]  # fmt: skip
        writer.write(rollouts)
        known = [r.quality for r in rollouts if r.quality is not None]
        sums = torch.tensor([float(sum(known)), float(len(known))], device=accelerator.device)
        total, count = accelerator.reduce(sums, reduction="sum").tolist()
        return float(total / max(count, 1.0))

    return quality
