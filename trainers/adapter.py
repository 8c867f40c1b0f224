"""The adapter of a run: put on its base as `lora:` says, and how far training moved it.

Invariants: every name in `lora:` is one of the base's modules; what PEFT would pass over is bad input, before a folder is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import get_pattern_key

from ..configs import BadInput
from ..configs.errors import nearest


def adapted(model: Any, lora: LoraConfig, where: str) -> Any:
    """`model` with a new adapter on it (PEFT); the base's own modules are changed in place.

    Args:
        where: the config's path, for messages.

    Raises:
        BadInput: `lora` names no module, or one that is not there, or has values that PEFT refuses.
    """
    names = [name for name, _ in model.named_modules()]
    for key in ("modules_to_save", "exclude_modules", "rank_pattern", "alpha_pattern"):
        wanted = getattr(lora, key) or ()
        for each in [wanted] if isinstance(wanted, str) else wanted:
            if not any(re.match(rf"(.*\.)?({each})$", name) for name in names):
                known = {name.rpartition(".")[2] for name in names if name and not name.rpartition(".")[2].isdigit()}
                raise BadInput(f"{where}: lora.{key}: the base has no module '{each}'{nearest(str(each), known)}")
    try:
        tuned = get_peft_model(model, deepcopy(lora))
    except (ValueError, TypeError, NotImplementedError) as error:
        raise BadInput(f"{where}: lora: {' '.join(str(error).split())[:300]}") from error
    if isinstance(tuned.get_output_embeddings(), BaseTunerLayer):
        raise BadInput(
            f"{where}: lora.target_modules adapts the head (lm_head), and log-probs are computed from its weights alone, so that "
            "this part would not be trained; leave it out"
        )
    return tuned


def update_norm(state: Mapping[str, torch.Tensor], begin: Mapping[str, torch.Tensor], lora: LoraConfig) -> float:
    """Frobenius norm of what training changed: 0 for an adapter that is as it began, whatever it began as.

    Of an adapted layer that is `scale * (B A - B0 A0)`; of everything else in `state` (biases, `modules_to_save`, DoRA's
    magnitudes), the difference itself.

    Args:
        state: the adapter's tensors at the end (`adapter_state`).
        begin: those of the untrained adapter: an ordinary one begins with B = 0, one by PiSSA or OLoRA does not.
    """
    total, pattern = 0.0, dict(lora.alpha_pattern or {})
    pairs = {name: _partner(name) for name in state if _partner(name) in state}
    for name in state.keys() - pairs.keys() - set(pairs.values()):
        total += float((state[name].float() - begin[name].float()).square().sum())
    for first, second in pairs.items():
        a, b, a0, b0 = (each[name].float() for each in (state, begin) for name in (first, second))
        module = first.partition(".lora_")[0]
        alpha = pattern.get(get_pattern_key(list(pattern), module), lora.lora_alpha)
        scale = alpha / (a.shape[0] ** 0.5 if lora.use_rslora else a.shape[0])
        # B A - B0 A0 = [B - B0, B0] [A; A - A0], by small Gram matrices: B A itself may be as large as the embedding.
        left, right = torch.cat([b - b0, b0], dim=1), torch.cat([a, a - a0])
        total += max(0.0, float(((left.T @ left) * (right @ right.T)).sum())) * scale**2
    return float(total**0.5)


def _partner(name: str) -> str:
    """The name of the `lora_B` that belongs to a `lora_A`; an empty one for any other tensor."""
    for part in ("lora_A", "lora_embedding_A"):
        if f".{part}" in name:
            return name.replace(f".{part}", f".{part[:-1]}B")
    return ""
