"""From the `rewards:` of a config to Reward objects.

rewards:
  - journeyman.rewards.match:exact                      # a function; weight 1
  - {reward: mine.py:short, weight: 0.2}                # a path beside the file; weight 0 makes a metric
  - {reward: mine.py:pattern, kwargs: {pattern: "^a"}}  # fixes arguments, or calls a function that makes a reward
  - {reward: mine.py:deep, gate: mine.py:well_formed}   # pays only where the gate pays above 0 (or above `above`)
  - {sum: [mine.py:a, {reward: mine.py:b, weight: 2}], name: both}
  - environment                                         # what the environment's own get_reward() says
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..configs.errors import BadInput
from ..configs.read import load_attribute
from ..configs.schema import check_keys, coerce
from .compose import gate, total
from .core import Reward, as_reward, reward

KEYS = ("reward", "sum", "weight", "name", "kwargs", "gate", "above")


@reward(name="environment", needs_reference=False)
def environment_reward(environment: Any) -> Any:
    """What the environment of the rollout says when it has ended: its `get_reward()`, sync or async.

    Source: TRL's environment contract. Known ways of being gamed: those of the environment.
    """
    return environment.get_reward()


def read_rewards(entries: Sequence[Any], base: Path, where: str) -> list[Reward]:
    """The rewards that `entries` name, in their order.

    Args:
        base: the folder that relative paths are looked for in.
        where: the file, for error messages.

    Raises:
        BadInput: an entry of another form, a function that doesn't import or can't take its `kwargs`, two of one name, or
            no weight other than 0.
    """
    rewards = [_entry(entry, base, f"{where}: rewards") for entry in entries]
    names = [reward.name for reward in rewards]
    if len(set(names)) < len(names):
        raise BadInput(f"{where}: rewards: two of them have the same name: {', '.join(names)}; give one a `name`")
    if not any(reward.weight for reward in rewards):
        raise BadInput(f"{where}: rewards: none given with a weight other than 0; nothing would be learned")
    return rewards


def _entry(entry: Any, base: Path, where: str) -> Reward:
    given = entry if isinstance(entry, Mapping) else {"reward": entry}
    check_keys(given, KEYS, where)
    path, parts = given.get("reward"), given.get("sum")
    if parts is not None and path is None:
        if not isinstance(parts, list) or not isinstance(given.get("name"), str):
            raise BadInput(f"{where}: {entry!r}: a sum reads {{sum: [...], name: a_name}}")
        made = total(given["name"], *(_entry(part, base, where) for part in parts))
    elif isinstance(path, str) and parts is None:
        made = _made(path, given.get("kwargs") or {}, base, where)
    else:
        raise BadInput(f"{where}: {entry!r} should be module:function, or {{reward: ..., weight: ...}}")
    if given.get("gate") is not None:
        above = coerce(given.get("above", 0.0), float, "above", where)
        made = gate(_entry(given["gate"], base, where), made, above)
    elif "above" in given:
        raise BadInput(f"{where}: {entry!r}: `above` is the level of a `gate`, and there is none")
    if "name" in given:
        made = made.named(coerce(given["name"], str, "name", where))
    return made.weighing(coerce(given["weight"], float, "weight", where)) if "weight" in given else made


def _made(path: str, kwargs: Any, base: Path, where: str) -> Reward:
    if not isinstance(kwargs, Mapping):
        raise BadInput(f"{where}: kwargs of '{path}' is {kwargs!r}; it should be a mapping of arguments to values")
    function = environment_reward if path == "environment" else load_attribute(path, base)
    if not kwargs:
        return as_reward(function)
    if isinstance(function, Reward):
        return function.binding(**kwargs)
    try:
        return as_reward(function(**kwargs))
    except TypeError as error:
        raise BadInput(f"{where}: '{path}' does not take these kwargs: {error}") from error


def paths_of(entry: Any) -> list[str]:
    """Every `module:function` that an entry names, its own first."""
    if not isinstance(entry, Mapping):
        return [str(entry)]
    inner = [entry["reward"]] if "reward" in entry else entry.get("sum", [])
    return [path for part in [*inner, *([entry["gate"]] if entry.get("gate") else [])] for path in paths_of(part)]
