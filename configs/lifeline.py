"""No process outlives the one that started it, however that one ends: `kill -9` included.

    process = subprocess.Popen(tied([sys.executable, "-m", "..."]))    # dies with this process
    tie_to_launcher()                                                  # a rank, first of all: dies with the launcher

Invariants: the kernel does it (`PR_SET_PDEATHSIG`), at once, whatever the process is doing, an import or a long computation; it
is set before the program itself starts, and a parent that died before that is noticed, so that no moment is left out. What a
user starts by hand is never tied: `nohup` and `setsid` do what they always did. Linux alone; elsewhere nothing is tied.

The kernel's signal follows the thread that started the process: start what is `tied` from one that waits for it. The file is also
run by its path, before any package is imported, so it needs the standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

_PR_SET_PDEATHSIG = 1
_LAUNCHER = "JOURNEYMAN_LAUNCHER"
"""In the environment of what a `tied` process starts: its host and process id."""


def tied(command: Sequence[str]) -> list[str]:
    """`command`, such that its process is killed when this one ends; the process id is that of `command` itself."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def tie(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it, of the process `parent`, ends."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has gone already
        os.kill(os.getpid(), signal.SIGKILL)


def untie() -> None:
    """Let this process go on after its parent: from here on, it notices by itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0)


def tie_to_launcher() -> None:
    """Tie a training process to the launcher that started it: Accelerate's, torchrun's or another's; none is needed.

    Its parent is the launcher only where the environment has what launchers set. Where `tied` started the launcher, a launcher
    that died before this call is noticed too.
    """
    if not any(name.startswith(("ACCELERATE_", "TORCHELASTIC_")) for name in os.environ):
        return
    tie(os.getppid())
    host, _, launcher = os.environ.get(_LAUNCHER, "").rpartition(":")
    if launcher and host == os.uname().nodename:
        import psutil

        above = [process.pid for process in psutil.Process().parents()]  # mpirun may come between
        if int(launcher) not in above:
            os.kill(os.getpid(), signal.SIGKILL)


def leave_on_signals() -> None:
    """Until the run itself listens, SIGTERM and SIGINT end this process at once, without the traceback of an import."""

    def leave(number: int, frame: FrameType | None) -> None:
        # To Accelerate's launcher anything but 0 is worth a traceback; ours sees that no exit code was left.
        os._exit(0 if "JOURNEYMAN_STATUS" in os.environ else 128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    os.environ[_LAUNCHER] = f"{os.uname().nodename}:{os.getpid()}"
    os.execvp(sys.argv[2], sys.argv[2:])
