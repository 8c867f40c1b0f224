"""A table's paths, columns and repeated rows: what a config names is what is read, and nothing is left out without a word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from journeyman.configs.errors import BadInput
from journeyman.envs.build import make_environment
from journeyman.envs.table import Table
from journeyman.recipes.preflight import prepare
from journeyman.rewards import Scored, as_reward, reward
from journeyman.rewards.call import BATCHED, GROUPED, PROVIDED
from journeyman.rewards.executor import score
from journeyman.rewards.match import exact, f1, label, number
from journeyman.rewards.mathematics import mathematics
from journeyman.trainers.config import load_config


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path: str, **changes) -> Table:
    return Table(path, **{"prompt": "{q}", "answer": "a", "shares": {"train": 1}, **changes})


def cells(job: Table) -> dict[str, object]:
    return {row["prompt"][-1]["content"]: row["answer"] for row in job.tasks("train", 0)}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# A name that a shell, `fsspec` or `datasets` would read as a pattern or a chain -> the file that it would then find.
NAMES = {
    "tickets[1].csv": "tickets1.csv", "a*b.csv": "axb.csv", "a?.csv": "ax.csv", "{a,b}.csv": "a.csv", "a::b.csv": "b.csv",
    "~nobody.csv": "nobody.csv", "zip:a.csv": "a.csv", "a b#c%20d.csv": "a b#c d.csv", "data[0].parquet": "data0.parquet",
    "[!a].jsonl": "b.jsonl", "r[1]/train.csv": "r1/train.csv",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("within", [False, True], ids=["as a file", "as a folder"])
def test_a_path_is_a_path(folder, name, within):
    import pandas

    for path, answer in ((name, "right"), (NAMES[name], "wrong")):
        file = folder / "in" / path / f"rows{Path(path).suffix}" if within else folder / "in" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        frame = pandas.DataFrame([{"q": "x", "a": answer}])
        if file.suffix == ".parquet":
            frame.to_parquet(file)
        else:
            frame.to_csv(file, index=False) if file.suffix == ".csv" else frame.to_json(
                file, orient="records", lines=True
            )
    os.chdir(folder / "in")

    assert cells(table(name)) == {"x": "right"}


FOLDERS = {
    # files -> prompt -> answer, or what the line says
    "cells as they are written": ({"train.csv": "q,a\nx,007\ny,NA\n"}, {"x": "007", "y": "NA"}),
    "a date in JSON Lines": ({"rows.jsonl": '{"q": "x", "a": "2024-03-06"}'}, {"x": "2024-03-06"}),
    "several files and kinds": (
        {"p/a.csv": "q,a\nx,1\n", "p/b.jsonl": '{"a": "02", "q": "y"}', "c.tsv": "q\ta\nz\t3\n"},
        {"x": "1", "y": "02", "z": "3"},
    ),
    "hidden files": ({"a.csv": "q,a\nx,1\n", ".b.csv": "?", ".git/c.csv": "?", "README.md": "?"}, {"x": "1"}),
    "columns that differ": (
        {"a.csv": "q,a\nx,1\n", "b.csv": "q,b\ny,2\n"},
        "in/a.csv: there is no column 'b', which other",
    ),
    "a ragged row": ({"a.csv": "q,a\nx,1\n", "b.csv": "q,a\ny,1\nz,u,2\n"}, r"in/b.csv: row 2 \(line 3\) has 3 cells"),
    "an empty cell in the second file": (
        {"a.csv": "q,a\nx,1\n", "b.csv": "q,a\ny,1\nz,\n"},
        "in/b.csv: row 2: the cell in",
    ),
    "a file of no split": (
        {"train.csv": "q,a\nx,1\n", "more.csv": "q,a\ny,2\n"},
        "in/more.csv: its name says no split",
    ),
    "a packed file": ({"a.csv": "q,a\nx,1\n", "b.csv.gz": "?"}, "in/b.csv.gz: '.gz' files can't be read; unpack it"),
}


@pytest.mark.parametrize(("files", "expected"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_is_read_like_its_files(folder, files, expected):
    for name, text in files.items():
        write(folder / "in" / name, text)

    if isinstance(expected, str):
        with pytest.raises(BadInput, match=expected):
            table("in")
    else:
        assert cells(table("in")) == expected


def test_a_folder_s_files_belong_to_the_splits_that_their_names_say(folder):
    for name in ("train", "data/dev-1", "testing/rows"):
        write(folder / "in" / f"{name}.csv", f"q,a\n{name},1\n")
    job = table("in", split_names={"train": "train", "validation": "validation", "heldout": "test"})

    assert [[row["q"] for row in job.tasks(split, 0)] for split in ("train", "validation", "heldout")] == [
        ["train"], ["data/dev-1"], ["testing/rows"],
    ]  # fmt: skip


def test_every_column_is_there_for_rewards_under_its_own_name(folder):
    write(folder / "a.csv", "q,due,owner,self,completion,index\nx,2024-03-06,ann,me,theirs,9\n")
    job = table("a.csv", answer="due", columns={"person": "owner", "given": "completion"})
    (row,) = job.tasks("train", 0)

    by_name = reward(name="named")(lambda completion, due, owner, person, given: [completion, due, owner, person, given] == [
        "theirs to judge", "2024-03-06", "ann", "ann", "theirs"])  # fmt: skip
    trl = as_reward(
        lambda completions, due, owner, index, **rest: [float((due, owner, index) == (["2024-03-06"], ["ann"], [0]))]
    )
    item = [{"role": "assistant", "content": "theirs to judge"}]

    assert score([by_name, trl.named("trl")], [Scored(row, item)]).of(0) == {"named": 1.0, "trl": 1.0}
    assert job.reset(**row) is None and row["self"] == "me"
    assert list(job.notices) == [
        "a.csv: rewards can't read the columns 'index' (a name that rollouts fill in); rename one with columns: "
        "{another_name: index} if they should"
    ]


@pytest.mark.parametrize(
    "name", sorted({*PROVIDED, *GROUPED, *BATCHED, "answer", "extraction", "item", "index", "images"})
)
def test_a_name_that_a_rollout_fills_in_is_no_name_for_a_column(folder, name):
    write(folder / "a.csv", "q,a,c\nx,1,2\n")

    with pytest.raises(BadInput, match=f"'columns' can't set '{name}', a name that every row or rollout fills in"):
        table("a.csv", columns={name: "c"})


KEYS = {
    "environment": "journeyman.envs.table:Table",
    "model_name_or_path": "some/model",
    "bf16": False,
    "report_to": "none",
}


def test_a_column_that_a_reward_asks_for_and_a_table_lacks_is_named_in_one_line(folder):
    write(folder / "a.csv", "q,due,team\n" + "".join(f"q{i},{i},t\n" for i in range(60)))
    write(folder / "mine.py", "def good(completions, due, **rest):\n    return [1.0 for _ in due]\n\n\n"
          "def bad(completions, deu, **rest):\n    return [1.0 for _ in deu]\n")  # fmt: skip
    keys = {**KEYS, "environment_kwargs": {"path": "a.csv", "prompt": "{q}", "answer": "due"}}
    for name in ("good", "bad"):
        write(folder / f"{name}.yaml", yaml.safe_dump({**keys, "rewards": [f"mine.py:{name}"]}))

    assert {"q", "due", "team", "answer"} <= set(prepare(load_config("good.yaml", {})).train[0])
    with pytest.raises(
        BadInput, match=r"bad.yaml: reward 'bad' asks for the column 'deu', which .* lack; did you mean 'due'"
    ):
        prepare(load_config("bad.yaml", {}))


def test_a_table_without_answers_can_be_trained_on(folder):
    write(folder / "a.csv", "q,answer\n" + "".join(f"q{i},{i}\n" for i in range(60)))
    write(
        folder / "mine.py", "def seen(completions, answer, **rest):\n    return [float(a.isdigit()) for a in answer]\n"
    )
    keys = {**KEYS, "environment_kwargs": {"path": "a.csv", "prompt": "{q}"}, "rewards": ["mine.py:seen"]}
    write(folder / "job.yaml", yaml.safe_dump(keys))

    assert prepare(load_config("job.yaml", {})).train


SEVERAL = {"exact": exact, "label": label, "number": number, "f1": f1, "mathematics": mathematics}


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_answers_the_best_counts(name):
    answers, completions = [["41", "42"], [43, 44]], ["42", "42"]

    paid = SEVERAL[name](prompts=["q"] * 2, completions=completions, answer=answers)

    assert paid == [1.0, 0.0]


def test_a_function_that_says_nothing_of_its_answer_gets_the_list_itself():
    for function in (lambda completion, answer: len(answer), reward(lambda completion, answer: len(answer)).function):
        assert reward(name="r")(function)(prompts=["q"], completions=["x"], answer=[["a", "b", "c"]]) == [3.0]


REPEATS = {
    # rows -> answers kept, what is said
    "contradictions": (
        [(f"p{i}", j) for j in range(2) for i in range(6)],
        "6 rows with an earlier row's prompt and another 'answer' left out: row 7 repeats row 1, row 8 repeats row 2, row 9 "
        "repeats row 3, row 10 repeats row 4, row 11 repeats row 5, ...; keep the right one of each",
    ),
    "repetitions": (
        [("p", 0), ("u", 0), ("p ", 0)],
        "1 row with an earlier row's prompt left out: row 3 repeats row 1",
    ),
    "none": ([("p", 0), ("u", 0)], None),
}


@pytest.mark.parametrize(("rows", "said"), REPEATS.values(), ids=REPEATS)
def test_rows_that_repeat_or_contradict_others_are_counted_and_said(folder, rows, said):
    write(folder / "a.csv", "q,a\n" + "".join(f"{q},{a}\n" for q, a in rows))
    code = "from journeyman.envs.table import Table\nfor _ in range(2): Table('a.csv', prompt='{q}', answer='a')"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr == ("" if said is None else f"journeyman: a.csv: {said}\n") and done.stdout == ""
    assert set(cells(table("a.csv")).values()) == {"0"}


def test_another_value_in_a_column_that_the_config_names_is_a_contradiction_too(folder):
    write(folder / "a.csv", "q,a,test,id\nx,1,t1,7\nx,1,t1,8\nx,1,t2,9\n")

    first, second = table("a.csv", columns={"tests": "test"}).notices

    assert "1 row with an earlier row's prompt and another 'answer' or 'tests' left out: row 3 repeats row 1" in first
    assert "1 row with an earlier row's prompt left out: row 2 repeats row 1" in second


def test_without_answers_any_other_cell_is_a_contradiction(folder):
    write(folder / "a.csv", "q,tests\nx,t1\n x,t1\nx,t2\n")

    first, second = table("a.csv", answer=None).notices

    assert "1 row with an earlier row's prompt and other cells left out: row 3 repeats row 1" in first
    assert "1 row with an earlier row's prompt left out: row 2 repeats row 1" in second


# What YAML makes of a line of a config -> what is said of it.
YAML = {
    "labels: [yes, no]": "row 1, column 'a': 'yes' is not one of the labels; YAML reads yes, no, on, off as.*quotes",
    "labels: [off, on]": "YAML reads yes, no, on, off as true and false.*put the labels in quotes",
    "labels: [007, 010]": "put the labels in quotes .labels: 7, 8.",
    "labels: [1.50, 2024-01-01]": r"put the labels in quotes .labels: 1.5, 2024-01-01",
    "labels: [yes, null]": "labels: .* holds one that is no text: it is nothing.*; put it in quotes",
    "labels: yes, no": "labels is 'yes, no'; it should be a list",
    "labels: []": "labels is ..; it should be a list",
    "labels: {yes: 1}": "labels is .*; it should be a list",
    "prompt: {q}": 'prompt is .*, which is no text: YAML reads .* put it in quotes, as in prompt: "{question}"',
    "answer: no": 'answer is False, which is no text.* put it in quotes, as in answer: "yes"',
    "answer: 2024": "answer is 2024, which is no text",
    "system_prompt: 2024-01-01": "system_prompt is datetime.date.*, which is no text",
    "name: 3.10": "name is 3.1, which is no text",
    "extraction: null": "extraction is None, which is no text",
    "columns: {x: 7}": "columns: x is 7, which is no text",
    "columns: {on: a}": "columns: a name is True, which is no text",
    "columns: [a]": r"columns is \['a'\]; it should be a mapping",
    "paths: {train: [a.csv]}": r"paths: train is \['a.csv'\], which is no text",
    "split_names: {no: a}": "split_names: a name is False",
    "shares: {yes: 1}": "there is no split 'True'",
    "shares: 0.5": "shares is 0.5; it should be a mapping",
    "shares: {train: yes}": "the share of 'train' is True; it should be a number",
    "shares: {train: .nan}": "the share of 'train' is nan",
    "path: 7": "path is 7, which is no text",
}


@pytest.mark.parametrize("line", YAML)
def test_what_yaml_reads_as_something_else_is_told_from_a_text(folder, line):
    write(folder / "a.csv", "q,a\nx,yes\ny,no\n")
    kwargs = {"path": "a.csv", "prompt": "{q}", "answer": "a", "shares": {"train": 1}, **yaml.safe_load(line)}

    with pytest.raises(BadInput, match=YAML[line]) as caught:
        make_environment("journeyman.envs.table:Table", kwargs, folder, "job.yaml")

    assert "\n" not in str(caught.value)


def test_labels_that_yaml_reads_as_numbers_are_the_texts_they_were_written_as(folder):
    write(folder / "a.csv", "q,a\nx,1\ny,2\n")

    assert table("a.csv", labels=[1, 2]).labels == ["1", "2"]
