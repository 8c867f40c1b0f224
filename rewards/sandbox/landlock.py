"""Which files a confined process may touch, where no mount can hide the others: Landlock (kernel 5.13 and newer).

Always true here: a path that no rule names can't be opened, and nothing that is handled can be won back later; TCP and,
where the kernel knows them, abstract sockets and signals to processes outside are shut off too. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable

from . import syscalls

READ_FILE, READ_DIR = 1 << 2, 1 << 3
_WRITE_FILE, _TRUNCATE, _IOCTL = 1 << 1, 1 << 14, 1 << 15
_ON_FILES = 1 << 0 | _WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP, _SCOPES = 0b11, 0b11
_VERSION, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38


def version() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    try:
        return syscalls.call("landlock_create_ruleset", None, 0, _VERSION)
    except OSError:
        return 0


def _handled(kernel: int) -> int:
    return next(rights for least, rights in sorted(_FILE_RIGHTS.items(), reverse=True) if kernel >= least)


def ruleset(readable: Iterable[str], listable: Iterable[str] = (), devices: Iterable[str] = (),
            scratch: str | None = None) -> int:  # fmt: skip
    """A descriptor of the rules; paths that do not exist are passed over.

    Args:
        readable: files, and folders with all that is under them, to be read.
        listable: folders whose names may be listed, all the way down, though their files may not be read.
        devices: files to be read and written.
        scratch: a folder where everything but device nodes is allowed.

    Raises:
        OSError: no Landlock in this kernel.
    """
    kernel = version()
    if not kernel:
        raise OSError("this kernel has no Landlock (5.13 and newer have it, where it is switched on)")
    every = _handled(kernel)
    fields = [every, *([_TCP] if kernel >= 4 else []), *([_SCOPES] if kernel >= 6 else [])]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = syscalls.call("landlock_create_ruleset", attributes, len(attributes), 0)
    nodes = 1 << 6 | 1 << 11
    wanted = [(path, READ_FILE | READ_DIR) for path in readable]
    wanted += [(path, READ_DIR) for path in listable]
    wanted += [(path, READ_FILE | _WRITE_FILE) for path in devices]
    wanted += [(scratch, every & ~nodes & ~1)] if scratch else []
    for path, rights in wanted:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            _allow(rules, path, rights & every)
    return rules


def _allow(rules: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= _ON_FILES
        syscalls.call("landlock_add_rule", rules, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def restrict(rules: int) -> None:
    """Put this process under the rules for good.

    Raises:
        OSError: the kernel refused.
    """
    syscalls.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    syscalls.call("landlock_restrict_self", rules, 0)
