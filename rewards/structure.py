"""Rewards for JSON: valid under a schema, and right field by field.

Invariants: the answer after any thinking is one JSON document, alone or in one code fence, or it earns nothing.
Python's extensions (NaN, Infinity), numbers too large for a float, a key given twice, and nesting or length beyond the
limits are no JSON here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from . import schemas
from .cases import Case
from .core import UNDECIDED, reward
from .text import after_thinking, composed

PRELOAD = ("jsonschema",)
"""What the server that forks the workers loads before the first of them: no call waits for it."""
MAX_CHARACTERS = 200_000
"""Longer answers earn nothing: what they cost to check grows with them."""
MAX_DEPTH = 100
"""Deeper nesting earns nothing: the parser, the validator and we are recursive."""
LONGEST_INTEGER = 300
"""Characters; what is longer no other reader of JSON takes, and `float` overflows on it."""
_SMALL = 20_000
"""Characters that are checked here at once where the schema has nothing that could take long."""


class _NoJSON(ValueError):
    """The completion is no JSON document."""


def read_json(completion: str) -> Any:
    """The one document that a completion holds after any thinking, alone or in one code fence.

    Raises:
        ValueError: there is none; see the module's docstring.
    """
    text = after_thinking(completion).strip()
    if len(text) > MAX_CHARACTERS:
        raise _NoJSON(f"more than {MAX_CHARACTERS} characters")
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text[text.index("\n") + 1 : -3]
    try:
        document = json.loads(
            text, object_pairs_hook=_once, parse_constant=_refused, parse_float=_finite, parse_int=_bounded
        )
    except RecursionError:
        raise _NoJSON("nested too deeply") from None
    _check_depth(document)
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NoJSON("a key is given twice")
    return found


def _refused(constant: str) -> float:
    raise _NoJSON(f"{constant} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NoJSON(f"{text} is too large")
    return number


def _bounded(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise _NoJSON("an integer too large for a float")
    return int(text)


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise _NoJSON("nested too deeply")


def _children(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


@lru_cache(maxsize=256)
def _validator(text: str) -> tuple[Any, bool]:
    return schemas.validator(json.loads(text))


def _prepared(schema: Mapping[str, Any] | bool | str) -> tuple[Any, bool]:
    return _validator(schema if isinstance(schema, str) else json.dumps(schema))


def valid(validator: Any, document: Any) -> float:
    """1 or 0; a document that brings the check to an end in another way is not valid either."""
    try:
        return float(validator.is_valid(document))
    except (RecursionError, ArithmeticError, UnicodeError):
        return 0.0


def _at_once(completion: str, schema: Mapping[str, Any] | bool | str) -> Any:
    validator, slow = _prepared(schema)
    try:
        document = read_json(completion)
    except ValueError:
        return 0.0
    return UNDECIDED if slow or len(completion) > _SMALL else valid(validator, document)


@reward(needs_reference=False, isolated=True, timeout=1.0, overrun=0.0, fast=_at_once)
def json_schema(completion: str, schema: Mapping[str, Any] | bool | str) -> float:
    """1 where the answer is a JSON document that is valid under the row's `schema`, else 0.

    Every keyword of the schema is checked, `format` included; a schema with something that can't be (a format or draft that is
    not known here, `contentEncoding`, a misspelt keyword) is refused. Numbers are compared exactly: 19.99 is a multiple of 0.01.
    A `$ref` to an address is not fetched. A check that takes over 1 s (a `pattern` that backtracks, say) earns 0.

    Args:
        completion: one document, alone or in one code fence.
        schema: a JSON Schema, as a mapping or as JSON text; draft 2020-12 unless `$schema` says otherwise.

    Raises:
        BadInput: the schema holds something that would not be checked.
        ValueError: the schema is not a valid one.

    Source: JSON Schema (json-schema.org), as the library jsonschema checks it.
    Known ways of being gamed: a schema says what may be there; without `required`, `additionalProperties: false`, `minLength`
    and the like, `{}` or empty texts are valid. It never says that the values are right: add `json_fields`.
    """
    try:
        document = read_json(completion)
    except ValueError:
        return 0.0
    return valid(_prepared(schema)[0], document)


@reward
def json_fields(completion: str, answer: Mapping[str, Any] | list[Any] | str) -> float:
    """F1 over the fields of a JSON answer against the row's `answer`: missing, wrong and extra fields all cost.

    A field is a path to a value that is no container, or to an empty one; it is right where the gold answer has an equal
    value at the same path. Numbers are compared as numbers, texts to the letter (however accents are composed), `true` is not 1,
    and the order of a list counts.

    Args:
        completion: one document, alone or in one code fence.
        answer: the gold document, as a value or as JSON text.

    Raises:
        ValueError: `answer` is a text and no JSON.

    Source: the field-level F1 of information extraction (precision and recall over attribute-value pairs).
    Known ways of being gamed: fields that are easy to guess (a constant country, a null) earn their share whatever the rest
    says; one item missing at the head of a list shifts all behind it.
    """
    gold = _fields(json.loads(answer) if isinstance(answer, str) else answer)
    try:
        found = _fields(read_json(completion))
    except ValueError:
        return 0.0
    return 2 * len(found & gold) / (len(found) + len(gold))


def _fields(document: Any) -> set[tuple[Any, ...]]:
    """(path, kind, value) of every leaf; the kind keeps True apart from 1, and a path of keys "0" from one of indices."""
    fields: set[tuple[Any, ...]] = set()
    open_: list[tuple[tuple[Any, ...], Any]] = [((), document)]
    while open_:
        path, value = open_.pop()
        if value and isinstance(value, Mapping):
            open_ += [((*path, composed(str(key))), child) for key, child in value.items()]
        elif value and isinstance(value, list | tuple):
            open_ += [((*path, index), child) for index, child in enumerate(value)]
        elif isinstance(value, bool) or value is None:
            fields.add((path, "constant", value))
        elif isinstance(value, Mapping | list | tuple):
            fields.add((path, "empty", "{}" if isinstance(value, Mapping) else "[]"))
        else:
            fields.add((path, "text", composed(value)) if isinstance(value, str) else (path, "number", value))
    return fields


_PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
_WRONG = [
    "",
    "null",
    "[]",
    "{}",
    '{"name": "Ada"}',
    '{"name": "Ada", "age": "36"}',
    '{"name": "Ada", "age": NaN}',
    '{"name": "Ada", "age": 36} {"name": "Ada", "age": 36}',
    '{"name": "Ada", "age": 35, "age": 36}',
    "name: Ada, age: 36",
    "[" * 100_000,
    '{"name":' * 10_000,
]

CASES = {
    "json_schema": [
        Case(
            {"schema": _PERSON},
            right=['{"name": "Ada", "age": 36}', '```json\n{"name": "Ada", "age": 36}\n```'],
            wrong=[*_WRONG, '{"name": "Ada", "age": 36, "x": 1}', '{"name": "", "age": 36}', '{"name": "Ada", "age": true}'],
        ),
        Case(
            {"schema": {"type": "string", "pattern": "^(a+)+$"}},
            right=['"aaaa"'],
            wrong=['"' + "a" * 60 + 'b"', '"b"'],
        ),
    ],
    "json_fields": [
        Case(
            {"answer": {"name": "Ada", "born": {"year": 1815}, "tags": ["maths", "poetry"]}},
            right=[
                '{"name": "Ada", "born": {"year": 1815}, "tags": ["maths", "poetry"]}',
                '```\n{"tags": ["maths", "poetry"], "born": {"year": 1815.0}, "name": "Ada"}\n```',
            ],
            wrong=[
                "", "{}", "[]", "null", "Ada", '{"name": "Bob"}', '{"born.year": 1815}', '{"born": {"year": "1815"}}',
                '{"name": "Bob", "name": "Ada"}', '{"tags": ["poetry", "maths"]}', "[" * 100_000,
            ],
        ),
        Case({"answer": '{"ok": true}'}, right=['{"ok": true}'], wrong=['{"ok": 1}', '{"ok": "true"}', "true"]),
    ],
}  # fmt: skip
