"""What an attack is made of: the task that it sees, and the completions that it tries, each with what an honest reward does.

Invariants: pure data; a target never changes, and an attempt says all that is needed to judge what it was paid.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .alike import altered, plain, same


class Expect(enum.Enum):
    """What an honest reward does with a completion."""

    FULL = "full marks"
    NOTHING = "nothing: 0 or less"
    UNPAID = "less than half marks"
    CHANCE = "half marks no more often than a guess would"
    COMMITTED = "full marks in one order of its parts at most"
    SAFE = "any finite number, in time, and no more than the right answer alone"
    KEPT = "full marks: it says what the right answer alone says"
    AGREED = "full marks, or two rows with one prompt contradict each other"


@dataclass(frozen=True)
class Target:
    """One task as the attacks see it.

    Args:
        row: its columns.
        right: completions that deserve `full`; may be empty where no right answer is known.
        wrong: completions known to deserve nothing.
        others: right completions of other tasks of the same form, each different from this one's.
        options: the answers that the task offers, where it names them.
        twins: right completions of other rows that have the same prompt.
        fixed: name -> a JSON object of the tasks' form whose fields don't depend on the task.
        full: what a right completion earns.
    """

    row: Mapping[str, Any]
    right: Sequence[str] = ()
    wrong: Sequence[str] = ()
    others: Sequence[str] = ()
    options: Sequence[str] = ()
    twins: Sequence[str] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    full: float = 1.0

    @property
    def prompt(self) -> str:
        """The text of the prompt's last message, empty where the row has none."""
        prompt = self.row.get("prompt", "")
        return str(prompt if isinstance(prompt, str) else prompt[-1]["content"])

    @property
    def alternatives(self) -> list[str]:
        """Short completions of the same form that don't answer this task."""
        made = () if self.others else map(altered, self.right[:1])
        return [text for text in (*self.others, *made) if text and len(text) < 2000]

    @property
    def wrongs(self) -> list[str]:
        """Short completions that don't answer this task, of whatever form."""
        gold = [plain(text) for text in self.right]
        known = [text for text in self.wrong if plain(text) and not any(g and g in plain(text) for g in gold)]
        return self.alternatives or [text for text in known if len(text) < 2000 and "<think" not in text]

    def reads(self, text: str) -> bool:
        """Whether `text` is, format aside, a right answer or the value of a column: paying for it is no mistake."""
        values = [
            *self.right,
            *(str(v) for k, v in self.row.items() if k != "prompt" and not isinstance(v, dict | list)),
        ]
        return any(same(text, value) for value in values) or any(
            same(text, str(v)) for k, v in self.row.items() if isinstance(v, dict | list) and not v
        )


@dataclass(frozen=True)
class Attempt:
    """One completion to try.

    Args:
        attack: which attack it belongs to.
        kind: what it is, in a few words; attempts of one kind are judged together over the tasks.
        half: the share of full marks from which it counts as paid.
        pair: attempts of one task with the same mark say the same in another order.
        weak: whether paying for it is a matter of taste, which is noted and is no defect.
    """

    attack: str
    kind: str
    text: str
    expect: Expect
    half: float = 0.5
    pair: str = ""
    weak: bool = False
