"""Rollouts of a given shape, for benchmarks of the update: how long they are, who wrote what, and which groups have a signal.

Always true here: the same shape gives the same rollouts; groups of 8, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..configs import BadInput

G = 8
"""Completions of a group."""


@dataclass(frozen=True)
class Workload:
    """Rollouts of a shape: lengths in tokens, which completion tokens the policy wrote, which groups have no signal."""

    prompts: list[int]
    """One a group."""
    completions: list[int]
    """One a rollout, G a group."""
    written: float = 1.0
    dead: float = 0.0


def workload(shape: str, groups: int) -> Workload:
    """The rollouts called `shape`: rag, agent, math, or P/C with fixed lengths."""
    rng, n = np.random.default_rng(0), groups * G
    if shape == "rag":
        return Workload([900] * groups, [64] * n)
    if shape == "agent":
        return Workload([256] * groups, np.clip(rng.lognormal(5, 0.6, n), 32, 256).astype(int).tolist(), written=0.7)
    if shape == "math":
        prompts = rng.integers(20, 61, groups).tolist()
        return Workload(prompts, np.clip(rng.lognormal(4.2, 0.7, n), 20, 300).astype(int).tolist(), dead=0.5)
    prompt, _, completion = shape.partition("/")
    if not prompt.isdigit() or not completion.isdigit() or not int(prompt) or not int(completion):
        raise BadInput(f"there is no shape '{shape}' (rag, agent, math, or P/C in tokens, such as 256/64)")
    return Workload([int(prompt)] * groups, [int(completion)] * n)


def batch_of(work: Workload, vocabulary: int, device: str) -> dict[str, Any]:
    """The generation batch that TRL's trainer would hold: ids, masks and advantages, padded to its longest rows."""
    import torch

    rng = np.random.default_rng(1)
    P, C, n = max(work.prompts), max(work.completions), len(work.completions)
    ids = {"prompt": np.zeros((n, P), dtype=np.int64), "completion": np.zeros((n, C), dtype=np.int64)}
    masks = {"prompt": np.zeros((n, P), dtype=np.int64), "completion": np.zeros((n, C), dtype=np.int64)}
    tools = np.ones((n, C), dtype=np.int64)
    advantages = np.zeros(n)
    for group, length in enumerate(work.prompts):
        prompt = rng.integers(10, vocabulary, length)
        rows = range(group * G, (group + 1) * G)
        if group >= work.dead * len(work.prompts):
            drawn = rng.normal(size=G)
            advantages[rows.start : rows.stop] = (drawn - drawn.mean()) / drawn.std(ddof=1)
        for row in rows:
            ids["prompt"][row, P - length :], masks["prompt"][row, P - length :] = prompt, 1
            written = work.completions[row]
            ids["completion"][row, :written], masks["completion"][row, :written] = (
                rng.integers(10, vocabulary, written),
                1,
            )
            tools[row] = rng.random(C) < work.written
    tensors = {f"{k}_ids": torch.tensor(v) for k, v in ids.items()} | {
        f"{k}_mask": torch.tensor(v) for k, v in masks.items()
    }
    tensors["advantages"] = torch.tensor(advantages, dtype=torch.float32)
    if work.written < 1:
        tensors["tool_mask"] = torch.tensor(tools)
    mask = tensors["completion_mask"] * tensors.get("tool_mask", 1)
    tensors["num_items_in_batch"] = mask.sum()
    return {key: value.to(device) for key, value in tensors.items()}


def formula(work: Workload) -> int:
    """Tokens that an update needs: each live prompt once, each live completion with the prompt's last token."""
    live = [g for g in range(len(work.prompts)) if g >= work.dead * len(work.prompts)]
    return sum(work.prompts[g] - 1 + sum(work.completions[g * G : (g + 1) * G]) + G for g in live)
