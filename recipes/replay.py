"""`journeyman replay`: recorded rollouts scored anew, by the run's own rewards or by changed ones. No model is loaded."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ..configs import BadInput, read_yaml
from ..configs.errors import nearest
from ..configs.files import KEYS, in_folder, look_up, names_in, placed
from ..envs.build import make_environment
from ..envs.core import Row
from ..evals.replay import Change, Reproduction, change, group_size, reproduction, rescore
from ..rewards.core import Reward
from ..rewards.entries import read_rewards
from ..rollouts.record import Rollout, read_records
from ..rollouts.scoring import STEP_REWARDS
from ..trainers.advantages import advantages
from ..trainers.origin import environment_hash
from ..trainers.run_folder import RunFolder

STEMS = {"train": "train", "validation": "validation", "heldout": "heldout-after"}
"""split -> which record files hold its rollouts"""


@dataclass(frozen=True)
class Replay:
    """The recorded rewards reproduced, or, where other rewards were given, what those change."""

    reproduced: Reproduction | None
    changed: Change | None

    def lines(self) -> list[str]:
        """What the command prints."""
        return [line for part in (self.reproduced, self.changed) if part is not None for line in part.lines()]


def replay(
    run: str | Path,
    rewards: list[Any] | None = None,
    *,
    split: str = "train",
    replaces: str | None = None,
    quiet: bool = False,
) -> Replay:
    """Score a run's recorded rollouts anew.

    Args:
        run: the run's folder.
        rewards: entries as in a config's `rewards`. Each takes the place of the run's reward of the same name, or is added.
            None scores by the run's own and compares with what was recorded.
        split: train, validation or heldout.
        replaces: the run's reward that the one given takes the place of.

    Raises:
        BadInput: no run or no records there, rows that the environment no longer gives, data or an environment of the user's
            that has changed, a reward that can't be used.
    """
    folder = Path(run)
    if not (folder / "config.yaml").exists():
        raise BadInput(f"{folder}: not a run's folder (no config.yaml)")
    if split not in STEMS:
        raise BadInput(f"there is no split '{split}'{nearest(split, STEMS)} (splits with records: {', '.join(STEMS)})")
    values = placed_values(folder)
    rollouts = list(read_records(folder, STEMS[split]))
    where, base = str(folder / "config.yaml"), Path(values["folder"])
    own = read_rewards(values["rewards"], base, where)
    rows = _rows(values, folder, where, {rollout.split for rollout in rollouts}.pop())
    with Progress(
        console=Console(file=sys.stderr), disable=quiet or not sys.stderr.isatty(), transient=True
    ) as progress:
        advance = partial(progress.advance, progress.add_task("scoring", total=len(rollouts)))
        if not rewards:
            scored = rescore(rollouts, rows, own, advance)
            return Replay(reproduction(scored, own), None)
        new = read_rewards(rewards, Path.cwd(), "--reward")
        _check(new, rows)
        steps = rescore(rollouts, rows, new, advance)
    return Replay(
        None, _changed([step for step, _ in steps], [s.values for _, s in steps], own, new, replaces, values, rollouts)
    )


def placed_values(folder: Path) -> dict[str, Any]:
    """A run's configuration as it lies there, with its own files where they are now.

    Raises:
        BadInput: its data have changed since the run, or a file is gone. Rewards may change: that is the question.
    """
    values = read_yaml(folder / "config.yaml")
    base, run = Path(values["folder"]), RunFolder(folder)
    places, wrong = look_up(run.read().get("files") or {}, base) if run.facts.exists() else ({}, {})
    names = names_in(values.get("environment_kwargs") or {})
    if reasons := [reason for name, reason in wrong.items() if name in names]:
        raise BadInput(f"{folder}: {'; '.join(reasons)} since the run; put it back as it was")
    return {
        **values,
        **{key: placed(values[key], {**in_folder(values, base), **places}) for key in KEYS if key in values},
    }


def _rows(values: dict[str, Any], folder: Path, where: str, split: str) -> dict[str, Row]:
    env = make_environment(values["environment"], values.get("environment_kwargs") or {}, Path(values["folder"]), where)
    known, run = environment_hash(env), RunFolder(folder)
    if run.facts.exists() and run.read().get("environment", {}).get("hash", known) != known:
        raise BadInput(f"{folder}: the source of the environment has changed since the run; put it back as it was")
    seed = int(values.get("seed", 42))
    limit = {"train": values.get("train_rows"), "heldout": values.get("heldout_rows")}.get(split)
    return {row["item"]: row for row in env.tasks(split, 0 if split == "validation" else seed, limit)}


def _check(rewards: list[Reward], rows: dict[str, Row]) -> None:
    row = next(iter(rows.values()))
    for reward in rewards:
        for column in reward.missing(list(row)):
            raise BadInput(f"reward '{reward.name}' asks for the column '{column}', which the rows lack (they have "
                           f"{', '.join(row)})")  # fmt: skip


def _changed(
    steps: list[list[Rollout]],
    scored: list[np.ndarray],
    own: list[Reward],
    new: list[Reward],
    replaces: str | None,
    values: dict[str, Any],
    rollouts: list[Rollout],
) -> Change:
    names = [reward.name for reward in own]
    if replaces is not None and (replaces not in names or len(new) != 1):
        raise BadInput(f"the run has no reward '{replaces}'{nearest(replaces, names)} that one --reward could replace (it has "
                       f"{', '.join(names)})")  # fmt: skip
    old = np.array([reward.weight for reward in own])
    if any(
        STEP_REWARDS in rollout.rewards for rollout in rollouts
    ):  # what the environment paid per turn stays what it was
        names, old = [*names, STEP_REWARDS], np.append(old, 1.0)
    place = {replaces or reward.name: f for f, reward in enumerate(new)}
    before, after = [], []
    added = [f for name, f in place.items() if name not in names]
    for step, fresh in zip(steps, scored, strict=True):
        recorded = np.array([[_number(r.rewards.get(name)) for name in names] for r in step])
        before.append(recorded)
        kept = [fresh[:, place[name]] if name in place else recorded[:, f] for f, name in enumerate(names)]
        after.append(np.column_stack([*kept, *(fresh[:, f] for f in added)]))
    # The run's weight stays with the place; an added reward brings its own.
    weights = (old, np.concatenate([old, [new[f].weight for f in added]]))
    size = group_size(rollouts)
    ways = tuple(partial(_advantages, weights=w, size=size, values_of=values) for w in weights)
    return change(steps, before, after, weights, (ways[0], ways[1]), size)


def _advantages(
    values: np.ndarray, total: np.ndarray, *, weights: np.ndarray, size: int, values_of: dict[str, Any]
) -> np.ndarray:
    scale = values_of.get("scale_rewards", "group")
    scale = {True: "group", False: "none"}.get(scale, scale)
    how = values_of.get("multi_objective_aggregation", "sum_then_normalize")
    return advantages(values, total, weights, size, scale, how)[0]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
