"""Log-probs of completions with each prompt forwarded once for its whole group; exact, on any device.

Always true here: the prompt goes through the model with gradient, its keys and values are handed to every completion of the
group, and nothing is approximated. A model that drops its cache is refused, never scored as if there were no prompt.

Tensor names carry their axes: B rows, N prompts, P prompt tokens, C completion tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

Head = Callable[[Any, dict[str, Any], torch.Tensor], tuple[torch.Tensor, ...]]
"""(model, its inputs, labels [B, 1 + C] with -100 where nothing is scored) -> what it reads off each token: log-probs and
entropies [B, C], or a critic's values [B, C + 1]."""


class CacheDropped(RuntimeError):
    """The model returned no cache of its prompt (gradient checkpointing does that): the prompt can't be shared."""


def shared_prefix_logps(
    model: Any,
    prompts_NP: torch.Tensor,
    prompt_mask_NP: torch.Tensor,
    of_B: torch.Tensor,
    completions_BC: torch.Tensor,
    mask_BC: torch.Tensor,
    head: Head,
) -> tuple[torch.Tensor, ...]:
    """What `head` reads of completions after their prompts: log-probs and entropies [B, C].

    Args:
        prompts_NP: the different prompts, left-padded, at least two tokens wide.
        of_B: the prompt that each completion belongs to.
        completions_BC: right-padded; `mask_BC` is 1 where there is a token.

    Raises:
        CacheDropped: see the class.
    """
    keys_NP, last_N = prompt_mask_NP[:, :-1], prompts_NP[:, -1]
    positions_NP = (keys_NP.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config.get_text_config())
    # One position is enough for the head: what is wanted of the prompt are its keys and values.
    model(
        input_ids=prompts_NP[:, :-1], attention_mask=keys_NP, position_ids=positions_NP, past_key_values=cache,
        use_cache=True, logits_to_keep=1,
    )  # fmt: skip
    if cache.get_seq_length() != keys_NP.size(1):
        raise CacheDropped(f"{type(model).__name__} kept {cache.get_seq_length()} of {keys_NP.size(1)} prompt tokens")
    cache.batch_select_indices(of_B)
    ids_BC = torch.cat([last_N[of_B, None], completions_BC], dim=1)
    own_BC = torch.cat([torch.ones_like(mask_BC[:, :1]), mask_BC], dim=1)
    mask_BT = torch.cat([keys_NP[of_B], own_BC], dim=1)
    starts_B = keys_NP.sum(1)[of_B]
    inputs = {
        "input_ids": ids_BC, "attention_mask": mask_BT, "past_key_values": cache, "use_cache": True,
        "position_ids": starts_B[:, None] + (own_BC.cumsum(1) - 1).clamp(min=0),
    }  # fmt: skip
    labels_BC = ids_BC.masked_fill(own_BC == 0, -100)
    labels_BC[:, 0] = -100
    return head(model, inputs, labels_BC)


def full_logits_head(temperature: float) -> Head:
    """Log-softmax over the whole vocabulary of every completion token: fastest on a CPU."""

    def head(model: Any, inputs: dict[str, Any], labels_BC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits_BCV = model(**inputs, logits_to_keep=labels_BC.size(1)).logits[:, :-1]
        logits_BCV = logits_BCV.to(torch.promote_types(logits_BCV.dtype, torch.float32)) / temperature
        all_BCV = logits_BCV.log_softmax(-1)
        logps = all_BCV.gather(2, labels_BC[:, 1:, None].clamp(min=0)).squeeze(2)
        return logps, -(all_BCV.exp() * all_BCV).sum(-1)

    return head


def fused_head(model: Any, inputs: dict[str, Any], labels_BC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """TRL's tiled head, which never holds the logits of a vocabulary: for GPUs."""
    outputs = model(**inputs, labels=labels_BC, fused_lm_head=True)
    return outputs.log_probs[:, 1:], outputs.entropy[:, 1:]
