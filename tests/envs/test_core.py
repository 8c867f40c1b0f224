"""The splits and the first job: disjoint by content, the same for every seed, and answers that are right."""

from __future__ import annotations

import random

import pytest
from journeyman.configs.errors import BadInput
from journeyman.envs.arithmetic import Arithmetic
from journeyman.envs.core import DEFAULT_SHARES, SPLITS, Generated, Rows, check_disjoint, check_shares, deal


class Reverse(Generated):
    def generate(self, rng: random.Random) -> dict:
        word = "".join(rng.choices("abcdefgh", k=4))
        return {"prompt": f"Reverse {word}", "answer": word[::-1]}


class Numbered(Rows):
    def rows(self) -> list[dict]:
        return [{"prompt": f"question {i}", "answer": str(i)} for i in range(400)]


JOBS = [Reverse(), Numbered(), Arithmetic(level=2), Arithmetic(level=5)]


def items(job, split: str, seed: int, n: int | None = None) -> list[str]:
    return [row["item"] for row in job.tasks(split, seed, n)]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: type(job).__name__)
def test_a_task_lies_in_one_split_whatever_the_seed(job):
    split_of: dict[str, str] = {}
    for split in SPLITS:
        for seed in range(3):
            for item in items(job, split, seed):
                assert split_of.setdefault(item, split) == split
    assert set(split_of.values()) == set(SPLITS)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: type(job).__name__)
def test_the_seed_chooses_the_order_and_nothing_else_does(job):
    assert items(job, "train", 1, 20) == items(job, "train", 1, 20)
    assert items(job, "train", 1, 20) != items(job, "train", 2, 20)
    assert items(job, "train", 1, 20) == items(job, "train", 1, 40)[:20]


def test_all_rows_of_a_table_come_out_once():
    job = Numbered()
    every = [item for split in SPLITS for item in items(job, split, 7)]
    assert len(every) == len(set(every)) == 400


def test_the_order_of_summands_does_not_change_the_split():
    job = Arithmetic(level=2)
    for a in range(0, 100, 7):
        for b in range(0, 100, 11):
            one, other = ({"prompt": f"{x:02d}+{y:02d}="} for x, y in ((a, b), (b, a)))
            assert job.split_of(one) == job.split_of(other)


@pytest.mark.parametrize("level", Arithmetic.LEVELS)
def test_the_oracle_answers_right(level):
    job = Arithmetic(level=level)
    for row in job.tasks("train", seed=0, n=20):
        question = row["prompt"][-1]["content"].rstrip("=")
        sign = "+" if "+" in question else "-"
        a, b = map(int, question.split(sign))
        assert int(job.oracle(row)) == (a + b if sign == "+" else a - b)


@pytest.mark.parametrize(("job", "n"), [(Numbered(), 401), (Arithmetic(level=1), 101)], ids=["table", "generated"])
def test_more_tasks_than_there_are(job, n):
    with pytest.raises(BadInput, match=str(n)):
        job.tasks("train", 0, n)


def test_an_unknown_split_and_level():
    with pytest.raises(BadInput, match="did you mean 'heldout'"):
        Numbered().tasks("held-out", 0)
    with pytest.raises(BadInput, match="levels 1, 2, 3, 4, 5"):
        Arithmetic(level=9)


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ({"train": 0.5, "heldout": 0.4}, "sum to 0.9"),
        ({"train": 1.5, "heldout": -0.5}, "between 0 and 1"),
        ({"train": float("nan"), "heldout": 0.5}, "between 0 and 1"),
        ({"train": True}, "between 0 and 1"),
        ({"train": "1"}, "between 0 and 1"),
        ({"train": 0.5, "valdation": 0.5}, "did you mean 'validation'"),
        ({}, "sum to 0"),
    ],
)
def test_shares_that_cannot_be(shares, says):
    with pytest.raises(BadInput, match=says):
        check_shares(shares)


def test_shares_left_out_are_nothing():
    assert check_shares({"train": 0.8, "heldout": 0.2}) == {
        "demonstrations": 0.0, "train": 0.8, "validation": 0.0, "heldout": 0.2,
    }  # fmt: skip


def test_splits_are_as_large_as_their_shares():
    dealt = [deal(str(i), DEFAULT_SHARES) for i in range(20_000)]
    for split, share in DEFAULT_SHARES.items():
        assert dealt.count(split) / len(dealt) == pytest.approx(share, abs=0.012)


def test_overlapping_splits_are_named():
    rows = {"train": [{"item": "a", "index": 0}, {"item": "b", "index": 1}], "heldout": [{"item": "b", "index": 5}]}
    with pytest.raises(BadInput, match="row 5 of heldout is also row 1 of train"):
        check_disjoint(rows)
    check_disjoint({"train": [{"item": "a"}, {"item": "a"}], "heldout": [{"item": "b"}]})
