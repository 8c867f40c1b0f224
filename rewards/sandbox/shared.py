"""The process's own sandbox: made at the first use, or by `warm` before a model is loaded.

Always true here: there is at most one, and it ends with the process.
"""

from __future__ import annotations

import atexit
import threading

from .box import Sandbox

_shared: Sandbox | None = None
_lock = threading.Lock()


def default() -> Sandbox:
    """The process's own sandbox, at the strongest level that works here unless `warm` chose another.

    Raises:
        SandboxFailure: this machine can't give one.
    """
    with _lock:
        return _shared or _make("auto")


def warm(level: str = "auto") -> Sandbox:
    """Make the process's own sandbox now, before a model is loaded, at `level`; a training run records its `.level`.

    Raises:
        BadInput: no such level.
        SandboxFailure: this machine can't give that level.
    """
    with _lock:
        if _shared is not None and level in ("auto", _shared.level):
            return _shared
        if _shared is not None:
            _shared.close()
        return _make(level)


def _make(level: str) -> Sandbox:
    global _shared
    _shared = Sandbox(level)
    atexit.register(_shared.close)
    return _shared
