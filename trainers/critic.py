"""The critic: a value for the state before every token, from a head on a backbone of its own, shared or separate.

A critic that reads log-probs is told, in the embedding of each token that the policy wrote, how likely it was, and how
open the next choice is: what sampling has done to a completion can be seen there long before it can be seen in the text. One
that stands on another model is told the same of that model, without its adapter: a second opinion of each token.

Always true here: the policy's adapter, and what is published of it, holds nothing of the critic; a backbone that shares the
policy's base shares its very tensors, so that it takes the memory of an adapter; the head is zero at first, and computes in fp32.
What is told of a token stays as it was when it was sampled, however often a batch is trained on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn

NAME = "critic"
"""Of its LoRA adapter: the policy's is called `default`."""
FILE = "critic.safetensors"
LM = "lm."
ODDS = 3
"""Numbers that are told at a token of one model's opinion; see `odds`."""


class Critic(nn.Module):
    """Value head, and the backbone that it reads where that is not the policy's own.

    Args:
        hidden: width of the backbone's last hidden states.
        lm: a causal language model with an adapter of its own (PEFT); None to read the policy's forward.
        opinions: how many models' `odds` of a token it is told, by a matrix that is zero at first; 0 without an `lm`.
    """

    def __init__(self, hidden: int, lm: Any = None, opinions: int = 0) -> None:
        super().__init__()
        self.lm = lm
        self.head = nn.Linear(hidden, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.odds: nn.Linear | None = None
        if opinions:
            self.odds = nn.Linear(ODDS * opinions, decoder(lm).get_input_embeddings().weight.size(1), bias=False)
            nn.init.zeros_(self.odds.weight)

    def value(self, hidden_BTH: torch.Tensor) -> torch.Tensor:
        """Values [B, T] in fp32, whatever the precision of the backbone."""
        with torch.autocast(hidden_BTH.device.type, enabled=False):
            values: torch.Tensor = self.head(hidden_BTH.float()).squeeze(-1)
        return values

    def read(
        self,
        lm: Any,
        inputs: dict[str, Any],
        labels_BC: torch.Tensor,
        odds_BCK: torch.Tensor | None = None,
        detached: bool = False,
    ) -> tuple[torch.Tensor]:
        """A `Head` of `prefix.py`: values [B, C + 1], before each of C tokens and after the last.

        Args:
            odds_BCK: what is told at the C tokens and the one before [B, 1 + C or more, 3 x opinions], where it reads it.
            detached: with a gradient for the head alone.
        """
        if self.odds is not None and odds_BCK is not None:
            ids_BT = inputs["input_ids"]
            embedded_BTH = decoder(lm).get_input_embeddings()(ids_BT)
            told_BCH = self.odds(odds_BCK[:, : labels_BC.size(1)]).to(embedded_BTH.dtype)
            told_BTH = nn.functional.pad(told_BCH, (0, 0, ids_BT.size(1) - told_BCH.size(1), 0))
            inputs = {**inputs, "input_ids": None, "inputs_embeds": embedded_BTH + told_BTH}
        with torch.set_grad_enabled(torch.is_grad_enabled() and not detached):
            hidden_BTH = decoder(lm)(**inputs).last_hidden_state
        return (self.value(hidden_BTH[:, -labels_BC.size(1) :]),)

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of what is trained, on the CPU."""
        own = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(LM)}
        if self.lm is not None:
            own |= get_peft_model_state_dict(self.lm, adapter_name=NAME, save_embedding_layers=False)
        return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in own.items()}

    def save(self, path: Path) -> None:
        """Write `state` to a safetensors file."""
        save_file(self.state(), path)

    def load(self, path: Path) -> None:
        """Take over what `save` wrote."""
        state = load_file(path)
        own = [name for name in self.state_dict() if not name.startswith(LM)]
        self.load_state_dict({name: state.pop(name) for name in own}, strict=False)  # the rest is its adapter's
        if self.lm is not None:
            set_peft_model_state_dict(self.lm, state, adapter_name=NAME)


def odds(logps_BC: torch.Tensor, entropies_BC: torch.Tensor, written_BC: torch.Tensor) -> torch.Tensor:
    """What can be told at the last token of the prompt and at each token after it [B, 1 + C, 3]: the token's log-prob (down to
    -10), its probability less 1, and the entropy in nats of what the next one is drawn from; 0 of what tools replied."""
    own_BC = written_BC.bool()
    of_token = torch.stack([logps_BC.clamp(min=-10.0), logps_BC.exp() - 1], dim=-1)
    of_token = nn.functional.pad(torch.where(own_BC[..., None], of_token, 0.0), (0, 0, 1, 0))
    of_next = nn.functional.pad(torch.where(own_BC, entropies_BC, 0.0), (0, 1))
    return torch.cat([of_token, of_next[..., None]], dim=-1).float()


def attach_critic(
    policy: Any,
    kind: str,
    lora: LoraConfig,
    base: Any = None,
    checkpointing: bool = False,
    opinions: int = 0,
) -> Critic:
    """Give a policy (PEFT) its critic, as the submodule `critic`: what wraps the policy wraps both.

    Args:
        kind: `adapter`, a LoRA adapter of its own on the policy's base; `head`, none; `model`, one on another base.
        lora: of its adapter.
        base: the other base model, with the policy's vocabulary.
        checkpointing: recompute its activations in the backward pass.
        opinions: see `Critic`.
    """
    lm = None
    if kind == "adapter":
        base = sharing_base(policy)
    if kind != "head":
        own = copy.deepcopy(lora)
        lm = get_peft_model(base, own, adapter_name=NAME)
        if checkpointing:
            lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    width = (lm or policy).config.get_text_config().hidden_size
    critic = Critic(width, lm, opinions).to(next(policy.parameters()).device)
    policy.critic = critic
    policy.register_state_dict_post_hook(_leave_out)
    return critic


def _leave_out(policy: Any, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """PEFT takes every adapter layer below a model for part of its adapter: the critic's are not in the policy's state."""
    for name in [name for name in state if name.startswith(f"{prefix}critic.")]:
        del state[name]


def sharing_base(policy: Any) -> Any:
    """Another module tree over the same tensors as the base of `policy` (PEFT), without its adapter."""
    shared = {id(tensor): tensor for tensor in [*policy.parameters(), *policy.buffers()]}
    base = copy.deepcopy(policy, shared).unload()
    if hasattr(base, "peft_config"):
        del base.peft_config
    return base


def decoder(lm: Any) -> Any:
    """The layers of a causal language model under its head, adapters in them."""
    inner = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
    return getattr(inner, inner.base_model_prefix)


@contextmanager
def hidden_states(lm: Any) -> Iterator[list[torch.Tensor]]:
    """Collects the last hidden states [B, T, H] of every forward of `lm` inside."""
    seen: list[torch.Tensor] = []
    hook = decoder(lm).register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    try:
        yield seen
    finally:
        hook.remove()
