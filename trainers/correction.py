"""Importance-sampling correction between the engine that sampled and the trainer that learns, in the pass that trains.

Always true here: the ratio is TRL's (`vllm_importance_sampling_*`), between the policy before the update and the distribution
that the tokens came from; on-policy the former is the detached log-prob of the training pass itself, so that no extra pass is
made; a gap that no rounding explains ends the run.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..rollouts.engine import SyncFailed


def importance_ratio(
    old_BC: torch.Tensor, sampling_BC: torch.Tensor, mask_BC: torch.Tensor, mode: str, low: float | None, high: float | None
) -> torch.Tensor:  # fmt: skip
    """exp(old - sampling) per token [B, C] or per sequence [B, 1], clipped (`*_truncate`) or zeroed outside (`*_mask`).

    Source: truncated importance sampling (Yao et al. 2025) and its masked form, as TRL 1.16 has them; an unknown (NaN)
    sampling log-prob counts as no difference.
    """
    difference = torch.nan_to_num((old_BC - sampling_BC) * mask_BC, nan=0.0)
    if mode.startswith("sequence"):
        difference = difference.sum(-1, keepdim=True)
    ratio = difference.exp()
    if mode.endswith("truncate"):
        return ratio.clamp(min=low, max=high)
    outside = (ratio < (-math.inf if low is None else low)) | (ratio > (math.inf if high is None else high))
    return ratio.masked_fill(outside, 0.0)


class Correction:
    """Mixed in before `GRPOTrainer`; `use_vllm` is set after its constructor, which would start an engine of its own."""

    accelerator: Any
    use_vllm: bool
    vllm_importance_sampling_correction: bool
    vllm_importance_sampling_mode: str
    vllm_importance_sampling_clip_min: float | None
    vllm_importance_sampling_clip_max: float | None
    _metrics: Any
    sampling_bound: float | None = None
    """Largest mean gap (nats a token) between engine and trainer on the policy that sampled; None where they may differ."""

    def correct(self, inputs: dict[str, Any], logps_BC: torch.Tensor) -> None:
        """Put `importance_sampling_ratio` into `inputs`, whose training pass gave `logps_BC`.

        Raises:
            SyncFailed: the tokens can't have come from this policy.
        """
        sampling = inputs.get("sampling_per_token_logps")
        if not self.use_vllm or sampling is None:
            return
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        old = inputs.get("old_per_token_logps")
        old = logps_BC.detach() if old is None else old
        self._look(torch.nan_to_num(old - sampling, nan=0.0).abs() * mask, mask)
        if not self.vllm_importance_sampling_correction:
            return
        ratio = importance_ratio(
            old, sampling, mask, self.vllm_importance_sampling_mode, self.vllm_importance_sampling_clip_min,
            self.vllm_importance_sampling_clip_max,
        )  # fmt: skip
        inputs["importance_sampling_ratio"] = ratio
        self._metrics["train"]["sampling/importance_sampling_ratio/mean"].append(float(ratio.mean()))

    def _look(self, gap_BC: torch.Tensor, mask_BC: torch.Tensor) -> None:
        """Log how far engine and trainer are apart; over all ranks, so that all stop where one does."""
        local = torch.stack(
            [gap_BC.sum(), mask_BC.sum().to(gap_BC.dtype), gap_BC.max() if gap_BC.numel() else gap_BC.sum()]
        )
        total, count, largest = self.accelerator.gather(local[None]).double().cpu().unbind(1)
        mean = float(total.sum() / count.sum().clamp(min=1))
        self._metrics["train"]["sampling/sampling_logp_difference/mean"].append(mean)
        self._metrics["train"]["sampling/sampling_logp_difference/max"].append(float(largest.max()))
        if self.sampling_bound is not None and mean > self.sampling_bound:
            raise SyncFailed(
                f"the engine no longer samples from the policy: log-probs of its tokens are {mean:.3g} nats away from the "
                f"trainer's on average (bound {self.sampling_bound:g}); the adapter was not taken over at the last sync"
            )
