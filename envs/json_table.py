"""JSON and JSON Lines files, to the letter: an array of objects, or one object a line; a key is a column.

Invariants: values keep the types that JSON gives them. Integers are whole however large, texts are never dates, lists and
objects stay what they are; a key that a row lacks is an empty cell. What JSON doesn't have (NaN, Infinity, a key given
twice, half a surrogate pair, text behind the value) and what Python can't hold is refused with its row or line.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..configs.errors import BadInput
from .cells import kind_of
from .text_file import MARK, undecodable

_SPACE = re.compile(r"[ \t\r\n]*")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
FORMS = "a table is an array of objects, or one object a line"


class _Refused(ValueError):
    """JSON's grammar allows it, or Python's reader does, and a table doesn't."""


def read_json(where: str, file: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns in the order in which they turn up, and a mapping from column to value for each row.

    Args:
        where: the file as the user wrote it, for messages.

    Raises:
        BadInput: not UTF-8, not JSON, or not a table; see the module's docstring.
    """
    try:
        text = file.read_text(encoding=MARK)
    except UnicodeDecodeError:
        raise undecodable(where, file) from None
    if not text.strip():
        raise BadInput(f"{where}: the file is empty; give one that has rows")
    rows = _items(where, text) if text.lstrip().startswith("[") else _lines(where, text)
    records: list[dict[str, Any]] = []
    columns: dict[str, None] = {}
    for at, record in rows:
        if not isinstance(record, dict):
            raise BadInput(f"{where}: {at} is {kind_of(record)}; {FORMS}")
        columns |= dict.fromkeys(record)
        records.append(record)
    for i, record in enumerate(records):
        if len(record) < len(columns):
            records[i] = {column: record.get(column) for column in columns}
    return list(columns), records


def _lines(where: str, text: str) -> Iterator[tuple[str, Any]]:
    """(where it is, value) of each line that isn't blank."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip(" \t\r"):
            at = f"line {number}"
            value, end = _value(where, at, line, _SPACE.match(line).end())  # type: ignore[union-attr]
            if rest := line[end:].strip(" \t\r"):
                raise BadInput(f"{where}: {at} goes on after its object with {rest[:40]!r}; {FORMS}")
            yield at, value


def _items(where: str, text: str) -> Iterator[tuple[str, Any]]:
    """(where it is, value) of each item of the array that `text` is."""
    skip = lambda at: _SPACE.match(text, at).end()  # type: ignore[union-attr]  # noqa: E731
    end, number = skip(text.index("[") + 1), 0
    if text.startswith("]", end):
        end += 1
    else:
        while True:
            number += 1
            value, end = _value(where, f"row {number}", text, end)
            yield f"row {number}", value
            end = skip(end)
            sign = text[end : end + 1]
            end = skip(end + 1)
            if sign == "]":
                break
            if sign != ",":
                line = text.count("\n", 0, end) + 1
                raise BadInput(f"{where}: row {number} should be followed by ',' or ']' (line {line}); {FORMS}")
    if rest := text[end:].strip():
        line = text.count("\n", 0, text.index(rest[:1], end)) + 1
        raise BadInput(f"{where}: the file goes on after its array, in line {line}: {rest[:40]!r}; {FORMS}")


def _value(where: str, at: str, text: str, start: int) -> tuple[Any, int]:
    """The value that starts there, and where it ends."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        if _HALF.search(text, start, end):
            json.dumps(value, ensure_ascii=False).encode()
        return value, end
    except json.JSONDecodeError as error:
        line = text.count("\n", 0, error.pos) + 1
        place = f" in line {line}" if at.startswith("row") else ""
        raise BadInput(f"{where}: {at} is not JSON{place}: {error.msg}; {FORMS}") from None
    except _Refused as error:
        raise BadInput(f"{where}: {at}: {error}") from None
    except UnicodeEncodeError:
        raise BadInput(f"{where}: {at} holds half of a surrogate pair (\\ud800 to \\udfff), which is no text") from None
    except ValueError:  # Python reads no longer integers, since that takes quadratic time
        most = f"{sys.get_int_max_str_digits():,}"
        raise BadInput(f"{where}: {at} holds a number of more than {most} digits; write it in quotes") from None
    except RecursionError:
        raise BadInput(f"{where}: {at} is nested too deeply to be read; a table has simpler cells") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Refused(f"the key '{twice}' is given twice; keep one of them")
    return found


def _constant(name: str) -> Any:
    raise _Refused(f"{name} is not JSON; write null, or leave the row out")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value) or (value == 0 and re.search("[1-9]", text.lower().partition("e")[0])):
        raise _Refused(f"the number {text[:40]} is beyond what a float holds; write it in quotes")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_constant, parse_float=_float)
