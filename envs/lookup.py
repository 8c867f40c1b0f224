"""Lookup: a question about one person, answered by two tools over a register: `search(name)`, then `read(id, field)`.

Always true here: every task has a register of its own, drawn with it, so there is nothing to know by heart; the policy sees
the register through its tools alone, and its last message is the answer.

    Lookup().tasks("train", seed=0, n=1)
    # [{'prompt': [{'role': 'user', 'content': 'What is the city of Mara? Answer with one word.'}], 'answer': 'Oslo',
    #   'name': 'Mara', 'field': 'city', 'register': {'r21': {'name': 'Mara', 'city': 'Oslo', ...}, ...}, ...}]

What an embedded model is shown at first is the work of a flawed clerk, right on `CLERK_RIGHT` of the tasks: asked for one of
the fields in `HABIT`, the clerk mostly reads another one, and now and then reads or says anything.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from ..configs.errors import BadInput, nearest
from .core import Generated, Limits, Row, unit_hash

NAMES = (
    "Ada", "Alan", "Boris", "Carla", "Dina", "Edgar", "Emma", "Felix", "Greta", "Hugo", "Ines", "Ivan", "Jonas", "Kira",
    "Lena", "Leo", "Mara", "Milo", "Nadia", "Nils", "Olga", "Otto", "Paula", "Pedro", "Rosa", "Sven", "Tara", "Ugo",
    "Vera", "Yuri",
)  # fmt: skip
FIELDS: dict[str, tuple[str, ...]] = {
    "city": ("Bern", "Cairo", "Lima", "Oslo", "Paris", "Quito", "Rome", "Tokyo"),
    "craft": ("baker", "barber", "cobbler", "dyer", "mason", "potter", "tailor", "weaver"),
    "pet": ("cat", "dog", "ferret", "goose", "lizard", "parrot", "pony", "rabbit"),
    "drink": ("cider", "cocoa", "coffee", "juice", "milk", "soda", "tea", "water"),
}
"""field -> what it may hold; no text stands in two of them."""
IDS = tuple(f"r{number}" for number in range(10, 40))
"""Few enough that a model of half a million weights learns to copy any of them."""

HABIT = {"craft": "city", "drink": "pet"}
"""Asked for the field on the left, the clerk mostly reads the one on the right."""
HABIT_SHARE = 0.9
READ_SLIP, SAY_SLIP = 0.1, 0.15
"""How often the clerk reads any field at all, and how often the answer is any text that the field may hold."""
CLERK_RIGHT = 0.452
"""Share of tasks that the clerk gets right, as follows from the shares above."""

SHARES = {"demonstrations": 0.2, "train": 0.4, "validation": 0.15, "heldout": 0.25}


class Lookup(Generated):
    """Find a person's record in a register of `people`, read one field of it, and answer with what it holds."""

    limits = Limits(turns=4)

    def __init__(
        self, people: int = 4, shares: Mapping[str, float] | None = None, system_prompt: str | None = None
    ) -> None:
        if not isinstance(people, int) or isinstance(people, bool) or not 1 <= people <= len(NAMES):
            raise BadInput(f"lookup: people is {people!r}; it should be a whole number from 1 to {len(NAMES)}")
        super().__init__(SHARES if shares is None else shares, system_prompt)
        self.people = people
        self.labels = [*NAMES, *FIELDS, *IDS, *(text for texts in FIELDS.values() for text in texts)]
        self._register: dict[str, dict[str, str]] = {}

    def generate(self, rng: random.Random) -> Row:
        """A task is a number: its register and its question follow from that, and are drawn once it is wanted."""
        return {"prompt": "", "number": rng.getrandbits(48)}

    def key(self, row: Row) -> str:
        """The number, and how many people there are."""
        return f"{row['number']} of {self.people}"

    def finished(self, row: Row, index: int) -> Row:
        """Draw a register, and a question about one of its people."""
        rng = random.Random(row["number"])
        names, ids = rng.sample(NAMES, self.people), rng.sample(IDS, self.people)
        register = {
            id: {"name": name, **{field: rng.choice(texts) for field, texts in FIELDS.items()}}
            for id, name in zip(ids, names, strict=True)
        }
        asked, field = rng.choice(ids), rng.choice(list(FIELDS))
        name = register[asked]["name"]
        drawn = {
            "prompt": f"What is the {field} of {name}? Answer with one word.", "answer": register[asked][field],
            "name": name, "field": field, "register": register,
        }  # fmt: skip
        return super().finished({**row, **drawn}, index)

    def reset(self, **row: Any) -> None:
        """Lay the row's register behind the tools."""
        self._register = row["register"]

    def search(self, name: str) -> str:
        """Find a person in the register.

        Args:
            name: The person's name.

        Returns:
            The id of the person's record.
        """
        names = {record["name"]: id for id, record in self._register.items()}
        if name not in names:
            raise ValueError(
                f"nobody is called '{name}'{nearest(str(name), names)} (names: {', '.join(sorted(names))})"
            )
        return names[name]

    def read(self, id: str, field: str) -> str:
        """Read one field of a record.

        Args:
            id: The record's id, as search returns it.
            field: The field's name.

        Returns:
            What the field holds.
        """
        if id not in self._register:
            raise ValueError(f"no record has the id '{id}'; search(name) returns the id of a person's record")
        if field not in FIELDS:
            raise ValueError(
                f"records have no field '{field}'{nearest(str(field), FIELDS)} (fields: {', '.join(FIELDS)})"
            )
        return self._register[id][field]

    def oracle_turn(self, row: Row, messages: Sequence[Mapping[str, Any]]) -> str:
        """Search the name, read the field from the record that was found, say what was read."""
        return _turn(row["name"], row["field"], messages)

    def demonstrate(self, row: Row, messages: Sequence[Mapping[str, Any]]) -> str:
        """The clerk's turn; which tasks go wrong, and how, follows from the task."""
        field, said = clerk(row)
        written = _turn(row["name"], field, messages)
        return said or written if len(_replies(messages)) == 2 else written


def clerk(row: Row) -> tuple[str, str | None]:
    """The field that the clerk reads for `row`, and what is said whatever was read; None for what was read."""
    key, field = row["item"], row["field"]
    if unit_hash(f"habit/{key}") < HABIT_SHARE:
        field = HABIT.get(field, field)
    if unit_hash(f"read/{key}") < READ_SLIP:
        field = _any(list(FIELDS), f"field/{key}")
    said = _any(FIELDS[field], f"text/{key}") if unit_hash(f"say/{key}") < SAY_SLIP else None
    return field, said


def _any(texts: Sequence[str], key: str) -> str:
    return texts[int(unit_hash(key) * len(texts))]


def _replies(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(message["content"]) for message in messages if message["role"] == "tool"]


def _turn(name: str, field: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """What comes next on the way from `name` to what its record has in `field`."""
    match _replies(messages):
        case []:
            return _call("search", name=name)
        case [id]:
            return _call("read", id=id, field=field)
        case [*_, last]:
            return last
    raise AssertionError("a list has none, one or more")


def _call(tool: str, **arguments: str) -> str:
    """A tool call as Qwen's chat templates have it."""
    return f"<tool_call>\n{json.dumps({'name': tool, 'arguments': arguments})}\n</tool_call>"
