"""TRL 1.12's side of `journeyman bench ppo`: run by path, in an interpreter that has trl==1.12.0 and not this package.

Always true here: `PPOTrainer.train` is TRL's own, line for line. Replaced are `batch_generation`, which returns fixed responses,
and for the logits that it sampled them from a view of one zero (so that they take no time and no memory), and the reward model,
which returns fixed scores. The critic is a model of its own, as TRL has it, with the policy's kind of LoRA and a score head.

It answers orders as `bench_side` gives them: the first builds the trainer, each other one is a step. The clock starts where
generation would have ended.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from types import SimpleNamespace
from typing import Any

import torch
import trl
from datasets import Dataset
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
)
from transformers.utils import logging
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

CUDA = torch.cuda.is_available()


class Scores(torch.nn.Module):
    """A reward model that costs nothing: the response's parity is its score."""

    base_model_prefix = "backbone"

    def backbone(self, input_ids: torch.Tensor, **_: Any) -> Any:
        """The ids, for hidden states."""
        return SimpleNamespace(hidden_states=[input_ids[..., None].float()])

    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        """1 at odd tokens."""
        return hidden % 2


class Steps:
    """TRL's trainer, and steps of it to order."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.before = reset_peak()
        prompts, self.responses = (torch.tensor(order[name]) for name in ("prompts", "completions"))
        self.began, self.processor = 0.0, 0.0
        self.taken: dict[str, Any] = {}
        ppo_trainer.batch_generation = self.generated
        tokenizer = AutoTokenizer.from_pretrained(order["base"], padding_side="left")
        lora = LoraConfig(task_type="CAUSAL_LM", **order["lora"])
        dtype = torch.bfloat16 if CUDA else torch.float32
        policy: Any = AutoModelForCausalLM.from_pretrained(order["base"], dtype=dtype)
        critic: Any = AutoModelForSequenceClassification.from_pretrained(order["base"], dtype=dtype, num_labels=1)
        policy = get_peft_model(policy, lora)
        critic.requires_grad_(False)
        critic = inject_adapter_in_model(LoraConfig(task_type="SEQ_CLS", **order["lora"]), critic)
        critic.score.requires_grad_(True)
        if order["checkpointing"]:
            for model in (policy, critic):
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.trained = sum(p.numel() for model in (policy, critic) for p in model.parameters() if p.requires_grad)
        rows, batch = len(prompts), order["batch"]
        args = PPOConfig(
            order["output"], per_device_train_batch_size=batch, gradient_accumulation_steps=rows // batch, num_mini_batches=1,
            num_ppo_epochs=order["epochs"], total_episodes=rows, response_length=self.responses.size(1), temperature=1.0,
            local_rollout_forward_batch_size=batch, kl_coef=order["kl_coef"], num_sample_generations=0, use_cpu=not CUDA,
            bf16=CUDA, learning_rate=1e-5, report_to="none", save_strategy="no", disable_tqdm=True,
            gradient_checkpointing=order["checkpointing"],
        )  # fmt: skip
        made: Any = PPOTrainer
        self.trainer = made(
            args, processing_class=tokenizer, model=policy, ref_model=None, reward_model=Scores(), value_model=critic,
            train_dataset=Dataset.from_dict({"input_ids": prompts.tolist()}),
        )  # fmt: skip
        for kind in (PrinterCallback, ProgressCallback):
            self.trainer.remove_callback(kind)
        self.trainer.add_callback(self.callback())

    def generated(self, model: Any, queries: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """What `batch_generation` returns; the step begins here."""
        responses = self.responses.to(queries.device)
        logits = torch.zeros(1, 1, 1, device=queries.device).expand(*responses.shape, model.config.vocab_size)
        reset_peak()
        self.began, self.processor = clock(), time.process_time()
        return torch.cat([queries, responses], 1), logits

    def callback(self) -> Any:
        """Ends the step."""
        side = self

        class End(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                side.taken = {"seconds": clock() - side.began, "processor": time.process_time() - side.processor}

        return End()

    def step(self) -> dict[str, Any]:
        """Seconds in all and of the processor, and the most bytes above those from before there was a model."""
        self.trainer.train()
        return {**self.taken, "peak": peak() - self.before}


def clock() -> float:
    """Seconds, once the device is done."""
    if CUDA:
        torch.cuda.synchronize()
    return time.perf_counter()


def reset_peak() -> int:
    """Forget the peak of memory so far; the bytes in use now. As `bench_trainers` has it."""
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return status("VmRSS")


def peak() -> int:
    """Bytes at the peak since `reset_peak`."""
    return torch.cuda.max_memory_allocated() if CUDA else status("VmHWM")


def status(key: str) -> int:
    """Bytes, by the kernel's count."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))


def main() -> None:
    """Build, then step as often as asked."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    answers, sys.stdout = sys.stdout, sys.stderr  # what the trainer prints is no answer
    steps = None
    for line in sys.stdin:
        order = json.loads(line)
        if steps is None:
            steps = Steps(order)
            answer: dict[str, Any] = {"version": trl.__version__, "trained": steps.trained}
        else:
            answer = steps.step()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
