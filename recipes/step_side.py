"""One side of `journeyman bench step`: a trainer over a vLLM in this process, and steps of it to order.

Always true here: a step's parts (sync, generation, the rest) are taken by the clock once the device is done, and what is timed is
the trainer's own method.
"""

from __future__ import annotations

import string
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..envs.core import Generated
from ..trainers.estimate import Shape
from .bench_side import serve
from .random_models import LIKE, drawn
from .workload import G

BATCH = 8
"""Rows of a micro-batch, on both sides: one group."""
WARM = 16
"""Tokens of a completion in the step that is not timed."""
ENGINE = {"compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}}
"""On a GPU: CUDA graphs for decoding and vLLM's own kernels, without its minute of compiling at every start."""


class Letters(Generated):
    """Prompts of random letters; every answer will do."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.letters = letters

    def generate(self, rng: Any) -> dict[str, Any]:
        """A task."""
        return {"prompt": "".join(rng.choices(string.ascii_lowercase, k=self.letters)), "answer": "?"}


class _Steps:
    """A side's process: a trainer over its vLLM, and steps of it to order."""

    def __init__(self, side: str, folder: str) -> None:
        import torch

        self.side, self.folder, self.cuda = side, folder, torch.cuda.is_available()
        self.base, self.records = f"{folder}/base", Path(folder) / side
        self.trainer: Any = None
        self.tasks: dict[str, list[Any]] = {}
        self.clock: dict[str, float] = {}
        self.found: list[dict[str, float]] = []

    def __call__(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an order."""
        given = {key: value for key, value in order.items() if key != "do"}
        answer: dict[str, Any] = getattr(self, order["do"])(**given)
        return answer

    def ready(self) -> dict[str, Any]:
        """Import what takes long."""
        import trl.generation.vllm_generation
        import vllm

        return {"versions": [trl.__version__, vllm.__version__]}

    def save(self, model: str) -> dict[str, Any]:
        """Write the base, and say what it and the device are."""
        import shutil

        import torch

        from ..trainers.tokenizer import train_tokenizer
        from .floors import copy_speed, matmul_speed
        from .random_models import random_model

        if model in LIKE:
            tokenizer = train_tokenizer([], [], 300)
            ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
            random_model(model, **ends).save_pretrained(self.base)
            tokenizer.save_pretrained(self.base)
        else:
            shutil.copytree(model, self.base)
        facts: dict[str, Any] = {"shape": asdict(self._shape()), "device": "cpu", "flops": 0.0, "bandwidth": 0.0}
        if self.cuda:
            facts |= {"device": torch.cuda.get_device_name(), "flops": matmul_speed(2), "bandwidth": copy_speed()}
            torch.cuda.empty_cache()  # the other side needs it
        return facts

    def _shape(self) -> Shape:
        import torch
        from peft import get_peft_model
        from transformers import AutoConfig, AutoModelForCausalLM

        from ..trainers.estimate import shape_of

        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(self.base))
            count = sum(p.numel() for p in model.parameters())
            model = get_peft_model(model, self._lora())
        return shape_of(model.config, count, sum(p.numel() for p in model.parameters() if p.requires_grad))

    def _lora(self) -> Any:
        from peft import LoraConfig

        return LoraConfig(task_type="CAUSAL_LM", r=32, lora_alpha=64, target_modules="all-linear")

    def _policy(self) -> Any:
        import torch
        from peft import get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(0)
        dtype = torch.bfloat16 if self.cuda else torch.float32
        return get_peft_model(AutoModelForCausalLM.from_pretrained(self.base, dtype=dtype), self._lora())

    def start(self, groups: int, shapes: list[str], context: int, way: str = "") -> dict[str, Any]:
        """Build the trainer and its engine, or start another engine for the trainer that is there."""
        began = time.perf_counter()
        if self.trainer is not None:
            self.trainer.close_engine()
            self.trainer.plan = replace(self.trainer.plan, way=way)
        else:
            self._build(groups, shapes, context, way)
        if self.side == "ours":
            _ = self.trainer.engine
        seconds = self._done() - began
        self.steps(shapes[0], 1, WARM)
        return {"seconds": seconds}

    def _build(self, groups: int, shapes: list[str], context: int, way: str) -> None:
        from transformers import AutoTokenizer, PrinterCallback
        from trl import GRPOConfig, GRPOTrainer

        from ..rewards.executor import Executor
        from ..rollouts.chat import Chat
        from ..rollouts.vllm_start import Plan
        from ..trainers.grpo import Trainer
        from .bench_trainers import stock_vllm

        chat = Chat(AutoTokenizer.from_pretrained(self.base))
        env = Letters(8)
        around = len(chat.prompt_ids(env.tasks("train", 0, 1)[0]["prompt"])) - 8  # the template's own tokens
        for shape in shapes:
            self.tasks[shape] = Letters(int(shape.split("/")[0]) - around).tasks("train", 0, groups)
        rows = self.tasks[shapes[0]]
        args = GRPOConfig(
            output_dir=f"{self.folder}/{self.side}", per_device_train_batch_size=BATCH, num_generations=G,
            gradient_accumulation_steps=groups * G // BATCH, max_completion_length=1, learning_rate=1e-5,
            lr_scheduler_type="constant", beta=0.0, bf16=self.cuda, use_cpu=not self.cuda, gradient_checkpointing=True,
            report_to="none", save_strategy="no", disable_tqdm=True, max_steps=1, vllm_mode="colocate",
            vllm_gpu_memory_utilization=0.3, vllm_max_model_length=context, use_vllm=True,
        )  # fmt: skip
        if self.side == "peer":
            stock_vllm()
            if self.cuda:
                _quick_start()
            self.trainer = GRPOTrainer(
                self._policy(), drawn, args, self._dataset(rows), processing_class=chat.tokenizer
            )
            timed = [
                (self.trainer.vllm_generation, "sync_weights", "sync"),
                (self.trainer.vllm_generation, "generate", "generate"),
            ]
        else:
            options = {"gpu_memory_utilization": 0.3, "max_model_len": context, **(ENGINE if self.cuda else {})}
            dtype = "bfloat16" if self.cuda else "float32"
            plan = Plan(self.base, dtype, way, context, groups * G, 1, options)  # type: ignore[arg-type]
            self.trainer = Trainer(
                self._policy(), args, env=env, rows=rows, executor=Executor([drawn]), quality="drawn", chat=chat, run="bench",
                records=self.records, plan=plan,
            )  # fmt: skip
            self.trainer.model.to(self.trainer.accelerator.device)
            timed = [(self.trainer, "sync", "sync"), (self.trainer, "_collect", "generate")]
        for owner, name, phase in timed:
            setattr(owner, name, self._timed(getattr(owner, name), phase))
        self.trainer.remove_callback(PrinterCallback)  # standard output is for answers
        self.trainer.add_callback(self._callback())

    def _dataset(self, rows: list[Any]) -> Any:
        from datasets import Dataset

        return Dataset.from_dict({"prompt": [row["prompt"] for row in rows], "number": list(range(len(rows)))})

    def steps(self, shape: str, steps: int, tokens: int = 0) -> dict[str, Any]:
        """Train for so many steps; seconds of each and its parts, tokens it generated, and the peak of memory.

        Args:
            tokens: of a completion, in place of the shape's own.
        """
        trainer = self.trainer
        trainer.train_dataset = self._dataset(self.tasks[shape])
        tokens = tokens or int(shape.split("/")[1])
        trainer.max_completion_length = trainer.args.max_completion_length = tokens
        if self.side == "peer":
            trainer.vllm_generation.max_completion_length = tokens
            trainer._last_loaded_step = -1  # counted from 0 again: its first step syncs too
        else:
            trainer.rows = self.tasks[shape]
            trainer.engine.policy_version = -1
        trainer.args.max_steps, self.found = steps, []
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
        trainer.train()
        peak = torch.cuda.max_memory_allocated() if self.cuda else 0
        return {"steps": self.found, "peak": peak, "sharing": getattr(trainer, "unshared", "")}

    def _done(self) -> float:
        if self.cuda:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def _timed(self, function: Any, phase: str) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = self._done()
            made = function(*args, **kwargs)
            self.clock[phase] = self.clock.get(phase, 0.0) + self._done() - began
            if phase == "generate":
                self.clock["tokens"] = float(
                    sum(map(len, made[1])) if isinstance(made, tuple) else sum(r.tokens_out for r in made)
                )
            return made

        return timed

    def _callback(self) -> Any:
        from transformers import TrainerCallback

        side = self

        class Clock(TrainerCallback):
            """Times whole steps."""

            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                side.clock = {"sync": 0.0, "generate": 0.0, "tokens": 0.0}
                self.began = side._done()

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                clock = {"seconds": side._done() - self.began, **side.clock}
                side.found.append({**clock, "rest": clock["seconds"] - clock["sync"] - clock["generate"]})

        return Clock()


def _quick_start() -> None:
    """Stock's engine takes no options: give it ours."""
    import functools

    from trl.generation import vllm_generation

    known: Any = vllm_generation
    known.LLM = functools.partial(known.LLM, **ENGINE)


if __name__ == "__main__":
    serve(_Steps(sys.argv[1], sys.argv[2]))
