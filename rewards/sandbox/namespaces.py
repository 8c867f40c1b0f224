"""A root of its own for the fork server: a small read-only tree, no network, and a process table a child.

Always true here: the host's files are not hidden but absent; there is no /proc; what a child writes goes to memory of
its own, with a quota, and is gone with it. Needs root with CAP_SYS_ADMIN, or user namespaces. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from collections.abc import Sequence

from . import syscalls

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _BIND, _REC, _PRIVATE, _REMOUNT, _RDONLY = 2, 4, 0x1000, 0x4000, 1 << 18, 0x20, 1
_DETACH = 2
_PR_SET_PDEATHSIG = 1
_AT_RECURSIVE, _AT_FDCWD = 0x8000, -100
_STAGES = ("/mnt", "/srv", "/media", "/var/tmp", "/tmp", "/run")
_LINKS = ("/lib", "/lib64", "/lib32", "/bin")
SCRATCH = "/tmp"


class Namespaces:
    """Made once in the fork server, which goes on as a child of itself in the new root, the first of its process table.

    The process that made it only waits for that child, which ends everything in the table when it ends.

    Args:
        readable: files and folders of the host that stay, read-only, under their own names.
        devices: device nodes that stay.
        hidden: folders under those of `readable` that are to be empty.

    Raises:
        OSError: the kernel or a container around us does not allow it.
    """

    def __init__(self, readable: Sequence[str], devices: Sequence[str], hidden: Sequence[str]) -> None:
        self.privileged = _unshare()
        if pid := os.fork():
            os.closerange(0, 1 << 16)
            os.waitpid(pid, 0)
            os._exit(0)
        syscalls.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        _mount(None, "/", None, _REC | _PRIVATE)
        needed = [*readable, *devices]
        stage = next(s for s in _STAGES if os.path.isdir(s) and not any(path.startswith(s + "/") for path in needed))
        _mount("tmpfs", stage, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
        for link in _LINKS:
            if os.path.islink(link):
                os.symlink(os.readlink(link), stage + link)
        os.mkdir(stage + SCRATCH)
        for path in needed:
            with contextlib.suppress(FileNotFoundError):
                _bind(path, stage, device=path in devices)
        for path in hidden:
            if os.path.isdir(stage + path):
                _mount("tmpfs", stage + path, "tmpfs", _NOSUID | _NODEV | _RDONLY, "size=4k,mode=755")
        os.chdir(stage)
        syscalls.call("pivot_root", b".", b".")
        syscalls.call("umount2", b".", _DETACH)
        os.chdir("/")
        _mount(None, "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)

    def fork(self) -> int:
        """`os.fork`, with the child as the first process of a new process table: with it, everything in there ends."""
        syscalls.call("unshare", _NEWPID)
        try:
            pid = os.fork()
        except OSError:
            syscalls.call("setns", self._own_pids, _NEWPID)
            raise
        if pid:
            syscalls.call("setns", self._own_pids, _NEWPID)
        return pid

    def scratch(self, size: int, files: int) -> None:
        """In a child: an empty folder in memory at SCRATCH, at most `size` bytes in `files` files, seen by it alone."""
        syscalls.call("unshare", _NEWNS)
        _mount("tmpfs", SCRATCH, "tmpfs", _NOSUID | _NODEV, f"size={size},nr_inodes={files},mode=1777")
        os.chdir(SCRATCH)


def _unshare() -> bool:
    """Leave the host's mounts, network, queues and process table; True where root's own rights did it, without a namespace
    of users."""
    flags = _NEWNS | _NEWNET | _NEWIPC | _NEWUTS | _NEWPID
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        with contextlib.suppress(PermissionError):
            syscalls.call("unshare", flags)
            return True
    syscalls.call("unshare", flags | _NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return False


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    syscalls.call("mount", *words, flags, options.encode() or None)


def _bind(path: str, stage: str, device: bool) -> None:
    """Show the host's `path`, read-only with all that is mounted under it, at the same name under `stage`."""
    target = stage + path
    if os.path.lexists(target) and not os.path.isdir(path):
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.stat(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(path, target, None, _BIND | _REC)
    if not device:
        read_only = struct.pack("=QQQQ", _RDONLY | _NOSUID | _NODEV, 0, 0, 0)
        syscalls.call("mount_setattr", _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, read_only, len(read_only))
