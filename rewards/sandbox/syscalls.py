"""System calls that Python's standard library has no function for, by plain ctypes, on x86_64 and aarch64.

Always true here: standard library only; a call that fails raises OSError with its errno; nothing is changed on import.
Numbers are the kernel's own (`asm/unistd_64.h`, `asm-generic/unistd.h`); a test compares them with the headers.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys

_TABLE = """
read 0 63|write 1 64|close 3 57|fstat 5 80|lseek 8 62|mmap 9 222|mprotect 10 226|munmap 11 215|brk 12 214
rt_sigaction 13 134|rt_sigprocmask 14 135|rt_sigreturn 15 139|rt_sigpending 127 136|rt_sigtimedwait 128 137
rt_sigsuspend 130 133|sigaltstack 131 132|ioctl 16 29|pread64 17 67|pwrite64 18 68|readv 19 65|writev 20 66|pipe 22 -
pipe2 293 59|select 23 -|pselect6 270 72|poll 7 -|ppoll 271 73|sched_yield 24 124|mremap 25 216|msync 26 227
mincore 27 232|madvise 28 233|dup 32 23|dup2 33 -|dup3 292 24|pause 34 -|nanosleep 35 101|clock_nanosleep 230 115
getitimer 36 102|setitimer 38 103|alarm 37 -|getpid 39 172|sendto 44 206|recvfrom 45 207|recvmsg 47 212
shutdown 48 210|socketpair 53 199|getsockname 51 204|getpeername 52 205|getsockopt 55 209|clone 56 220|clone3 435 435
exit 60 93|exit_group 231 94|kill 62 129|tgkill 234 131|uname 63 160|fcntl 72 25|flock 73 32|fsync 74 82
fdatasync 75 83|truncate 76 45|ftruncate 77 46|getdents64 217 61|getcwd 79 17|chdir 80 49|fchdir 81 50|rename 82 -
renameat 264 38|renameat2 316 276|mkdir 83 -|mkdirat 258 34|rmdir 84 -|creat 85 -|link 86 -|linkat 265 37|unlink 87 -
unlinkat 263 35|symlink 88 -|symlinkat 266 36|readlink 89 -|readlinkat 267 78|chmod 90 -|fchmod 91 52|fchmodat 268 53
umask 95 166|gettimeofday 96 169|getrlimit 97 163|getrusage 98 165|sysinfo 99 179|times 100 153|getuid 102 174
getgid 104 176|geteuid 107 175|getegid 108 177|getppid 110 173|getpgrp 111 -|getgroups 115 158|getresuid 118 148
getresgid 120 150|utimensat 280 88|prctl 157 167|gettid 186 178|futex 202 98|futex_waitv 449 449
sched_getaffinity 204 123|set_tid_address 218 96|set_robust_list 273 99|restart_syscall 219 128|fadvise64 221 223
clock_gettime 228 113|clock_getres 229 114|time 201 -|epoll_create 213 -|epoll_create1 291 20|epoll_ctl 233 21
epoll_wait 232 -|epoll_pwait 281 22|open 2 -|openat 257 56|stat 4 -|lstat 6 -|newfstatat 262 79|statx 332 291
access 21 -|faccessat 269 48|faccessat2 439 439|eventfd2 290 19|prlimit64 302 261|getrandom 318 278|getcpu 309 168
membarrier 324 283|rseq 334 293|close_range 436 436|copy_file_range 326 285|sendfile 40 71|unshare 272 97|setns 308 268
mount 165 40|umount2 166 39|pivot_root 155 41|mount_setattr 442 442|capset 126 91|seccomp 317 277
landlock_create_ruleset 444 444|landlock_add_rule 445 445|landlock_restrict_self 446 446
"""


def _numbers(column: int) -> dict[str, int]:
    rows = [entry.split() for entry in _TABLE.replace("\n", "|").split("|") if entry]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


X86_64, AARCH64 = _numbers(1), _numbers(2)
"""name -> number; a call that an architecture lacks is left out."""

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""How seccomp names the architectures."""


def machine() -> str:
    """`x86_64` or `aarch64`.

    Raises:
        OSError: another system or processor, where none of this works.
    """
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if not sys.platform.startswith("linux") or name not in AUDIT or sys.maxsize < 2**32:
        raise OSError(f"the sandbox needs 64-bit Linux on x86_64 or aarch64, and this is {sys.platform} on {name}")
    return name


def numbers(machine_name: str) -> dict[str, int]:
    """name -> number on that machine."""
    return X86_64 if machine_name == "x86_64" else AARCH64


@functools.cache
def libc() -> ctypes.CDLL:
    """The C library, with errno kept."""
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


def call(name: str, *arguments: int | bytes | ctypes.Structure | None) -> int:
    """Make the system call `name`. Integers are passed as 64 bits, bytes and ctypes objects by address.

    Raises:
        OSError: it failed.
    """
    values = [ctypes.c_long(a) if isinstance(a, int) else a if a is None or isinstance(a, bytes) else ctypes.byref(a)
              for a in arguments]  # fmt: skip
    result = libc().syscall(ctypes.c_long(_number(name)), *values)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)


@functools.cache
def _number(name: str) -> int:
    return numbers(machine())[name]


def prctl(option: int, value: int = 0) -> None:
    """`prctl(option, value, 0, 0, 0)`.

    Raises:
        OSError: it failed.
    """
    zero = ctypes.c_ulong(0)
    if libc().prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")
