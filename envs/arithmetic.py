"""Arithmetic, generated: sums and differences of whole numbers, harder by level.

A task reads `58+67=` and its answer is `125`. a + b and b + a always lie in the same split.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

from ..configs.errors import BadInput
from .core import Generated, Row, prompt_text


class Arithmetic(Generated):
    """Add (from level 4 on also subtract) whole numbers of up to `digits` digits; harder by level."""

    LEVELS: ClassVar[dict[int, tuple[int, str]]] = {1: (1, "+"), 2: (2, "+"), 3: (3, "+"), 4: (2, "+-"), 5: (3, "+-")}
    """level -> (digits of each operand, operations)"""

    def __init__(self, level: int = 2, shares: Mapping[str, float] | None = None) -> None:
        if level not in self.LEVELS:
            raise BadInput(f"arithmetic has the levels {', '.join(map(str, self.LEVELS))}, not {level!r}")
        super().__init__(shares)
        self.level = level
        self.digits, self.operations = self.LEVELS[level]

    def generate(self, rng: random.Random) -> Row:
        """Draw the operands and the operation; a difference is never negative."""
        a, b = (rng.randrange(10**self.digits) for _ in range(2))
        operation = rng.choice(self.operations)
        if operation == "-" and a < b:
            a, b = b, a
        value = a + b if operation == "+" else a - b
        return {"prompt": f"{a}{operation}{b}=", "answer": str(value)}

    def family(self, row: Row) -> str:
        """The operands of a sum in order, so that a + b lies in the same split as b + a."""
        question = prompt_text(row).rstrip("=")
        return "+".join(sorted(question.split("+"))) if "+" in question else question
