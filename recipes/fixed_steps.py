"""A side of `journeyman bench ppo`: whole training steps, of GRPO or of PPO, over rollouts that are there already.

Always true here: the trainer is the one that `journeyman train` uses, engine and tokens aside; a step is timed from where Trainer
begins it to where the last optimizer step of its rollouts is done.

The process answers orders as `bench_side` gives them: the first builds (`_Steps.build`), each empty one is a step.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging
from trl import GRPOConfig

from ..envs.core import Generated, Row
from ..rewards.core import reward
from ..rewards.executor import Executor
from ..rollouts.chat import Chat
from ..rollouts.collect import OnFinished
from ..rollouts.record import Rollout
from ..trainers.grpo import Trainer
from ..trainers.ppo import PPOTrainer
from ..trainers.ppo_config import PPOConfig
from ..trainers.tokenizer import train_tokenizer
from .bench_side import serve
from .bench_trainers import peak_memory, random_policy, reset_peak
from .random_models import LIKE, random_model
from .workload import G

LORA: dict[str, Any] = {"r": 32, "lora_alpha": 64, "target_modules": "all-linear"}
"""The presets' adapter, of policies and critics."""


class Numbers(Generated):
    """Tasks for the sampler; what is done with them is in the rollouts."""

    def generate(self, rng: Any) -> Row:
        """A task."""
        return {"prompt": str(rng.randrange(10**9)), "answer": "?"}


@reward(needs_reference=False)
def written(completion: str) -> float:
    """The number that is the completion's text."""
    return float(completion)


class Fixed:
    """Mixed in before a trainer: its rollouts are `fixed`."""

    fixed: Sequence[Rollout]

    def _collect(self, rows: Sequence[Row], step: int, on_finished: OnFinished) -> list[Rollout]:
        for i, rollout in enumerate(self.fixed):
            on_finished(i, rollout, None)
        return list(self.fixed)


def fixed_rollouts(prompt: int, completion: int, rows: int, share: int, vocabulary: int) -> list[Rollout]:
    """Random tokens, none of them special, `share` rollouts to a prompt; every other one is paid 1: groups have a signal."""
    rng = np.random.default_rng(1)
    made = []
    for row in range(rows):
        if row % share == 0:
            ids = rng.integers(10, vocabulary, prompt).tolist()
        messages = [{"role": "user", "content": ""}, {"role": "assistant", "content": str(row % 2)}]
        own = rng.integers(10, vocabulary, completion).tolist()
        rollout = Rollout(
            run="bench", step=0, split="train", item=str(row // share), group=row // share, row=row, seed=0, policy_version=0,
            messages=messages, prompt_ids=ids, completion_ids=own, logprobs=[0.0] * completion, env_mask=[1] * completion,
            tokens_in=prompt, tokens_out=completion,
        )  # fmt: skip
        made.append(rollout)
    return made


class _Steps:
    """A side's process: a trainer, and steps of it to order. `kind` is grpo, or a side of PPO (`bench_ppo.SIDES`)."""

    def __init__(self, kind: str) -> None:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.kind, self.folder = kind, tempfile.TemporaryDirectory()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.trainer: Any = None
        self.clock: dict[str, float] = {}
        self.before = 0

    def __call__(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an order."""
        return self.build(**order) if order else self.step()

    def build(
        self, model: str | None, prompt: int, completion: int, rows: int, batch: int, share: int, epochs: int,
        kl_coef: float = 0.0, save: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Make model and trainer; see `bench_ppo.run`.

        Args:
            share: rollouts to a prompt; of GRPO's groups, which are of 8 all the same, too.
            save: a folder for the base and the tokens, for a side that is none of ours.
        """
        cuda, group = self.device.type == "cuda", G if self.kind == "grpo" else share
        torch.empty(1, device=self.device)
        self.before = reset_peak(self.device)
        torch.manual_seed(0)
        base = self._base(model)
        rollouts = fixed_rollouts(prompt, completion, rows, share, base.config.vocab_size)
        tokenizer = train_tokenizer([], [], 300)
        if save:
            _save(Path(save), base, tokenizer, rollouts)
        given: dict[str, Any] = {
            "output_dir": self.folder.name, "per_device_train_batch_size": batch, "gradient_accumulation_steps": rows // batch,
            "num_generations": group, "num_iterations": epochs, "max_completion_length": completion, "learning_rate": 1e-5,
            "lr_scheduler_type": "constant", "bf16": cuda, "use_cpu": not cuda, "gradient_checkpointing": cuda,
            "report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "max_steps": epochs,
        }  # fmt: skip
        env = Numbers()
        parts: dict[str, Any] = {
            "env": env, "rows": env.tasks("train", 0, rows // group), "executor": Executor([written]), "quality": "written",
            "chat": Chat(tokenizer), "run": "bench", "records": Path(self.folder.name) / "records",
        }  # fmt: skip
        lora = LoraConfig(task_type="CAUSAL_LM", **LORA)
        kind: Any = Trainer if self.kind == "grpo" else PPOTrainer
        if self.kind == "grpo":
            args: Any = GRPOConfig(**given, beta=0.0)
        else:
            critic = {"critic": self.kind}
            if self.kind == "named":
                critic = {"critic": "model", "critic_model_name_or_path": "a twin"}
            args = PPOConfig(**{**given, **critic, "kl_coef": kl_coef})
            parts |= {"lora": lora, "critic_base": copy.deepcopy(base) if args.critic == "model" else None}
        policy: Any = get_peft_model(base, lora)
        parameters = sum(p.numel() for p in policy.parameters() if not p.requires_grad)
        self.trainer = type("FixedTrainer", (Fixed, kind), {"fixed": rollouts})(policy, args, **parts)
        self.trainer.remove_callback(PrinterCallback)
        self.trainer.add_callback(self._callback(epochs))
        self.trainer._generate_and_score_completions = self._timed(self.trainer._generate_and_score_completions)
        return {
            "device": torch.cuda.get_device_name() if cuda else "cpu", "checkpointing": cuda, "parameters": parameters,
            "lora": LORA, "trained": sum(p.numel() for p in self.trainer.model.parameters() if p.requires_grad),
        }  # fmt: skip

    def _base(self, model: str | None) -> Any:
        if model in LIKE:
            return random_model(str(model), self.device.type)
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        return random_policy(lora=False, dtype=dtype, folder=model).to(self.device)

    def step(self) -> dict[str, Any]:
        """Seconds in all, of the processor, and before the first epoch; the most bytes above those before there was a model."""
        self.trainer.train()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # what the allocator keeps would be missing on the other sides
        return dict(self.clock)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _timed(self, function: Any) -> Any:
        def timed(*args: Any) -> Any:
            began = self._now()
            made = function(*args)
            self.clock["before"] = self._now() - began
            return made

        return timed

    def _callback(self, epochs: int) -> Any:
        side = self

        class Clock(TrainerCallback):
            """Times the optimizer steps of one generation batch."""

            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == 0:
                    reset_peak(side.device)
                    self.began, self.processor = side._now(), time.process_time()

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == epochs:
                    side.clock["seconds"] = side._now() - self.began
                    side.clock["processor"] = time.process_time() - self.processor
                    side.clock["peak"] = peak_memory(side.device) - side.before

        return Clock()


def _save(folder: Path, base: Any, tokenizer: Any, rollouts: Sequence[Rollout]) -> None:
    base.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    tokens = {
        "prompts": [rollout.prompt_ids for rollout in rollouts],
        "completions": [rollout.completion_ids for rollout in rollouts],
    }
    (folder / "tokens.json").write_text(json.dumps(tokens))


if __name__ == "__main__":
    serve(_Steps(sys.argv[1]))
