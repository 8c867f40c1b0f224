"""Supervised fine-tuning on worked answers: the embedded model's warm start, and a proof's reference row.

Always true here: the loss is on what the policy writes and its end tokens alone, never on what tools reply, and what the
model reads is what it reads in rollouts. It stands on transformers' Trainer: TRL's scores every position where there is no
Triton, the prompt's too, which on a CPU costs more than the model (`next_token_logits` scores the answers').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from ..envs.core import Environment, Row, tools_of
from ..rollouts.chat import Chat
from ..rollouts.record import Rollout
from ..rollouts.scripted import oracle_rollouts
from .checkpoints import SafeCheckpoints
from .rolling import Rolling, next_token_logits

IGNORED = -100
Example = dict[str, list[int]]


def worked_examples(
    env: Environment,
    chat: Chat,
    rows: Sequence[Row],
    work: Callable[[Environment, Chat, Sequence[Row]], list[Rollout]] = oracle_rollouts,
) -> list[Example]:
    """Each row as `work` does it, as ids: `prompt_ids`, `answer_ids`, and `written` (1 for the policy's own)."""
    if tools_of(env):
        chat.learn_to_parse()
    return [
        {"prompt_ids": rollout.prompt_ids, "answer_ids": rollout.completion_ids, "written": rollout.env_mask}
        for rollout in work(env, chat, rows)
    ]


class Supervised(SafeCheckpoints, Rolling, Trainer):
    """transformers' Trainer over worked examples; `options` are TrainingArguments, laid on defaults for quiet runs."""

    def __init__(self, model: Any, chat: Chat, examples: Sequence[Example], folder: Path, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
            "remove_unused_columns": False, "label_names": ["labels"], "dataloader_pin_memory": False,
        }  # fmt: skip
        pad_id = chat.tokenizer.pad_token_id
        super().__init__(
            model=model,
            args=TrainingArguments(**{**defaults, **options, "output_dir": str(folder)}),
            train_dataset=list(examples),
            data_collator=lambda rows: batch_of(rows, pad_id),
        )
        self.chat = chat
        self.model_accepts_loss_kwargs = False  # the mean over a micro-batch, as `compute_loss` has it
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Mean cross-entropy over the answers' tokens."""
        labels_BC = inputs["labels"]
        logits_BCV = next_token_logits(model, inputs["input_ids"], inputs["attention_mask"], labels_BC.shape[1])
        return torch.nn.functional.cross_entropy(
            logits_BCV.flatten(0, 1).float(), labels_BC.flatten(), ignore_index=IGNORED
        )


def batch_of(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` [B, P + C], prompts padded on the left and answers on the right; `labels` [B, C]."""
    P = max(len(e["prompt_ids"]) for e in examples)
    C = max(len(e["answer_ids"]) for e in examples)
    ids, mask, labels = [], [], []
    for e in examples:
        left, right = P - len(e["prompt_ids"]), C - len(e["answer_ids"])
        ids.append([pad_id] * left + e["prompt_ids"] + e["answer_ids"] + [pad_id] * right)
        mask.append([0] * left + [1] * (P + C - left - right) + [0] * right)
        own = [token if mine else IGNORED for token, mine in zip(e["answer_ids"], e["written"], strict=True)]
        labels.append(own + [IGNORED] * right)
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask), "labels": torch.tensor(labels)}


@torch.no_grad()
def agreement(model: Any, examples: Sequence[Example], pad_id: int) -> tuple[float, float]:
    """(share of examples whose answer the model would write greedily, mean loss per answer token), in one forward."""
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in batch_of(examples, pad_id).items()}
    was_training = model.training
    model.eval()
    logits_BCV = next_token_logits(model, batch["input_ids"], batch["attention_mask"], batch["labels"].shape[1]).float()
    model.train(was_training)
    right_BC = (logits_BCV.argmax(-1) == batch["labels"]) | (batch["labels"] == IGNORED)
    loss = torch.nn.functional.cross_entropy(logits_BCV.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED)
    return right_BC.all(1).float().mean().item(), loss.item()
