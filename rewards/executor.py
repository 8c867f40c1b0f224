"""All rewards of a run, each where it belongs: inline, in threads beside one another, or in workers that can be killed.

A plain function is called inline until its calls take long, and then in a thread of its own, one call after another (`lanes`).

Always true here: a rollout is scored from the moment it is added, while others are still being generated; a failure makes
its row unscorable and is counted by function; more failures than `max_error_rate` allows end the run.

    with Executor(rewards) as executor:
        batch = executor.batch(group_size=8)
        batch.add(0, scored)       # in any order, as rollouts finish
        scores = batch.finish()    # waits for what still runs
        executor.count(scores)     # raises where too many failed
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

from .call import Failure, Scored, Value
from .compose import Composed
from .core import Reward
from .isolated import workers
from .lanes import Lanes
from .scores import Scores, added_up

WINDOW = 256
"""The error rate is that of the last batches which hold this many rollouts together."""
THREADS = 32
"""Rewards that wait at the same time."""
log = logging.getLogger(__name__)


class RewardsFailed(RuntimeError):
    """A reward function failed on more rollouts than `max_error_rate` allows; the message holds its first traceback."""

    rollouts: Sequence[Any] = ()
    """What had been collected when it was raised, for whoever keeps the records."""


class Executor:
    """Scores batches under `rewards`.

    Args:
        rewards: every one is recorded; those with a weight make the total.
        max_error_rate: the share of rollouts that any one function may fail on; 1 for any.
        logs: whether the first failure of each function goes to the log; its caller sees them all anyway.
    """

    def __init__(self, rewards: Sequence[Reward], max_error_rate: float = 1.0, logs: bool = True) -> None:
        self.rewards, self.max_error_rate, self.logs = list(rewards), max_error_rate, logs
        self.leaves = list({id(leaf): leaf for reward in rewards for leaf in _leaves(reward)}.values())
        self.failed: Counter[str] = Counter()
        """function -> rollouts it has failed on so far"""
        self.scored = 0
        self._recent: deque[tuple[Counter[str], int]] = deque()
        self._shown: set[str] = set()
        self._threads: ThreadPoolExecutor | None = None
        self.lanes = Lanes()
        isolated = [leaf for leaf in self.leaves if leaf.isolated]
        if isolated:
            workers().start(isolated)

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self) -> dict[str, str]:
        """Start what the rewards need beside workers, before a model is loaded: the `warm()` of each of their modules.

        What those return is for the run's record, such as the level of the sandbox.
        """
        facts: dict[str, str] = {}
        for name in sorted({leaf.function.__module__ for leaf in self.leaves}):
            start = getattr(sys.modules.get(name), "warm", None)
            if inspect.isfunction(start):
                facts |= start()
        return facts

    def batch(self, group_size: int = 1, **services: Any) -> Batch:
        """A batch to add finished rollouts to.

        Args:
            group_size: rollout i belongs to group i // group_size.
            services: `trainer_state`, for functions with TRL's batch signature.
        """
        return Batch(self, group_size, services)

    def score(self, items: Sequence[Scored], group_size: int = 1, **services: Any) -> Scores:
        """Score a batch that is complete already."""
        batch = self.batch(group_size, **services)
        for i, item in enumerate(items):
            batch.add(i, item)
        scores = batch.finish()
        self.count(scores)
        return scores

    def submit(self, leaf: Reward, items: Sequence[Scored]) -> Future[list[Value]]:
        """Call `leaf` beside this thread."""
        if leaf.isolated:
            return workers().submit(leaf, items)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reward")
        return self._threads.submit(leaf.run, items)

    def count(self, scores: Scores) -> None:
        """Take a finished batch into account; the first failure of each function goes to the log with its traceback.

        Raises:
            RewardsFailed: a function has failed too often.
        """
        failures, rows = scores.failures, len(scores.total)
        counts = Counter({name: len(found) for name, found in failures.items()})
        self.failed += counts
        self.scored += rows
        self._recent.append((counts, rows))
        while len(self._recent) > 1 and sum(n for _, n in self._recent) - self._recent[0][1] >= WINDOW:
            self._recent.popleft()
        for name, found in failures.items():
            if self.logs and name not in self._shown:
                self._shown.add(name)
                log.warning("reward '%s' failed: %s\n%s", name, found[0].reason, found[0].traceback)
            self.check(name, found[0], sum(c[name] for c, _ in self._recent), sum(n for _, n in self._recent))

    def check(self, name: str, first: Failure, failed: int, rows: int) -> None:
        """Raise RewardsFailed where `failed` of `rows` rollouts are too many."""
        if failed > self.max_error_rate * rows:
            raise RewardsFailed(
                f"reward '{name}' failed on {failed} of {rows} rollouts, more than max_error_rate "
                f"{self.max_error_rate:g} allows; the first failure:\n{first.traceback or first.reason}"
            )

    def close(self) -> None:
        """Let the threads go; the workers are the process's own and stay."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads = None
        self.lanes.close()


class Batch:
    """Rollouts being scored; made by `Executor.batch`."""

    def __init__(self, executor: Executor, group_size: int, services: dict[str, Any]) -> None:
        self.executor, self.group_size, self.services = executor, group_size, services
        self._items: dict[int, Scored] = {}
        self._values: dict[int, dict[int, Value]] = {id(leaf): {} for leaf in executor.leaves}
        self._pending: dict[Future[list[Value]], tuple[Reward, list[int]]] = {}
        self._group_left: dict[int, int] = {}
        self.overruns: Counter[str] = Counter()
        """function -> calls that ran out of time or memory and were paid its `overrun`"""

    def add(self, i: int, item: Scored) -> None:
        """Rollout `i` has finished; what can be scored now is, or begins."""
        self._items[i] = item
        for leaf in self.executor.leaves:
            if leaf.kind == "completion":
                self._ask(leaf, [i])
        self._count_group(i)

    def fail(self, i: int, item: Scored, reason: str) -> None:
        """Rollout `i` is no result: it counts as a failure of every function, and none of them sees it."""
        self._items[i] = item
        for leaf in self.executor.leaves:
            self._values[id(leaf)][i] = Failure(reason)
        self._count_group(i)

    def _count_group(self, i: int) -> None:
        group = i // self.group_size
        left = self._group_left.get(group, self.group_size) - 1
        self._group_left[group] = left
        for leaf in self.executor.leaves:
            if leaf.kind == "group" and left == 0:
                self._ask(leaf, list(range(group * self.group_size, (group + 1) * self.group_size)))

    def _ask(self, leaf: Reward, numbers: list[int]) -> None:
        numbers = [i for i in numbers if i not in self._values[id(leaf)]]
        items = [self._items[i] for i in numbers]
        if not items:
            return
        values: list[Value] | Future[list[Value]]
        if leaf.isolated or leaf.concurrent:
            values = leaf.quickly(items) or self.executor.submit(leaf, items)
        else:
            values = self.executor.lanes.run(leaf, items)
        if isinstance(values, Future):
            self._pending[values] = leaf, numbers
        else:
            self._keep(leaf, numbers, values)

    def _keep(self, leaf: Reward, numbers: list[int], values: Sequence[Value]) -> None:
        known = self._values[id(leaf)]
        for i, value in zip(numbers, values, strict=True):
            if isinstance(value, Failure) and value.overrun and leaf.overrun is not None:
                self.overruns[leaf.name] += 1
                value = leaf.overrun
            known[i] = value

    def finish(self) -> Scores:
        """Every value, when all are there.

        Raises:
            RewardsFailed: calls that can't be waited for failed too often. `Executor.count` raises it for the others.
            BadInput: a function returned what is no reward.
        """
        numbers = sorted(self._items)
        assert numbers == list(range(len(numbers))), "every rollout of the batch is added before it is finished"
        for leaf in self.executor.leaves:
            if leaf.kind == "batch":
                asked = [i for i in numbers if i not in self._values[id(leaf)]]
                if asked:
                    self._keep(leaf, asked, leaf.run([self._items[i] for i in asked], **self.services))
            elif leaf.kind == "group" and len(numbers) % self.group_size:
                self._ask(
                    leaf, numbers[len(numbers) - len(numbers) % self.group_size :]
                )  # the last group is a short one
        self._wait(len(numbers))
        rewards = self.executor.rewards
        values = [[self._value(reward, i) for reward in rewards] for i in numbers]
        return added_up(rewards, values, [self._items[i].notes for i in numbers], self.overruns)

    def _wait(self, rows: int) -> None:
        failed: Counter[str] = Counter()
        again: list[tuple[Reward, list[int]]] = []
        try:
            for future in as_completed(list(self._pending)):
                leaf, numbers = self._pending[future]
                values = future.result()
                if self.executor.lanes.again(leaf, values):
                    again.append((leaf, numbers))
                    continue
                self._keep(leaf, numbers, values)
                for i, value in zip(numbers, values, strict=True):
                    if isinstance(self._values[id(leaf)][i], Failure) and isinstance(value, Failure):
                        failed[leaf.name] += 1
                        # Hundreds of calls that hang would hold the run for as many timeouts: stop when it is certain.
                        self.executor.check(leaf.name, value, failed[leaf.name], max(rows, WINDOW))
        finally:
            for future in self._pending:
                future.cancel()
        for leaf, numbers in again:  # only now: no call of theirs is in a thread any more
            self._keep(leaf, numbers, leaf.run([self._items[i] for i in numbers]))

    def _value(self, reward: Reward, i: int) -> Value:
        if isinstance(reward, Composed):
            return reward.combine([self._value(part, i) for part in reward.parts])
        return self._values[id(reward)][i]


def _leaves(reward: Reward) -> Iterator[Reward]:
    if not reward.parts:
        yield reward
    for part in reward.parts:
        yield from _leaves(part)


def score(rewards: Sequence[Reward], items: Sequence[Scored], group_size: int = 1, **services: Any) -> Scores:
    """Score a batch under `rewards`, whatever fails: what scripts, notebooks and tests need of an executor."""
    with Executor(rewards) as executor:
        return executor.score(items, group_size, **services)
