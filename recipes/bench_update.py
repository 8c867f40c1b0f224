"""`journeyman bench update`: one policy update beside stock TRL's, on the same rollouts.

Always true here: both sides are trainers that take turns, on a CPU in processes of their own; each computes its gradient with its
own `_compute_loss` over the same padded generation batch, advantages and masks, with importance sampling correction off; the peer
runs at the fastest of its per-device batch sizes, ours at the fastest that takes no more memory than that. The gradients are
compared as they are. A setting's first pass is not timed on a GPU, and the floor of the work stands beside what was measured.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..configs import BadInput
from ..trainers.estimate import Shape
from .bench_side import Side
from .floors import update_flops
from .random_models import LIKE
from .update_side import Here
from .workload import G, Workload, formula, workload

GROUPS = {"rag": 4, "agent": 8, "math": 16}
TOKENS = 40_000
"""Of an update of P/C on a GPU, a prompt counted with each completion: as many groups, a power of two, as stay within it."""
BATCHES = (1, 2, 4, 8, 16, 32)
"""Per-device batch sizes that the peer may choose from."""
FILLS = 8192
"""Tokens of a micro-batch below which a GPU waits for its next kernel: the peer is tried with the two smallest that have them."""


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
    ours, peer = _sides()
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


def _sides() -> tuple[Any, Any]:
    """Processes of their own, so that their memory can be told apart; on a GPU, whose allocator tells, two sides of this one."""
    import torch

    if torch.cuda.is_available():
        return Here("ours"), Here("peer")
    ours, peer = (Side("journeyman.recipes.update_side", name) for name in ("ours", "peer"))
    return ours, peer


def _compared(ours: Any, peer: Any, shape: str, groups: int, rounds: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """One shape, both sides: their settings chosen, then rounds in turns."""

    def step(side: Any, batch: int, gradient: Path | None = None) -> dict[str, Any]:
        order = {"shape": shape, "groups": groups, "batch": batch, "gradient": str(gradient or "")}
        found: dict[str, Any] = side.ask(**order)
        label = "ours" if side is ours else "stock"
        took = "out of memory" if found.get("out_of_memory") else f"{found['seconds']:.3f} s"
        print(f"{shape} {label}, micro-batch {batch}: {took}", file=sys.stderr, flush=True)
        return found

    work, rows = workload(shape, groups), groups * G
    sizes = [size for size in BATCHES if rows % size == 0]
    whole = [size for size in sizes if size >= G]  # groups stay whole
    if facts["device"] != "cpu":
        longest = max(work.prompts) + max(work.completions)
        sizes = [size for size in sizes if size * longest >= FILLS][:2] or sizes[-1:]
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
            tflops=facts["flops"] / 1e12,
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
