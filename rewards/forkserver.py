"""A small process that forks ready children: what runs in one can hang, crash or eat memory, and is killed for it.

Always true here: standard library only (the file also works when it is loaded by its path); a fork comes from the small
server and not from the process that trains, so it costs the same beside a model of any size; a child that has ended keeps
its pid until it is reaped, so `kill` never hits another process; when the owner dies, the server and its children die.

    server = ForkServer([sys.executable, "-c", "...; forkserver.serve(int(sys.argv[1]), work)"])
    child = server.fork()          # runs work(socket) in a process of its own
    child.socket.sendall(b"...")
    how = child.kill()             # "SIGKILL", or how it had ended by itself: "SIGABRT", "exit code 3"
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

_FORK, _REAP = b"F", b"R"
_PID = struct.Struct("!q")
_PR_SET_PDEATHSIG = 1


class ServerDied(RuntimeError):
    """The fork server is gone; the next `fork` starts another."""


class Child:
    """One forked process, spoken to through `socket` (a stream)."""

    def __init__(self, server: ForkServer, generation: int, pid: int, end: socket.socket) -> None:
        self.pid, self.socket = pid, end
        self._server, self._generation, self._end = server, generation, ""

    def kill(self) -> str:
        """End it if it still runs, reap it, and say how it ended: a signal's name or `exit code N`. Safe to call twice."""
        if not self._end:
            self.socket.close()
            self._end = self._server._reap(self.pid, self._generation)
        return self._end


class ForkServer:
    """Starts `command`, to which this process's id and the number of a control descriptor are appended, and asks it for children.

    Args:
        command: a program that ends in `serve(int(sys.argv[-1]), work)`.
        env: its whole environment.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.command, self.env = list(command), dict(os.environ if env is None else env)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._generation = 0

    def start(self) -> None:
        """Start the server now, rather than at the first `fork`."""
        with self._lock:
            self._started()

    def _started(self) -> socket.socket:
        if self._control is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [*self.command, str(os.getpid()), str(theirs.fileno())], pass_fds=[theirs.fileno()], env=self.env,
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            self._control = ours
            self._generation += 1
        return self._control

    def fork(self) -> Child:
        """A new child.

        Raises:
            ServerDied: the server could not be started or has gone; its standard error says why.
        """
        with self._lock:
            control = self._started()
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    socket.send_fds(control, [_FORK], [theirs.fileno()])
                pid = _PID.unpack(receive(control, _PID.size))[0]
            except (OSError, EOFError) as error:
                ours.close()
                self._stop()
                raise ServerDied(f"the process that forks reward workers has gone: {error}") from error
            return Child(self, self._generation, pid, ours)

    def _reap(self, pid: int, generation: int) -> str:
        with self._lock:
            if self._control is None or generation != self._generation:
                return "SIGKILL"  # it went with its server
            try:
                self._control.sendall(_REAP + _PID.pack(pid))
                status = _PID.unpack(receive(self._control, _PID.size))[0]
            except (OSError, EOFError):
                self._stop()
                return "SIGKILL"
        return signal.Signals(-status).name if status < 0 else f"exit code {status}"

    def close(self) -> None:
        """End the server and every child it has."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._control is not None and self._process is not None:
            self._control.close()  # the server ends its children when it sees this
            self._control = None
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def serve(control_fd: int, work: Callable[[socket.socket], None]) -> None:
    """The server's whole life: fork a child that runs `work(socket)` whenever asked, until the owner has gone."""
    control = socket.socket(fileno=control_fd)
    children: set[int] = set()
    try:
        while True:
            # One byte at a time: a descriptor belongs to the byte it came with.
            order, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if order == _FORK:
                pid = os.fork()
                if pid == 0:
                    control.close()
                    _live(descriptors[0], work)
                os.close(descriptors[0])
                children.add(pid)
                control.sendall(_PID.pack(pid))
            elif order == _REAP:
                pid = _PID.unpack(receive(control, _PID.size))[0]
                children.discard(pid)
                control.sendall(_PID.pack(_ended(pid)))
            else:
                break
    except (OSError, EOFError):
        pass
    finally:
        for pid in children:
            _ended(pid)


def _live(descriptor: int, work: Callable[[socket.socket], None]) -> None:
    """A child's whole life."""
    code = 1
    try:
        _die_with_server()
        with socket.socket(fileno=descriptor) as end:
            work(end)
        code = 0
    finally:
        os._exit(code)


def _ended(pid: int) -> int:
    """Kill `pid` and take its exit code, negative for a signal. One that had already ended keeps how it did."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _die_with_server() -> None:
    # Not for the server itself: the signal follows the thread that started it, which may end long before its process.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def receive(end: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes; EOFError where the other side has gone."""
    data = bytearray()
    while len(data) < size:
        part = end.recv(min(size - len(data), 2**20))
        if not part:
            raise EOFError("the connection was closed")
        data += part
    return bytes(data)
