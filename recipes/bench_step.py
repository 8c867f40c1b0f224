"""`journeyman bench step`: whole GRPO steps over vLLM in this process, beside stock TRL's over its own colocated vLLM.

Always true here: both sides train the same random model with the same LoRA on the same prompts and rewards, 128 rollouts a
step at fixed lengths; each is a trainer with its vLLM in a process of its own, and only one of them works at a time; a step is
that of `trainer.train()`, its parts taken by the clock once the device is done. Both engines start with the same options;
how our adapter gets in is measured both ways.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs import BadInput
from ..trainers.estimate import Shape
from .bench_side import Side
from .floors import decode_seconds
from .random_models import LIKE
from .workload import G, workload

GROUPS = 16
WAYS = ("adapter", "merged")


def run(
    rounds: int = 2, shape: str = "256/1024,2048/256", groups: int = GROUPS, model: str = "qwen3-0.6b"
) -> dict[str, Any] | list[dict[str, Any]]:
    """Print a table for each model and shape, and return the figures; a list of them where there are several.

    Args:
        rounds: timed steps of each side at each shape, after a short one that is not.
        shape: tokens of prompt and completion, P/C, several with commas between.
        groups: groups of 8 rollouts a step.
        model: qwen3-0.6b, qwen3-1.7b or qwen3-4b, with random weights, or a folder with a model; several with commas between.
    """
    shapes = shape.split(",")
    for name in shapes:
        workload(name, 1)  # bad input before anything starts
        if "/" not in name:
            raise BadInput(f"bench step takes shapes as P/C in tokens, such as 256/1024; '{name}' has no one length")
    for name in model.split(","):
        if name not in LIKE and not Path(name).is_dir():
            raise BadInput(
                f"--model: there is no folder '{name}', and no architecture of that name ({', '.join(LIKE)})"
            )
    results = []
    for name in model.split(","):
        results += _model(name, shapes, groups, rounds)
    return results[0] if len(results) == 1 else results


def _model(name: str, shapes: list[str], groups: int, rounds: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        peer, ours = (Side("journeyman.recipes.step_side", side, folder) for side in ("peer", "ours"))
        peer.tell(do="ready")
        facts = ours.ask(do="save", model=name)
        peer.answer()
        most = max(sum(map(int, shape.split("/"))) for shape in shapes)
        start = {"groups": groups, "shapes": shapes, "context": most + 8}
        started = {"peer": peer.ask(do="start", **start)["seconds"]}
        found: dict[str, dict[str, Any]] = {shape: {} for shape in shapes}
        for way in WAYS:  # one engine starts at a time: each looks at how much memory is free
            started[way] = ours.ask(do="start", way=way, **start)["seconds"]
            for shape in shapes:
                sides = {"peer": peer, way: ours} if way == WAYS[0] else {way: ours}
                for label, side in sides.items():
                    found[shape][label] = side.ask(do="steps", shape=shape, steps=rounds)
                    line = {
                        "model": name,
                        "shape": shape,
                        "side": label,
                        "start_s": started[label],
                        **found[shape][label],
                    }
                    print(json.dumps(line), file=sys.stderr, flush=True)
        peer.close()
        ours.close()
    return [_result(name, shape, found[shape], groups, rounds, {**facts, "start_s": started}) for shape in shapes]


def _result(
    name: str, shape: str, found: Mapping[str, Any], groups: int, rounds: int, facts: Mapping[str, Any]
) -> dict[str, Any]:
    P, C = map(int, shape.split("/"))
    medians = {
        side: {key: statistics.median(step[key] for step in each["steps"]) for key in each["steps"][0]}
        for side, each in found.items()
    }
    floor = (
        decode_seconds(Shape(**facts["shape"]), P, C, groups * G, G, facts["flops"], facts["bandwidth"])
        if facts["flops"] else None
    )  # fmt: skip
    best = min(WAYS, key=lambda way: medians[way]["seconds"])
    result = {
        "bench": "step", "shape": shape, "model": name, "ours_s": medians[best]["seconds"], "peer_s": medians["peer"]["seconds"],
        "ratio": medians["peer"]["seconds"] / medians[best]["seconds"], "best": best, "sides": medians, "decode_floor_s": floor,
        "of_floor": {side: floor / each["generate"] for side, each in medians.items()} if floor else None,
        "peak": {side: each["peak"] for side, each in found.items()}, "start_s": facts["start_s"], "rounds": rounds,
        "rollouts": groups * G, "device": facts["device"], "compared": "a whole GRPO step; stock GRPOTrainer with colocated vLLM",
    }  # fmt: skip
    print(f"one step of {groups * G} rollouts, {name}, {shape}, on {facts['device']}; medians of {rounds}")
    print(
        f"{'':<10}{'step s':>8}{'generate':>10}{'tokens/s':>10}{'sync s':>8}{'the rest':>10}{'peak GB':>9}{'of floor':>10}"
    )
    for side, each in medians.items():
        share = f"{result['of_floor'][side]:.0%}" if floor else "-"
        print(
            f"{side:<10}{each['seconds']:>8.2f}{each['generate']:>10.2f}{each['tokens'] / each['generate']:>10,.0f}"
            f"{each['sync']:>8.3f}{each['rest']:>10.2f}{found[side]['peak'] / 1e9:>9.1f}{share:>10}"
        )
    print(f"{result['ratio']:.2f} times as fast as stock, with '{best}'", flush=True)
    return result
