import random
import time

import pytest
from journeyman.configs import BadInput
from journeyman.rewards.core import Scored
from journeyman.rewards.length import CASES, length, repetition
from trl.rewards.other_rewards import get_repetition_penalty_reward, get_soft_overlong_punishment

REWARDS = {judge.name: judge for judge in (length, repetition)}


def earns(judge, completion="", ids=(), **row):
    (value,) = judge.score([Scored(row, [{"role": "assistant", "content": completion}], completion_ids=ids)])
    return value


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in CASES.items() for case in cases])
def test_the_shipped_cases_hold(name, case):
    assert all(earns(REWARDS[name], text, **case.row) == 0.0 for text in case.right)
    assert all(-1 <= earns(REWARDS[name], text, **case.row) < 0 for text in case.wrong)


@pytest.mark.parametrize(("limit", "margin"), [(100, 20), (10, 10), (7, 0), (1, 1)])
def test_length_is_the_soft_overlong_punishment(limit, margin):
    ids = [[1] * n for n in range(120)]
    expected = get_soft_overlong_punishment(limit, margin)(ids)

    assert [earns(length, "a" * len(i), i, limit=limit, margin=margin) for i in ids] == pytest.approx(expected)


def test_without_token_ids_length_in_tokens_does_not_apply():
    assert earns(length, "some text", limit=1, margin=0) is None and earns(length, "", limit=1, margin=0) == 0.0
    assert earns(length, "some text", limit=1, margin=0, unit="characters") == -1.0


def test_limit_and_margin_are_columns_or_settings():
    assert length.missing([]) == ["limit", "margin"] and length.binding(limit=9, margin=1).missing([]) == []


WRONG = [
    {"limit": 5, "margin": 6},
    {"limit": 5.5, "margin": 1},
    {"limit": 5, "margin": -1},
    {"limit": 5, "margin": 1, "unit": "words"},
]


@pytest.mark.parametrize("row", WRONG, ids=str)
def test_a_limit_that_is_none_is_bad_input(row):
    with pytest.raises(BadInput, match="reward 'length'"):
        earns(length, "text", [1], **row)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_repetition_is_the_share_of_repeated_n_grams(size):
    rng = random.Random(size)
    ids = [[rng.randrange(4) for _ in range(rng.randrange(1, 30))] for _ in range(200)]
    expected = get_repetition_penalty_reward(size)(ids)

    assert [earns(repetition, "text", i, size=size) for i in ids] == pytest.approx(expected)
    words = [" ".join("wxyz"[n] * 3 for n in i) for i in ids]
    assert [earns(repetition, text, size=size) for text in words] == pytest.approx(expected)


@pytest.mark.parametrize("size", [0, 1.5, True, "3"])
def test_a_size_that_is_none_is_bad_input(size):
    with pytest.raises(BadInput, match="size"):
        earns(repetition, "a b c", size=size)


@pytest.mark.parametrize(
    "text", ["a" * 130_000, "a " * 65_000, "," * 130_000, "\0" * 130_000, "好" * 65_000, "😀" * 65_000]
)
def test_one_thing_without_end_costs_everything_and_takes_no_time(text):
    began = time.process_time()

    assert earns(repetition, text) < -0.99 and time.process_time() - began < 0.5
