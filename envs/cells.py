"""A cell of a table: how it reads as text, when it is empty, and a text that is equal for equal cells alone.

Invariants: no torch; nothing is guessed. A text is itself, a number reads as Python writes it, `true` and `false` read as
JSON writes them, dates and times as ISO 8601 does; what has no text of its own is a ValueError that says so.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any


def text_of(value: Any) -> str:
    """The one text that `value` reads as in a prompt or as an answer.

    Raises:
        ValueError: it has none: a list, an object, bytes, a span of time.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    raise ValueError(f"it is {kind_of(value)}, which has no text of its own")


def document(value: Any) -> str:
    """The text of a cell that may also be a list or an object, which are written as JSON.

    Raises:
        ValueError: something in it has no text.
    """
    if not isinstance(value, list | dict):
        return text_of(value)
    return json.dumps(value, ensure_ascii=False, default=text_of)


def kind_of(value: Any) -> str:
    """What a user would call the type of `value`."""
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if value is None:
        return "nothing"
    return "bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"


def empty(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, only white space, no item, or an item that holds nothing."""
    if value is None or (isinstance(value, float | decimal.Decimal) and math.isnan(value)):
        return True
    if isinstance(value, list):
        return not value or any(empty(item) for item in value)
    return isinstance(value, str) and not value.strip()


def exactly(value: Any) -> str:
    """A text that two values share only where they are equal and of one type: 1, 1.0, true and "1" are four cells."""
    return _EXACT.encode(value)


_EXACT = json.JSONEncoder(default=lambda other: {type(other).__qualname__: str(other)})


class Template(string.Formatter):
    """A `str.format` template over the columns, whose cells read as `text_of` has them."""

    def __init__(self, template: str) -> None:
        self.template = template
        parsed = [(field, spec, turned) for _, field, spec, turned in self.parse(template) if field is not None]
        self.columns = list(dict.fromkeys(field.split(".")[0].split("[")[0] for field, _, _ in parsed))
        self._plain = all(field in self.columns and not spec and not turned for field, spec, turned in parsed)

    def fill(self, cells: Mapping[str, Any]) -> str:
        """The prompt that `cells` make.

        Raises:
            ValueError, LookupError, AttributeError, TypeError: the template asks a cell for what it isn't or hasn't.
        """
        if self._plain and all(isinstance(cells[column], str) for column in self.columns):
            return self.template.format_map(cells)
        return self.vformat(self.template, (), cells)

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The cell of a column."""
        return kwargs[str(key)]

    def format_field(self, value: Any, format_spec: str) -> str:
        """A cell as text; a number, date or text in the form that the template asks for."""
        if empty(value) and not isinstance(value, str):
            raise ValueError("the entry it asks for is empty")
        return str(format(value, format_spec)) if format_spec else text_of(value)
