"""From the names in a config to an environment: `module:Class` or `path.py:Class`, and what its constructor receives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs.errors import BadInput
from ..configs.read import load_attribute
from ..configs.schema import check_keys
from .core import Environment


def make_environment(name: str, kwargs: Mapping[str, Any], folder: Path, where: str) -> Environment:
    """A new instance of the environment called `name`.

    Args:
        folder: where relative paths are looked for; a constructor that takes `base` receives it.
        where: the file, for error messages.

    Raises:
        BadInput: it doesn't import, does not take `kwargs` or refuses them, or is no environment.
    """
    cls = load_attribute(name, folder)
    given = dict(kwargs)
    parameters = inspect.signature(cls).parameters if isinstance(cls, type) else {}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        if "base" in parameters:
            given.setdefault("base", str(folder))
        check_keys(given, [p for p in parameters if p != "self"], f"{where}: environment_kwargs")
    try:
        env: Environment = cls(**given)
    except TypeError as error:
        raise BadInput(f"{where}: environment_kwargs: {error}") from error
    if not hasattr(env, "tasks") or not hasattr(env, "reset"):
        raise BadInput(f"{where}: {name} is no environment: it needs tasks(...) and reset(...)")
    return env
