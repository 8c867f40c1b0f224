"""Whether a prompt may be shared: what is reason enough not to, and what a trial leaves behind."""

import pytest
import torch
from journeyman.trainers.sharing import gradient_gap, why_not

B, C = 8, 32
MASK = torch.ones(B, C, dtype=torch.long)


def near(size, seed=0):
    return lambda: torch.randn(B, C, generator=torch.Generator().manual_seed(seed)) * size


def fails():
    raise RuntimeError("no kernel\nfor this device")


CASES = {
    "equal": (near(0), torch.float32, None, ""),
    "rounding in 32 bits": (near(1e-5), torch.float32, None, ""),
    "more than that": (near(1e-2), torch.float32, None, "log-probs differ from the plain path's by"),
    "which is rounding in 16": (near(4e-2), torch.bfloat16, lambda: 0.06, ""),
    "no rounding in 16 either": (near(0.3), torch.bfloat16, None, "log-probs differ"),
    "not a number": (lambda: torch.full((B, C), torch.nan), torch.bfloat16, None, "log-probs differ"),
    "another gradient": (near(0), torch.float32, lambda: 0.01, "its gradient differs from the plain path's by 0.01"),
    "no gradient to speak of": (near(0), torch.float32, lambda: float("nan"), "its gradient differs"),
    "a kernel that does not compile": (fails, torch.float32, None, "RuntimeError: no kernel for this device"),
}


@pytest.mark.parametrize(("shared", "dtype", "gradients", "reason"), CASES.values(), ids=CASES)
def test_a_reason_not_to_share(shared, dtype, gradients, reason):
    found = why_not(shared, near(0), MASK, dtype, gradients)
    assert reason in found and bool(reason) == bool(found)


def test_memory_that_runs_out_is_no_reason():
    def full():
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        why_not(full, near(0), MASK, torch.float32)


def test_a_trial_leaves_gradients_as_they_were():
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.tensor([5.0, 6.0, 7.0])
    with torch.no_grad():  # a fixed pass asks, too
        gap = gradient_gap([weight], iter([]), (part for part in [(2 * weight).sum()] if False))
        apart = gradient_gap(
            [weight], ((k * weight).sum() for k in (1.0, 2.0)), ((k * weight).sum() for k in (2.0, 2.0))
        )

    assert gap == 0 and apart == pytest.approx(0.25)
    assert weight.grad.tolist() == [5.0, 6.0, 7.0]
