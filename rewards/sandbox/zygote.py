"""The fork server: a small warm process that forks one confined child a completion, and ends it when told.

Always true here: it is started by exec, with the standard library alone, so its size and the cost of a fork do not
follow its owner's; it never sees a completion or a test, which go to the child's own socket; a child keeps its pid until
it is reaped, so an order to kill never hits another process; when the owner is gone, so are the children and the server.

Orders come as packets `ORDER` with the child's descriptors: its socket and, for a program, standard input and output.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys

from . import judge, solver, wire
from .confine import Confinement, Limits
from .threads import Threads

ORDER = struct.Struct("!cQIQq")
"""kind, memory in bytes, processor seconds, scratch in bytes, the owner's number for the child."""
REPLY = struct.Struct("!q")
ANSWER, PROGRAM, JUDGE, END, DROP = b"A", b"P", b"J", b"E", b"D"
_HIGH = 100

_WARM = (
    "abc array bisect cmath collections copy dataclasses datetime decimal enum fractions functools hashlib heapq io "
    "itertools json math numbers operator queue random re statistics string textwrap threading time typing"
)


def main(control_fd: int, level: str) -> None:
    """The server's whole life. Says first what it is, or why it can't be."""
    control = socket.socket(fileno=control_fd)
    try:
        owner = os.pidfd_open(os.getppid())
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # where memory runs out, it is a child that goes and not the model
        for name in _WARM.split():
            importlib.import_module(name)
        null = _apart(os.open("/dev/null", os.O_RDWR))
        os.environ.clear()
        sys.argv = [""]
        sys.dont_write_bytecode = True
        confinement = Confinement(level)
        threads = _threads(level)
    except Exception as error:
        wire.send(control, {"error": f"{type(error).__name__}: {error}"})
        return
    gc.collect()
    gc.freeze()  # a child's collector leaves these pages shared
    wire.send(control, {"pid": os.getpid()})
    _serve(control, owner, null, confinement, threads)


def _threads(level: str) -> Threads | None:
    """What counts the children's threads; None where there is nothing to count them with."""
    if level == "unsafe":
        return None
    try:
        return Threads()
    except OSError:  # an older kernel, or the container around us watches over calls itself
        return None


def _serve(control: socket.socket, owner: int, null: int, confinement: Confinement, threads: Threads | None) -> None:
    children: dict[int, int] = {}
    dying: set[int] = set()
    processors = sorted(os.sched_getaffinity(0))
    orders = control.fileno()
    poll = select.poll()
    if threads:
        poll.register(threads.descriptor, select.POLLIN)
    poll.register(control, select.POLLIN)
    poll.register(owner, select.POLLIN)
    try:
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(50 if dying else None)}
            dying -= {pid for pid in dying if os.waitpid(pid, os.WNOHANG)[0]}
            if owner in ready:
                return
            if threads and threads.descriptor in ready:
                threads.answer([*children.values()])
            if orders not in ready:
                continue
            data, received, _, _ = socket.recv_fds(control, ORDER.size, 3)
            if not data:
                return
            kind, memory, cpu, scratch, ticket = ORDER.unpack(data)
            descriptors = [_apart(descriptor) for descriptor in received]
            if kind == END:
                pid = children.pop(ticket, 0)
                control.send(REPLY.pack(_reaped(pid) if pid else -signal.SIGKILL))
                if threads:
                    threads.forget(pid)
            elif kind == DROP:
                if pid := children.pop(ticket, 0):  # what it takes the kernel to clear up is not waited for
                    os.kill(pid, signal.SIGKILL)
                    dying.add(pid)
                    if threads:
                        threads.forget(pid)
            else:
                try:
                    pid = confinement.fork()
                except OSError as error:
                    wire.send(socket.socket(fileno=descriptors.pop(0)), {"error": f"could not fork: {error}"})
                else:
                    if pid == 0:
                        if not threads:  # nobody sees it start a second thread
                            os.sched_setaffinity(0, {processors[ticket % len(processors)]})
                        _live(kind, descriptors, null, confinement, Limits(memory, cpu, scratch))
                    children[ticket] = pid
            for descriptor in descriptors:
                os.close(descriptor)
    except OSError:
        pass
    finally:
        for pid in (*children.values(), *dying):
            _reaped(pid)


def _live(kind: bytes, descriptors: list[int], null: int, confinement: Confinement, limits: Limits) -> None:
    """A child's whole life; never returns."""
    code = 1
    try:
        streams = descriptors[1:] if kind == PROGRAM else [null, null]
        sockets = descriptors if kind == JUDGE else descriptors[:1]
        for number, descriptor in enumerate([*streams, null, *sockets]):
            os.dup2(descriptor, number, inheritable=False)
        end, *others = (socket.socket(fileno=3 + i) for i in range(len(sockets)))
        try:
            confinement.enter(limits)
            os.closerange(3 + len(sockets), 1 << 16)
        except BaseException as error:
            wire.send(end, {"error": f"{type(error).__name__}: {error}"})
            raise
        wire.send(end, {"ready": True})
        if kind == JUDGE:
            judge.serve(end, *others)
            code = 0
        elif kind == PROGRAM:
            code = solver.program(wire.receive(end))
        else:
            solver.answer(end)
            code = 0
    finally:
        solver.leave(code)


def _apart(descriptor: int) -> int:
    """The same file under a number that a child's own descriptors never take."""
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    os.close(descriptor)
    return high


def _reaped(pid: int) -> int:
    """Kill `pid`, wait for its end; its exit code, negative for a signal. One that ended by itself keeps how it did."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
