"""One batch ahead (`async_rollouts: 1`): while a batch trains, the next one is generated and scored in a thread.

Always true here: a batch is of the rows that the data loader will ask for, and is dropped where it asks for others; one batch
is under way at a time; the thread reads nothing that training writes: weights go to the engine before it begins, and none while
it is at work. A record's `step` is the optimizer step that trains on it; its `policy_version` says which policy sampled it, as a
rule that from when the batch before began to train. An error of the thread's is raised where its batch is taken.

    ahead = Ahead()
    ahead.begin(key, make)      # make() in the thread
    ...                         # train
    made = ahead.take(key)      # waits; None where another batch, or none, is under way
    ahead.close()               # what is under way is given up
"""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from torch.utils.data import Sampler
from transformers import TrainerState
from trl.trainer.utils import RepeatSampler

from ..rewards.scores import Scores
from ..rollouts.record import Rollout
from .rolling import Rolling

T = TypeVar("T")

GIVE_UP_SECONDS = 10.0
"""To wait for a batch that was given up: rollouts end at once, a reward at the end of its call."""


@dataclass
class Made:
    """A generation batch: what was rolled out, and what it is worth."""

    rollouts: list[Rollout]
    scored: list[Scores]
    """Of the batch, and of each round that refilled it."""
    left: list[Rollout] = field(default_factory=list)
    """Rollouts that were replaced, or did not come in."""
    metrics: dict[str, list[float]] = field(default_factory=dict)


class Order(Sampler[int]):
    """TRL's order of the training rows, known beforehand; a resumed run takes it up in its epoch, and not from the first one on.

    Args:
        sampler: TRL's; its seed fixes the order of every epoch.
        epoch: which one begins, asked when the data loader begins it.
    """

    def __init__(self, sampler: RepeatSampler, epoch: Callable[[], int]) -> None:
        self.sampler, self.epoch = sampler, epoch
        self.size = sampler.batch_size * sampler.mini_repeat_count
        """Rows of a generation batch, over all processes."""
        self.passes = len(sampler) // self.size
        """Micro-batches of an epoch, on each process."""
        self._known: tuple[int, list[list[int]]] = (-1, [])

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        for batch in self.batches(self.epoch()):
            for _ in range(self.sampler.repeat_count):
                yield from batch

    def batches(self, epoch: int) -> list[list[int]]:
        """The rows of each generation batch of an epoch, over all processes."""
        if self._known[0] != epoch:
            if self.sampler.shuffle:
                self.sampler.generator.manual_seed(self.sampler.seed or 0)
            for _ in range(epoch):
                next(iter(self.sampler))  # each iteration shuffles anew
            rows = list(self.sampler)
            every = self.size * self.sampler.repeat_count
            self._known = epoch, [rows[start : start + self.size] for start in range(0, len(rows), every)]
        return self._known[1]

    def rows(self, number: int, rank: int = 0, world: int = 1) -> list[int]:
        """The rows of generation batch `number` of the run, on one of `world` processes."""
        epoch, at = divmod(number, self.passes // self.sampler.repeat_count)
        each = self.size // world
        return self.batches(epoch)[at][rank * each : (rank + 1) * each]

    def step(self, number: int, accumulation: int) -> int:
        """The optimizer step, counted from 0, that generation batch `number` is first trained on in.

        An epoch's last step is made of the micro-batches that are left.
        """
        epoch, at = divmod(number, self.passes // self.sampler.repeat_count)
        return epoch * -(-self.passes // accumulation) + at * self.sampler.repeat_count // accumulation


Key = tuple[int, int, tuple[int, ...]]
"""Of a batch: its number in the run, the optimizer step that trains on it, and its rows."""


class Ahead:
    """The batch under way, and the one thread in which every batch is made: rewards may be bound to a thread."""

    def __init__(self) -> None:
        self._flight: tuple[Key, Future[Made]] | None = None
        self._thread: threading.Thread | None = None
        self._work: SimpleQueue[tuple[Future[Made], Callable[[], Made]] | None] = SimpleQueue()
        self._rollouts: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._lock = threading.Lock()
        self._given_up = False

    def begin(self, key: Key, make: Callable[[], Made]) -> None:
        """Have a batch made; none may be under way."""
        assert self._flight is None, "one batch at a time"
        if self._thread is None:
            self._thread = threading.Thread(target=_serve, args=(self._work,), name="ahead", daemon=True)
            self._thread.start()
        self._flight = key, Future()
        self._work.put((self._flight[1], make))

    def take(self, key: Key) -> Made | None:
        """A batch, waited for; None where it is not that one which was begun.

        Raises:
            BaseException: whatever ended the making of it.
        """
        if self._flight is None:
            return None
        self.wait()
        (begun, made), self._flight = self._flight, None
        return made.result() if begun == key else None

    def wait(self) -> None:
        """Return when nothing is being made; how it ended is for `take`."""
        if self._flight is not None:
            self._flight[1].exception()

    def state(self) -> tuple[Key, Made] | None:
        """The batch under way for a checkpoint, waited for; None where there is none, or it failed."""
        self.wait()
        if self._flight is None or self._flight[1].exception() is not None:
            return None
        return self._flight[0], self._flight[1].result()

    def restore(self, state: tuple[Key, Made] | None) -> None:
        """Have the batch of a checkpoint under way, finished as it is."""
        self._flight = None
        if state is not None:
            self._flight = state[0], Future()
            self._flight[1].set_result(state[1])

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """For `make`: what `work` returns, unless it is given up meanwhile."""

        async def held() -> T:
            task = asyncio.current_task()
            assert task is not None
            with self._lock:
                self._rollouts = asyncio.get_running_loop(), task
                if self._given_up:
                    task.cancel()
            try:
                return await work
            finally:
                with self._lock:
                    self._rollouts = None

        return asyncio.run(held())

    def close(self) -> None:
        """Give up what is under way, and end the thread; it begins again when it is asked.

        A thread that does not end in GIVE_UP_SECONDS is left: it keeps no process from exiting.
        """
        thread, self._thread, self._flight = self._thread, None, None
        if thread is None:
            return
        with self._lock:
            self._given_up = True
            if self._rollouts is not None:
                loop, task = self._rollouts
                loop.call_soon_threadsafe(task.cancel)
        self._work.put(None)
        thread.join(GIVE_UP_SECONDS)
        self._work, self._given_up = SimpleQueue(), False


def _serve(work: SimpleQueue[tuple[Future[Made], Callable[[], Made]] | None]) -> None:
    while (asked := work.get()) is not None:
        made, make = asked
        try:
            made.set_result(make())
        except BaseException as error:  # for whoever takes the batch
            made.set_exception(error)


class RollsAhead(Rolling):
    """Mixed into a GRPO trainer: where its batches come from; `ahead` is None where each is generated when it is asked for."""

    args: Any
    state: TrainerState
    control: Any
    num_iterations: int
    ahead: Ahead | None = None
    order: Order
    _step: int
    _metrics: Any

    def make(self, numbers: Sequence[int], state: TrainerState, mode: str) -> Made:
        """Roll the rows of these numbers out for step `state.global_step`, and score them.

        In the thread of `ahead` where there is one: nothing in it may touch the model, or call other ranks.
        """
        raise NotImplementedError

    @property
    def every(self) -> int:
        """Micro-batches that train on one generation batch."""
        return int(self.args.steps_per_generation * self.num_iterations)

    def made(self, numbers: list[int], mode: str) -> Made:
        """These rows, rolled out and scored: now, or while the batch before was trained on."""
        step = self.state.global_step
        if self.ahead is None or mode != "train":
            self.sync(step)
            return self.make(numbers, self.state, mode)
        key, began = (self._step // self.every, step, tuple(numbers)), time.perf_counter()
        made = self.ahead.take(key)
        if made is None:  # the first of a run
            self._begin(self.ahead, key)
            made = self.ahead.take(key)
        assert made is not None
        behind = [step - rollout.policy_version for rollout in made.rollouts]
        self._metrics[mode]["generation_wait_seconds"].append(time.perf_counter() - began)
        self._metrics[mode]["sampling/updates_behind"].append(sum(behind) / len(behind))
        return made

    def begin_next(self) -> None:
        """Have the next batch made by the policy as it is now, where there is one to come."""
        if self.ahead is None:
            return
        number = self._step // self.every + 1
        step = self.order.step(number, self.args.gradient_accumulation_steps)
        if step < self.state.max_steps:
            rank, world = self.accelerator.process_index, self.accelerator.num_processes
            self._begin(self.ahead, (number, step, tuple(self.order.rows(number, rank, world))))

    def _begin(self, ahead: Ahead, key: Key) -> None:
        state = copy.copy(self.state)  # training's own moves on
        state.global_step = key[1]
        self.sync(self.state.global_step)
        ahead.begin(key, lambda: self.make(key[2], state, "train"))

    def sync(self, step: int) -> None:
        """See `Rolling.sync`; what is being made is waited for, or given up where nobody will train on it."""
        if self.ahead is not None and self.control.should_training_stop and not self.control.should_save:
            self.ahead.close()
        elif self.ahead is not None:
            self.ahead.wait()
        super().sync(step)

    def close_engine(self) -> None:
        """See `Rolling.close_engine`; what is being made is given up."""
        if self.ahead is not None:
            self.ahead.close()
        super().close_engine()

    def _get_train_sampler(self, dataset: Any = None) -> Order:
        sampler = super()._get_train_sampler(dataset)  # type: ignore[misc]
        self.order = Order(sampler, lambda: self._step // self.order.passes)
        return self.order
