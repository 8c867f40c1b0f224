import json
import random
import time

import jsonschema
import pytest
from journeyman.rewards.core import Failure, Scored
from journeyman.rewards.structure import CASES, json_fields, json_schema

REWARDS = {judge.name: judge for judge in (json_schema, json_fields)}


def earn(judge, completions, **row):
    return judge.score([Scored(row, [{"role": "assistant", "content": text}]) for text in completions])


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in CASES.items() for case in cases])
def test_the_shipped_cases_hold(name, case):
    assert earn(REWARDS[name], case.right, **case.row) == [1.0] * len(case.right)
    assert earn(REWARDS[name], case.wrong, **case.row) == [0.0] * len(case.wrong)


SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", None, 1]}}, "required": ["a"]},
    {"type": "object", "additionalProperties": {"type": "string", "maxLength": 2}, "minProperties": 1},
    {"type": "array", "items": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]}, "uniqueItems": True},
    {
        "$defs": {"tree": {"type": ["object", "null"], "properties": {"a": {"$ref": "#/$defs/tree"}}}},
        "$ref": "#/$defs/tree",
    },
    {"type": "string", "pattern": "^[ab]+$"},
    {"not": {"type": "boolean"}},
    True,
    False,
]


def any_json(rng, depth=0):
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind < 6:
        return [None, True, rng.randrange(-2, 3), rng.choice([0.5, 1.0]), rng.choice(["", "a", "ab", "xyz"]), {}][kind]
    if kind == 6:
        return [any_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice("abc"): any_json(rng, depth + 1) for _ in range(rng.randrange(4))}


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_valid_means_what_jsonschema_says(schema):
    rng = random.Random(0)
    documents = [any_json(rng) for _ in range(60)]
    cls = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    expected = [float(cls(schema).is_valid(document)) for document in documents]

    assert earn(json_schema, map(json.dumps, documents), schema=schema) == expected
    assert earn(json_schema, map(json.dumps, documents[:5]), schema=json.dumps(schema)) == expected[:5]


NO_JSON = {
    "empty": "", "words": "none", "NaN": "[NaN]", "Infinity": "-Infinity", "too large": "1e999",
    "a key twice": '{"a": 1, "a": 1}', "two": "1 2", "words before": "Here: 1", "words behind": "1.", "single quotes": "{'a': 1}",
    "a comma too many": "[1,]",
    "an open fence": "```json\n1", "two fences": "```\n1\n```\n```\n1\n```", "in a thought": "<think>1", "a comment": "1 // one",
    "digits": "9" * 130_000, "braces": "[" * 130_000, "closed braces": "[" * 60_000 + "]" * 60_000, "objects": '{"a":' * 20_000,
    "deep": "[" * 101 + "]" * 101, "giant": '"' + "a" * 250_000 + '"', "zeros": "\0" * 1000, "a surrogate": "\ud800",
}  # fmt: skip


@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_earns_nothing_and_takes_no_time(text):
    began = time.process_time()

    assert earn(json_schema, [text], schema=True) == [0.0] == earn(json_fields, [text], answer={"a": 1})
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "text", ["[" * 99 + "]" * 99, "0", " \n[1, 2]\n", "```\n1\n```", "<think>no</think>{}", '"\\ud800"']
)
def test_what_is_json_is_read(text):
    assert earn(json_schema, [text], schema=True) == [1.0]


BAD_SCHEMAS = [
    {"type": "nothing"},
    "{",
    {"$ref": "http://127.0.0.1:9/schema.json"},
    {"$ref": "#/$defs/none"},
    {"pattern": "("},
]


@pytest.mark.parametrize("schema", BAD_SCHEMAS, ids=str)
def test_a_schema_that_cannot_be_used_is_unscorable(schema):
    assert isinstance(earn(json_schema, ['"a"'], schema=schema)[0], Failure)


def test_a_pattern_that_backtracks_is_ended_and_the_next_completion_is_judged():
    began = time.monotonic()
    values = earn(json_schema, ['"' + "a" * 50 + '!"', '"aa"'], schema={"type": "string", "pattern": "^(a|aa)+$"})

    assert values == [0.0, 1.0] and time.monotonic() - began < 8


def leaves(document, path=()):
    """An oracle of another make: every leaf as a line of text."""
    if isinstance(document, dict) and document:
        return [line for key, value in document.items() for line in leaves(value, (*path, f"k{key}"))]
    if isinstance(document, list) and document:
        return [line for i, value in enumerate(document) for line in leaves(value, (*path, f"i{i}"))]
    same = float(document) if isinstance(document, int | float) and not isinstance(document, bool) else document
    return [json.dumps([path, same])]


def test_f1_over_fields_by_brute_force():
    rng = random.Random(1)
    seen = set()
    for _ in range(400):
        gold = {key: any_json(rng) for key in "abcde"[: rng.randint(1, 5)]}
        found = {**gold, **{key: any_json(rng) for key in rng.sample("abcdefg", rng.randint(0, 3))}}
        a, b = leaves(found), leaves(gold)
        expected = 2 * sum(line in b for line in a) / (len(a) + len(b))
        seen.add(expected)
        assert earn(json_fields, [json.dumps(found)], answer=json.dumps(gold)) == [pytest.approx(expected)], (
            found,
            gold,
        )
    assert len(seen) > 10


FIELDS = [
    ('{"a": 1}', {"a": 1, "b": 2}, 2 / 3),
    ('{"a": 1, "b": 2, "c": 3}', {"a": 1}, 0.5),
    ('{"a": {"b": 1}}', {"a": {"b": 1, "c": 2}}, 2 / 3),
    ('{"a.b": 1}', {"a": {"b": 1}}, 0.0),
    ('{"0": 1}', [1], 0.0),
    ('{"a": true}', {"a": 1}, 0.0),
    ('{"a": null}', {"a": None}, 1.0),
    ("{}", {}, 1.0),
    ("[]", {}, 0.0),
    ('{"a": "1"}', {"a": 1}, 0.0),
    ('{"a": 1e0}', {"a": 1}, 1.0),
]


@pytest.mark.parametrize(("text", "answer", "expected"), FIELDS)
def test_missing_wrong_and_extra_fields_cost(text, answer, expected):
    assert earn(json_fields, [text], answer=answer) == [pytest.approx(expected)]
    assert earn(json_fields, [text], answer=json.dumps(answer)) == [pytest.approx(expected)]
