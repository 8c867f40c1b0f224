"""When a sandbox that keeps failing is left alone, and when it is tried again.

Invariants: past `SHARE` of the last `WINDOW` runs, and at least `LEAST` of them, it is off; after `PAUSE` seconds one run
is let through: where that goes well all is forgotten, where it fails the pause begins anew. Safe from many threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque

WINDOW, LEAST, SHARE = 200, 5, 0.05
PAUSE = 3.0
"""Seconds."""


class Breaker:
    """Counts how runs of the sandbox went."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._past: deque[bool] = deque(maxlen=WINDOW)
        self._again = 0.0

    def refuses(self) -> str:
        """Why no run may begin now; empty where one may, which must then be noted."""
        with self._lock:
            failures = self._past.count(False)
            if failures < LEAST or failures <= SHARE * len(self._past):
                return ""
            now = time.monotonic()
            if now >= self._again:
                self._again = now + PAUSE  # one tries it; the others wait for what comes of that
                return ""
            return (
                f"the sandbox has switched itself off: it failed {failures} of the last {len(self._past)} times; it is "
                f"tried again every {PAUSE:g} s"
            )

    def note(self, well: bool) -> None:
        """A run that began has ended, well or by a failure of the sandbox's own."""
        with self._lock:
            if well and self._again:
                self._past.clear()
                self._again = 0.0
            self._past.append(well)
            failures = self._past.count(False)
            if not well and failures >= LEAST and failures > SHARE * len(self._past):
                self._again = time.monotonic() + PAUSE

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._past.clear()
            self._again = 0.0
