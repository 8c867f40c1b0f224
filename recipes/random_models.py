"""Published architectures with random weights: for timing where no model can be downloaded.

Always true here: the numbers of each `config.json` are the published ones, so that time and memory are those of the real model;
what it writes means nothing, and it hardly ever ends a completion.

    model = random_model("qwen3-0.6b", "cuda")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..rewards.core import reward

LIKE: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 3072},
    "qwen3-1.7b": {"hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 6144},
    "qwen3-4b": {"hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 9728},
}
"""Numbers of each model's config.json; what they have in common is in `COMMON`."""
COMMON: dict[str, Any] = {
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 40960,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}


def random_model(like: str = "qwen3-0.6b", device: str | None = None, seed: int = 0, **changed: Any) -> Any:
    """A causal language model of the architecture called `like`, in bfloat16.

    Args:
        device: where it is made, weights and all; a GPU where there is one, since drawing a billion numbers takes a CPU long.
        changed: fields of `Qwen3Config` laid on the architecture.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    with torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")):
        model: Any = Qwen3ForCausalLM(Qwen3Config(**{**COMMON, **LIKE[like], **changed}))
    return model.to(torch.bfloat16)


@reward(needs_reference=False)
def drawn(completion_ids: Sequence[int]) -> float:
    """0 or 1 by the sum of the ids: where a random model earns nothing, every group still has something to learn from."""
    return float(sum(completion_ids) % 2)
