"""`journeyman bench ppo`: what a critic costs, and what the PPO that TRL once had takes for the same work.

Always true here: every side is a whole trainer in a process of its own, and they take turns; a step is everything after
generation (rewards, passes without a gradient, credit, epochs, optimizer steps), whose tokens are fixed and the same for all.
Memory is what a process holds at most beyond what it held before its model was made: weights, adapters, optimizer, activations.

Two comparisons, a table each. GRPO and PPO with each kind of critic: one epoch, one optimizer step. Then PPO with a separate
critic beside TRL 1.12's: a prompt of its own for every rollout, four epochs, a KL penalty; see `ppo_peer.py`.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs import BadInput
from ..configs.lifeline import tied
from .bench_side import Side
from .peers import NoPeer, peer_python, without_paths
from .random_models import LIKE
from .workload import G, workload

SIDES = {
    "grpo": "GRPO", "head": "PPO, head", "adapter": "PPO, adapter", "model": "PPO, model", "named": "PPO, named model",
}  # fmt: skip
"""GRPO, and PPO by the kinds of critic: the last on a model that is named, here of the size of the policy, told its opinion."""
PEER = "trl==1.12.0"
"""The last with a PPO."""
EPOCHS, KL = 4, 0.05
"""Of the second comparison: TRL 1.12's own defaults."""


def run(
    rounds: int = 5, shape: str = "128/128", groups: int = 4, model: str | None = None, share: int = G, batch: int = G,
    peer: str = PEER,
) -> dict[str, Any]:  # fmt: skip
    """Print the tables and return the figures; `ratio` is TRL 1.12's seconds over ours.

    Args:
        rounds: timed steps of each side, in turns, after one that is not timed.
        shape: P/C, tokens of prompt and completion.
        groups: groups of 8 rollouts a step.
        model: a folder with a model, or qwen3-0.6b, qwen3-1.7b or qwen3-4b with random weights; a random Qwen3 of 3M parameters
            where None.
        share: rollouts to a prompt in the first comparison: 8, a group's, or 1, as PPO has it where nothing else is said.
        batch: rows of a micro-batch, the same on every side.
        peer: a Python interpreter that has trl==1.12.0; none to leave it out; trl==1.12.0 for an environment made on first use.
    """
    P, _, C = shape.partition("/")
    workload(shape, 1)
    if not C:
        raise BadInput(f"bench ppo takes tokens of prompt and completion, P/C such as 128/384, and no shape '{shape}'")
    if share not in (1, G):
        raise BadInput(f"--share is {share}; it should be {G}, or 1 for a prompt of its own to every rollout")
    if groups * G % batch:
        raise BadInput(f"--batch {batch} does not divide {groups} groups of {G} rollouts")
    if model is not None and model not in LIKE and not Path(model).is_dir():
        raise BadInput(f"--model: there is no folder '{model}', and no architecture of that name ({', '.join(LIKE)})")
    if peer not in (PEER, "none") and shutil.which(peer) is None:
        raise BadInput(
            f"--peer {peer}: there is no such interpreter; give one that has {PEER}, or none to leave it out"
        )
    order = {"model": model, "prompt": int(P), "completion": int(C), "rows": groups * G, "batch": batch}
    result: dict[str, Any] = {
        "bench": "ppo", "shape": shape, "ours_s": None, "peer_s": None, "ratio": None, "rows": groups * G, "batch": batch,
        "rounds": rounds, "model": model or "random 3M", "peer": None,
        "compared": "everything after generation; TRL 1.12's PPOTrainer.train with generation and reward model stubbed",
    }  # fmt: skip
    result |= {"share": share, **_critics({**order, "share": share}, rounds)}
    if peer != "none":
        print(json.dumps(result), flush=True)  # what is known stays known if the rest is cut short
        result |= _beside_trl(order, rounds, peer)
    return result


def _critics(order: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """GRPO, and PPO with each critic: one epoch of the same groups."""
    sides = {name: Side("journeyman.recipes.fixed_steps", name) for name in SIDES}
    built = _ready(sides, {**order, "epochs": 1})
    taken = _turns(sides, rounds)
    for side in sides.values():
        side.close()
    steps = {name: _medians(each) for name, each in taken.items()}
    for name, each in steps.items():
        each["of_grpo"] = _ratio(taken[name], taken["grpo"], "seconds")
        each["processor_of_grpo"] = _ratio(taken[name], taken["grpo"], "processor")
        each["peak_of_grpo"] = each["peak"] / steps["grpo"]["peak"]
        each["trained"] = built[name]["trained"]
    facts = built["grpo"]
    print(
        f"one step on {order['rows']} rollouts of {order['prompt']}/{order['completion']} tokens, {order['share']} to a prompt, "
        f"one epoch, micro-batches of {order['batch']}, {facts['parameters']:,} parameters, on {facts['device']}"
        f"{', gradient checkpointing' * facts['checkpointing']}; medians of {rounds} rounds in turns"
    )
    print(
        f"{'':<18}{'seconds':>9}{'x GRPO':>8}{'before epochs':>15}{'processor s':>13}{'x GRPO':>8}{'peak MB':>9}{'x GRPO':>8}"
        "   trained parameters"
    )
    for name, each in steps.items():
        print(
            f"{SIDES[name]:<18}{each['seconds']:>9.3f}{each['of_grpo']:>8.2f}{each['before']:>15.3f}{each['processor']:>13.3f}"
            f"{each['processor_of_grpo']:>8.2f}{each['peak'] / 2**20:>9.0f}{each['peak_of_grpo']:>8.2f}   {each['trained']:,}"
        )
    return {"steps": steps, "device": facts["device"], "checkpointing": facts["checkpointing"]}


def _beside_trl(order: Mapping[str, Any], rounds: int, peer: str) -> dict[str, Any]:
    """A separate critic on both sides, four epochs."""
    try:
        python = peer_python(PEER) if peer == PEER else peer
        with tempfile.TemporaryDirectory() as folder:
            ours = Side("journeyman.recipes.fixed_steps", "model")
            given = {**order, "share": 1, "epochs": EPOCHS, "kl_coef": KL, "save": folder}
            facts = ours.ask(**given)
            theirs = _Peer(python)
            tokens = json.loads((Path(folder) / "tokens.json").read_text())
            about = theirs.ask(
                **tokens, base=f"{folder}/base", output=f"{folder}/peer", lora=facts["lora"], batch=order["batch"], epochs=EPOCHS,
                kl_coef=KL, checkpointing=facts["checkpointing"],
            )  # fmt: skip
            sides = {"ours": ours, "peer": theirs}
            for side in sides.values():
                side.ask()
            taken = _turns(sides, rounds)
            for side in sides.values():
                side.close()
    except (NoPeer, OSError) as none:
        print(f"\nTRL 1.12's PPO is left out: {none}")
        return {"peer_missing": str(none)}
    a, b = (_medians(taken[name]) for name in ("ours", "peer"))
    ratio = _ratio(taken["peer"], taken["ours"], "seconds")
    print(
        f"\nPPO with a separate critic, the same rollouts with a prompt of their own each, {EPOCHS} epochs, KL penalty {KL}"
    )
    print(f"{'':<14}{'seconds':>9}{'processor s':>13}{'peak MB':>9}   trained parameters")
    a["trained"], b["trained"] = facts["trained"], about["trained"]
    for label, each in (("journeyman", a), (f"TRL {about['version']}", b)):
        size = f"{each['peak'] / 2**20:>9.0f}   {each['trained']:,}"
        print(f"{label:<14}{each['seconds']:>9.3f}{each['processor']:>13.3f}{size}")
    print(f"{ratio:.2f} times as fast, {a['peak'] / b['peak']:.2f} times the memory")
    return {
        "ours_s": a["seconds"], "peer_s": b["seconds"], "ratio": ratio, "peer": f"TRL {about['version']}", "epochs": EPOCHS,
        "kl_coef": KL, "beside": {"ours": a, "peer": b}, "ratio_processor": _ratio(taken["peer"], taken["ours"], "processor"),
        "peak_ratio": a["peak"] / b["peak"],
    }  # fmt: skip


class _Peer(Side):
    """TRL 1.12 in an interpreter of its own."""

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen(
            tied([python, str(Path(__file__).with_name("ppo_peer.py"))]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**without_paths(), "TRL_EXPERIMENTAL_SILENCE": "1"},
        )  # fmt: skip


def _ready(sides: Mapping[str, Side], order: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every side built and warm; they get ready at once."""
    for side in sides.values():
        side.tell(**order)
    built = {name: side.answer() for name, side in sides.items()}
    print(f"built: {', '.join(built)}", file=sys.stderr)
    for side in sides.values():
        side.tell()
    for name, side in sides.items():
        print(f"warm: {name}, {side.answer()['seconds']:.3f} s", file=sys.stderr)
    return built


def _turns(sides: Mapping[str, Side], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """`rounds` steps of each side, one at a time, told as they come."""
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, side in sides.items():
            step = side.ask()
            taken[name].append(step)
            print(f"round {number} {name}: {step['seconds']:.3f} s, {step['peak'] / 2**20:,.0f} MB", file=sys.stderr)
    return taken


def _ratio(one: list[dict[str, Any]], other: list[dict[str, Any]], key: str) -> float:
    """The median over rounds."""
    return statistics.median(a[key] / b[key] for a, b in zip(one, other, strict=True))


def _medians(steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: statistics.median(step[key] for step in steps) for key in steps[0]}
