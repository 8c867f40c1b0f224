"""`journeyman train CONFIG --dry-run`: everything a run would do, said and not done.

Always true here: the checks are those of a real run; the tokenizer is loaded and the model's weights are not.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import psutil
import torch
from peft import LoraConfig

from ..envs.core import tools_of
from ..rollouts.chat import Chat
from ..trainers.adapter import adapted
from ..trainers.callbacks import time_text
from ..trainers.config import RunConfig
from ..trainers.critic import ODDS
from ..trainers.critic import Critic as ValueHead
from ..trainers.estimate import (
    CALL_SECONDS,
    EIGHT_BIT,
    FOUR_BIT,
    GPU_CALL_SECONDS,
    Batch,
    Critic,
    Memory,
    Precision,
    Shape,
    memory,
    shape_of,
    work,
)  # fmt: skip
from ..trainers.models import base_path, load_chat, model_shape
from ..trainers.ppo_config import PPOConfig
from ..trainers.run_folder import RunFolder
from ..trainers.tensors import reused
from .floors import matmul_speed
from .launch import Shape as LaunchShape
from .launch import find_shape
from .ppo import critic_base, critic_lora
from .preflight import Job, check_model, prepare

PROMPTS = 2
"""How many prompts are shown."""


def report(config: RunConfig) -> str:
    """The resolved config, the first prompts as rendered, batch arithmetic, and estimates of memory and time.

    Raises:
        BadInput: whatever a run would refuse before its first step.
    """
    launch = find_shape(config.job.accelerate)
    RunFolder(config.output).check(config)
    here, notes = _planned(config)
    job = prepare(here, launch.processes, launch.sharded)
    path = base_path(config, job.env)
    chat = load_chat(config, path)
    args = here.arguments()
    model = model_shape(config, path)
    longest = check_model(here, args, job, model, chat)
    critic = _critic(config, args, path, chat) if config.recipe == "ppo" and isinstance(args, PPOConfig) else None
    shape = _shape(model, config.lora, str(config.path))
    batch = _batch(config, args, job, launch.processes, longest)
    precision = _precision(config, args)
    shards = launch.processes if launch.sharded else 1
    need = memory(shape, batch, precision, args.gradient_checkpointing, shards, critic)
    speed = matmul_speed(precision.compute)
    call = GPU_CALL_SECONDS if torch.cuda.is_available() else CALL_SECONDS
    seconds = work(shape, batch, args.gradient_checkpointing, critic).seconds(speed, call)
    tools = tools_of(job.env)
    prompts = [chat.text(row["prompt"], tools) for row in job.train[:PROMPTS]]
    memory_lines = _memory_lines(need, shape, critic, args.gradient_checkpointing, elsewhere=bool(notes))
    parts = [
        ("config", config.dump().rstrip()),
        *((f"prompt {i}, as the model reads it", text.rstrip("\n")) for i, text in enumerate(prompts, 1)),
        ("batch", "\n".join(_batch_lines(batch, launch, config.job.max_seconds, critic is not None))),
        ("memory, estimated for each device", "\n".join(memory_lines)),
        ("time, estimated", "\n".join([*_time_lines(seconds, batch, speed), *notes])),
    ]
    return "\n\n".join(f"== {title} ==\n{text}" for title, text in parts)


def _planned(config: RunConfig) -> tuple[RunConfig, list[str]]:
    """`config` as this machine can check it, and what it lacks: a run for a GPU can be planned without one."""
    if torch.cuda.is_available():
        return config, []
    missing = [key for key in ("bf16", "fp16") if config.trainer.get(key)]
    missing += [key for key in ("load_in_4bit", "load_in_8bit") if getattr(config.model, key)]
    if not missing:
        return config, []
    keys = " and ".join(missing)
    note = (
        f"this machine shows no GPU, and {keys} needs one: the time is this CPU's, and training would be refused here"
    )
    return replace(config, trainer={**config.trainer, "use_cpu": True}), [note]


def _shape(model: Any, lora: LoraConfig, where: str) -> Shape:
    """Parameters counted on the meta device, the adapter's as PEFT puts them there."""
    parameters = sum(p.numel() for p in model.parameters())
    head = model.get_output_embeddings()
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    tuned = adapted(model, lora, where)
    adapter = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    return shape_of(model.config, parameters, adapter, linear, lora.r)


def _critic(config: RunConfig, args: PPOConfig, path: str, chat: Chat) -> Critic:
    """What PPO's critic adds."""
    policy = model_shape(config, path)
    other = critic_base(config, args, policy, chat, model_shape)
    hidden = (other or policy).config.get_text_config().hidden_size
    penalty, opinions = args.kl_coef > 0, args.opinions
    head = sum(p.numel() for p in ValueHead(hidden).parameters())
    if args.critic == "head":  # its values come with the policy's log-probs, or take a pass of the policy
        return Critic(head, passes=1 + penalty)
    backbone = _shape(other or policy, critic_lora(config, args), str(config.path))
    head += ODDS * opinions * hidden
    passes = (penalty or opinions > 0 or reused(args)) + penalty
    return Critic(head + backbone.adapter, backbone, other is not None, passes, opinion=opinions > 1)


def _batch(config: RunConfig, args: Any, job: Job, processes: int, prompt: int) -> Batch:
    every, k = config.job.validate_every, int(config.evaluation["k"])
    batch = Batch(
        rows=args.per_device_train_batch_size, accumulation=args.gradient_accumulation_steps,
        generate=args.per_device_train_batch_size * args.steps_per_generation, group=args.num_generations,
        prompt=prompt, completion=args.max_completion_length, processes=processes, reuse=args.num_iterations,
        tasks=len(job.train), max_steps=args.max_steps, max_epochs=args.num_train_epochs,
        measured=len(job.validation) * k if every else 0,
    )  # fmt: skip
    # Before the first step, every so many, and after the last.
    return replace(batch, validations=1 + math.ceil(batch.steps / every) if every else 0)


def _precision(config: RunConfig, args: Any) -> Precision:
    half = 2 if args.bf16 or args.fp16 else 4
    weights = 2 if config.model.dtype in ("bfloat16", "float16") else 4
    quantized = FOUR_BIT if config.model.load_in_4bit else EIGHT_BIT if config.model.load_in_8bit else None
    return Precision(weights, min(half, weights), 4, quantized)


def _batch_lines(batch: Batch, launch: LaunchShape, limit: float | None, ppo: bool) -> list[str]:
    a_step, groups = batch.rollouts_a_step, batch.generate // batch.group
    rows = [
        ("processes", f"{batch.processes}  ({launch.path.stem})"),
        ("rows of a micro-batch", f"{batch.rows}  on each process, {batch.accumulation} to an optimizer step"),
        ("rows generated together", f"{batch.generate}  on each process, {groups} groups of {batch.group}"),
        ("rollouts an optimizer step", f"{a_step:,.0f}  = {a_step / batch.group:,.0f} prompts x {batch.group}"),
        ("optimizer steps", f"{batch.steps:,}"),
        ("rollouts in total", f"{batch.rollouts:,}"),
        ("training tasks", f"{batch.tasks:,}, each drawn {batch.epochs:.2f} times (epochs)"),
        ("validation", f"{batch.validations} x {batch.measured:,} rollouts"),
        ("tokens", f"prompt up to {batch.prompt:,}, completion up to {batch.completion:,}"),
    ]  # fmt: skip
    if ppo:
        rows.insert(4, ("minibatches", _minibatches(batch)))
    lines = [f"{name:<28}{text}" for name, text in rows]
    return lines if limit is None else [*lines, f"{'ends after':<28}{time_text(limit)} at the latest"]


def _minibatches(batch: Batch) -> str:
    step, count = batch.rows * batch.accumulation * batch.processes, round(batch.minibatches)
    epochs, steps = _counted(batch.reuse, "epoch"), _counted(count * batch.reuse, "optimizer step")
    return f"{count} of {step:,} rollouts, {epochs} over them: {steps} a generation batch"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _memory_lines(
    need: Memory, shape: Shape, critic: Critic | None, checkpointing: bool, elsewhere: bool
) -> list[str]:  # fmt: skip
    kept = f"one micro-batch, while training; gradient_checkpointing: {str(checkpointing).lower()}"
    rows = [
        ("weights", need.weights, f"{shape.parameters:,} parameters"),
        ("adapter", need.adapter, f"{shape.adapter:,} parameters, LoRA rank {shape.rank}"),
        ("optimizer and gradients", need.optimizer, "Adam in fp32"),
        ("activations", need.activations, kept),
        ("engine", need.engine, "key-value cache and logits, while generating"),
        ("peak", need.total, "all but the smaller of the last two, and a tenth"),
    ]
    if critic is not None:
        trained = f"{critic.trained:,} trained parameters and their optimizer"
        base = f", a base of {critic.backbone.parameters:,}" if critic.separate and critic.backbone else ""
        rows.insert(3, ("critic", need.critic, trained + base))
        both = kept + ("; of policy and critic" if critic.backbone else "")
        rows[4] = ("activations", need.activations, both)
    lines = [f"{name:<28}{size_text(size):>12}  {text}" for name, size, text in rows]
    if elsewhere:
        return lines
    name, free = _device_memory()
    verdict = (
        "fits" if need.total <= free else "does not fit: lower per_device_train_batch_size or max_completion_length"
    )
    return [*lines, f"{name:<28}{size_text(free):>12}  {verdict}"]


def _device_memory() -> tuple[str, int]:
    if torch.cuda.is_available():
        return "this GPU", torch.cuda.get_device_properties(0).total_memory
    return "this machine's memory", psutil.virtual_memory().total


def _time_lines(seconds: float, batch: Batch, speed: float) -> list[str]:
    where = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"this CPU, {torch.get_num_threads()} threads"
    )
    return [
        f"at most {_about(seconds)}, {_about(seconds / batch.steps)} a step: every completion at its limit",
        f"from {speed / 1e9:,.0f} GFLOP/s, a matrix product measured on {where}; loading the base not counted",
    ]


def _about(seconds: float) -> str:
    return time_text(seconds) if seconds >= 10 else f"{seconds:.2g}s"


def size_text(count: float) -> str:
    """Bytes as `512.0 KiB`, `1.5 MiB`, `22.1 GiB`."""
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} GiB"
