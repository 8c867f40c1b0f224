"""What a batch is worth: every reward's value, the total by weight, and what failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .call import Failure, Notes, Value
from .core import Reward


@dataclass(frozen=True)
class Scores:
    """What a batch is worth: `values` [B, F] with NaN for "does not apply", `total` [B] with NaN for unscorable."""

    names: list[str]
    values: np.ndarray
    total: np.ndarray
    errors: list[str | None]
    """The first failure of each row, weighted rewards and metrics alike; None where there was none."""
    failures: dict[str, list[Failure]] = field(default_factory=dict)
    """reward name -> its failures in this batch"""
    extras: list[dict[str, Any]] = field(default_factory=list)
    """What functions logged of each row by `log_extra`."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Mean of what they logged by `log_metric`."""
    overruns: dict[str, int] = field(default_factory=dict)
    """reward name -> calls that ran out of time or memory and were paid the reward's `overrun`"""
    raw: list[list[Value]] = field(default_factory=list)

    def plus(self, name: str, paid: Sequence[float]) -> Scores:
        """These with one more reward of weight 1, `paid` [B]."""
        column = np.asarray(paid, dtype=float)
        raw = [[*row, float(one)] for row, one in zip(self.raw, paid, strict=True)]
        values = np.column_stack([self.values, column])
        return replace(self, names=[*self.names, name], values=values, total=self.total + column, raw=raw)

    def of(self, i: int) -> dict[str, float | None]:
        """Row i as records hold it: reward name -> value, None where it did not apply or failed."""
        return {name: None if math.isnan(v) else float(v) for name, v in zip(self.names, self.values[i], strict=True)}

    def of_reward(self, name: str) -> list[Value]:
        """One reward's value of each row: a float, None or its Failure."""
        column = self.names.index(name)
        return [row[column] for row in self.raw]


def added_up(
    rewards: Sequence[Reward],
    raw: list[list[Value]],
    notes: Sequence[Notes],
    overruns: Mapping[str, int],
) -> Scores:
    """Add values [B][F] up by weight.

    A row is unscorable (total NaN) where a weighted reward failed, or where no weighted reward applied.
    """
    values = np.full((len(raw), len(rewards)), np.nan)
    broken = np.zeros(len(raw), dtype=bool)
    errors: list[str | None] = [None] * len(raw)
    failures: dict[str, list[Failure]] = {}
    for i, row in enumerate(raw):
        for f, value in enumerate(row):
            if isinstance(value, Failure):
                errors[i] = errors[i] or f"{rewards[f].name}: {value.reason}"
                failures.setdefault(rewards[f].name, []).append(value)
                broken[i] |= rewards[f].weight != 0
            elif value is not None:
                values[i, f] = value
    weights = np.array([reward.weight for reward in rewards])
    weighted = weights != 0
    total = np.nansum(values * weights, axis=1)
    total[broken | np.isnan(values[:, weighted]).all(axis=1)] = np.nan
    logged: dict[str, list[float]] = {}
    for note in notes:
        for name, number in note.metrics:
            logged.setdefault(name, []).append(number)
    metrics = {name: float(np.mean(numbers)) for name, numbers in logged.items()}
    names = [reward.name for reward in rewards]
    return Scores(names, values, total, errors, failures, [note.extras for note in notes], metrics, dict(overruns), raw)
