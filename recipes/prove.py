"""`journeyman prove`: a run, its control, and the reference rows, compared on the held-out split.

Invariants: the control is the real run with rewards permuted within each group and nothing else changed; all arms began with
the same rewards, environment, files and base, and are measured by one measure; the verdict follows from the records in the
output folder, which anyone can recompute with `verdict(folder)`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..configs import BadInput, Stopped
from ..configs.errors import EXIT_BAD_INPUT, EXIT_RESUMABLE
from ..configs.lifeline import tied
from ..envs.core import Environment, Row
from ..evals.comparison import compare
from ..evals.measure import by_item
from ..evals.measurement import check_comparable, read_side
from ..evals.statistics import Difference, difference_of_differences, interval_text, paired_difference, wilson
from ..rewards import Scored
from ..rewards.executor import score
from ..rollouts.record import read_records
from ..trainers.config import RunConfig, load_config
from ..trainers.keys import RL_ONLY
from ..trainers.models import base_path, build_embedded, load_adapter, load_base, load_chat
from ..trainers.origin import origin
from ..trainers.run_folder import RunFolder, write
from .evaluate import AFTER, BEFORE, HeldOut, held_out_once, store
from .held_out_engine import HeldOutEngine
from .launch import check

REAL, CONTROL, REFERENCE = "real", "control", "sft"
REFERENCE_KEYS = ("max_seconds", "max_steps", "lr_scheduler_type", "lr_scheduler_kwargs", "run_name", "num_generations")
"""Keys in which the reference differs from the run: it is given the same seconds."""


@dataclass(frozen=True)
class Arm:
    """One trained row of the table: its difference from the base, and how the training went."""

    name: str
    difference: Difference
    reward: float | None
    """Mean training reward over the last tenth of the steps; None where the recipe has none."""
    update_norm: float
    """Frobenius norm of the adapter's last weights: near 0 for a frozen run, far out for a collapsed one."""
    steps: int
    seconds: float


@dataclass(frozen=True)
class Proof:
    """The whole table and its verdict."""

    job: str
    recipe: str
    seed: int
    metric: str
    arms: Mapping[str, Arm]
    beyond_control: Difference
    baselines: Mapping[str, float] = field(default_factory=dict)
    """Scripted workflows: what each saw -> accuracy on the same items."""

    @property
    def conditions(self) -> dict[str, bool]:
        """Each condition of the verdict, and whether it holds."""
        return {
            "the run's interval lies above 0": self.arms[REAL].difference.low > 0,
            "the control's does not": self.arms[CONTROL].difference.low <= 0,
            "their difference does": self.beyond_control.low > 0,
        }

    @property
    def passed(self) -> bool:
        """Whether all conditions hold."""
        return all(self.conditions.values())

    def lines(self) -> list[str]:
        """The table as text."""
        d = self.arms[REAL].difference
        lines = [
            f"{self.job}, {self.recipe}, seed {self.seed}: held-out {self.metric}, n = {d.n} items x {d.k_after}",
            f"  {'':<12}{'before':>8}{'after':>8}   {'change [95% interval]':<28}"
            f"{'reward':>8}{'update':>9}{'steps':>7}{'s':>7}",
        ]
        for arm in self.arms.values():
            d = arm.difference
            reward = "-" if arm.reward is None else f"{arm.reward:.3f}"
            lines.append(
                f"  {arm.name:<12}{d.mean_before:>8.3f}{d.mean_after:>8.3f}   "
                f"{interval_text(d.difference, d.low, d.high):<28}"
                f"{reward:>8}{arm.update_norm:>9.2f}{arm.steps:>7}{arm.seconds:>7.0f}"
            )
        b = self.beyond_control
        lines.append(f"  {'real - control':<31}{interval_text(b.difference, b.low, b.high)}")
        for name, accuracy in self.baselines.items():
            low, high = wilson(accuracy * d.n, d.n)
            lines.append(f"  {accuracy:.3f} [{low:.3f}, {high:.3f}]  {name}")
        lines += [f"  {'yes' if holds else 'NO ':<4} {text}" for text, holds in self.conditions.items()]
        lines.append(f"  {'proved' if self.passed else 'not proved'}")
        return lines


def prove(
    job: str,
    recipe: str | None = None,
    seed: int = 0,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    **overrides: Any,
) -> Proof:
    """Train `job`, its control and the SFT reference, measure all of them held out, and judge.

    Args:
        overrides: keys of the config, the same for every arm.
        resume: keep the arms that a stopped proof in this folder has finished.

    Raises:
        BadInput: the job can't be used, or the folder holds another proof.
    """
    config = load_config(job, {**overrides, "seed": seed}, recipe)
    recipe = config.recipe
    folder = Path(output or Path("runs") / f"prove-{config.job.job}-{recipe}-seed{seed}")
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise BadInput(f"{folder}: holds a proof already; go on with it by --resume, or choose another --output")
    real = load_config(job, {**overrides, "seed": seed, "output_dir": str(folder / REAL)}, recipe)
    begun = RunFolder(real.output)
    if not begun.path.exists():
        check(real)
    env = config.environment()
    shared = {**overrides, "seed": seed}
    copied = {key: value for key, value in shared.items() if key not in RL_ONLY}
    reference = load_config(job, copied, "sft")
    begun_alike(folder, {REAL: real, CONTROL: real, REFERENCE: reference}, origin(config, env, config.rewards()))
    build_embedded(config, env)
    train_arms(job, recipe, folder, {REAL: shared, CONTROL: {**shared, "shuffle_rewards": True}})
    seconds = RunFolder(folder / REAL).read()["train_seconds"]
    steps = {
        "max_seconds": float(seconds), "max_steps": 1_000_000, "lr_scheduler_type": "constant", "run_name": "sft",
        "lr_scheduler_kwargs": None,
        "num_generations": config.arguments().num_generations,
    }  # fmt: skip
    train_arms(job, "sft", folder, {REFERENCE: {**copied, **steps}})
    measure_arms(config, folder)
    proof = verdict(folder, baselines(config, env))
    store(RunFolder(folder / REAL), "control", asdict(proof.arms[CONTROL].difference))
    write(folder / "proof.json", json.dumps(as_dict(proof), indent=1) + "\n")
    return proof


def train_arms(job: str, recipe: str, folder: Path, arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Train the arms that aren't finished: side by side on a CPU with a core for each, else one after another."""
    todo: dict[str, list[str]] = {}
    for name, values in arms.items():
        run = RunFolder(folder / name)
        status = run.read().get("status") if run.facts.exists() else None
        if status != "finished":
            flags = [f"--{key}={json.dumps(value)}" for key, value in values.items()] + [f"--output_dir={run.path}"]
            todo[name] = [sys.executable, "-m", "journeyman.scripts.main", "train", job, "--recipe", recipe, *flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    together = not torch.cuda.is_available() and cores >= len(todo) > 1
    threads = {"OMP_NUM_THREADS": str(cores // len(todo))} if together else {}
    running: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in todo.items():
            env = {**os.environ, **threads, "JOURNEYMAN_LABEL": f"{name:<8}"}
            running.append(subprocess.Popen(tied(command), env=env, stdout=subprocess.DEVNULL))
            if not together:
                running[-1].wait()
        codes = {process.wait() for process in running}
    except KeyboardInterrupt:
        for process in running:
            process.terminate()
        codes = {process.wait() for process in running} | {EXIT_RESUMABLE}
    if EXIT_RESUMABLE in codes:
        raise Stopped(f"{folder}: stopped at a checkpoint; the same command goes on")
    if EXIT_BAD_INPUT in codes:
        raise BadInput(f"{folder}: a training run was refused; its message stands above")
    if any(codes):
        raise SystemExit(1)  # its traceback stands above


def begun_alike(folder: Path, arms: Mapping[str, RunConfig], now: Mapping[str, Any]) -> None:
    """Raise BadInput where an arm that is there began with another config, or with other rewards or data than those of `now`."""
    for arm, config in arms.items():
        run = RunFolder(folder / arm)
        if not run.facts.exists():
            continue
        own = {CONTROL: ("shuffle_rewards",), REFERENCE: REFERENCE_KEYS}.get(arm, ())
        if changed := [key for key in run.differences(config) if key not in own]:
            raise BadInput(
                f"{folder}: holds the proof of another config (it differs in {', '.join(changed)}); choose another --output"
            )
        run.same_origin(now)


def measure_arms(config: RunConfig, folder: Path) -> None:
    """Held-out records of the base and of every arm, those that aren't there or are of another measure."""
    job, real = HeldOut.of(config), RunFolder(folder / REAL)
    chat = load_chat(config, base_path(config, job.env))
    with real.at_work(), HeldOutEngine(config, job.env, chat, job.rows) as engines:  # one for all arms
        for arm in (REAL, CONTROL, REFERENCE):
            run = RunFolder(folder / arm)
            model, _, base = load_base(config, job.env)
            run.same_origin(origin(config, job.env, job.rewards, base.as_dict()))
            model.to("cuda" if torch.cuda.is_available() else "cpu")
            if arm == REAL:
                held_out_once(job, chat, model, base, engines, run, BEFORE)
            tuned, step = load_adapter(model, run.adapter), int(run.read()["adapter_step"])
            held_out_once(job, chat, tuned, base, engines, run, AFTER, run.adapter, step)
        store(real, "heldout", compare(real.records, BEFORE, AFTER).as_dict())


def verdict(folder: Path, baselines: Mapping[str, float] | None = None) -> Proof:
    """The proof that the records in `folder` hold: nothing is run.

    Raises:
        BadInput: records of an arm are missing or not as they were written, or two sides are not of one measure.
    """
    base = read_side(RunFolder(folder / REAL).records, BEFORE)
    for arm in (REAL, CONTROL, REFERENCE):
        check_comparable(base, read_side(RunFolder(folder / arm).records, AFTER))
    before = by_item(list(read_records(folder / REAL, BEFORE)))
    sides = {arm: by_item(list(read_records(folder / arm, AFTER))) for arm in (REAL, CONTROL, REFERENCE)}
    common = set.intersection(set(before), *(set(side) for side in sides.values()))
    before = {item: scores for item, scores in before.items() if item in common}
    sides = {arm: {item: side[item] for item in before} for arm, side in sides.items()}
    arms = {}
    for name, side in sides.items():
        run = RunFolder(folder / name)
        facts = run.read()
        rewards = [row["reward"] for row in run.read_metrics() if row.get("reward") is not None]
        tail = rewards[-max(1, len(rewards) // 10) :]
        arms[name] = Arm(
            name, paired_difference(before, side), float(np.mean(tail)) if tail else None, facts["update_norm"],
            facts["steps"], facts["train_seconds"],
        )  # fmt: skip
    facts = RunFolder(folder / REAL).read()
    config = load_config(RunFolder(folder / REAL).config)
    beyond = difference_of_differences(before, sides[REAL], sides[CONTROL])
    return Proof(
        str(config.job.job), facts["recipe"], facts["seed"], config.quality(), arms, beyond, dict(baselines or {})
    )  # fmt: skip


def baselines(config: RunConfig, env: Environment) -> dict[str, float]:
    """Accuracy of the environment's scripted workflow on the held-out rows, by how much it was shown."""
    rows = env.tasks("heldout", config.seed, config.job.heldout_rows)
    few = env.tasks("demonstrations", config.seed)
    many = [*few, *env.tasks("train", config.seed, config.job.train_rows)]
    seen = {f"scripted workflow, {len(s):,} answers known ({what})": s for what, s in
            (("the demonstrations", few), ("train answers too, which RL never sees", many))}  # fmt: skip
    result = {}
    for name, shown in seen.items():
        answers = env.baseline(rows, shown) if shown else None
        if answers is not None:
            result[name] = quality_of(config, rows, answers)
    return result


def quality_of(config: RunConfig, rows: list[Row], answers: list[str]) -> float:
    """Mean quality of given answers, by the job's own rewards."""
    items = [Scored(row, [{"role": "assistant", "content": text}]) for row, text in zip(rows, answers, strict=True)]
    scores = score(config.rewards(), items)
    return float(np.nanmean(scores.values[:, scores.names.index(config.quality())]))


def as_dict(proof: Proof) -> dict[str, Any]:
    """For proof.json."""
    return {**asdict(proof), "conditions": proof.conditions, "passed": proof.passed}
