"""What a run is made from besides its config: rewards, environment, the user's files and the base, each by its content.

Invariants: a run whose origin is not what it began with is another run, so it is neither gone on with nor measured as this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..configs.files import files_changed, manifest
from ..configs.read import read_from
from ..envs.core import Environment
from ..rewards import Reward
from ..rewards.entries import paths_of
from ..rewards.source import source_hash
from .config import RunConfig

ORIGIN = ("files", "rewards", "environment", "base")
"""The keys of `run.json` that say what a run is made from."""
_CALLED = {
    "sha256": "weights (sha256)",
    "files": "configuration, tokenizer or chat template",
    "kwargs": "arguments",
    "hash": "source",
}


def origin(
    config: RunConfig, env: Environment, rewards: Iterable[Reward], base: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a run is made from, besides the keys of its config; what is not the same makes another run of it."""
    specs = [", ".join(paths_of(entry)) for entry in config.job.rewards]
    return {
        **({} if base is None else {"base": dict(base)}),
        "environment": {
            "name": config.job.environment, "version": env.version, "kwargs": config.job.environment_kwargs,
            "hash": environment_hash(env),
        },
        "rewards": [
            {"name": reward.name, "weight": reward.weight, "hash": reward.source_hash, "spec": spec}
            for reward, spec in zip(rewards, specs, strict=True)
        ],
        "files": manifest(config.values, config.folder, config.places),
    }  # fmt: skip


def environment_hash(env: Environment) -> str | None:
    """Of the source of a user's environment, with what it uses; None for an installed one, which has its version."""
    return source_hash(type(env)) if read_from(type(env)) else None


def changes(was: Mapping[str, Any], now: Mapping[str, Any], keys: Sequence[str] = ORIGIN) -> list[str]:
    """What differs between the origin that `run.json` holds and that of now, a phrase each; what it does not hold is left out."""
    found: list[str] = []
    if "files" in keys and "files" in was:
        found += files_changed(was["files"], now["files"])
    if "rewards" in keys and "rewards" in was:
        before, after = ({r["name"]: r for r in facts["rewards"]} for facts in (was, now))
        for name in dict.fromkeys([*before, *after]):
            if name not in before or name not in after:
                found.append(f"the reward '{name}' is {'gone' if name in before else 'new'}")
            else:
                found += [
                    f"the {what} of the reward '{name}' has changed"
                    for key, what in (("hash", "source"), ("weight", "weight"))
                    if before[name].get(key, after[name][key]) != after[name][key]
                ]
    for part in ("environment", "base"):
        if part in keys and part in now:
            known = {
                key: value for key, value in (was.get(part) or {}).items() if value is not None and key in now[part]
            }
            found += [
                f"the {part}'s {_CALLED.get(key, key)} {'have' if key == 'kwargs' else 'has'} changed"
                for key, value in known.items()
                if json.loads(json.dumps(now[part][key], default=str)) != value
                and key not in ("hub_id", "build", "name")
            ]
            if part == "environment" and known.get("name", now[part]["name"]) != now[part]["name"]:
                found.append(f"the environment is another one ({known['name']}, now {now[part]['name']})")
    return found
