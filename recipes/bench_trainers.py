"""Trainers for benchmarks and oracles: stock TRL's and the update half of ours, on the same small random model."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig

from ..envs.core import Environment, Row, tools_of
from ..rollouts.vllm_weights import keep_weights_writable
from ..trainers.rolling import Rolling
from ..trainers.tokenizer import train_tokenizer
from ..trainers.trl_trainer import GRPOTrainer
from ..trainers.update import LeanUpdate


class Lean(LeanUpdate, Rolling, GRPOTrainer):
    """TRL's trainer with our update and nothing else of ours."""


def random_policy(
    lora: bool = True, dtype: torch.dtype = torch.float32, folder: str | None = None, hidden: int = 256, layers: int = 4
) -> Any:
    """A Qwen3 of 3M random parameters (or the model in `folder`) with LoRA of rank 16 that already does something."""
    torch.manual_seed(0)
    if folder is None:
        config = Qwen3Config(
            vocab_size=2048, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
            head_dim=64, intermediate_size=2 * hidden, max_position_embeddings=4096, tie_word_embeddings=True,
        )  # fmt: skip
        model: Any = Qwen3ForCausalLM(config)
        model = model.to(dtype=dtype)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    if lora:
        model = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
        )
        for name, parameter in sorted(model.named_parameters()):
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
    return model


def make_trainer(side: str, folder: str | None = None, *, lora: bool = True, model: Any = None, **fields: Any) -> Any:
    """`ours` or `peer` over `random_policy`, in training mode on the machine's device; `fields` are GRPOConfig's."""
    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu else torch.float32
    given = {
        "use_cpu": not gpu, "bf16": gpu, "gradient_checkpointing": False, "report_to": "none", "beta": 0.0,
        "per_device_train_batch_size": 8, "num_generations": 8, "temperature": 1.0,
        "output_dir": os.path.join(tempfile.gettempdir(), "journeyman-bench"),
    }  # fmt: skip
    kind: Any = Lean if side == "ours" else GRPOTrainer
    trainer = kind(
        model if model is not None else random_policy(lora, dtype, folder),
        lambda completions, **_: [0.0] * len(completions),
        GRPOConfig(**{**given, **fields}),
        Dataset.from_dict({"prompt": ["a"] * 64}),
        processing_class=train_tokenizer([], [], 300),
    )
    trainer.model.to(trainer.accelerator.device).train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps  # as its loop would set it
    return trainer


def stock_environment(env: Environment, rows: Sequence[Row]) -> Callable[[], Any]:
    """An `environment_factory` for TRL's own loop: the tools of `env` and `reset`, by the `item` of its row.

    TRL takes every public method for a tool, and a column of the dataset gives all rows the keys of any: so the rows stay here.
    """
    known = {row["item"]: row for row in rows}

    def made(self: Any) -> None:
        self._env = env.another()

    def reset(self: Any, item: str, **columns: Any) -> None:
        self._env.reset(**known[item])

    def tool(method: Any) -> Any:
        @functools.wraps(method.__func__)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(self._env, method.__name__)(*args, **kwargs)

        return call

    tools = {method.__name__: tool(method) for method in tools_of(env)}
    return type("Tools", (), {"__init__": made, "reset": reset, **tools})


def stock_vllm() -> None:
    """What TRL's colocated vLLM needs here: one process, and on a CPU weights that `load_weights` can write."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from trl.generation import vllm_generation

    vllm_generation.is_vllm_available()  # asked so, TRL loads the vLLM that `trainers.trl_trainer` spared it
    if not torch.cuda.is_available():
        keep_weights_writable()
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


def reset_peak(device: torch.device) -> int:
    """Forget the peak of memory so far; the bytes in use now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed counts no more
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return _status("VmRSS")


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak since `reset_peak`."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else _status("VmHWM")


def _status(key: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))
