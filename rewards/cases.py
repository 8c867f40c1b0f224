"""Worked cases of a reward: what deserves full marks, and what must earn nothing. The audit holds rewards to them.

A module that ships a reward ends with `CASES`: the reward's name -> a list of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One row and the completions to try on it.

    Args:
        row: the columns that the reward asks for by name.
        right: completions that deserve `full`.
        wrong: completions that must not be paid: their reward is 0 or less.
        full: what a right completion earns.
    """

    row: Mapping[str, Any]
    right: Sequence[str]
    wrong: Sequence[str] = ()
    full: float = 1.0
