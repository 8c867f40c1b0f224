"""Journeyman: train a small open model into a specialist, prove that it got better, and keep the adapter.

What a command does, a function of the same name does, with the same defaults:

    import journeyman
    run = journeyman.train("arithmetic", max_steps=50)
    journeyman.evaluate(run)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hub.publish import publish
    from .recipes.api import train
    from .recipes.evaluate import evaluate
    from .recipes.prove import prove
    from .recipes.replay import replay
    from .recipes.trial import try_job

__version__ = "0.1.0"
__all__ = ["evaluate", "prove", "publish", "replay", "train", "try_job"]

_FUNCTIONS = {
    "train": ".recipes.api",
    "evaluate": ".recipes.evaluate",
    "prove": ".recipes.prove",
    "publish": ".hub.publish",
    "replay": ".recipes.replay",
    "try_job": ".recipes.trial",
}


def __getattr__(name: str) -> Any:
    """Import a command's function on first use: `import journeyman` alone loads neither torch nor TRL."""
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name], __name__), name)
    raise AttributeError(f"module 'journeyman' has no attribute '{name}'")
