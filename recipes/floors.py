"""The least time that a piece of work can take on a device: its operations over what matrix products reach there, its bytes over
what memory reaches. Pure, but for the two measurements at the end.

Always true here: an operation counts once however often an implementation makes it, so recomputed activations or scores are no
part of a floor; a frozen weight takes 2 operations a token forward and 2 backward (the inputs' gradient), a trained one 6.

    seconds = update_flops(shape, prompts=[2048] * 4, completions=[256] * 32, group=8) / matmul_speed(2)
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..trainers.estimate import Shape

BACKWARD = 2.5
"""Matrix products of attention's backward pass over those of its forward pass: five against two."""


def update_flops(
    shape: Shape, prompts: Sequence[int], completions: Sequence[int], group: int, shared: bool = True
) -> float:
    """Operations of one policy update with LoRA, without checkpointing.

    Args:
        prompts: tokens of each prompt; `completions` are those of its `group` completions, in order.
        shared: whether a prompt is forwarded once for its group, or with each completion.
    """
    tokens, pairs = 0, 0
    for n, P in enumerate(prompts):
        own = completions[n * group : (n + 1) * group]
        if shared:
            tokens += P - 1 + sum(own) + len(own)
            pairs += P * P // 2 + sum(P * C + C * C // 2 for C in own)
        else:
            tokens += sum(P + C for C in own)
            pairs += sum((P + C) ** 2 // 2 for C in own)
    embedding = shape.vocab * shape.hidden
    layers = (4 * (shape.parameters - embedding) + 6 * shape.adapter) * tokens
    head = 4 * embedding * sum(completions)  # only what is scored
    scores = (1 + BACKWARD) * 4 * shape.layers * shape.heads * shape.head_dim * pairs
    return float(layers + head + scores)


def decode_seconds(
    shape: Shape, prompt: int, completion: int, rows: int, group: int, flops: float, bandwidth: float, width: int = 2
) -> float:
    """Seconds to generate `rows` completions of `completion` tokens, `group` to a prompt that is read once.

    Each token step reads the weights once, and the cache of every row; a prefix that a group shares is one in the cache, and
    read for each row all the same, as paged attention does.

    Args:
        flops, bandwidth: operations and bytes a second that the device reaches.
        width: bytes of a weight and of a cached number.
    """
    cached = 2 * shape.layers * shape.kv_heads * shape.head_dim * width
    read = completion * shape.parameters * width + rows * cached * (completion * prompt + completion * completion // 2)
    matrices = 2 * (shape.parameters + shape.adapter)
    embedding = shape.vocab * shape.hidden
    prefill = rows // group * prompt * 2 * (shape.parameters - embedding)
    prefill += rows // group * 2 * shape.layers * shape.heads * shape.head_dim * prompt * prompt
    return max(read / bandwidth, rows * completion * matrices / flops) + prefill / flops


def matmul_speed(width: int, seconds: float = 0.2) -> float:
    """Floating-point operations a second of a large matrix product here, measured for about `seconds`.

    Args:
        width: bytes of a number, 2 (bf16, on a GPU alone) or 4.
    """
    import torch

    cuda = torch.cuda.is_available()
    n, device = (8192, "cuda") if cuda else (512, "cpu")
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16 if cuda and width == 2 else torch.float32)
    a @ a
    if cuda:
        torch.cuda.synchronize()
    count, began = 0, time.perf_counter()
    while True:
        for _ in range(4):
            a @ a
        if cuda:
            torch.cuda.synchronize()
        count += 4
        passed = time.perf_counter() - began
        if passed >= seconds:
            return 2 * n**3 * count / passed


def copy_speed(seconds: float = 0.2) -> float:
    """Bytes a second, read and written, of a large copy on this device."""
    import torch

    cuda = torch.cuda.is_available()
    a = torch.ones(2**28 if cuda else 2**22, dtype=torch.float32, device="cuda" if cuda else "cpu")
    b = torch.empty_like(a)
    b.copy_(a)
    if cuda:
        torch.cuda.synchronize()
    count, began = 0, time.perf_counter()
    while True:
        b.copy_(a)
        if cuda:
            torch.cuda.synchronize()
        count += 1
        passed = time.perf_counter() - began
        if passed >= seconds:
            return 2 * a.nbytes * count / passed
