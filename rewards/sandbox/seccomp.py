"""Which system calls a confined process may make: an allow-list, compiled to the kernel's filter (seccomp BPF).

Always true here: what is not listed fails with EPERM, so honest code meets an exception and not a kill; no exec, no new
process (threads are allowed), no socket but a connected pair within the process, no signal to any other process, no
change of another's files, limits or memory. Standard library only.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable

from . import syscalls

_PLAIN = """
read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending
rt_sigtimedwait rt_sigsuspend sigaltstack pread64 pwrite64 readv writev pipe pipe2 select pselect6 poll ppoll
sched_yield mremap msync mincore madvise dup dup2 dup3 pause nanosleep clock_nanosleep getitimer setitimer alarm getpid
recvfrom shutdown getsockname getpeername getsockopt exit exit_group uname flock fsync fdatasync ftruncate getdents64
getcwd chdir fchdir umask gettimeofday getrlimit getrusage sysinfo times getuid getgid geteuid
getegid getppid getpgrp getgroups getresuid getresgid gettid futex futex_waitv sched_getaffinity set_tid_address
set_robust_list restart_syscall fadvise64 clock_gettime clock_getres time epoll_create epoll_create1 epoll_ctl
epoll_wait epoll_pwait open openat stat lstat newfstatat statx access faccessat faccessat2 eventfd2 getrandom getcpu
membarrier rseq close_range
"""

_SCRATCH = """
readlink readlinkat truncate rename renameat renameat2 mkdir mkdirat rmdir creat link linkat unlink unlinkat symlink
symlinkat chmod fchmod fchmodat utimensat copy_file_range sendfile
"""
"""Where every writable file is in a private scratch folder. Elsewhere the files' owner could change modes of the host's:
Landlock does not watch over chmod, and over truncate only since its third version; nor over reading where a link leads,
which would tell what the host's processes run."""

_EPERM, _ENOSYS, _SIGKILL = 1, 38, 9
_CLONE_THREAD = 0x10000
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE = 1, 1, 0xF
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal, its size, FIONREAD, FIONBIO, FIO(N)CLEX
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034)  # not F_SETOWN or F_SETSIG, which signal others
_PRCTLS = (15, 16)  # a thread's name

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _MASK, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERRNO, _NOTIFY = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000
_PR_SET_NO_NEW_PRIVS, _SET_MODE_FILTER, _NEW_LISTENER = 38, 1, 8
_SOME_PID = 0x7E57AB1E

Instruction = tuple[int, int, int, int]


def _load_argument(index: int, half: int = 0) -> Instruction:
    return (_LOAD, 0, 0, 16 + 8 * index + 4 * half)


def _give(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


_REFUSE = _give(_ERRNO | _EPERM)


def _one_of(index: int, values: tuple[int, ...]) -> list[Instruction]:
    tests = [step for value in values for step in ((_EQUAL, 0, 1, value), _give(_ALLOW))]
    return [_load_argument(index), *tests, _REFUSE]


def _to_itself(process: int, signal: int, pid: int) -> list[Instruction]:
    """A signal to this process, but not SIGKILL: a death by SIGKILL is then never the program's own doing."""
    return [
        _load_argument(process), (_EQUAL, 1, 0, pid), _REFUSE,
        _load_argument(signal), (_EQUAL, 0, 1, _SIGKILL), _REFUSE, _give(_ALLOW),
    ]  # fmt: skip


def _by_argument(pid: int) -> dict[str, list[Instruction]]:
    return {
        "clone": [_load_argument(0), (_ANY_BIT, 0, 1, _CLONE_THREAD), _give(_ALLOW), _REFUSE],
        "clone3": [_give(_ERRNO | _ENOSYS)],  # its flags are out of a filter's reach; libc falls back to clone
        "kill": _to_itself(0, 1, pid),
        "tgkill": _to_itself(0, 2, pid),
        # Stream pairs only: a datagram one could still be aimed at any socket of the host.
        "socketpair": [
            _load_argument(0), (_EQUAL, 1, 0, _AF_UNIX), _REFUSE,
            _load_argument(1), (_MASK, 0, 0, _SOCK_TYPE), (_EQUAL, 0, 1, _SOCK_STREAM), _give(_ALLOW), _REFUSE,
        ],
        "sendto": [
            _load_argument(4), (_EQUAL, 1, 0, 0), _REFUSE,
            _load_argument(4, 1), (_EQUAL, 0, 1, 0), _give(_ALLOW), _REFUSE,
        ],
        "ioctl": _one_of(1, _IOCTLS),
        "fcntl": _one_of(1, _FCNTLS),
        "prctl": _one_of(0, _PRCTLS),
        "prlimit64": _one_of(0, (0, pid)),
    }  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


class Filter:
    """The filter for one machine, built once and made out to a process at a time.

    Args:
        machine: `x86_64` or `aarch64`.
        scratch: allow changes of files, where all that can be written to is private.
    """

    def __init__(self, machine: str, scratch: bool = False) -> None:
        numbers = syscalls.numbers(machine)
        actions: dict[int, list[Instruction]] = {
            numbers[name]: [_give(_ALLOW)]
            for name in f"{_PLAIN} {_SCRATCH if scratch else ''}".split()
            if name in numbers
        }
        actions |= {numbers[name]: body for name, body in _by_argument(_SOME_PID).items()}
        steps: list[Instruction] = [
            (_LOAD, 0, 0, 4), (_EQUAL, 1, 0, syscalls.AUDIT[machine]), _give(_KILL),
            (_LOAD, 0, 0, 0), *_search(_segments(actions)),
        ]  # fmt: skip
        self._code = _packed(steps)

    def code(self, pid: int) -> bytes:
        """The filter for the process `pid`, as it sees itself."""
        return self._code.replace(struct.pack("=I", _SOME_PID), struct.pack("=I", pid))


def _packed(steps: Iterable[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def restrict(code: bytes) -> None:
    """Put this process, and every thread it will have, under a filter for good.

    Raises:
        OSError: the kernel refused.
    """
    syscalls.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    syscalls.call("seccomp", _SET_MODE_FILTER, 0, _Program(len(code) // 8, code))


def listen(machine: str) -> int:
    """A descriptor that tells when this process, or a child forked from now on, starts or ends a thread; it waits until
    it is answered (`threads`). A whole process's start and end go by unseen.

    Raises:
        OSError: the kernel refused.
    """
    numbers = syscalls.numbers(machine)
    steps: list[Instruction] = [
        (_LOAD, 0, 0, 4), (_EQUAL, 1, 0, syscalls.AUDIT[machine]), _give(_KILL),
        (_LOAD, 0, 0, 0), (_EQUAL, 0, 1, numbers["exit"]), _give(_NOTIFY),
        (_EQUAL, 0, 3, numbers["clone"]), _load_argument(0), (_ANY_BIT, 0, 1, _CLONE_THREAD), _give(_NOTIFY), _give(_ALLOW),
    ]  # fmt: skip
    syscalls.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    code = _packed(steps)
    return syscalls.call("seccomp", _SET_MODE_FILTER, _NEW_LISTENER, _Program(len(code) // 8, code))


def _segments(actions: dict[int, list[Instruction]]) -> list[tuple[int, list[Instruction]]]:
    """(first number, what is done from there on to the next); numbers that no one named are refused."""
    found: list[tuple[int, list[Instruction]]] = []
    for number in range(max(actions) + 2):
        action = actions.get(number, [_REFUSE])
        if not found or found[-1][1] != action:
            found.append((number, action))
    return found


def _search(segments: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """A binary search: the kernel tries a new filter on every call it has, so its depth is what a check pays for."""
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    low, high = _search(segments[:middle]), _search(segments[middle:])
    return [(_AT_LEAST, len(low), 0, segments[middle][0]), *low, *high]
