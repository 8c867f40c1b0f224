"""Rollouts as the tensors that TRL's loss reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from trl.trainer.utils import pad

from ..rollouts.record import Rollout, StopReason


def tensors(
    rollouts: Sequence[Rollout], pad_id: int, device: Any, *, tools: bool, mask_cut: bool = False, sampled: bool = False
) -> dict[str, Any]:  # fmt: skip
    """`prompt_ids`, `prompt_mask` [B, P], padded on the left; `completion_*` [B, C], on the right; `advantages` [B].

    Args:
        tools: add `tool_mask` [B, C], 1 for what the policy wrote and 0 for what tools replied.
        mask_cut: mask completions that ran into the limit on tokens.
        sampled: add `sampling_per_token_logps` [B, C], from the engine.
    """
    # An environment that failed at once left not even a prompt.
    prompts = [torch.tensor(rollout.prompt_ids or [pad_id]) for rollout in rollouts]
    completions = [torch.tensor(rollout.completion_ids, dtype=torch.long) for rollout in rollouts]
    masks = [torch.ones_like(completion) for completion in completions]
    if mask_cut:
        cut = [rollout.stop_reason == StopReason.LENGTH for rollout in rollouts]
        masks = [mask * (not is_cut) for mask, is_cut in zip(masks, cut, strict=True)]

    def right(parts: Sequence[torch.Tensor], value: int = 0) -> torch.Tensor:
        padded: torch.Tensor = pad(list(parts), padding_value=value, padding_side="right")
        return padded.to(device)

    batch: dict[str, Any] = {
        "prompt_ids": pad(prompts, padding_value=pad_id, padding_side="left").to(device),
        "prompt_mask": pad([torch.ones_like(p) for p in prompts], padding_value=0, padding_side="left").to(device),
        "completion_ids": right(completions, pad_id),
        "completion_mask": right(masks),
        "advantages": torch.tensor([rollout.advantage or 0.0 for rollout in rollouts], dtype=torch.float32, device=device),
    }  # fmt: skip
    if tools:
        batch["tool_mask"] = right([torch.tensor(rollout.env_mask, dtype=torch.long) for rollout in rollouts])
    if sampled:
        logps = [torch.tensor(rollout.logprobs, dtype=torch.float32) for rollout in rollouts]
        batch["sampling_per_token_logps"] = right(logps)
    return batch


def joined(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """(ids [B, P + C], attention mask [B, P + C], C): what a forward reads of a batch."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    return ids, mask, batch["completion_ids"].size(1)


def reused(args: Any) -> bool:
    """Whether a generation batch is trained on in more than one optimizer step, so that its policy's log-probs must be kept."""
    return bool(args.gradient_accumulation_steps % ((args.steps_per_generation or 1) * args.num_iterations))
