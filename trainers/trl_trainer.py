"""TRL's `GRPOTrainer`, without the 4 seconds of vLLM that its import costs wherever vLLM is installed.

Always true here: our engines start vLLM themselves, in runs that ask for it; whoever asks TRL for its own vLLM in this
process still gets it, for TRL looks once more before it starts one.
"""

import importlib
from types import ModuleType
from unittest.mock import patch

from trl import import_utils


def _stock_modules() -> list[ModuleType]:
    return [importlib.import_module(f"trl.generation.{name}") for name in ("vllm_client", "vllm_generation")]


def _not_yet(min_version: str | None = None) -> bool:
    """What TRL's modules keep as `is_vllm_available`: no while they load, and TRL's own answer when it is asked again."""
    if import_utils.is_vllm_available is _not_yet:
        return False
    for module in _stock_modules():
        importlib.reload(module)
    return import_utils.is_vllm_available(min_version)


with patch.object(import_utils, "is_vllm_available", _not_yet):
    from trl import GRPOTrainer

__all__ = ["GRPOTrainer"]
