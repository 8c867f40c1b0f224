"""The trainer's end of the fork server: start it, have it fork, have it end what it forked.

Always true here: safe from many threads; every failure is a SandboxFailure, which says nothing about a completion; when
this process ends, however it ends, the server and its children end too.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import wire
from .zygote import DROP, END, ORDER, REPLY

_BOOT = """
import sys, types
package = types.ModuleType("sandbox")
package.__path__ = [sys.argv[1]]
sys.modules["sandbox"] = package
from sandbox.zygote import main
main(int(sys.argv[2]), sys.argv[3])
"""
"""Only the files of this folder are loaded, by their path: no package around them, nothing installed."""
PATIENCE = 30.0
_TOGETHER = 0x8000  # how many bytes of reply are looked at once


class SandboxFailure(RuntimeError):
    """The sandbox itself failed: the completion is neither right nor wrong."""


class NotStarted(SandboxFailure):
    """There was no process for the completion, whose code has not run: it can be tried again."""


class Zygote:
    """One fork server at one level, started at once.

    Raises:
        SandboxFailure: it can't run at that level here; the message says why.
    """

    def __init__(self, level: str, python: str | None = None) -> None:
        self._lock = threading.Lock()
        self.owner = os.getpid()
        self.broken = False
        self._tickets = itertools.count(1)
        python = python or getattr(sys, "_base_executable", None) or sys.executable
        # One arena per two threads would use up the address space that a child is allowed; a fixed hash seed keeps
        # verdicts the same from run to run.
        environment = {"MALLOC_ARENA_MAX": "2", "PYTHONHASHSEED": "0"}
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [python, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", _BOOT, str(Path(__file__).parent)]
            try:
                self._process = subprocess.Popen(
                    [*words, str(theirs.fileno()), level], pass_fds=[theirs.fileno()], env=environment, cwd="/",
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                self._control.close()
                raise SandboxFailure(f"the sandbox's {python} did not start: {error}") from None
        self._control.settimeout(PATIENCE)
        try:
            data = self._control.recv(_TOGETHER)
            said = wire.json.loads(data[4:]) if data else {"error": f"its {python} ended at once"}
        except (OSError, ValueError) as error:
            said = {"error": str(error)}
        if "error" in said:
            self.close()
            raise SandboxFailure(f"no sandbox at level '{level}' here: {said['error']}")

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def fork(self, kind: bytes, memory: int, cpu: int, scratch: int, descriptors: Sequence[int]) -> int:
        """Order a confined child that owns `descriptors`; its ticket. The child speaks first, on the first of them.

        Raises:
            SandboxFailure: the server has gone.
        """
        ticket = next(self._tickets)
        self._send(ORDER.pack(kind, memory, cpu, scratch, ticket), descriptors)
        return ticket

    def drop(self, ticket: int) -> None:
        """Have a child killed; what the kernel has to clear up, it does while others run.

        Raises:
            SandboxFailure: the server has gone.
        """
        self._send(ORDER.pack(DROP, 0, 0, 0, ticket))

    def end(self, ticket: int) -> int:
        """Kill a child if it still runs, and wait until it is gone; its exit code, negative for a signal.

        Raises:
            SandboxFailure: the server has gone.
        """
        with self._lock:
            self._send(ORDER.pack(END, 0, 0, 0, ticket))
            try:
                reply = self._control.recv(REPLY.size)
            except OSError as error:
                reply = str(error).encode() if not isinstance(error, ConnectionError) else b""
            if len(reply) != REPLY.size:
                raise self._gone(reply.decode())
            return int(REPLY.unpack(reply)[0])

    def check(self) -> None:
        """After a failure: a server that is going down, but still takes orders, must not get the next one."""
        if self._process.poll() is not None:  # it, or what holds its namespaces
            self.broken = True
            return
        with contextlib.suppress(SandboxFailure):
            self.end(0)  # the ticket of no child: what counts is an answer

    def _send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self._control, [data], descriptors)
        except OSError as error:
            raise self._gone(str(error)) from error

    def _gone(self, why: str) -> SandboxFailure:
        self.broken = True
        return SandboxFailure(f"the sandbox's fork server has gone{': ' if why else ''}{why}")

    def close(self) -> None:
        """End the server and its children. In a process that was forked off, only forget it."""
        self._control.close()
        if self.owner != os.getpid():
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
            return
        self._process.kill()
        self._process.wait()


def greet(end: socket.socket) -> None:
    """Wait until a child says that it is confined.

    Raises:
        NotStarted: it, or the server in its place, said why it could not be.
        SandboxFailure: nobody said anything.
    """
    said: Any
    kind: type[SandboxFailure] = NotStarted
    try:
        said = wire.receive(end, time.monotonic() + PATIENCE)
    except (OSError, EOFError, wire.WireError) as error:
        said, kind = {"error": str(error)}, SandboxFailure
    if said != {"ready": True}:
        raise kind(f"a process of the sandbox did not come to be: {said.get('error', said)}")


def listen(end: socket.socket, printed: int, deadline: float, most: int) -> tuple[bytes, str]:
    """What a program prints until it has ended, and why it was cut short where it was.

    Args:
        end: its socket, which closes when it has gone.
        printed: the pipe that it prints to.
        deadline: a moment of `time.monotonic`.
        most: bytes.
    """
    out = bytearray()
    poll = select.poll()
    for descriptor in (printed, end.fileno()):
        poll.register(descriptor, select.POLLIN)
    waiting = 2
    while waiting:
        left = deadline - time.monotonic()
        ready = poll.poll(left * 1000) if left > 0 else []
        if not ready:
            return bytes(out), "time"
        for descriptor, _ in ready:
            try:
                data = os.read(descriptor, 1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                poll.unregister(descriptor)
                waiting -= 1
            elif descriptor == printed:
                out += data
                if len(out) > most:
                    return bytes(out[:most]), f"printed over {most >> 20} MB"
    return bytes(out), ""
