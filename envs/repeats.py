"""What a user should know about a table that can be used: rows that repeat or contradict others, columns out of reach.

Invariants: nothing is left out of a table without being counted; a message names the first rows and counts the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .cells import exactly
from .core import Row

FILLED_IN = "a name that rollouts fill in"
"""Why a column that can be read is out of reach."""
SHOWN = 5
"""Row numbers that a message names before it only counts."""


class Repeats:
    """Counts the rows that ask what an earlier one asks, apart from those that answer it in another way.

    The first row of a prompt is the one that is used: two answers to one prompt can't both be learned, and a split that
    depended on which of them a seed draws could not be compared with itself.

    Args:
        names: the names in a row that answer its prompt; with None, all but those in `asked`.
        asked: the names in a row that make up its prompt.
    """

    def __init__(self, names: Sequence[str] | None, asked: Collection[str]) -> None:
        self.names, self.asked = names, {"prompt", *asked}
        self._known: dict[str, tuple[int, Row]] = {}
        self.same: list[tuple[int, int]] = []
        self.other: list[tuple[int, int]] = []

    def first(self, key: str, number: int, row: Row) -> bool:
        """Whether `row` is the first with this key; counted where it isn't."""
        before, known = self._known.setdefault(key, (number, row))
        if known is row:
            return True
        names = [name for name in row if name not in self.asked] if self.names is None else self.names
        alike = all(exactly(row.get(name)) == exactly(known.get(name)) for name in names)
        (self.same if alike else self.other).append((number, before))
        return False

    def notices(self) -> list[str]:
        """A line for contradictions, and one for repetitions."""
        lines = []
        if self.other:
            what = "other cells" if self.names is None else f"another {' or '.join(map(repr, self.names))}"
            lines.append(
                f"{_rows(len(self.other))} an earlier row's prompt and {what} left out: {_pairs(self.other)}; "
                "keep the right one of each"
            )
        if self.same:
            lines.append(f"{_rows(len(self.same))} an earlier row's prompt left out: {_pairs(self.same)}")
        return lines


def _rows(n: int) -> str:
    return "1 row with" if n == 1 else f"{n:,} rows with"


def _pairs(pairs: Sequence[tuple[int, int]]) -> str:
    named = [f"row {number} repeats row {before}" for number, before in pairs[:SHOWN]]
    return ", ".join([*named, *(["..."] if len(pairs) > SHOWN else [])])


def hidden_notices(hidden: Mapping[str, str]) -> list[str]:
    """A line for the columns that rewards can't reach by their own names."""
    if not hidden:
        return []
    names = ", ".join(f"'{name}' ({reason})" for name, reason in hidden.items())
    readable = next((name for name, reason in hidden.items() if reason == FILLED_IN), None)
    mend = "" if readable is None else f"; rename one with columns: {{another_name: {readable}}} if they should"
    return [f"rewards can't read the columns {names}{mend}"]
