"""Whether a prompt can be shared in this run: one group scored and differentiated both ways, before anything is trained on it.

Always true here: whatever goes wrong on the shared way (a kernel that does not compile on this machine, a cache that is dropped,
other values) is a reason not to share, told in a line; only running out of memory goes on up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

FULL, HALF = (1e-3, 1e-3), (0.1, 0.25)
"""What rounding explains, in 32 bits or more and in 16: the difference of a token's log-prob (nats), and that of the gradient
(relative L2). In 16 bits the mean log-prob counts: the largest of some thousand is 0.15 on a Qwen3-1.7B whose ways agree."""


def why_not(
    shared: Callable[[], torch.Tensor],
    plain: Callable[[], torch.Tensor],
    mask_BC: torch.Tensor,
    dtype: torch.dtype,
    gradients: Callable[[], float] | None = None,
) -> str:
    """Why prompts are not to be shared; "" where they may be.

    Args:
        shared, plain: log-probs [B, C] of one group, either way; called without gradient.
        mask_BC: which of them count.
        dtype: in which the model computes.
        gradients: how far the gradients of the two ways are apart, where a backward pass has kernels of its own.
    """
    half = dtype.itemsize < 4
    most, most_gradient = HALF if half else FULL
    try:
        with torch.no_grad():
            gap_BC = (shared() - plain()).float().abs() * mask_BC
        gap = float(gap_BC.sum() / mask_BC.sum().clamp(min=1) if half else gap_BC.max())
        if not gap <= most:
            return f"its log-probs differ from the plain path's by {gap:.2g}"
        gap = gradients() if gradients is not None else 0.0
        return "" if gap <= most_gradient else f"its gradient differs from the plain path's by {gap:.2g} (relative L2)"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # kernels fail in as many ways as there are compilers
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def gradient_gap(
    parameters: Sequence[torch.Tensor], one: Iterator[torch.Tensor], other: Iterator[torch.Tensor]
) -> float:
    """Relative L2 difference of two gradients over `parameters`, whose own `grad` is put back.

    Args:
        one, other: scalars; each is differentiated before the next is asked for, and their gradients add up.
    """
    before = [p.grad for p in parameters]
    found = []
    try:
        for losses in (one, other):
            for p in parameters:
                p.grad = None
            with torch.enable_grad():
                for loss in losses:
                    loss.backward()  # not autograd.grad, which reentrant checkpointing refuses
            found.append([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
    finally:
        for p, grad in zip(parameters, before, strict=True):
            p.grad = grad
    apart = sum(float((a.double() - b.double()).pow(2).sum()) for a, b in zip(*found, strict=True))
    size = sum(float(b.double().pow(2).sum()) for b in found[1])
    return float((apart / size) ** 0.5) if size else float(apart > 0)
