"""The engine protocol: token ids in; token ids, log-probs and a stop reason out, for many requests at once.

Always true here: what was sampled is never re-tokenised, and a request's randomness depends on (seed, step, row) and its turn
alone, not on its neighbours or on how a batch was cut.

    completion = await engine.complete(Request(ids, (seed, step, row)), Sampling(64))

Engines that work in this process subclass `stepping.Stepping`; one that asks servers writes `complete` itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from .record import StopReason

T = TypeVar("T")


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
    """One completion to make. `stream` = (seed, step, row) and `turn` are the key of its own random numbers."""

    prompt_ids: Sequence[int]
    """All that the model reads: in later turns, what it wrote and what tools replied stands in here as it was."""
    stream: tuple[int, int, int]
    turn: int = 0
    messages: Sequence[dict[str, Any]] = ()
    """The same as messages, for policies that are no token models."""


@dataclass
class Completion:
    """What an engine made of one request; `logprobs` under the distribution sampled from, times in seconds."""

    ids: list[int]
    logprobs: list[float]
    stop_reason: StopReason
    tokens_cached: int = 0
    first_token_s: float = 0.0
    latency_s: float = 0.0


class SyncFailed(RuntimeError):
    """The engine does not sample from the policy that it was given; the message says how that shows and what mends it."""


class Engine(Protocol):
    """Where completions come from."""

    policy_version: int
    """Version of the adapter that is loaded: what every record of this batch will say."""

    @property
    def in_step(self) -> bool:
        """Whether every rank must make the same forwards: `keep_in_step` then runs beside the rollouts."""
        ...

    async def complete(self, request: Request, sampling: Sampling) -> Completion:
        """Complete one request, beside all others that are under way."""
        ...

    async def keep_in_step(self, rollouts: asyncio.Future[Any]) -> None:
        """Make forwards until the rollouts of every rank are done; a collective call, where `in_step`."""
        ...

    def sync(self, model: Any, version: int) -> None:
        """Take over the adapter of `model` (PEFT) as `version`; None leaves the weights as they are.

        Raises:
            SyncFailed: it did not take effect.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


def complete_all(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
    """Complete every request, outside of any event loop; in their order."""

    async def together() -> list[Completion]:
        rollouts = asyncio.gather(*(engine.complete(request, sampling) for request in requests))
        if engine.in_step:
            await engine.keep_in_step(rollouts)
        return await rollouts

    return run_async(together())


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, from ordinary code; in a notebook, whose thread has a loop already, by a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    found: list[T] = []
    failed: list[BaseException] = []

    def other() -> None:
        try:
            found.append(asyncio.run(work))
        except BaseException as error:  # handed on to the caller's thread
            failed.append(error)

    thread = threading.Thread(target=other, name="rollouts")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def uniforms(stream: tuple[int, int, int], n: int, turn: int = 0) -> np.ndarray:
    """The first `n` uniform numbers in [0, 1) of a turn: Philox, keyed by (seed, step, row), its counter set by the turn."""
    return np.random.Generator(_philox(stream, turn)).random(n)


def seed_of(request: Request) -> int:
    """A seed of 63 bits for engines that draw by themselves, from the same stream."""
    return int(_philox(request.stream, request.turn).random_raw() >> 1)


def _philox(stream: tuple[int, int, int], turn: int) -> np.random.Philox:
    seed, step, row = (value % 2**64 for value in stream)
    key = np.array([seed, (step << 32 | row & 0xFFFFFFFF) % 2**64], dtype=np.uint64)
    return np.random.Philox(key=key, counter=[0, 0, turn, 0])
