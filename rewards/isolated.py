"""Reward functions in worker processes that are killed when they hang, crash or eat memory.

Always true here: a call ends within its timeout, whatever the function does; the next call finds a fresh worker, forked in
milliseconds from a small server that has the functions' modules loaded; a coroutine, an exception or a value means the same
as in the process that trains. The messages are pickles between processes of the same user that run the same code.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import resource
import socket
import struct
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..configs.errors import BadInput
from ..configs.lifeline import tie, untie
from ..configs.read import load_attribute
from .call import Failure, Notes, Scored, Value
from .core import Reward
from .forkserver import Child, ForkServer, ServerDied, receive, serve
from .source import spec_of

_SIZE = struct.Struct("!Q")
_SERVER = (
    "import sys; sys.path[:] = {path!r}; from journeyman.rewards.isolated import _serve; "
    "_serve({module!r}, *map(int, sys.argv[-2:]))"
)
GRACE = 0.2
"""Seconds beyond a call's timeout for the answer to cross."""


class Workers:
    """A pool of killable workers; one a process is enough (`workers()`).

    Args:
        size: workers at a time; the number of cores, and at least two, where None.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size or max(2, min(8, os.cpu_count() or 2))
        self._threads = ThreadPoolExecutor(self.size, thread_name_prefix="isolated-reward")
        self._local = threading.local()
        self._lock = threading.Lock()
        self._servers: dict[str, ForkServer] = {}

    def start(self, rewards: Iterable[Reward]) -> None:
        """Start the servers that fork workers, one a module that rewards come from; cheapest before a model is loaded.

        Raises:
            BadInput: a function that can't be found from another process.
        """
        for reward in rewards:
            module = _module(reward)
            with self._lock:
                if module not in self._servers:
                    path = [entry for entry in sys.path if entry] + [os.getcwd()]
                    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
                    code = _SERVER.format(path=path, module=module)
                    self._servers[module] = ForkServer([sys.executable, "-c", code], env)
                    self._servers[module].start()

    def submit(self, reward: Reward, items: Sequence[Scored]) -> Future[list[Value]]:
        """Call `reward` on the items (one completion, or one group) in a worker."""
        task = pickle.dumps((pickle.dumps(reward), [reward.needed(item) for item in items]))
        return self._threads.submit(self._call, reward, items, task)

    def _call(self, reward: Reward, items: Sequence[Scored], task: bytes) -> list[Value]:
        values: list[Value]
        module = _module(reward)
        try:
            child = self._child(module)
        except ServerDied as error:
            return [Failure(str(error))] * len(items)
        try:
            child.socket.settimeout(reward.timeout + GRACE)
            _send(child.socket, task)
            values, notes = pickle.loads(_receive(child.socket))
        except TimeoutError:
            self._drop(module)
            return [Failure(f"timed out after {reward.timeout:g} s", overrun=True)] * len(items)
        except (OSError, EOFError):
            return [Failure(f"its worker process died ({self._drop(module)})", overrun=True)] * len(items)
        if isinstance(values, BadInput):
            raise values
        for item, note in zip(items, notes, strict=True):
            item.notes.extras.update(note.extras)
            item.notes.metrics.extend(note.metrics)
        if any(isinstance(value, Failure) and value.overrun for value in values):
            self._drop(module)  # out of memory: what is left of it is of no use
        return values

    def _child(self, module: str) -> Child:
        """This thread's worker for the rewards of a module, forked when there is none."""
        mine: dict[str, Child] = self._local.__dict__.setdefault("workers", {})
        if module not in mine:
            mine[module] = self._servers[module].fork()
        return mine[module]

    def _drop(self, module: str) -> str:
        return str(self._local.workers.pop(module).kill())

    def close(self) -> None:
        """End the workers and their servers."""
        with self._lock:
            for server in self._servers.values():
                server.close()
            self._servers.clear()


def _module(reward: Reward) -> str:
    return spec_of(reward.function, f"reward '{reward.name}'").rpartition(":")[0]


_workers: Workers | None = None
_workers_lock = threading.Lock()


def workers() -> Workers:
    """The pool of this process."""
    global _workers
    with _workers_lock:
        if _workers is None:
            _workers = Workers()
        return _workers


def _serve(module: str, owner: int, control: int) -> None:
    """The server's main: the module loaded once, and what it names in PRELOAD; a warm worker a fork."""
    tie(owner)  # while it loads, it does not see that its owner has hung up
    with contextlib.suppress(Exception):  # the call says what is wrong, with its traceback
        for needed in load_attribute(f"{module}:__dict__").get("PRELOAD", ()):
            importlib.import_module(needed)
    untie()
    serve(control, _work)


def _work(end: socket.socket) -> None:
    """A worker's life: one question after another, until the pool hangs up."""
    rewards: dict[bytes, Reward] = {}
    base = _address_space()
    while True:
        try:
            key, items = pickle.loads(_receive(end))
        except EOFError:
            return
        items = [Scored(i.row, i.messages, i.completion_ids, i.stop_reason, notes=Notes()) for i in items]
        values: list[Any] | BadInput
        try:
            if key not in rewards:
                rewards[key] = pickle.loads(key)
            made = rewards[key]
            _limit(base + made.memory_mb * 2**20)
            values = made.run(items)
        except BadInput as error:
            values = error
        except MemoryError:
            values = [Failure("MemoryError: out of memory", overrun=True)] * len(items)
        _limit(None)
        _send(end, pickle.dumps((values, [item.notes for item in items])))


def _limit(size: int | None) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard if size is None else size, hard))


def _address_space() -> int:
    """Bytes of address space that this process has already."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # no such file beyond Linux
        return 2**30


def _send(end: socket.socket, data: bytes) -> None:
    end.sendall(_SIZE.pack(len(data)) + data)


def _receive(end: socket.socket) -> bytes:
    return receive(end, _SIZE.unpack(receive(end, _SIZE.size))[0])
