"""How many threads a completion has, and that they share one processor: counted by the fork server, on every level.

Limits of the kernel's own do not serve: the one on a user's processes does not bind root, and counts all that an ordinary
user runs. So the server goes under a filter that passes a thread's start and end on to the server itself, and which all
of its children inherit (seccomp's user notification, Linux 5.5 and newer). It costs nothing until a child makes a thread.

Invariants: at most MOST live threads a child, one more fails as it does where the system has no room; who goes on trying
is ended; from its first extra thread on a child keeps to one processor, where each further thread counts for less, so that it
takes about what a program without threads could. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
import struct
from collections import Counter
from dataclasses import dataclass

from . import seccomp, syscalls

MOST = 128
_REFUSALS = 5000
_NOTIFICATION, _RESPONSE = struct.Struct("=QIIi60x"), struct.Struct("=QqiI")
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE, _EAGAIN = 1, 11
_A_STEP = 1.25
"""How much less of a processor a thread gets for each step of niceness: n threads are made as nice as gives each an nth."""


@dataclass
class _Child:
    live: int = 1
    refused: int = 0
    processor: int | None = None
    nice: int = 0


class Threads:
    """The server's count; `descriptor` is readable when a child waits for `answer`.

    Raises:
        OSError: the kernel has no such notification, or someone outside holds the only one that there may be.
    """

    def __init__(self) -> None:
        self.descriptor = seccomp.listen(syscalls.machine())
        self._exit = syscalls.numbers(syscalls.machine())["exit"]
        self._children: dict[int, _Child] = {}
        self._owner: dict[int, int] = {}
        self._processors = sorted(os.sched_getaffinity(0))

    def forget(self, pid: int) -> None:
        """A child has gone."""
        if self._children.pop(pid, None):
            self._owner = {thread: owner for thread, owner in self._owner.items() if owner != pid}

    def answer(self, children: list[int]) -> None:
        """Let one thread start or end, or not; `children` are those that it may belong to."""
        asked = bytearray(_NOTIFICATION.size)
        with contextlib.suppress(OSError):  # who asked has been killed meanwhile
            fcntl.ioctl(self.descriptor, _RECEIVE, asked)
            number, thread, _, call = _NOTIFICATION.unpack(asked)
            pid = self._of(thread, children)
            child = self._children.setdefault(pid, _Child())
            if call == self._exit:
                self._reply(number)
                self._owner.pop(thread, None)
                child.live -= 1
            elif child.live >= MOST:
                self._reply(number, -_EAGAIN)
                child.refused += 1
                if child.refused > _REFUSALS:
                    os.kill(pid, signal.SIGKILL)
            else:
                if child.processor is None:
                    child.processor = self._quietest()
                    os.sched_setaffinity(thread, {child.processor})  # the only thread yet; all others inherit it
                child.live += 1
                child.nice = max(child.nice, min(19, round(math.log(child.live, _A_STEP))))
                os.setpriority(os.PRIO_PROCESS, thread, child.nice)  # which the new thread inherits
                self._reply(number)

    def _of(self, thread: int, children: list[int]) -> int:
        """The child that a thread belongs to."""
        if thread not in self._owner:
            for pid in children:
                with contextlib.suppress(OSError):
                    syscalls.call("tgkill", pid, thread, 0)
                    self._owner[thread] = pid
                    return pid
            raise ProcessLookupError("its process is being ended")
        return self._owner[thread]

    def _quietest(self) -> int:
        taken = Counter(child.processor for child in self._children.values())
        return min(self._processors, key=lambda processor: taken[processor])

    def _reply(self, number: int, error: int = 0) -> None:
        reply = _RESPONSE.pack(number, 0, error, 0 if error else _CONTINUE)
        fcntl.ioctl(self.descriptor, _SEND, reply)
