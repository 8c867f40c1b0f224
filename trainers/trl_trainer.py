"""TRL's `GRPOTrainer`, without the 4 seconds of vLLM that its import costs wherever vLLM is installed.

Always true here: our engines start vLLM themselves, in runs that ask for it; whoever asks TRL for its own vLLM in this
process still gets it, for TRL looks once more before it starts one.
"""

import importlib

from trl import import_utils

_available = import_utils.is_vllm_available


def _not_yet(min_version: str | None = None) -> bool:
    """What TRL's modules keep as `is_vllm_available`: no while they load, and TRL's own answer when it is asked again."""
    if import_utils.is_vllm_available is _not_yet:
        return False
    for name in ("vllm_client", "vllm_generation"):
        importlib.reload(importlib.import_module(f"trl.generation.{name}"))
    return _available(min_version)


import_utils.is_vllm_available = _not_yet
try:
    from trl import GRPOTrainer
finally:
    import_utils.is_vllm_available = _available

__all__ = ["GRPOTrainer"]
