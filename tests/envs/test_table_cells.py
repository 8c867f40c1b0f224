"""A cell is what its file says: what a CSV, JSON or Parquet file holds reaches the row unchanged, or is refused in one line."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import random
from pathlib import Path

import pytest
from journeyman.configs.errors import BadInput
from journeyman.envs.table import Table


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path: str, **changes) -> Table:
    return Table(path, **{"prompt": "{q}", "answer": "a", "shares": {"train": 1}, **changes})


def cells(job: Table) -> dict[str, object]:
    """prompt -> answer"""
    return {row["prompt"][-1]["content"]: row["answer"] for row in job.tasks("train", 0)}


def lines(*values: str) -> str:
    """JSON Lines with these answers, as they are written, to the questions q0, q1 and so on."""
    return "".join(f'{{"q": "q{i}", "a": {value}}}\n' for i, value in enumerate(values))


AS_WRITTEN = {
    # what the file is -> its name, its text, and prompt -> answer
    "an index that pandas wrote": ("a.csv", ",q,a\n0,x,007\n1,y,NA\n", {"x": "007", "y": "NA"}),
    "quoted separators, quotes and lines": ("a.csv", 'q,a\r\n"x, ""y""\r\nz",1\r\n', {'x, "y"\r\nz': "1"}),
    "blank lines": ("a.csv", "q,a\n\nx,1\n\n\ny,2\n\n", {"x": "1", "y": "2"}),
    "lines that end in a carriage return": ("a.csv", "q,a\rx,1\ry,2\r", {"x": "1", "y": "2"}),
    "a quote within a cell": ("a.tsv", 'q\ta\n5" disk\t1,5\n', {'5" disk': "1,5"}),
    "a cell of 200,000 characters": ("a.csv", f"q,a\nx,{'1' * 200_000}\n", {"x": "1" * 200_000}),
    "dates": (
        "a.jsonl",
        lines('"2024-03-06"', '"2024-03-01T05:00:00Z"'),
        {"q0": "2024-03-06", "q1": "2024-03-01T05:00:00Z"},
    ),
    "a date in the question": ("a.jsonl", '{"q": "2024-03-01T05:00:00Z", "a": "x"}', {"2024-03-01T05:00:00Z": "x"}),
    "large integers": (
        "a.jsonl",
        lines("12345678901234567890", "1" * 300),
        {"q0": "12345678901234567890", "q1": "1" * 300},
    ),
    "whole numbers and others": ("a.jsonl", lines("1", "1.5", '"two"'), {"q0": "1", "q1": "1.5", "q2": "two"}),
    "truth": ("a.jsonl", lines("true", "false", '"True"'), {"q0": "true", "q1": "false", "q2": "True"}),
    "several answers": ("a.jsonl", lines('["Paris", "Lyon"]', "[1889, 2]"), {"q0": ["Paris", "Lyon"], "q1": [1889, 2]}),
    "objects": ("a.jsonl", lines('{"b": [1, {"c": null}]}'), {"q0": {"b": [1, {"c": None}]}}),
    "other scripts, composed or not": (
        "a.jsonl",
        lines('"cafe\u0301"', '"caf\u00e9"'),
        {"q0": "cafe\u0301", "q1": "caf\u00e9"},
    ),
    "line separators that end no line": (
        "a.jsonl",
        lines('"a\u2028b"', '"c\u0085d"'),
        {"q0": "a\u2028b", "q1": "c\u0085d"},
    ),
    "an array": ("a.json", '\ufeff[{"q": "x", "a": "007"},\n {"a": 2, "q": "y"}]\n', {"x": "007", "y": "2"}),
    "lines in a .json file": ("a.json", lines('"1"', '"2"'), {"q0": "1", "q1": "2"}),
    "an array in a .jsonl file": ("a.jsonl", '[{"q": "x", "a": "1"}]', {"x": "1"}),
}


@pytest.mark.parametrize(("name", "text", "expected"), AS_WRITTEN.values(), ids=AS_WRITTEN)
def test_a_cell_is_what_the_file_says(folder, name, text, expected):
    (folder / name).write_text(text, encoding="utf-8", newline="")

    assert cells(table(name)) == expected


REFUSED = {
    # what is wrong -> the file's name, its bytes, and what the line says
    "one comma too many in every row": (
        "a.csv",
        "q,a\nx, y,1\nz, u,2\n",
        r"row 1 \(line 2\) has 3 cells and the header 2.*comma",
    ),
    "one comma too many in the first": ("a.csv", "q,a\nx, y,1\nz,2\n", r"row 1 \(line 2\) has 3 cells"),
    "a row that is too short": (
        "a.csv",
        'q,a,b\n"x\ny",1,2\nz,3\n',
        r"row 2 \(line 4\) has 2 cells and the header 3; an empty cell",
    ),
    "a header that ends in a comma": ("a.csv", "q,a,\nx, y,1\n", "column 3 of the header has no name"),
    "a quote that is never closed": (
        "a.csv",
        'q,a\nx,1\n"y,2\nz,3\n',
        r"row 2 \(line 3\) opens a quote that is never closed",
    ),
    "text after a closing quote": ("a.csv", 'q,a\n"x" y,"1"2\n', r"row 1 \(line 2\) can't be read"),
    "semicolons": ("a.csv", "q;a\nx;1\n", "do semicolons separate its columns"),
    "a NUL byte": ("a.csv", "q,a\nx,1\0\n", "line 2 holds a NUL byte"),
    "UTF-16": ("a.csv", "q,a\nx,1\n".encode("utf-16"), "it is UTF-16.; save it as UTF-8"),
    "Latin-1 in JSON": (
        "a.jsonl",
        '{"q": "x", "a": "1"}\n{"q": "\u00e9", "a": "1"}\n'.encode("latin-1"),
        "0xe9 in line 2",
    ),
    "NaN": ("a.jsonl", lines('"1"', "NaN"), "line 2: NaN is not JSON; write null"),
    "infinity": ("a.jsonl", lines("-Infinity"), "line 1: -Infinity is not JSON"),
    "a number beyond a float": ("a.jsonl", lines("1e999"), "line 1: the number 1e999 is beyond"),
    "a number too small for a float": ("a.jsonl", lines("1e-999"), "line 1: the number 1e-999 is beyond"),
    "an integer of 5,000 digits": ("a.jsonl", lines("9" * 5000), "line 1 holds a number of more than 4,300 digits"),
    "a key given twice": ("a.jsonl", '{"q": "x", "a": 1, "a": 2}', "line 1: the key 'a' is given twice"),
    "half a surrogate pair": ("a.jsonl", lines('"\\ud800"'), "line 1 holds half of a surrogate pair"),
    "nesting": ("a.jsonl", lines("[" * 100_000 + "]" * 100_000), "line 1 is nested too deeply"),
    "text after an object": ("a.jsonl", lines('"1"')[:-1] + " zzz\n", "line 1 goes on after its object with 'zzz'"),
    "two objects in a line": ("a.jsonl", '{"q": "x", "a": 1}{"q": "y", "a": 2}', "line 1 goes on after its object"),
    "text after an array": ("a.json", '[{"q": "x", "a": 1}]\nzzz', "goes on after its array, in line 2: 'zzz'"),
    "a comma missing in an array": (
        "a.json",
        '[{"q": "x", "a": 1}\n{"q": "y", "a": 2}]',
        "row 1 should be followed by ',' or ']' .line 2",
    ),
    "an array that never ends": ("a.json", '[{"q": "x", "a": 1},', "row 2 is not JSON in line 1"),
    "a row that is no object": (
        "a.json",
        '[{"q": "x", "a": 1}, ["y", 2]]',
        "row 2 is a list; a table is an array of objects",
    ),
    "an object over several lines": (
        "a.json",
        '{"data": [\n{"q": "x", "a": 1}\n]}',
        "line 1 is not JSON: .*array of objects",
    ),
    "a column for a row": (
        "a.json",
        '{"q": {"0": "x"}, "a": {"0": "1"}}',
        "row 1: the prompt '{q}' can't be filled in: it is an object",
    ),
    "a conversation for a text": (
        "a.jsonl",
        '{"q": [{"role": "user", "content": "hi"}], "a": 1}',
        "row 1: the prompt .* it is a list",
    ),
    "null": ("a.jsonl", lines('"1"', "null"), "row 2: the cell in column 'a' is empty"),
    "a key that is missing": ("a.jsonl", '{"q": "x", "a": 1}\n{"q": "y"}', "row 2: the cell in column 'a' is empty"),
    "no answer in a list": ("a.jsonl", lines("[]"), "row 1: the cell in column 'a' is empty"),
    "an empty answer in a list": ("a.jsonl", lines('["x", ""]'), "row 1: the cell in column 'a' is empty"),
    "cells that are all empty": ("a.csv", "q,a\nx,1\n,\n", "row 2: the cell in column 'q' is empty"),
}


@pytest.mark.parametrize(("name", "text", "says"), REFUSED.values(), ids=REFUSED)
def test_what_could_be_read_in_two_ways_is_refused_in_one_line(folder, name, text, says, capfd):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(BadInput, match=says) as caught:
        table(name)

    assert str(caught.value).startswith(name) and "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert capfd.readouterr() == ("", "")


def test_a_thousand_rows_of_any_characters_come_back_as_they_were(folder):
    rng = random.Random(0)
    signs = 'a, "\n\r\t;#\u00e9\u2028\U0001f600\\{}[]0'
    rows = [
        {"q": f"q{i} " + "".join(rng.choices(signs, k=9)) + "x", "c": "".join(rng.choices(signs, k=9))}
        for i in range(1000)
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["q", "c"])
    writer.writeheader()
    writer.writerows(rows)
    (folder / "a.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    for name in ("a.csv", "a.jsonl"):
        read = table(name, answer=None).tasks("train", 0)
        assert {row["q"]: row["c"] for row in read} == {row["q"]: row["c"] for row in rows}
        assert all(row["prompt"][-1]["content"] == row["q"] for row in read)


ARROW = {
    # type -> (how the column is made, its answers or what the line says)
    "an integer of 63 bits": (lambda pa: [2**62 + 1, 1], ["4611686018427387905", "1"]),
    "32-bit floats": (lambda pa: pa.array([0.1, 2.5], pa.float32()), ["0.1", "2.5"]),
    "decimals": (lambda pa: [decimal.Decimal("1.50"), decimal.Decimal("2.25")], ["1.50", "2.25"]),
    "dates": (lambda pa: [datetime.date(2024, 3, 1), datetime.date(2024, 3, 6)], ["2024-03-01", "2024-03-06"]),
    "times": (
        lambda pa: [datetime.datetime(2024, 3, 1, 5), datetime.datetime(2024, 3, 6)],
        ["2024-03-01T05:00:00", "2024-03-06T00:00:00"],
    ),
    "truth": (lambda pa: [True, False], ["true", "false"]),
    "lists": (lambda pa: [["a", "b"], ["c"]], [["a", "b"], ["c"]]),
    "categories": (lambda pa: pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    "NaN": (lambda pa: [1.0, float("nan")], "row 2: the cell in column 'a' is empty"),
    "null": (lambda pa: [None, 1], "row 1: the cell in column 'a' is empty"),
    "bytes": (lambda pa: [b"a", b"b"], r"the column 'a' .answer. holds bytes"),
    "spans of time": (
        lambda pa: [datetime.timedelta(1), datetime.timedelta(2)],
        "row 1, column 'a': the answer can't be read: it is a timedelta",
    ),
}


@pytest.mark.parametrize(("made", "expected"), ARROW.values(), ids=ARROW)
def test_parquet_keeps_the_same_promises(folder, made, expected):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"q": ["x", "y"], "a": made(pyarrow)}), "a.parquet")

    if isinstance(expected, str):
        with pytest.raises(BadInput, match=expected):
            table("a.parquet")
    else:
        assert cells(table("a.parquet")) == dict(zip("xy", expected, strict=True))


def test_what_a_prompt_takes_from_a_cell_reads_as_the_file_says(folder):
    (folder / "a.jsonl").write_text('{"q": true, "n": 1.5, "list": ["u", false], "o": {"k": 7}, "a": "x"}')

    (prompt,) = cells(table("a.jsonl", prompt="{q} {n} {n:.2f} {list[1]} {o[k]} {{}}"))

    assert prompt == "true 1.5 1.50 false 7 {}"


@pytest.mark.parametrize("other", ['"1"', "1.0", "2", "true", "[1]", "null", '{"x": 1}'], ids=str)
def test_the_version_changes_with_the_value_and_the_type_of_any_cell(folder, other):
    row = '{{"q": "x", "a": "y", "c": {}}}\n{{"q": "z", "a": "y", "c": 1}}\n'
    (folder / "one.jsonl").write_text(row.format("1"))
    (folder / "same.jsonl").write_text(row.format("1").replace('"q": "x", "a": "y"', '"q":  "x","a":"y"'))
    (folder / "other.jsonl").write_text(row.format(other))

    one, same, changed = (table(f"{name}.jsonl").version for name in ("one", "same", "other"))

    assert one == same != changed
