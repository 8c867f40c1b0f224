"""Rewards made of rewards: a gate in front of one, a weighted sum of several.

Always true here: a composed reward holds no function of its own; its parts are scored once, wherever they stand, and the
composition is arithmetic on their values.

    gate(tags, mathematics)                     # pays mathematics where tags pays above 0, and nothing elsewhere
    total("rubric", helpful, short.weighing(0.2))
"""

from __future__ import annotations

from collections.abc import Sequence

from ..configs.errors import BadInput
from .call import Failure, Value
from .core import Reward
from .source import digest


class Composed(Reward):
    """What `gate` and `total` make: `combine` turns the parts' values into one."""

    def __init__(self, name: str, parts: Sequence[Reward]) -> None:
        self.name = self.__name__ = name
        self.weight = 1.0
        self.needs_reference = any(part.needs_reference for part in parts)
        self.parts = tuple(parts)
        self.kind, self.isolated, self.concurrent = "completion", False, False
        self.bound = {}
        self.source_hash = digest(type(self).__name__, *(f"{part.source_hash}*{part.weight!r}" for part in parts))

    def columns(self) -> dict[str, bool]:
        """What the parts ask for."""
        asked: dict[str, bool] = {}
        for part in self.parts:
            for name, required in part.columns().items():
                asked[name] = asked.get(name, False) or required
        return asked

    def missing(self, columns: Sequence[str]) -> list[str]:
        """The columns that a part asks for and a row with `columns` does not have."""
        return [name for part in self.parts for name in part.missing(columns)]

    def combine(self, values: Sequence[Value]) -> Value:
        """One value from those of the parts, in their order."""
        raise NotImplementedError


class _Gate(Composed):
    above: float = 0.0

    def combine(self, values: Sequence[Value]) -> Value:
        condition, paid = values
        if condition is None or isinstance(condition, Failure):
            return condition
        return paid if condition > self.above else 0.0


class _Total(Composed):
    def combine(self, values: Sequence[Value]) -> Value:
        failed = next((value for value in values if isinstance(value, Failure)), None)
        if failed is not None:
            return failed
        known = [
            (part.weight, float(v)) for part, v in zip(self.parts, values, strict=True) if isinstance(v, float | int)
        ]
        return sum(weight * value for weight, value in known) if known else None


def gate(condition: Reward, reward: Reward, above: float = 0.0, name: str | None = None) -> Reward:
    """Pays `reward` where `condition` pays more than `above`, and 0 elsewhere.

    None of the condition makes it None; a failure of the reward behind a closed gate does no harm.

    Args:
        name: the reward's own name where None.
    """
    made = _Gate(name or reward.name, (condition, reward))
    made.above = float(above)
    made.source_hash = digest(made.source_hash, repr(above))
    made.weight = reward.weight
    return made


def total(name: str, *parts: Reward) -> Reward:
    """The sum of the parts by their weights; None where none of them applies, a failure where one fails.

    Raises:
        BadInput: no parts.
    """
    if not parts:
        raise BadInput(f"reward '{name}': a sum needs at least one reward")
    return _Total(name, parts)
