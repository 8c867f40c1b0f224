"""The trainer's end of the fork server: start it, have it fork, have it end what it forked.

Always true here: safe from many threads; every failure is a SandboxFailure, which says nothing about a completion; when
this process ends, however it ends, the server and its children end too.
"""

from __future__ import annotations

import contextlib
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
from .zygote import END, ORDER, REPLY

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


class Zygote:
    """One fork server at one level, started at once.

    Raises:
        SandboxFailure: it can't run at that level here; the message says why.
    """

    def __init__(self, level: str, python: str | None = None) -> None:
        self._lock = threading.Lock()
        self.owner = os.getpid()
        self.broken = False
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

    def _order(self, data: bytes, descriptors: Sequence[int] = ()) -> int:
        with self._lock:
            try:
                socket.send_fds(self._control, [data], descriptors)
                reply = self._control.recv(REPLY.size)
            except OSError as error:
                self.broken = True
                raise SandboxFailure(f"the sandbox's fork server does not answer: {error}") from error
        if not reply:
            self.broken = True
            raise SandboxFailure("the sandbox's fork server has gone")
        return int(REPLY.unpack(reply)[0])

    def fork(self, kind: bytes, memory: int, cpu: int, scratch: int, descriptors: Sequence[int]) -> int:
        """A confined child that owns `descriptors`; its pid.

        Raises:
            SandboxFailure: there is none.
        """
        pid = self._order(ORDER.pack(kind, memory, cpu, scratch, 0), descriptors)
        if pid < 0:
            raise SandboxFailure(f"the sandbox could not fork: {os.strerror(-pid)}")
        return pid

    def end(self, pid: int) -> int:
        """Kill `pid` if it still runs; its exit code, negative for a signal."""
        return self._order(ORDER.pack(END, 0, 0, 0, pid))

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
        SandboxFailure: it could not be, or never spoke.
    """
    said: Any
    try:
        said = wire.receive(end, time.monotonic() + PATIENCE)
    except (OSError, EOFError, wire.WireError) as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    if said != {"ready": True}:
        raise SandboxFailure(f"a process of the sandbox could not be confined: {said.get('error', said)}")


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
