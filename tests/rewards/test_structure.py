import json
import random
import re
import time

import jsonschema
import pytest
from journeyman.configs import BadInput
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
    "a key twice": '{"a": 1, "a": 1}', "two": "1 2", "words before": "Here: 1", "words behind": "1.",
    "single quotes": "{'a': 1}",
    "a comma too many": "[1,]",
    "an open fence": "```json\n1", "two fences": "```\n1\n```\n```\n1\n```", "in a thought": "<think>1",
    "a comment": "1 // one",
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


DATE = {"type": "object", "properties": {"d": {"type": "string", "format": "date"}}, "required": ["d"]}
CHECKED = [  # schema, document, whether it is valid
    (DATE, '{"d": "2024-02-29"}', 1), (DATE, '{"d": "soon"}', 0), (DATE, '{"d": "2024-02-30"}', 0),
    (DATE, '{"d": "2024-2-3"}', 0),
    ({"format": "date-time"}, '"2024-03-01T05:00:00Z"', 1), ({"format": "date-time"}, '"2024-03-01T05:00:00.5+01:00"', 1),
    ({"format": "date-time"}, '"2024-03-01T05:00:00"', 0), ({"format": "date-time"}, '"2024-03-01"', 0),
    ({"format": "date-time"}, '"2024-13-01T05:00:00Z"', 0), ({"format": "time"}, '"05:00:00Z"', 1),
    ({"format": "time"}, '"24:00:00Z"', 0),
    ({"format": "email"}, '"ada@example.org"', 1), ({"format": "email"}, '"ada"', 0), ({"format": "email"}, '"a b@c"', 0),
    ({"format": "uri"}, '"https://example.org/a?b=%20#c"', 1), ({"format": "uri"}, '"example"', 0),
    ({"format": "uri"}, '"http://a b"', 0),
    ({"format": "ipv4"}, '"127.0.0.1"', 1), ({"format": "ipv4"}, '"127.0.0.256"', 0), ({"format": "ipv6"}, '"::1"', 1),
    ({"format": "uuid"}, '"123e4567-e89b-12d3-a456-426614174000"', 1), ({"format": "uuid"}, '"123"', 0),
    ({"format": "date"}, "5", 1),
    ({"format": "hostname"}, '"a.example.org"', 1), ({"format": "hostname"}, '"-a.org"', 0), ({"format": "regex"}, '"(a"', 0),
    ({"propertyNames": {"format": "email"}}, '{"a": 1}', 0), ({"items": {"format": "date"}}, '["2024-01-01", "x"]', 0),
    ({"multipleOf": 0.01}, "19.99", 1), ({"multipleOf": 0.1}, "0.3", 1), ({"multipleOf": 0.1}, "0.35", 0),
    ({"multipleOf": 1e-300}, "1e308", 1),
    ({"multipleOf": 0.01}, "1" * 401, 0), ({"type": "number"}, "1" * 5000, 0),
    ({"items": {"multipleOf": 0.5}}, f"[{'9' * 401}]", 0),
    ({"uniqueItems": True}, "[" + ",".join(f'{{"a": {i}}}' for i in range(5000)) + "]", 1),
    ({"uniqueItems": True}, "[1, true, 0, false]", 1),
    ({"uniqueItems": True}, '[{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}]', 0), ({"const": 1}, "true", 0),
    ({"enum": [True]}, "1", 0),
    ({"pattern": "^a$"}, '"a\\n"', 0), ({"pattern": r"^\d+$"}, '"\u0663"', 0), ({"pattern": r"^[\d$]+$"}, '"3$"', 1),
    ({"pattern": r"\$$"}, '"a$"', 1), ({"pattern": r"^[^\w]\D$"}, '"-x"', 1),
    ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}}, '"a"', 1),
    ({"type": "string", "pattern": "a"}, '"\\ud800"', 0), ({"x-order": 3, "title": "a"}, "1", 1),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "text", "worth"), CHECKED, ids=[f"{s} {t[:30]}"[:80] for s, t, _ in CHECKED])
def test_all_that_a_schema_says_is_checked(schema, text, worth):
    assert earn(json_schema, [text], schema=schema) == [worth] == [json_schema.function(text, schema)]


REFUSED = {
    "format: dat": {"properties": {"d": {"format": "dat"}}}, "did you mean 'date'": {"format": "dat"},
    "format: iri at $.items": {"items": {"format": "iri"}}, "format: duration": {"anyOf": [{"format": "duration"}]},
    "'requird' at $.properties.a; did you mean 'required'": {"properties": {"a": {"requird": ["b"]}}},
    "'tipe' at $; did you mean 'type'": {"tipe": "string"}, "contentEncoding at": {"contentEncoding": "base64"},
    "a draft that is not known here": {"$schema": "http://nowhere/schema"},
    "OpenAPI's nullable at $.items": {"items": {"type": "string", "nullable": True}},
    "then without if": {"then": {"type": "string"}}, "maxContains without contains": {"maxContains": 1},
}  # fmt: skip


@pytest.mark.parametrize(("says", "schema"), REFUSED.items(), ids=REFUSED)
def test_a_schema_with_something_that_would_not_be_checked_is_refused_by_name(says, schema):
    with pytest.raises(BadInput, match=re.escape(says)):
        earn(json_schema, ["{}"], schema=schema)


INNER = {"properties": {"q": {"$ref": "#/$defs/z"}}}
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
REFERENCES = [  # a schema, and where its reference that leads nowhere is; None where all lead somewhere
    ({"$ref": "#/$defs/a"}, "$ref '#/$defs/a' at $,"), ({"properties": {"id": {}, "p": {"$ref": "#/no"}}}, "at $.properties.p"),
    ({"properties": {"id": {}, "p": {"$ref": "#/$defs/b"}}, "$defs": {"b": {}}}, None),
    ({"$dynamicRef": "#node"}, "$dynamicRef '#node'"), ({"$dynamicAnchor": "node", "items": {"$dynamicRef": "#node"}}, None),
    ({"$id": "http://x/y", "$defs": {"a": {"$id": "a", **INNER}, "z": {}}, "$ref": "a"}, "at $.$defs.a.properties.q"),
    ({"$id": "http://x/y", "$defs": {"a": {"$id": "a", **INNER, "$defs": {"z": {}}}}, "$ref": "a"}, None),
    ({"$schema": DRAFT_4, "definitions": {"a": {"id": "#foo"}}, "properties": {"x": {"$ref": "#foo"}}}, None),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "says"), REFERENCES, ids=[str(schema)[:80] for schema, _ in REFERENCES])
def test_a_reference_that_leads_nowhere_is_found_before_a_completion_is(schema, says):
    if says is None:
        assert earn(json_schema, ["{}", '{"x": 1, "q": 2}'], schema=schema) == [1.0, 1.0]
    else:
        (value,) = earn(json_schema, ["1"], schema=schema)  # which the reference is never asked about
        assert isinstance(value, Failure) and says in value.reason and "leads nowhere" in value.reason


def test_json_schemas_own_test_names_are_no_keywords_where_they_are_values():
    schema = {
        "properties": {"tipe": {"const": {"format": "dat"}}, "format": {"enum": ["requird"]}},
        "required": ["tipe"],
    }

    assert earn(json_schema, ['{"tipe": {"format": "dat"}, "format": "requird"}', "{}"], schema=schema) == [1.0, 0.0]


def test_composed_and_decomposed_texts_are_one_in_json_fields():
    assert earn(json_fields, ['{"caf\u00e9": "\u00e9"}'], answer={"cafe\u0301": "e\u0301"}) == [1.0]
