"""vLLM's CPU build keeps its weights where they can be written.

Its start-up hands every linear layer to the kernel that suits the processor: oneDNN's, SGL's where there is AMX and the weight
is small and of 16 bits, zentorch's on an AMD Zen. Each of them works on a packed copy of its own. The layer's weight is then
empty, or it is still there and nothing reads it any more; either way an adapter that is merged into it, or weights that stock
TRL loads, never reach a token.

Invariants: after `keep_weights_writable`, every engine that starts in this process multiplies by `layer.weight` itself, whatever
the processor has; torch's own product picks the same instructions (oneDNN, AMX), and takes as long.
"""

from __future__ import annotations

from typing import Any

import torch


def keep_weights_writable() -> None:
    """Let the vLLM engines that start in this process on a CPU read their linear weights in place. Safe to call again.

    vLLM must be installed. Weights that are no matrices (convolutions, fused experts) are left to vLLM.
    """
    from vllm.model_executor.layers import utils

    vllms: Any = utils.dispatch_cpu_unquantized_gemm  # asked for again at each start of an engine, from this module
    if getattr(vllms, "in_place", False):
        return

    def dispatch(layer: torch.nn.Module, remove_weight: bool) -> None:
        if layer.weight.ndim == 2:
            layer.cpu_linear = torch.nn.functional.linear  # type: ignore[assignment]
        else:
            vllms(layer, remove_weight)

    dispatch.in_place = True  # type: ignore[attr-defined]
    utils.dispatch_cpu_unquantized_gemm = dispatch
