"""One adapter for all rows on a CPU: two matrix products a layer.

Always true here: what is computed is what vLLM computes. Its CPU build serves many adapters at once, and gathers a copy of the
weights of each layer for every token; a policy has one adapter, so the same sum needs no copy. A step in which any token goes
without the adapter is left to vLLM.
"""

from __future__ import annotations

from typing import Any

import torch


def read_once(llm: Any) -> None:
    """Let `llm`, whose worker is in this process, read the weights of its one adapter once a layer, not once a token."""
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    class OneAdapter(PunicaWrapperCPU):
        everywhere = False
        """Whether every token of this step has the adapter."""

        def update_metadata(self, *args: Any, **kwargs: Any) -> None:
            super().update_metadata(*args, **kwargs)
            self.everywhere = bool((self.token_lora_indices == 0).all())

        def add_lora_linear(
            self, y: torch.Tensor, x: torch.Tensor, lora_a_stacked: tuple[torch.Tensor, ...],
            lora_b_stacked: tuple[torch.Tensor, ...], scale: float, output_slices: tuple[int, ...], **kwargs: Any,
        ) -> None:  # fmt: skip
            if not self.everywhere or kwargs or lora_a_stacked[0].size(0) != 1:
                super().add_lora_linear(y, x, lora_a_stacked, lora_b_stacked, scale, output_slices, **kwargs)
                return
            start = 0
            for A, B, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                y[:, start : start + width].addmm_(x @ A[0, 0].T, B[0, 0].T, alpha=scale)
                start += width

    manager = llm.model_executor.driver_worker.model_runner.lora_manager._adapter_manager
    for wrapper in manager.punica_wrapper_mapping.values():
        if type(wrapper) is PunicaWrapperCPU:
            wrapper.__class__ = OneAdapter
