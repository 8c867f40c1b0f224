"""Supervised fine-tuning on worked answers, by TRL's SFTTrainer: the embedded model's warm start, and a proof's
reference row. Always true here: the loss is on the answer and its end token alone, and what the model reads is rendered
exactly as in rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from ..envs.core import Environment, Row
from ..rollouts.chat import Chat
from ..rollouts.collect import opening
from .rolling import Rolling


def worked_examples(env: Environment, chat: Chat, rows: Sequence[Row]) -> list[dict[str, list[int]]]:
    """Each row with the oracle's answer as token ids: `input_ids`, and `completion_mask` (1 on answer and end token)."""
    examples = []
    for row in rows:
        prompt = chat.prompt_ids(opening(env, row))
        answer = chat.tokenizer(env.oracle(row), add_special_tokens=False)["input_ids"]
        answer = [*answer, chat.tokenizer.eos_token_id]
        mask = [0] * len(prompt) + [1] * len(answer)
        examples.append({"input_ids": prompt + answer, "completion_mask": mask})
    return examples


class Supervised(Rolling, SFTTrainer):
    """TRL's SFTTrainer over worked examples; `options` are fields of SFTConfig, laid on defaults for small, quiet runs."""

    def __init__(
        self, model: Any, chat: Chat, examples: Sequence[dict[str, list[int]]], folder: Path, **options: Any
    ) -> None:
        defaults: dict[str, Any] = {
            "report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "bf16": False,
            "gradient_checkpointing": False, "remove_unused_columns": False, "shuffle_dataset": True, "max_length": None,
        }  # fmt: skip
        super().__init__(
            model=model,
            args=SFTConfig(**{**defaults, **options, "output_dir": str(folder)}),
            train_dataset=Dataset.from_list(list(examples)),
            processing_class=chat.tokenizer,
        )
        self.chat = chat
        self.remove_callback(PrinterCallback)


@torch.no_grad()
def agreement(model: Any, examples: Sequence[dict[str, list[int]]], pad_id: int) -> tuple[float, float]:
    """(share of examples whose answer the model would write greedily, mean loss per answer token), in one forward."""
    width = max(len(example["input_ids"]) for example in examples)
    device = next(model.parameters()).device
    ids = torch.tensor([e["input_ids"] + [pad_id] * (width - len(e["input_ids"])) for e in examples], device=device)
    mask = torch.tensor(
        [e["completion_mask"] + [0] * (width - len(e["input_ids"])) for e in examples], device=device, dtype=torch.bool
    )[:, 1:]
    was_training = model.training
    model.eval()
    # Padding is on the right and attention is causal: no mask is needed for what stands before it.
    logps = model(input_ids=ids).logits[:, :-1].float().log_softmax(-1)
    model.train(was_training)
    right = (logps.argmax(-1) == ids[:, 1:]) | ~mask
    loss = -logps.gather(2, ids[:, 1:, None]).squeeze(2)[mask].mean()
    return right.all(1).float().mean().item(), loss.item()
