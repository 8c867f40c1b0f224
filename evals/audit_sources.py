"""Where what is audited comes from: rewards and environments by their names, jobs, worked cases, rows.

Invariants: no torch; the held-out split is not read; a name that can't be found is a BadInput that says what there is.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from ..configs.errors import BadInput
from ..configs.read import find_job, load_attribute, read_yaml
from ..envs.build import make_environment
from ..envs.core import Environment, Row, pays_steps
from ..rewards.cases import Case
from ..rewards.core import Reward, as_reward, reward
from ..rewards.entries import read_rewards
from .audit_calls import leaves

SPLITS = ("train", "validation", "demonstrations")
"""Where rows come from: the first of them that has any."""


@dataclass(frozen=True)
class Job:
    """An environment and the rewards that go with it."""

    name: str
    env: Environment
    rewards: Sequence[Reward]


def rows_of(env: Environment, n: int) -> list[Row]:
    """About `n` rows of the first split that has any.

    Raises:
        BadInput: none has.
    """
    for split in SPLITS:
        try:
            rows = env.tasks(split, 0, n)
        except BadInput:  # fewer than n
            rows = env.tasks(split, 0)[:n]
        if rows:
            return rows
    raise BadInput(f"{type(env).__name__} has no rows in {', '.join(SPLITS)}; give one of them a share above 0")


def load_reward(spec: str, base: Path | None = None) -> Reward:
    """The reward that `module:function` or `path.py:function` names.

    Raises:
        BadInput: it can't be found, or is no reward.
    """
    found = load_attribute(spec, base)
    if isinstance(found, type) or (not isinstance(found, Reward) and is_factory(found)):
        raise BadInput(f"'{spec}' makes a reward from arguments; name one that is made, such as path.py:my_reward")
    return as_reward(found)


def is_factory(value: Any) -> bool:
    """Whether a function returns a Reward, by its annotation."""
    if not inspect.isfunction(value):
        return False
    given = value.__annotations__.get("return")
    return given is Reward or (isinstance(given, str) and given.split("[")[0].endswith("Reward"))


def cases_of(reward: Reward) -> Sequence[Case] | None:
    """The worked cases that the module of a reward holds for it."""
    for leaf in leaves(reward):
        cases = getattr(sys.modules.get(leaf.function.__module__), "CASES", {})
        if reward.name in cases:
            return list(cases[reward.name])
    return None


def known_weaknesses(reward: Reward) -> Sequence[str]:
    """The attacks that the module of a reward says, in `KNOWN`, to get through: they are what it is for."""
    for leaf in leaves(reward):
        known = getattr(sys.modules.get(leaf.function.__module__), "KNOWN", {})
        if reward.name in known:
            return list(known[reward.name])
    return []


def load_environment(spec: str) -> Job:
    """The job that `spec` names.

    Args:
        spec: a shipped job's name or the path of a YAML file; or `module:Class`, its arguments behind it as a YAML
            mapping: `journeyman.envs.arithmetic:Arithmetic {level: 3}`. Rewards defined beside a class go with it.

    Raises:
        BadInput: none of these, or the environment refuses its arguments.
    """
    name, _, text = spec.strip().partition(" ")
    if ":" not in name or name.endswith((".yaml", ".yml")):
        return load_job(find_job(spec))
    try:
        kwargs = yaml.safe_load(text) if text.strip() else {}
    except yaml.YAMLError as error:
        raise BadInput(f"--env: {text!r} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(kwargs, dict):
        raise BadInput(f"--env: {text!r} should be a mapping, such as '{name} {{level: 2}}'")
    cls = load_attribute(name)
    return Job(spec.strip(), make_environment(name, kwargs, Path.cwd(), "--env"), rewards_beside(cls))


def load_job(path: Path) -> Job:
    """The environment and the rewards of a job's YAML; models, trainers and what they need are not read."""
    values = read_yaml(path)
    folder = path.resolve().parent
    for key in ("environment", "rewards"):
        if not values.get(key):
            raise BadInput(f"{path}: the key '{key}' is missing")
    env = make_environment(str(values["environment"]), values.get("environment_kwargs") or {}, folder, str(path))
    return Job(values.get("job") or folder.name, env, read_rewards(values["rewards"], folder, str(path)))


def rewards_of(job: Job) -> list[Reward]:
    """The rewards of a job, and what its environment pays by the turn where it does."""
    return [*job.rewards, *([turns_pay] if pays_steps(job.env) else [])]


@reward(name="step_rewards", needs_reference=False)
def turns_pay(step_rewards: float) -> float:
    """What the turns of an episode have earned together: the column `step_rewards`, which the audit of episodes fills in."""
    return step_rewards


def rewards_beside(cls: Any) -> list[Reward]:
    """The rewards that an environment's own module defines."""
    return list(defined_rewards(sys.modules[cls.__module__]).values()) if isinstance(cls, type) else []


def defined_rewards(module: ModuleType) -> dict[str, Reward]:
    """Attribute -> reward, of those that `module` makes itself rather than imports."""
    return {
        name: value
        for name, value in list(vars(module).items())
        if isinstance(value, Reward)
        and not name.startswith("_")
        and any(leaf.function.__module__ == module.__name__ for leaf in leaves(value))
    }


def environments_in(module: ModuleType) -> Iterator[type[Environment]]:
    """The public environments that `module` defines and that say where their tasks come from."""
    for name, value in list(vars(module).items()):
        if isinstance(value, type) and issubclass(value, Environment) and value.__module__ == module.__name__:
            abstract = value.tasks is Environment.tasks or module.__name__.endswith("envs.core")
            if not name.startswith("_") and not abstract:
                yield value
