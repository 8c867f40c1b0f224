"""What an audit tries a reward on: worked cases, or an environment's rows with its oracle's answers. And where they come from.

Always true here: no torch; the held-out split is not read; a name that can't be found is a BadInput that says what there is.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from ..configs.errors import BadInput
from ..configs.read import find_job, load_attribute, read_yaml
from ..envs.build import make_environment
from ..envs.core import Environment, Row, tools_of
from ..rewards.alike import altered, plain
from ..rewards.attacks import Target
from ..rewards.cases import Case
from ..rewards.core import Reward, as_reward
from ..rewards.entries import read_rewards
from .audit_calls import leaves

SPLITS = ("train", "validation", "demonstrations")
"""Where rows come from: the first of them that has any."""
OPTIONS = ("options", "choices", "labels")
"""Columns that list the answers a task offers."""
MOST_OTHERS = 40


@dataclass(frozen=True)
class Job:
    """An environment and the rewards that go with it."""

    name: str
    env: Environment
    rewards: Sequence[Reward]


def case_targets(cases: Sequence[Case]) -> list[Target]:
    """A target for each worked case; its alternatives are its own answer altered, else those of cases with its columns."""
    targets = []
    for case in cases:
        like = [other for other in cases if other.row.keys() == case.row.keys()]
        others = others_of(like.index(case), [list(other.right) for other in like])
        own = case.right and altered(case.right[0])  # another case may ask for another form
        targets.append(
            Target(
                case.row, tuple(case.right), tuple(case.wrong), () if own else others, options_of(case.row), case.full
            )
        )
    return targets


def environment_targets(env: Environment, rows: Sequence[Row]) -> list[Target]:
    """A target for each row; without a right answer where the environment has no oracle for it."""
    rights = [oracle_of(env, row) for row in rows]
    labels = tuple(map(str, getattr(env, "labels", None) or ()))
    return [
        Target(row, tuple(rights[i]), (), others_of(i, rights), options_of(row) or labels) for i, row in enumerate(rows)
    ]


def oracle_of(env: Environment, row: Row) -> list[str]:
    """The oracle's completion, or an empty list where there is none."""
    try:
        return [env.oracle(row)]
    except (BadInput, KeyError, NotImplementedError):
        return []


def others_of(i: int, rights: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Right completions of the tasks after and before task `i`, each different from its own and from one another."""
    own = {plain(text) for text in rights[i]}
    found: dict[str, str] = {}
    for right in (*rights[i + 1 :], *rights[:i]):
        for text in right[:1]:
            if plain(text) not in own and len(found) < MOST_OTHERS:
                found.setdefault(plain(text), text)
    return tuple(found.values())


def options_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The answers that a row offers."""
    for name in OPTIONS:
        value = row.get(name)
        if isinstance(value, list | tuple) and all(isinstance(option, str) for option in value):
            return tuple(value)
    return ()


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


def check_columns(reward: Reward, cases: Sequence[Case]) -> None:
    """Raise BadInput where a worked case lacks a column that the reward asks for."""
    for number, case in enumerate(cases, 1):
        if missing := reward.missing([*case.row, "prompt"]):
            raise BadInput(f"case {number} of reward '{reward.name}' lacks the column '{missing[0]}' that it asks for")


def check_fit(reward: Reward, env: Environment, rows: Sequence[Row]) -> None:
    """Raise BadInput where the reward asks for a column that the rows lack, or the job is no single-turn one."""
    if missing := reward.missing(list(rows[0])):
        raise BadInput(
            f"reward '{reward.name}' asks for the column '{missing[0]}', which the rows of {type(env).__name__} lack (they "
            f"have {', '.join(rows[0])})"
        )
    if tools := [tool.__name__ for tool in tools_of(env)]:
        raise BadInput(f"{type(env).__name__} has tools ({', '.join(tools)}); the audit tries single answers only")
