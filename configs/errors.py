"""The two ways a command ends early on purpose: bad input, and a stop that can be resumed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_BAD_INPUT = 2
EXIT_RESUMABLE = 75


class BadInput(ValueError):
    """Something the user wrote can't be used: one line that names it and the change that mends it. Exit code 2."""


class Stopped(Exception):
    """A signal ended the run at a safe point; the same command with `--resume` goes on. Exit code 75."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the valid name closest to `name`, or an empty string where none is close."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
