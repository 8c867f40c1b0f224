"""The start-up proof: the engine samples from the trainer's policy, adapter and all, and notices when that changes.

Always true here: the adapter is moved for the proof and put back to the bit; the same tokens are scored by both sides; what is
wrong is named: not applied, another scale, a stale cache, or another model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .engine import Completion, Engine, Request, Sampling, SyncFailed, complete_all

BOUNDS = {torch.float32: 2e-3, torch.bfloat16: 0.15, torch.float16: 0.05}
"""Largest mean difference of a token's log-prob (nats) between engine and trainer that rounding explains, by the base's dtype."""
TOKENS = 12
MOVED = 4
"""The adapter of the proof moves the log-probs by so many bounds at the least."""


@dataclass(frozen=True)
class Agreement:
    """What the proof found; log-probs in nats."""

    gap: float
    """Mean difference of a token's log-prob between engine and trainer, under the moved adapter."""
    moved: float
    """How far the moved adapter takes the log-probs from the base's, on average."""
    bound: float

    def as_dict(self) -> dict[str, float]:
        """For run.json."""
        return {"logprob_gap": self.gap, "logprob_moved": self.moved, "bound": self.bound}


def prove(engine: Engine, model: Any, prompts: Sequence[Sequence[int]], version: int = 0) -> Agreement:
    """Prove that `engine` takes over the adapter of `model` (PEFT, in this process) and samples from it.

    Args:
        prompts: two different ones; the first is read under two versions, and should fill some blocks of a prefix cache.
        version: what is loaded at the end, with the adapter as it is now.

    Raises:
        SyncFailed: it does not; the message says what shows it.
    """
    seen, fresh = prompts
    bound = BOUNDS.get(next(model.parameters()).dtype, max(BOUNDS.values()))
    engine.sync(model, version - 2)
    _sample(engine, seen)  # the cache now holds this prompt under the adapter as it is
    with _moved(model, seen, bound) as distance:
        engine.sync(model, version - 1)
        second, first = _sample(engine, fresh), _sample(engine, seen)
        found = Agreement(_gap(model, seen, first), distance, bound)
        other = _gap(model, fresh, second)
        if max(found.gap, other) > bound:
            raise SyncFailed(_diagnosis(model, seen, first, found, fresh, second, other))
    engine.sync(model, version)
    return found


def _diagnosis(
    model: Any, seen: Sequence[int], first: Completion, found: Agreement, fresh: Sequence[int], second: Completion, other: float
) -> str:  # fmt: skip
    gap = max(found.gap, other)
    what = f"log-probs of engine and trainer differ by {gap:.3g} a token on the same tokens (bound {found.bound:g})"
    with model.disable_adapter():
        if max(_gap(model, seen, first), _gap(model, fresh, second)) <= found.bound:
            return f"the adapter is not applied: the engine samples from the base alone; {what}"
    if other <= found.bound:
        return f"stale prefix cache: a prompt that was read under an earlier version still gives that version's log-probs; {what}"
    for factor in _factors(model):
        with _scaled(model, factor):
            if _gap(model, fresh, second) <= found.bound:
                return (
                    f"wrong scale: the engine applies the adapter {factor:g} times as strongly as the trainer; {what}"
                )
    return f"the engine does not sample from the trainer's policy; {what}: check that both load the same base in the same dtype"


def _factors(model: Any) -> list[float]:
    """Scales that an engine might use in place of the trainer's, over those."""
    scales = {scale for layer in _scaling_layers(model) for scale in layer.scaling.values() if scale}
    return sorted({factor for scale in scales for factor in (1 / scale, scale)} | {0.5, 2.0})


def _scaling_layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(getattr(module, "scaling", None), dict)]


def _sample(engine: Engine, prompt: Sequence[int]) -> Completion:
    [made] = complete_all(engine, [Request(prompt, (0, 0, 0))], Sampling(TOKENS))
    return made


@torch.no_grad()
def logprobs_of(model: Any, prompt: Sequence[int], completion: Sequence[int]) -> np.ndarray:
    """Log-probs [C] of a completion's tokens by a plain forward of the trainer's model."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    ids = torch.tensor([[*prompt, *completion]], device=device)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(completion) + 1).logits[0, :-1].float()
    model.train(was_training)
    picked = logits.log_softmax(-1).gather(1, ids[0, -len(completion) :, None])
    return picked.squeeze(1).cpu().double().numpy()


def _gap(model: Any, prompt: Sequence[int], made: Completion) -> float:
    return float(np.abs(logprobs_of(model, prompt, made.ids) - np.array(made.logprobs)).mean())


@contextmanager
def _moved(model: Any, prompt: Sequence[int], bound: float) -> Iterator[float]:
    """The adapter moved by noise until the log-probs of `prompt` show it; yields by how much. Put back afterwards."""
    parameters = [p for n, p in sorted(model.named_parameters()) if "lora_B" in n or "lora_embedding_B" in n]
    before = [p.detach().clone() for p in parameters]
    tail = list(prompt[-TOKENS:])
    try:
        with model.disable_adapter():
            base = logprobs_of(model, prompt[:-TOKENS], tail)
        size, distance = 0.01, 0.0
        while distance < MOVED * bound and size < 100:
            size *= 2
            generator = torch.Generator().manual_seed(0)
            for p in parameters:
                noise = torch.randn(p.shape, generator=generator) * size
                p.data.copy_(noise.to(p.device, p.dtype))
            distance = float(np.abs(logprobs_of(model, prompt[:-TOKENS], tail) - base).mean())
        if distance < MOVED * bound:
            raise SyncFailed(
                "the adapter changes nothing: whatever its weights, the trainer's own log-probs stay as they are"
            )
        yield distance
    finally:
        for p, saved in zip(parameters, before, strict=True):
            p.data.copy_(saved)


@contextmanager
def _scaled(model: Any, factor: float) -> Iterator[None]:
    layers = _scaling_layers(model)
    before = [dict(layer.scaling) for layer in layers]
    for layer in layers:
        for key in layer.scaling:
            layer.scaling[key] *= factor
    try:
        yield
    finally:
        for layer, scaling in zip(layers, before, strict=True):
            layer.scaling.update(scaling)
