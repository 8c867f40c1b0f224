"""`journeyman bench update`: one policy update beside stock TRL's, on the same rollouts.

Always true here: both sides are trainers in processes of their own that take turns; each computes its gradient with its own
`_compute_loss` over the same padded generation batch, advantages and masks, with importance sampling correction off; the peer
runs at the fastest of its per-device batch sizes, ours at the fastest that takes no more memory than that. The gradients are
compared as they are. A setting's first pass is not timed on a GPU, and the floor of the work stands beside what was measured.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..configs import BadInput
from ..trainers.estimate import Shape
from .bench_side import Side, serve
from .floors import update_flops
from .random_models import LIKE
from .workload import G, Workload, batch_of, formula, workload

GROUPS = {"rag": 4, "agent": 8, "math": 16}
TOKENS = 40_000
"""Of an update of P/C on a GPU, a prompt counted with each completion: as many groups, a power of two, as stay within it."""
BATCHES = (1, 2, 4, 8, 16, 32)
"""Per-device batch sizes that the peer may choose from."""
FILLS = 8192
"""Tokens of a micro-batch below which a GPU waits for its next kernel: smaller ones are not tried there."""


def _groups(shape: str, work: Workload, device: str) -> int:
    if shape in GROUPS or device == "cpu":
        return GROUPS.get(shape, 4)
    each = G * (work.prompts[0] + work.completions[0])
    return 1 << max(0, (TOKENS // each).bit_length() - 1)


def run(
    rounds: int = 5, shape: str = "rag", groups: int | None = None, model: str | None = None
) -> dict[str, Any] | list[dict[str, Any]]:
    """Print a table and return the figures; a list of them where there are several shapes or models.

    Args:
        shape: rag, agent, math, or P/C; several with commas between.
        groups: groups of 8 rollouts an update; 4 of rag, 8 of agent, 16 of math and 4 of P/C where None, on a GPU as many
            of P/C as make some 30k tokens.
        model: a folder with a model, or the name of an architecture to fill with random weights (qwen3-0.6b, qwen3-1.7b,
            qwen3-4b), several with commas between; a random Qwen3 of 3M parameters where None.
    """
    shapes, models = shape.split(","), (model or "").split(",")
    works = {name: workload(name, groups or 1) for name in shapes}  # bad input before anything starts
    for name in models:
        if name and name not in LIKE and not Path(name).is_dir():
            raise BadInput(
                f"--model: there is no folder '{name}', and no architecture of that name ({', '.join(LIKE)})"
            )
    ours, peer = (Side("journeyman.recipes.bench_update", name) for name in ("ours", "peer"))
    results = []
    for name in models:
        ours.tell(model=name)  # both get ready at once
        peer.tell(model=name)
        facts, _ = ours.answer(), peer.answer()
        for each in shapes:
            count = groups or _groups(each, works[each], facts["device"])
            found = _compared(ours, peer, each, count, rounds, facts)
            results.append({**found, "model": name or "random 3M"})
            _table(results[-1])
            if len(models) * len(shapes) > 1:  # what is known stays known if a later one is cut short
                print(json.dumps(results[-1]), flush=True)
    ours.close()
    peer.close()
    return results[0] if len(results) == 1 else results


def _compared(ours: Side, peer: Side, shape: str, groups: int, rounds: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """One shape, both sides: their settings chosen, then rounds in turns."""

    def step(side: Side, batch: int, gradient: Path | None = None) -> dict[str, Any]:
        order = {"shape": shape, "groups": groups, "batch": batch, "gradient": str(gradient or "")}
        found = side.ask(**order)
        if found.get("out_of_memory"):  # the other side's allocator may hold what is missing
            (peer if side is ours else ours).ask(release=True)
            found = side.ask(**order)
        label = "ours" if side is ours else "stock"
        took = "out of memory" if found.get("out_of_memory") else f"{found['seconds']:.3f} s"
        print(f"{shape} {label}, micro-batch {batch}: {took}", file=sys.stderr, flush=True)
        return found

    work, rows = workload(shape, groups), groups * G
    sizes = [size for size in BATCHES if rows % size == 0]
    whole = [size for size in sizes if size >= G]  # groups stay whole
    if facts["device"] != "cpu":
        longest = max(work.prompts) + max(work.completions)
        sizes = [size for size in sizes if size * longest >= FILLS] or sizes[-1:]
    with tempfile.TemporaryDirectory() as folder:
        mine, *theirs = (Path(folder) / f"{name}.pt" for name in ("ours", "peer", "again"))
        trial = _tried(sizes, lambda size: step(peer, size, theirs[min(sizes.index(size), 1)]))
        tried = _tried(whole, lambda size: step(ours, size, mine if size == whole[0] else None))
        fastest = min(trial, key=lambda size: trial[size]["seconds"])
        within = [size for size in tried if tried[size]["peak"] <= trial[fastest]["peak"]] or whole[:1]
        own = min(within, key=lambda size: tried[size]["seconds"])
        pairs = [(step(ours, own), step(peer, fastest)) for _ in range(rounds)]
        rel_l2 = _relative(mine, theirs[0])
        noise = _relative(theirs[1], theirs[0]) if theirs[1].exists() else None
    a, b = (statistics.median(pair[i]["seconds"] for pair in pairs) for i in range(2))
    peaks = [max(pair[i]["peak"] for pair in pairs) for i in range(2)]
    tokens = [pairs[0][i]["tokens"] for i in range(2)]
    result = {
        "bench": "update", "shape": shape, "ours_s": a, "peer_s": b, "ratio": b / a, "rel_l2": rel_l2, "rel_l2_peer": noise,
        "peak_ratio": peaks[0] / peaks[1], "peak": peaks, "tokens": tokens[0], "tokens_peer": tokens[1],
        "tokens_formula": formula(work), "rows": rows, "rounds": rounds, "batch": own, "device": facts["device"],
        "peer_settings": {"per_device_train_batch_size": fastest}, "sharing": pairs[-1][0]["sharing"],
        "tried": {name: {size: round(found["seconds"], 3) for size, found in each.items()} for name, each in
                  (("ours", tried), ("peer", trial))},
        "compared": "gradient of one generation batch: LeanUpdate against stock GRPOTrainer, importance sampling off",
    }  # fmt: skip
    if facts["flops"]:
        form = Shape(**facts["shape"])
        floors = [update_flops(form, work.prompts, work.completions, G, way) / facts["flops"] for way in (True, False)]
        result.update(
            floor_s=floors[0], of_floor=floors[0] / a, floor_unshared_s=floors[1], peer_of_its_floor=floors[1] / b,
            tflops=facts["flops"] / 1e12, weights=facts["bytes"],
        )  # fmt: skip
    return result


def _tried(sizes: Sequence[int], step: Callable[[int], dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Micro-batch -> what it took; without those, larger and larger, that there is no memory for."""
    found: dict[int, dict[str, Any]] = {}
    for size in sizes:
        made = step(size)
        if made.get("out_of_memory"):
            break
        found[size] = made
    if not found:
        raise RuntimeError("not even the smallest micro-batch fits into this device's memory; take fewer --groups")
    return found


def _table(result: Mapping[str, Any]) -> None:
    print(
        f"one update, {result['model']}, shape {result['shape']}: {result['rows'] // G} groups of {G}, medians of "
        f"{result['rounds']} rounds in turns, on {result['device']}"
    )
    print(f"{'':<12}{'seconds':>9}{'tokens':>10}{'peak MB':>9}   micro-batch")
    peak, other = result["peer_settings"]["per_device_train_batch_size"], result["peak"]
    for name, seconds, count, size, batch in (
        ("journeyman", result["ours_s"], result["tokens"], other[0], result["batch"]),
        ("stock TRL", result["peer_s"], result["tokens_peer"], other[1], peak),
    ):
        print(f"{name:<12}{seconds:>9.3f}{count:>10,}{size / 2**20:>9.0f}   {batch}")
    print(
        f"{result['ratio']:.2f} times as fast; tokens needed {result['tokens_formula']:,}; gradients differ by "
        f"{result['rel_l2']:.1e} (relative L2)"
        + (f", stock's own between two micro-batches by {result['rel_l2_peer']:.1e}" if result["rel_l2_peer"] else "")
    )
    if result["sharing"]:
        print(f"prompts were not shared: {result['sharing']}")
    if "floor_s" in result:
        print(
            f"floor {result['floor_s']:.3f} s at {result['tflops']:.0f} TFLOP/s: {result['of_floor']:.0%} of it reached; with a "
            f"prompt forwarded for each completion {result['floor_unshared_s']:.3f} s, of which stock reaches "
            f"{result['peer_of_its_floor']:.0%}",
            flush=True,
        )


def _relative(ours: Path, peer: Path) -> float:
    import torch

    a, b = (torch.load(path) for path in (ours, peer))
    return float((a - b).norm() / b.norm())


class _Updates:
    """A side's process: a trainer on the model of the last order that named one, and updates to order."""

    def __init__(self, side: str) -> None:
        self.side, self.trainer, self.base, self.forwarded = side, None, 0, 0
        self._batches: dict[tuple[str, int], dict[str, Any]] = {}
        self._warm: set[tuple[str, int]] = set()

    def __call__(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an order."""
        if "release" in order:
            self._release()
            return {}
        return self.take(order["model"]) if "model" in order else self.update(order)

    def take(self, name: str) -> dict[str, Any]:
        """Build the trainer; says what the model is, and on a GPU how fast that multiplies matrices."""
        import torch

        from .bench_trainers import make_trainer, reset_peak
        from .floors import matmul_speed

        self.trainer, self._batches, self._warm = None, {}, set()
        self._release()
        given = {"model": _adapted(name)} if name in LIKE else {"folder": name or None}
        self.trainer = trainer = make_trainer(self.side, **given)
        device = trainer.accelerator.device
        trainer.model.get_base_model().get_input_embeddings().register_forward_hook(self._count)
        facts = {"device": "cpu", "flops": 0.0, "shape": asdict(_shape(trainer.model))}
        if device.type == "cuda":
            facts |= {"device": torch.cuda.get_device_name(), "flops": matmul_speed(2) if self.side == "ours" else 0.0}
            self._release()
        self.base = reset_peak(device)  # the model and what Python holds
        return {**facts, "bytes": self.base}

    def _count(self, module: Any, args: Any, out: Any) -> None:
        self.forwarded += args[0].numel()

    def update(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """One update in micro-batches of `batch` rows: seconds, peak bytes above the model's, forwarded tokens."""
        import torch

        from .bench_trainers import peak_memory, reset_peak

        trainer = self.trainer
        assert trainer is not None
        device, key = trainer.accelerator.device, (order["shape"], order["groups"])
        if key not in self._batches:
            self._batches[key] = batch_of(workload(*key), trainer.model.config.vocab_size, str(device))
        batch, cuda = self._batches[key], device.type == "cuda"
        setting = (order["shape"], order["batch"]) if cuda else ("", 0)
        try:
            for timed in (True,) if setting in self._warm else (False, True):
                trainer.model.zero_grad(set_to_none=True)
                self.forwarded = 0
                reset_peak(device)
                if cuda:
                    torch.cuda.synchronize()
                began = time.perf_counter()
                self._accumulate(batch, order["batch"])
                if cuda:
                    torch.cuda.synchronize()
                seconds = time.perf_counter() - began if timed else 0.0
        except torch.OutOfMemoryError:
            trainer.model.zero_grad(set_to_none=True)
            self._release()
            return {"out_of_memory": True}
        self._warm.add(setting)
        peak = peak_memory(device) - self.base
        if order["gradient"]:
            grads = [p.grad.flatten().cpu() for _, p in sorted(trainer.model.named_parameters()) if p.grad is not None]
            torch.save(torch.cat(grads), order["gradient"])
        trainer.model.zero_grad(set_to_none=True)
        return {"seconds": seconds, "peak": peak, "tokens": self.forwarded, "sharing": getattr(trainer, "unshared", "")}

    def _accumulate(self, batch: dict[str, Any], rows: int) -> None:
        from trl.trainer.utils import split_tensor_dict

        trainer: Any = self.trainer
        steps = len(batch["advantages"]) // rows
        trainer.args.steps_per_generation = trainer.current_gradient_accumulation_steps = steps
        for part in split_tensor_dict(batch, steps):
            trainer.accelerator.backward(trainer._compute_loss(trainer.model, part))

    def _release(self) -> None:
        """Give back what the allocator keeps; it is warm no more."""
        import gc

        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            self._warm.clear()


def _adapted(name: str) -> Any:
    """A random model of a published architecture with the presets' LoRA, which already does something."""
    import torch
    from peft import LoraConfig, get_peft_model

    from .random_models import random_model

    lora = LoraConfig(task_type="CAUSAL_LM", r=32, lora_alpha=64, target_modules="all-linear")
    model = get_peft_model(random_model(name), lora)
    for key, parameter in sorted(model.named_parameters()):
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def _shape(model: Any) -> Shape:
    from ..trainers.estimate import shape_of

    adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters()) - adapter
    return shape_of(model.config, whole, adapter)


if __name__ == "__main__":
    serve(_Updates(sys.argv[1]))
