"""Log-probs of completions with each prompt forwarded once, in one packed row: FlexAttention's way, for GPUs.

Always true here: the prompt without its last token stands before the group's completions, each of which begins with that token; a
token attends to its prompt and to its own completion, and positions go on from the prompt's. No cache is needed, so gradient
checkpointing works. On a CPU the layout runs with a dense mask, which is for tests. Source: FlexAttention (Dong et al. 2024).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention.flex_attention import create_block_mask, create_mask, flex_attention
from transformers import AttentionInterface

NAME = "journeyman_packed"
PROMPT = -1
"""Piece of a prompt's tokens; those of a completion carry its row."""


def packed_logps(
    model: Any, prompts_NP: torch.Tensor, prompt_mask_NP: torch.Tensor, of_B: torch.Tensor, completions_BC: torch.Tensor,
    mask_BC: torch.Tensor, temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Log-probs and entropies [B, C] of completions after their prompts; arguments as for `shared_prefix_logps`."""
    ids_T, positions_T, group_T, piece_T, labels_T = _pack(prompts_NP, prompt_mask_NP, of_B, completions_BC, mask_BC)
    T = len(ids_T)

    def attends(batch: Any, head: Any, q: Any, k: Any) -> Any:
        own = (piece_T[k] == PROMPT) | (piece_T[k] == piece_T[q])
        return (q >= k) & (group_T[k] == group_T[q]) & own

    # FlexAttention has no backward pass on a CPU; a dense mask says the same there.
    dense = ids_T.device.type == "cpu" and torch.is_grad_enabled()
    mask = (create_mask if dense else create_block_mask)(attends, 1, 1, T, T, device=ids_T.device)
    inputs = {"input_ids": ids_T[None], "position_ids": positions_T[None], "attention_mask": mask, "use_cache": False}
    scored = labels_T != -100
    with _attention(model):
        if ids_T.device.type == "cpu":
            logits_TV = model(**inputs).logits[0, scored]
            logps_TV = (logits_TV.to(torch.promote_types(logits_TV.dtype, torch.float32)) / temperature).log_softmax(-1)
            logps = logps_TV.gather(1, labels_T[scored][:, None]).squeeze(1)
            entropies = -(logps_TV.exp() * logps_TV).sum(-1)
        else:
            outputs = model(**inputs, shift_labels=labels_T[None], fused_lm_head=True)
            logps, entropies = outputs.log_probs[0, scored], outputs.entropy[0, scored]
    wide = mask_BC.to(logps.dtype)
    where = mask_BC.bool()
    return wide.masked_scatter(where, logps), wide.masked_scatter(where, entropies)


def _pack(
    prompts_NP: torch.Tensor,
    prompt_mask_NP: torch.Tensor,
    of_B: torch.Tensor,
    completions_BC: torch.Tensor,
    mask_BC: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """(ids, positions, group, piece, labels) [T]; a label is the token that a position predicts, -100 for none.

    Completions stand in the order of their rows, so that what is scored comes back in that order.
    """
    device = prompts_NP.device
    parts: list[tuple[torch.Tensor, ...]] = []

    def add(ids: torch.Tensor, start: int, group: int, piece: int, labels: torch.Tensor) -> None:
        same = torch.full_like(ids, group)
        parts.append(
            (ids, torch.arange(start, start + len(ids), device=device), same, torch.full_like(ids, piece), labels)
        )

    of, kept = of_B.tolist(), [completions_BC[row][mask_BC[row].bool()] for row in range(len(of_B))]
    prompts = [prompts_NP[n][prompt_mask_NP[n].bool()] for n in range(len(prompts_NP))]
    for n, prompt in enumerate(prompts):
        add(prompt[:-1], 0, n, PROMPT, torch.full_like(prompt[:-1], -100))
    for row, completion in enumerate(kept):
        prompt = prompts[of[row]]
        labels = torch.cat([completion, completion.new_tensor([-100])])
        add(torch.cat([prompt[-1:], completion]), len(prompt) - 1, of[row], row, labels)
    return tuple(torch.cat(columns) for columns in zip(*parts, strict=True))


@functools.cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)  # one program for every length


def _flex(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    grouped, usual = query.size(1) != key.size(1), query.size(3) ** -0.5
    if scaling is not None and not math.isclose(scaling, usual):
        query = query * (scaling / usual)  # a number that is given would be a variable of the program
    if torch.is_tensor(attention_mask):
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, enable_gqa=grouped
        )
    elif query.device.type == "cpu":
        out = flex_attention(query, key, value, block_mask=attention_mask, enable_gqa=grouped)
    else:
        for states in (query, key, value):  # heads and their size are constants of the kernels
            torch._dynamo.mark_static(states, 1)
            torch._dynamo.mark_static(states, 3)
        out = _compiled()(query, key, value, block_mask=attention_mask, enable_gqa=grouped)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _flex)


@contextmanager
def _attention(model: Any) -> Iterator[None]:
    """The model's layers attend by `_flex` inside."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
