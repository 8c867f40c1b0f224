"""Which level a machine can give, found by trying: a level counts only once attacks on it have failed here and now.

Always true here: `auto` never goes below `lite`; each level is tried once a process and interpreter.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import tempfile

from ...configs.errors import BadInput, nearest
from . import syscalls
from .client import SandboxFailure, Zygote, greet
from .confine import LEVELS
from .session import Ended, Raised, Session
from .zygote import ANSWER

_PROBE = '''
import os, signal, socket

def attempts(canary, folder, owner):
    """What got through."""
    through = []
    def attempt(name, action):
        try:
            action()
        except (OSError, MemoryError):
            return
        through.append(name)

    def fork():
        if os.fork() == 0:
            os._exit(0)

    attempt("opened a file of the host", lambda: open(canary).close())
    attempt("wrote a file of the host", lambda: open(folder + "/written", "w").close())
    attempt("made a socket", lambda: socket.socket().close())
    attempt("forked", fork)
    attempt("signalled its owner", lambda: os.kill(owner, 0))
    attempt("listed /proc", lambda: os.listdir("/proc"))
    attempt("read the memory of another process", lambda: open("/proc/%d/mem" % owner, "rb").close())
    attempt("exceeded its memory", lambda: bytearray(1 << 30))
    attempt("ran a program", lambda: os.execv("/bin/sh", ["sh", "-c", ":"]))
    if os.environ:
        through.append("saw an environment")
    return through
'''


def choose(level: str, python: str | None = None) -> str:
    """The level to use for `level`, which may be `auto`.

    Raises:
        BadInput: no such level.
        SandboxFailure: not here; the message holds what each level lacked.
    """
    try:
        syscalls.machine()
    except OSError as error:
        raise SandboxFailure(str(error)) from None
    if level == "unsafe":
        logging.getLogger(__name__).warning(
            "sandbox level 'unsafe': completions run with limits alone; they can read this user's files and use the network"
        )
        return level
    if level != "auto" and level not in LEVELS:
        known = ["auto", *LEVELS]
        raise BadInput(f"there is no sandbox level '{level}'{nearest(level, known)} (known: {', '.join(known)})")
    reasons = []
    for candidate in [level] if level != "auto" else LEVELS[:2]:
        if not (reason := lacks(candidate, python)):
            return candidate
        reasons.append(f"{candidate}: {reason}")
    raise SandboxFailure(
        f"no sandbox here ({'; '.join(reasons)}). Run on Linux 5.13 or newer with Landlock, or ask for level 'unsafe' by name"
    )


@functools.cache
def lacks(level: str, python: str | None = None) -> str:
    """Why `level` does not hold on this machine; empty where it does."""
    try:
        zygote = Zygote(level, python)
    except (SandboxFailure, OSError) as error:
        return str(error)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        canary = os.path.join(folder, "canary")
        with open(canary, "w") as file:
            file.write("canary")
        try:
            through = _attack(zygote, [canary, folder, os.getpid()])
        except (SandboxFailure, Ended, Raised) as error:
            return f"its self-test failed: {error}"
        finally:
            zygote.close()
    return "in its self-test, code " + ", ".join(through) if through else ""


def _attack(zygote: Zygote, arguments: list[object]) -> list[str]:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            ticket = zygote.fork(ANSWER, 512 << 20, 10, 1 << 20, [theirs.fileno()])
        try:
            greet(ours)
            session = Session(ours, 10.0)
            session.ask("load", _PROBE)
            through: list[str] = session.ask("global", "attempts", arguments)
            return through
        finally:
            zygote.end(ticket)
