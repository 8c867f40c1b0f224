"""How a level is set up in the fork server, and how each of its children gives up everything that its work does not need.

Always true here: a child is confined before it has seen a line of the model's code, and can't take a step back; where
any step fails, it raises and the child does no work. Standard library only.

Levels, strongest first: `ns` (a root, process table, network and scratch folder of its own, then all of `lite`), `lite`
(Landlock, seccomp, limits, no capabilities, no file to write), `unsafe` (limits alone).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import struct
import sys
import sysconfig
from typing import NamedTuple

from . import landlock, seccomp, syscalls
from .namespaces import Namespaces

LEVELS = ("ns", "lite", "unsafe")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")
_ADDED = ("site-packages", "dist-packages")
_FIRST_UID, _UIDS = 1_900_000_000, 60_000
_CAPABILITIES_3, _PR_CAP_AMBIENT, _CLEAR_ALL = 0x20080522, 47, 4
_PR_SET_PDEATHSIG = 1
_THREADS = 256


class Limits(NamedTuple):
    """What one child may use: bytes of memory, seconds of processor time, bytes of scratch files."""

    memory: int
    cpu: int
    scratch: int


def _library() -> tuple[list[str], list[str]]:
    """The folders of the standard library, and where the shared libraries are that it is linked to.

    A folder that holds more than libraries, such as what was installed beside them, is given by its libraries alone.
    """
    standard = [path for path in sys.path if path.startswith("/") and os.path.isdir(path)]
    standard = list(dict.fromkeys([*standard, *map(os.path.realpath, standard)]))
    folders = {sysconfig.get_config_var("LIBDIR") or ""}
    with open("/proc/self/maps") as maps:
        folders |= {os.path.dirname("/" + line.partition("/")[2].rstrip("\n")) for line in maps if ".so" in line}
    shared: list[str] = []
    for folder in sorted(folders):
        if not os.path.isdir(folder) or any(f"{folder}/".startswith(f"{path}/") for path in standard):
            continue
        if any(path.startswith(f"{folder}/") for path in standard):
            shared += [f"{folder}/{name}" for name in os.listdir(folder) if ".so" in name]
        else:
            shared.append(folder)
    return standard, shared


class Confinement:
    """A level, made ready once in the fork server (which `ns` moves into its own root); then `fork` and `enter` a child.

    What the server can do without is given up here already, for all of its children.

    Raises:
        OSError: this machine can't do it.
    """

    def __init__(self, level: str) -> None:
        self.level = level
        machine = syscalls.machine()
        self._forked = 0
        self._namespaces: Namespaces | None = None
        _limit(CORE=0, MEMLOCK=0, MSGQUEUE=0, NICE=0, RTPRIO=0, SIGPENDING=64)
        _limit_stack()
        if level == "unsafe":
            return
        if not landlock.version():
            raise OSError("this kernel has no Landlock (5.13 and newer have it, where it is switched on)")
        self._filter = seccomp.Filter(machine, scratch=level == "ns")
        standard, shared = _library()
        if level == "ns":
            hidden = [f"{folder}/{name}" for folder in standard for name in _ADDED]
            self._namespaces = Namespaces([*standard, *shared, *_FILES], _DEVICES, hidden)
            # All but the scratch folder is read-only by its mount; what is left for Landlock is all but files.
            rules = landlock.ruleset((), scratch="/")
            self._rules = fcntl.fcntl(rules, fcntl.F_DUPFD_CLOEXEC, 100)  # out of the way of a child's own
        else:
            # What was installed beside the standard library may be anything, so its files are left out by name.
            entries = [f"{folder}/{name}" for folder in standard for name in os.listdir(folder) if name not in _ADDED]
            os.chdir("/")
            _drop_capabilities()
            landlock.restrict(landlock.ruleset([*entries, *shared, *_FILES], listable=standard, devices=_DEVICES))

    def fork(self) -> int:
        """A new child: 0 in it, its pid here."""
        self._forked += 1
        return self._namespaces.fork() if self._namespaces else os.fork()

    def enter(self, limits: Limits) -> None:
        """In a child: be confined from here on.

        Raises:
            OSError: a step failed; the child must not go on.
        """
        _limit(AS=limits.memory, CPU=limits.cpu, NOFILE=64, FSIZE=limits.scratch)
        if self._namespaces:
            self._namespaces.scratch(limits.scratch, files=1000)
            if self._namespaces.privileged:
                self._become_nobody()
            else:
                _drop_capabilities()
            landlock.restrict(self._rules)
        syscalls.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # if the server falls; a change of user would undo it
        if self.level != "unsafe":
            seccomp.restrict(self._filter.code(os.getpid()))

    def _become_nobody(self) -> None:
        """A user that owns nothing; one for each child, so that a limit on threads is that child's own."""
        uid = _FIRST_UID + (os.getpid() + self._forked) % _UIDS
        os.setgroups([])
        for number in (uid, 65534):
            with contextlib.suppress(OSError):
                os.setresgid(number, number, number)
                os.setresuid(number, number, number)
                break
        if os.getuid() == 0:
            raise OSError("could not give up root")
        resource.setrlimit(resource.RLIMIT_NPROC, (_THREADS, _THREADS))


def _limit(**values: int) -> None:
    for name, value in values.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        most = resource.getrlimit(kind)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))


def _limit_stack() -> None:
    """Deep recursion in C is honest; the stack's room is taken only as it is used."""
    most = resource.getrlimit(resource.RLIMIT_STACK)[1]
    room = 64 << 20
    resource.setrlimit(resource.RLIMIT_STACK, (room if most == resource.RLIM_INFINITY else min(room, most), most))


def _drop_capabilities() -> None:
    with contextlib.suppress(OSError):
        syscalls.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL)
    header = struct.pack("=Ii", _CAPABILITIES_3, 0)
    syscalls.call("capset", header, struct.pack("=6I", *[0] * 6))
