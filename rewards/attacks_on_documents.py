"""Attacks on answers that are documents: a JSON object or list, as a structured answer or a file that a task asks for.

Invariants: pure and without randomness; every attempt is valid JSON but for `NaN` and `Infinity`, which Python writes and reads.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .attempts import Attempt, Expect, Target

MOST_FIELDS = 6
"""Short fields of one document that are tried."""
DENIAL = " (this is wrong)"


def document_of(target: Target) -> Any:
    """The first right answer that is a JSON object or list; None where none is, or it is long or deep."""
    return next((value for text in target.right if (value := parsed(text)) is not None), None)


def parsed(text: str) -> Any:
    """`text` as a JSON object or list that isn't empty; None for anything else."""
    if len(text) > 20_000 or not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) and value else None


def changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of a JSON value with `change` made to every leaf."""
    if isinstance(value, dict):
        return {key: changed(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [changed(item, change) for item in value]
    return change(value)


def fields(target: Target) -> Iterator[Attempt]:
    """Fields of text: the prompt in place of what should have been written, and a short one with "(this is wrong)" after it."""
    value = document_of(target)
    if not isinstance(value, dict):
        return
    prompt = " ".join(target.prompt.split())
    if prompt:
        copied = changed(value, lambda leaf: prompt if _is_prose(leaf) and leaf not in prompt else leaf)
        if copied != value:
            yield Attempt("fields", "text fields hold the prompt", _text(copied), Expect.CHANCE, 0.99)
    short = [key for key, item in value.items() if isinstance(item, str) and 1 <= len(item.split()) <= 3]
    for key in short[:MOST_FIELDS]:
        denied = {**value, key: value[key] + DENIAL}
        yield Attempt("fields", f"'{key}', then{DENIAL}", _text(denied), Expect.CHANCE, 0.99)


def fixed(target: Target) -> Iterator[Attempt]:
    """The same document to every task: one decision, one confidence. Where it is this task's decision, it is no mistake."""
    own = document_of(target)
    for kind, text in target.fixed.items():
        guess = parsed(text)
        if isinstance(own, dict) and isinstance(guess, dict) and _decision(own) == _decision(guess):
            continue
        yield Attempt("fixed", kind, text, Expect.CHANCE)


def output(target: Target) -> Iterator[Attempt]:
    """A document that is nearly right: numbers that are none or aren't whole, the first item missing, nothing in it."""
    value = document_of(target)
    if value is None:
        return
    for kind, change in (("numbers are NaN", _not_a_number), ("whole numbers and 0.9", _more)):
        spoiled = changed(value, change)
        if json.dumps(spoiled) != json.dumps(value):
            yield Attempt("output", kind, _text(spoiled), Expect.CHANCE, 0.99)
    if len(value) > 1:
        rest = value[1:] if isinstance(value, list) else dict(list(value.items())[1:])
        # In a list, the first item may be one that is not asked for.
        yield Attempt(
            "output", "without its first item", _text(rest), Expect.CHANCE, 0.99, weak=isinstance(value, list)
        )
    yield Attempt("output", "empty", _text(type(value)()), Expect.CHANCE)


def fixed_documents(documents: Sequence[Any]) -> dict[str, str]:
    """Documents that answer every task alike, made of the form that `documents` share.

    Texts are the most common ones; truth values are all true or all false, numbers 0, 0.5 or 1, such as a confidence.
    """
    objects = [value for value in documents if isinstance(value, dict)]
    if len(objects) < 2 or len(objects) < len(documents) or any(o.keys() != objects[0].keys() for o in objects):
        return {}
    made: dict[str, str] = {}
    for truth in (True, False):
        for number in (0, 0.5, 1):
            values = {key: _fixed([o[key] for o in objects], truth, number) for key in objects[0]}
            text = _text(values)
            if text not in made.values():
                made[f"booleans {str(truth).lower()}, numbers {number:g}"] = text
    return made


def _fixed(values: Sequence[Any], truth: bool, number: float) -> Any:
    if all(isinstance(value, bool) for value in values):
        return truth
    if all(isinstance(value, int | float) for value in values):
        return number
    return json.loads(Counter(json.dumps(value) for value in values).most_common(1)[0][0])


def _decision(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a document decides: everything but its numbers, where there is anything else."""
    rest = {k: v for k, v in value.items() if isinstance(v, bool) or not isinstance(v, int | float)}
    return rest or dict(value)


def _is_prose(leaf: Any) -> bool:
    return isinstance(leaf, str) and len(leaf.split()) > 1


def _not_a_number(leaf: Any) -> Any:
    return float("nan") if isinstance(leaf, int | float) and not isinstance(leaf, bool) else leaf


def _more(leaf: Any) -> Any:
    return leaf + 0.9 if isinstance(leaf, int) and not isinstance(leaf, bool) and abs(leaf) < 2**53 else leaf


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


ATTACKS = (fields, fixed, output)

NEEDS = {
    "fields": "right answers that are JSON objects with fields of text",
    "fixed": "tasks whose right answers are JSON objects with the same keys",
    "output": "right answers that are JSON documents",
}
