"""Where plain synchronous rewards run: here and now, or, once their calls take long, in a thread beside the decoding.

Always true here: the calls of one function run one after another whichever thread they are in, so that a function which is not
thread-safe stays safe; one that is bound to the thread it began in goes back there for good.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from .call import Failure, Scored, Value
from .core import Reward

SLOW = 0.002
"""Seconds of a call that others should not have to wait for."""
TWICE, FORGIVEN = 2.0, 1 / 4
"""One slow call may be a first one, or a busy machine: two are needed, and four fast ones make up for one."""
BOUND = ("only works in main thread", "only be used in that same thread")
"""What Python's signal and sqlite3 say to a function in another thread."""
LOOPED = "running event loop"
"""What asyncio says to a function that starts a loop of its own where the rollouts' loop is running."""


class Lanes:
    """The threads of slow functions, one each."""

    def __init__(self) -> None:
        self._slow: dict[int, float] = defaultdict(float)
        self._lanes: dict[int, ThreadPoolExecutor] = {}
        self._bound: set[int] = set()

    def run(self, leaf: Reward, items: Sequence[Scored]) -> list[Value] | Future[list[Value]]:
        """The values, or a future of them where the function has a thread of its own."""
        key = id(leaf.function)  # one function under two weights is one lane
        if key in self._lanes and key not in self._bound:
            return self._lanes[key].submit(leaf.run, items)
        began = time.perf_counter()
        values = leaf.run(items)
        self._slow[key] = max(0.0, self._slow[key] + (1 if time.perf_counter() - began > SLOW else -FORGIVEN))
        looped = _says(values, (LOOPED,))
        if key not in self._bound and (looped or self._slow[key] >= TWICE):
            self._lanes[key] = ThreadPoolExecutor(1, thread_name_prefix=f"reward-{leaf.name}")
            if looped:
                return self._lanes[key].submit(leaf.run, items)
        return values

    def again(self, leaf: Reward, values: Sequence[Value]) -> bool:
        """Whether a function can't do in its lane what it did before, and has to be called again where it began."""
        if id(leaf.function) not in self._lanes or not _says(values, BOUND):
            return False
        self._bound.add(id(leaf.function))
        return True

    def close(self) -> None:
        """Let the threads go when their call has ended."""
        for lane in self._lanes.values():
            lane.shutdown(cancel_futures=True)
        self._lanes = {}


def _says(values: Sequence[Value], words: Sequence[str]) -> bool:
    return any(isinstance(value, Failure) and any(word in value.reason for word in words) for value in values)
