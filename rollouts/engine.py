"""The engine protocol: token ids in; token ids, log-probs and stop reasons out, as each row finishes.

Always true here: what was sampled is never re-tokenised, and a row's randomness depends on (seed, step, row) alone, not
on its neighbours or on how the batch was cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .record import StopReason


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `temperature` 0 is greedy; `top_k` 0, `top_p` 1 and `min_p` 0 cut nothing off."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


@dataclass(frozen=True)
class Request:
    """One row to complete. `stream` = (seed, step, row) is the key of its own random stream."""

    prompt_ids: Sequence[int]
    stream: tuple[int, int, int]


@dataclass
class Completion:
    """What an engine made of one request; `logprobs` under the distribution sampled from, times in seconds."""

    ids: list[int]
    logprobs: list[float]
    stop_reason: StopReason
    tokens_cached: int = 0
    first_token_s: float = 0.0
    latency_s: float = 0.0


class Engine(Protocol):
    """Where completions come from."""

    policy_version: int
    """Version of the adapter that is loaded: what every record of this batch will say."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Complete every request; yields (index into `requests`, completion) as each one finishes."""
        ...

    def sync(self, adapter: Any, version: int) -> None:
        """Take over the adapter's weights as `version`; raise where they did not take effect."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


def uniforms(stream: tuple[int, int, int], n: int) -> np.ndarray:
    """The first `n` uniform numbers in [0, 1) of a row's own stream: Philox, keyed by (seed, step, row)."""
    seed, step, row = (value % 2**64 for value in stream)
    key = np.array([seed, (step << 32 | row & 0xFFFFFFFF) % 2**64], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(n)
