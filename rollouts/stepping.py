"""Engines that work in steps in this process: one forward at a time, for all requests that are under way.

Always true here: a rollout that goes on (after a tool, say) joins the others at the next step; nobody waits for a whole batch.
"""

from __future__ import annotations

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from .engine import Completion, Request, Sampling

YIELDS = 3
"""Rounds of the event loop between two steps: enough for a rollout to read its completion, call its tools and ask again."""


class Stepping(ABC):
    """Turns `submit` and `advance` into the `complete` of the engine protocol.

    Args:
        any_rank: under sharding, whether something is true on any rank (a collective call); None elsewhere.
    """

    policy_version = 0

    def __init__(self, any_rank: Callable[[bool], bool] | None = None) -> None:
        self._any_rank = any_rank
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Completion]] = {}
        self._driver: asyncio.Task[None] | None = None

    @abstractmethod
    def submit(self, number: int, request: Request, sampling: Sampling) -> None:
        """Queue a request under a number of its own."""

    @abstractmethod
    def advance(self) -> list[tuple[int, Completion]]:
        """Make one step for everything that was submitted; the requests that finished by it."""

    @abstractmethod
    def cancel(self, number: int) -> None:
        """Nobody waits for this request any more."""

    @property
    def in_step(self) -> bool:
        """Whether forwards are collective calls."""
        return self._any_rank is not None

    async def complete(self, request: Request, sampling: Sampling) -> Completion:
        """See `Engine.complete`."""
        loop = asyncio.get_running_loop()
        number, future = next(self._numbers), loop.create_future()
        self._waiting[number] = future
        self.submit(number, request, sampling)
        if not self.in_step and (self._driver is None or self._driver.done()):
            self._driver = loop.create_task(self._drive())
        try:
            return await future
        except asyncio.CancelledError:
            if self._waiting.pop(number, None) is not None:
                self.cancel(number)
            raise

    async def _drive(self) -> None:
        while self._waiting:
            for _ in range(YIELDS):
                await asyncio.sleep(0)
            self._step()

    async def keep_in_step(self, rollouts: asyncio.Future[Any]) -> None:
        """See `Engine.keep_in_step`."""
        assert self._any_rank is not None
        while self._any_rank(not rollouts.done()):
            for _ in range(YIELDS):
                await asyncio.sleep(0)
            self._step()
            if not self._waiting:
                await asyncio.sleep(0.001)  # tools are at work

    def _step(self) -> None:
        try:
            finished = self.advance()
        except BaseException as error:
            self.abandon(error if isinstance(error, Exception) else RuntimeError(f"generation ended: {error!r}"))
            raise
        for number, completion in finished:
            future = self._waiting.pop(number, None)
            if future is not None and not future.done():
                future.set_result(completion)

    def abandon(self, error: Exception) -> None:
        """Nobody waits any longer: every request under way fails with `error`, and the next batch starts afresh."""
        waiting, self._waiting = self._waiting, {}
        for number, future in waiting.items():
            self.cancel(number)
            if not future.done():
                future.set_exception(error)
