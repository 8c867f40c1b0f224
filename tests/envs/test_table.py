"""Tables from real files: the rows, the splits, the oracle under every extraction, each mistake and its mend."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from journeyman.configs.errors import BadInput
from journeyman.envs.core import SPLITS
from journeyman.envs.table import Table
from journeyman.rewards.text import EXTRACTORS, extractor


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


RECORDS = [{"question": f"What is {i} + {i}?", "gold": str(2 * i), "kind": "sum"} for i in range(60)]


def write(path: Path, records: list[dict]) -> str:
    import pandas

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    elif path.suffix == ".json":
        path.write_text(json.dumps(records))
    elif path.suffix == ".parquet":
        pandas.DataFrame(records).to_parquet(path)
    else:
        pandas.DataFrame(records).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path.name


def everything(job: Table, seed: int = 0) -> dict[str, list[dict]]:
    return {split: job.tasks(split, seed) for split in SPLITS}


def ask(row: dict) -> str:
    return row["prompt"][-1]["content"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_rows(folder, suffix):
    path = write(folder / f"sums{suffix}", RECORDS)
    job = Table(path, prompt="Q: {question}", answer="gold", columns={"topic": "kind"}, system_prompt="Be brief.")
    rows = {ask(row): row for split in everything(job).values() for row in split}
    assert len(rows) == 60
    row = rows["Q: What is 7 + 7?"]
    assert (row["answer"], row["topic"], row["extraction"]) == ("14", "sum", "strip")
    assert row["prompt"][0] == {"role": "system", "content": "Be brief."}
    assert (row["question"], row["gold"], row["kind"]) == ("What is 7 + 7?", "14", "sum")
    assert all(everything(job).values())


def test_a_row_stays_in_its_split_when_the_table_grows(folder):
    small = Table(write(folder / "a.csv", RECORDS[:40]), prompt="{question}", answer="gold")
    large = Table(write(folder / "b.csv", RECORDS[::-1]), prompt="{question}", answer="gold")
    where = {ask(row): split for split, rows in everything(large).items() for row in rows}
    assert all(where[ask(row)] == split for split, rows in everything(small).items() for row in rows)
    assert small.version != large.version


def test_csv_cells_stay_as_written_and_duplicates_go(folder):
    (folder / "codes.csv").write_text('\ufeffname,code\nann,007\nbob,NA\n"c, d",1.50\nann,007\n"c,  d",1.50\n')
    job = Table("codes.csv", prompt="{name}", answer="code", shares={"train": 1})
    assert {ask(row): row["answer"] for row in job.tasks("train", 0)} == {"ann": "007", "bob": "NA", "c, d": "1.50"}


def test_a_relative_path_is_looked_for_beside_the_config(folder):
    write(folder / "job" / "sums.csv", RECORDS)
    assert len(Table("sums.csv", prompt="{question}", answer="gold", base=str(folder / "job")).rows()) == 60


def test_a_changed_file_is_read_anew(folder):
    path = write(folder / "sums.csv", RECORDS[:10])
    assert len(Table(path, prompt="{question}").rows()) == 10
    write(folder / "sums.csv", RECORDS)
    assert len(Table(path, prompt="{question}").rows()) == 60


def test_own_files_for_the_splits(folder):
    paths = {
        "train": write(folder / "a.csv", RECORDS[:30] + RECORDS[:3]),
        "validation": write(folder / "b.csv", RECORDS[30:40]),
        "heldout": write(folder / "c.csv", RECORDS[40:]),
    }
    job = Table(paths=paths, prompt="{question}", answer="gold", shares={"train": 1})
    assert {split: len(rows) for split, rows in everything(job).items()} == {
        "demonstrations": 0, "train": 30, "validation": 10, "heldout": 20,
    }  # fmt: skip
    carved = everything(
        Table(paths=paths, prompt="{question}", answer="gold", shares={"demonstrations": 0.5, "train": 0.5})
    )
    assert len(carved["demonstrations"]) > 5 and len(carved["train"]) > 5
    assert len(carved["demonstrations"]) + len(carved["train"]) == 30 and len(carved["heldout"]) == 20
    write(folder / "c.csv", [*RECORDS[40:], {**RECORDS[4], "question": " What is 4  + 4?"}])
    with pytest.raises(BadInput, match=r"row 21 of heldout is also row 5 of train"):
        Table(paths=paths, prompt="{question}", answer="gold")


def test_a_dataset_with_splits_and_class_names(folder):
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    for name, numbers in (("train", range(0, 40)), ("test", range(40, 60))):
        records = [{"text": f"is {i} even", "label": int(i % 2 == 0)} for i in numbers]
        (folder / "data").mkdir(exist_ok=True)
        datasets.Dataset.from_list(records, features=features).to_parquet(str(folder / "data" / f"{name}.parquet"))
    made = {"prompt": "{text}", "answer": "label", "labels": ["yes", "no"]}
    job = Table("data", split_names={"train": "train", "heldout": "test"}, **made)
    split = everything(job)
    assert {ask(row): row["answer"] for row in split["heldout"]} == {
        f"is {i} even": "yes" if i % 2 == 0 else "no" for i in range(40, 60)
    }
    assert len(split["demonstrations"]) + len(split["train"]) + len(split["validation"]) == 40 and split["train"]
    with pytest.raises(BadInput, match=r"splits train, test; say which is which.*split_names: \{train: train"):
        Table("data", **made)
    with pytest.raises(BadInput, match="no split 'tset'; did you mean 'test'"):
        Table("data", split_names={"train": "train", "heldout": "tset"}, **made)


@pytest.mark.parametrize("extraction", EXTRACTORS)
@pytest.mark.parametrize("answer_extraction", [None, "hash_answer"])
def test_the_oracle_earns_full_marks_under_every_extraction(folder, extraction, answer_extraction):
    cell = "40 and 2 make 42.\n#### 42" if answer_extraction else "42"
    path = write(folder / "one.jsonl", [{"q": "What?", "a": cell}])
    job = Table(
        path, prompt="{q}", answer="a", extraction=extraction, answer_extraction=answer_extraction, shares={"train": 1}
    )
    (row,) = job.tasks("train", 0)
    assert row["answer"] == "42"
    assert extractor(row["extraction"])(job.oracle(row)) == "42"
    if answer_extraction == extraction:
        assert job.oracle(row) == cell


def test_the_baseline_is_for_classification_alone(folder):
    words = {"billing": "card refund invoice", "delivery": "parcel late courier"}
    records = [
        {"text": f"{word} about {word} {i}", "team": team}
        for team, all_ in words.items()
        for word in all_.split()
        for i in range(40)
    ]
    job = Table(write(folder / "t.csv", records), prompt="{text}", answer="team", extraction="boxed")
    split = everything(job)
    answers = job.baseline(split["heldout"], split["demonstrations"])
    right = [extractor("boxed")(a) == row["answer"] for a, row in zip(answers, split["heldout"], strict=True)]
    assert sum(right) / len(right) > 0.9
    assert job.baseline(split["heldout"], []) is None
    sums = Table(write(folder / "sums.csv", RECORDS), prompt="{question}", answer="gold")
    assert sums.baseline(sums.tasks("heldout", 0), sums.tasks("demonstrations", 0)) is None


GOOD = {"path": "sums.csv", "prompt": "{question}", "answer": "gold"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"path": "summs.csv"}, r"summs.csv: no such file \(looked for"),
        ({"path": "sums.xlsx"}, "'.xlsx' files can't be read; convert it to one of .csv"),
        ({"path": "empty.csv"}, "empty.csv: the file is empty"),
        ({"path": "header.csv"}, "header.csv: the table has no rows"),
        ({"path": "none.parquet"}, "none.parquet: the table has no rows"),
        ({"path": "none.json"}, "none.json: "),
        (
            {"path": "ragged.csv"},
            r"ragged.csv: row 2 \(line 3\) has 4 cells and the header 2; a cell that holds a comma",
        ),
        ({"path": "latin.csv"}, "latin.csv: not a text in UTF-8 .the byte 0xe9 in line 2 is none.; save it as UTF-8"),
        ({"path": "twice.csv"}, "the column 'question' is there twice"),
        ({"path": "broken.jsonl"}, "broken.jsonl: line 1 is not JSON: .*one object a line"),
        ({"path": "broken.parquet"}, "broken.parquet: not a readable parquet file"),
        ({"path": "no-such/dataset-anywhere"}, "check the name, unset HF_HUB_OFFLINE.* local file"),
        ({"path": None}, "either 'path'"),
        ({"paths": {"train": "sums.csv"}}, "either 'path'"),
        ({"prompt": "{qestion}"}, "sums.csv: there is no column 'qestion' .*did you mean 'question'"),
        ({"prompt": "no column"}, "should name at least one column"),
        ({"prompt": "{} what"}, "should name at least one column"),
        ({"prompt": "{question"}, "is not a template"),
        ({"prompt": "{question.nothing}"}, "row 1: the prompt .* can't be filled in"),
        ({"answer": "glod"}, "no column 'glod' .answer.; did you mean 'gold'"),
        ({"columns": {"x": "knd"}}, "no column 'knd' .columns: x.; did you mean 'kind'"),
        ({"columns": {"prompt": "kind"}}, "'columns' can't set 'prompt'"),
        ({"path": "gaps.csv"}, "gaps.csv: row 3: the cell in column 'gold' is empty"),
        ({"path": "gaps.jsonl"}, "gaps.jsonl: row 2: the cell in column 'question' is empty"),
        ({"labels": ["0", "2", "44"]}, "row 3, column 'gold': '4' is not one of the labels; did you mean '44'"),
        ({"extraction": "box"}, "no extraction 'box'; did you mean 'boxed'"),
        ({"answer_extraction": "hash_answer"}, "row 1, column 'gold': no answer can be read"),
        ({"answer": "kind", "extraction": "last_number"}, "the answer 'sum' earns nothing.*set answer_extraction"),
        ({"shares": {"train": 0.5}}, "sum to 0.5"),
        ({"split_names": {"train": "train"}}, "a single file has no splits of its own"),
        ({"split_names": {"tran": "train"}}, "no split 'tran'; did you mean 'train'"),
        ({"split_names": {}}, "should name at least one split"),
        (
            {"split_names": {"heldout": "x"}, "shares": {"train": 0.5, "heldout": 0.5}},
            "remove 'heldout' from the shares",
        ),
        ({"revision": "main"}, "belong to Hub datasets"),
    ],
    ids=str,
)
def test_a_mistake_is_named_in_one_line_with_its_mend(folder, changes, says):
    write(folder / "sums.csv", RECORDS)
    (folder / "sums.xlsx").write_text("x")
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("question,gold,kind\n")
    write(folder / "none.parquet", [])
    (folder / "none.json").write_text("[]")
    (folder / "ragged.csv").write_text("question,gold\na,1\nb,2,3,4\n")
    (folder / "latin.csv").write_bytes("question,gold\né,1\n".encode("latin-1"))
    (folder / "twice.csv").write_text("question,question,gold\na,b,c\n")
    (folder / "broken.jsonl").write_text('{"question": "a", \n')
    (folder / "broken.parquet").write_text("x" * 100)
    (folder / "gaps.csv").write_text("question,gold\na,1\nb,2\nc,\n")
    (folder / "gaps.jsonl").write_text('{"question": "a", "gold": "1"}\n{"question": null, "gold": "1"}\n')
    with pytest.raises(BadInput, match=says) as caught:
        Table(**{**GOOD, **changes})
    assert "\n" not in str(caught.value)


def test_without_an_answer_column_there_is_no_oracle(folder):
    job = Table(write(folder / "sums.csv", RECORDS), prompt="{question}", shares={"train": 1})
    with pytest.raises(BadInput, match="'answer' column"):
        job.oracle(job.tasks("train", 0, 1)[0])


def test_many_instances_cost_no_reading(folder):
    path = write(folder / "sums.csv", RECORDS)
    first = Table(path, prompt="{question}", answer="gold")
    stamp = (folder / path).stat()
    (folder / path).write_bytes(b"x" * stamp.st_size)
    os.utime(folder / path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert Table(path, prompt="{question}", answer="gold").rows() is first.rows()
