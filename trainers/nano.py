"""`nano`, the embedded base model: a small Qwen3 built on first use from the job's demonstrations, then cached.

Always true here: the same job and options give the same model; it is built in a temporary folder under a lock and moved
into place whole, so two processes that ask at once share one. Its warm start sees only the `demonstrations` split, and
ends as soon as it is right on `target` of the validation tasks (RL has the rest to learn), or stops getting better.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from transformers import Qwen3Config, Qwen3ForCausalLM, TrainerCallback

from ..configs import BadInput
from ..configs.lifeline import tied
from ..envs.core import Environment, Row, tools_of
from ..rollouts.chat import Chat
from ..rollouts.scripted import demonstrated
from .sft import Supervised, agreement, worked_examples
from .tokenizer import train_tokenizer

RECIPE_VERSION = 2
"""Part of the cache key: raise it when this file would build another model from the same demonstrations."""


DIALOGUES = 512
"""Demonstrations of a job with tools from which the tokenizer is trained: their constant parts are long."""

BUILD_THREADS = 1
"""Threads of the warm start, whatever the machine has: sums in another order would make another model."""


DISTRIBUTED = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK"}


@dataclass(frozen=True)
class NanoOptions:
    """Size of the model and length of its warm start; keys of `nano:` in a config."""

    hidden_size: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    """32 or 64: what vLLM's CPU build serves."""
    intermediate_size: int = 384
    context: int = 1024
    """Most tokens of prompt and completion together."""
    vocab_size: int = 512
    across_words: bool = True
    """Whether the tokenizer's merges may cross words: shorter constant prompts, but varied text is learned less well."""
    demonstrations: int | None = None
    """How many demonstrations to use; all of the split where not given."""
    validation: int = 500
    steps: int = 600
    """Most optimizer steps of the warm start."""
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    target: float = 0.5
    """Share of validation tasks at which the warm start ends."""
    check_every: int = 20
    patience: int = 8
    """Checks without a better validation loss after which the warm start ends."""


def cache_folder() -> Path:
    """Where built models are kept: `$JOURNEYMAN_CACHE`, else `~/.cache/journeyman`."""
    return Path(os.environ.get("JOURNEYMAN_CACHE") or Path.home() / ".cache" / "journeyman")


def nano_base(env: Environment, job: str, options: NanoOptions, elsewhere: Sequence[str] | None = None) -> Path:
    """The folder of the job's nano (weights, tokenizer, chat template), built first where it is not cached.

    Args:
        elsewhere: arguments of `journeyman nano` with which a process of its own builds it: among the ranks of a
            distributed run a warm start would wait for the others.

    Raises:
        BadInput: the job has no demonstrations, or the cache folder can't be written.
    """
    rows = env.tasks("demonstrations", 0, options.demonstrations)
    if not rows:
        raise BadInput(f"the job '{job}' has no demonstrations to build nano from: give that split a share above 0")
    validation = env.tasks("validation", 0)[: options.validation]
    known = [[row["item"], env.oracle(row)] for row in rows]
    parts = [RECIPE_VERSION, dataclasses.asdict(options), env.version, known, len(validation)]
    if tools_of(env):  # what the model reads of its tools, and what was done with them
        parts += dialogues(env, rows[:64])
    key = json.dumps(parts)
    folder = cache_folder() / f"nano-{job}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    if (folder / "config.json").exists():
        return folder
    if elsewhere is not None:  # every rank asks for it: whoever comes second finds it built
        clean = {k: v for k, v in os.environ.items() if k not in DISTRIBUTED and not k.startswith("ACCELERATE_")}
        command = [sys.executable, "-m", "journeyman.scripts.main", "nano", *elsewhere]
        subprocess.run(tied(command), env=clean, check=False, stdout=subprocess.DEVNULL)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder) + ".lock"):
            if not (folder / "config.json").exists():
                partial = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
                try:
                    build(env, job, options, rows, validation, partial)
                    partial.rename(folder)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise BadInput(
            f"{folder.parent}: nano can't be cached here ({error.strerror}); set JOURNEYMAN_CACHE"
        ) from error
    return folder


def build(
    env: Environment, job: str, options: NanoOptions, rows: Sequence[Row], validation: Sequence[Row], folder: Path
) -> None:
    """Train tokenizer and model on `rows` and save them in `folder`, with `nano.json` saying how it went."""
    transformers.utils.logging.disable_progress_bar()
    words: list[str] = list(getattr(env, "labels", None) or [])
    plain = Chat(train_tokenizer([], [], 300))  # only its template is used: texts as they will be rendered
    if tools_of(env):
        texts = [part for text in dialogues(env, rows[:DIALOGUES]) for part in apart(text, words)]
    else:
        texts = [plain.text(row["prompt"]) + env.oracle(row) for row in rows]
    chat = Chat(train_tokenizer(texts, words, options.vocab_size, options.across_words))
    model = new_model(options, chat.tokenizer)
    examples = worked_examples(env, chat, rows, demonstrated)
    held = worked_examples(env, chat, validation, demonstrated) or examples
    with _progress() as progress:
        task = progress.add_task(f"building nano for {job} (first use)", total=options.steps, right=0.0)
        watch = _WarmStart(options, held, chat.tokenizer.pad_token_id, progress, task)
        trainer = Supervised(
            model, chat, examples, folder / "trainer", max_steps=options.steps,
            per_device_train_batch_size=options.batch, learning_rate=options.learning_rate,
            weight_decay=options.weight_decay, lr_scheduler_type="constant_with_warmup", warmup_steps=20,
            adam_beta2=0.98, seed=0, use_cpu=True,
        )  # fmt: skip
        trainer.add_callback(watch)
        with _threads(BUILD_THREADS):
            trainer.train()
    if watch.best is not None:
        model.load_state_dict(watch.best)
    shutil.rmtree(folder / "trainer", ignore_errors=True)
    model.save_pretrained(folder)
    chat.tokenizer.save_pretrained(folder)
    facts = {
        "job": job, "demonstrations": len(rows), "validation": len(validation), "steps": watch.steps,
        "validation_right": watch.right, "parameters": sum(p.numel() for p in model.parameters()),
        "options": dataclasses.asdict(options),
    }  # fmt: skip
    (folder / "nano.json").write_text(json.dumps(facts, indent=1) + "\n")


def dialogues(env: Environment, rows: Sequence[Row]) -> list[str]:
    """Demonstrations as the model will read them, tools and their replies included."""
    chat = Chat(train_tokenizer([], [], 300))
    chat.learn_to_parse()
    return [
        str(chat.tokenizer.decode([*rollout.prompt_ids, *rollout.completion_ids]))
        for rollout in demonstrated(env, chat, rows)
    ]


def apart(text: str, words: Sequence[str]) -> list[str]:
    """The parts of `text` between `words`, which are tokens of their own: no merge may take in a part of one."""
    if not words:
        return [text]
    longest_first = sorted(map(re.escape, words), key=len, reverse=True)
    return [part for part in re.split(rf"\b(?:{'|'.join(longest_first)})\b", text) if part]


def new_model(options: NanoOptions, tokenizer: Any) -> Qwen3ForCausalLM:
    """A Qwen3 of the given size with random weights, the same ones each time."""
    config = Qwen3Config(
        vocab_size=-(-len(tokenizer) // 64) * 64, hidden_size=options.hidden_size,
        num_hidden_layers=options.layers, num_attention_heads=options.heads, num_key_value_heads=options.kv_heads,
        head_dim=options.head_dim, intermediate_size=options.intermediate_size, tie_word_embeddings=True, initializer_range=0.05,
        max_position_embeddings=options.context, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Qwen3ForCausalLM(config)


class _WarmStart(TrainerCallback):
    """Ends the warm start at the target, or once validation has stopped getting better; keeps the best weights."""

    def __init__(self, options: NanoOptions, held: Any, pad_id: int, progress: Progress, task: Any) -> None:
        self.options, self.held, self.pad_id = options, held, pad_id
        self.progress, self.task = progress, task
        self.best: dict[str, torch.Tensor] | None = None
        self.loss, self.right, self.steps, self.waited = float("inf"), 0.0, 0, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step, model = state.global_step, kwargs["model"]
        if step % self.options.check_every == 0:
            right, loss = agreement(model, self.held, self.pad_id)
            self.waited = 0 if loss < self.loss else self.waited + 1
            if loss < self.loss:
                self.loss, self.right, self.steps = loss, right, step
                self.best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            if self.right >= self.options.target or self.waited >= self.options.patience:
                control.should_training_stop = True
        self.progress.update(self.task, completed=step, right=self.right)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("right on validation {task.fields[right]:.0%}"),
        TimeElapsedColumn(), console=Console(file=sys.stderr), transient=False,
    )  # fmt: skip
