"""`journeyman bench update`: one policy update beside stock TRL's, on the same rollouts.

Always true here: both sides are trainers in processes of their own that take turns; each computes its gradient with its own
`_compute_loss` over the same padded generation batch, advantages and masks, with importance sampling correction off; the peer
runs at the fastest of its per-device batch sizes, ours at the fastest that takes no more memory than that. The gradients are
compared as they are.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import BadInput
from .bench_side import Side, serve

G = 8
GROUPS = {"rag": 4, "agent": 8, "math": 16}
BATCHES = (1, 2, 4, 8, 16, 32)
"""Per-device batch sizes that the peer may choose from."""


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


def _side(name: str, shape: str, groups: int, model: str | None) -> Side:
    return Side("journeyman.recipes.bench_update", name, shape, str(groups), model or "")


def _step(side: Side, batch: int, gradient: Path | None = None) -> dict[str, Any]:
    """One update in micro-batches of `batch` rows: seconds, peak bytes above the model's, forwarded tokens."""
    return side.ask(batch=batch, gradient=str(gradient or ""))


def run(rounds: int = 5, shape: str = "rag", groups: int | None = None, model: str | None = None) -> dict[str, Any]:
    """Print a table and return the figures.

    Args:
        shape: rag, agent, math, or P/C.
        groups: groups of 8 rollouts an update; 4 of rag, 8 of agent, 16 of math where None.
        model: a folder with a model; a random Qwen3 of 3M parameters where None.
    """
    groups = groups or GROUPS.get(shape, 4)
    work, rows = workload(shape, groups), groups * G
    ours, peer = (_side(name, shape, groups, model) for name in ("ours", "peer"))
    with tempfile.TemporaryDirectory() as folder:
        mine, theirs = Path(folder) / "ours.pt", Path(folder) / "peer.pt"
        sizes = [size for size in BATCHES if rows % size == 0]
        whole = [size for size in sizes if size >= G]  # groups stay whole
        _step(ours, whole[0], mine)  # the first of each also warms up
        _step(peer, sizes[0], theirs)
        trial = {size: _step(peer, size) for size in sizes}
        fastest = min(trial, key=lambda size: trial[size]["seconds"])
        tried = {size: _step(ours, size) for size in whole}
        within = [size for size in whole if tried[size]["peak"] <= trial[fastest]["peak"]] or whole[:1]
        own = min(within, key=lambda size: tried[size]["seconds"])
        pairs = [(_step(ours, own), _step(peer, fastest)) for _ in range(rounds)]
        rel_l2 = _relative(mine, theirs)
    ours.close()
    peer.close()
    a, b = (statistics.median(pair[i]["seconds"] for pair in pairs) for i in range(2))
    peaks = [max(pair[i]["peak"] for pair in pairs) for i in range(2)]
    tokens = [pairs[0][i]["tokens"] for i in range(2)]
    result = {
        "bench": "update", "shape": shape, "ours_s": a, "peer_s": b, "ratio": b / a, "rel_l2": rel_l2,
        "peak_ratio": peaks[0] / peaks[1], "tokens": tokens[0], "tokens_peer": tokens[1], "tokens_formula": formula(work),
        "rows": rows, "rounds": rounds, "batch": own, "peer_settings": {"per_device_train_batch_size": fastest},
        "compared": "gradient of one generation batch: LeanUpdate against stock GRPOTrainer, importance sampling off",
    }  # fmt: skip
    print(f"one update, shape {shape}: {groups} groups of {G}, medians of {rounds} rounds in turns")
    print(f"{'':<12}{'seconds':>9}{'tokens':>10}{'peak MB':>9}   micro-batch")
    for name, seconds, count, peak, size in (
        ("journeyman", a, tokens[0], peaks[0], own), ("stock TRL", b, tokens[1], peaks[1], fastest)
    ):  # fmt: skip
        print(f"{name:<12}{seconds:>9.2f}{count:>10,}{peak / 2**20:>9.0f}   {size}")
    print(f"{b / a:.2f} times as fast; tokens needed {formula(work):,}; gradients differ by {rel_l2:.1e} (relative L2)")
    return result


def _relative(ours: Path, peer: Path) -> float:
    import torch

    a, b = (torch.load(path) for path in (ours, peer))
    return float((a - b).norm() / b.norm())


def _serve(side: str, shape: str, groups: int, model: str) -> None:
    """A side's process: builds its trainer once, then makes one update an order."""
    import torch
    from trl.trainer.utils import split_tensor_dict

    from .bench_trainers import make_trainer, peak_memory, reset_peak

    trainer = make_trainer(side, model or None)
    base = reset_peak(trainer.accelerator.device)  # the model and what Python holds
    device = trainer.accelerator.device
    batch = batch_of(workload(shape, groups), trainer.model.config.vocab_size, str(device))
    forwarded = [0]
    trainer.model.get_base_model().get_input_embeddings().register_forward_hook(
        lambda module, args, out: forwarded.__setitem__(0, forwarded[0] + args[0].numel())
    )

    def update(order: Mapping[str, Any]) -> dict[str, Any]:
        steps = len(batch["advantages"]) // order["batch"]
        trainer.args.steps_per_generation = trainer.current_gradient_accumulation_steps = steps
        trainer.model.zero_grad(set_to_none=True)
        forwarded[0] = 0
        reset_peak(device)
        began = time.perf_counter()
        for part in split_tensor_dict(batch, steps):
            trainer.accelerator.backward(trainer._compute_loss(trainer.model, part))
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        if order["gradient"]:
            grads = [p.grad.flatten().cpu() for _, p in sorted(trainer.model.named_parameters()) if p.grad is not None]
            torch.save(torch.cat(grads), order["gradient"])
        return {"seconds": seconds, "peak": peak_memory(device) - base, "tokens": forwarded[0]}

    serve(update)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
