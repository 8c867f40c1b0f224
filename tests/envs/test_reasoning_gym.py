"""reasoning-gym's tasks as environments: splits that follow from content, their own scorers, and what happens without it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("reasoning_gym")
from journeyman.configs.errors import BadInput
from journeyman.envs.core import SPLITS, check_disjoint
from journeyman.envs.reasoning_gym import ReasoningGym, names, reasoning_gym_score
from journeyman.rewards.core import Scored
from reasoning_gym.factory import create_dataset

TASKS = [
    "chain_sum",
    "coin_flip",
    "leg_counting",
    "spell_backward",
    "game_of_life_halting",
    "countdown",
    "propositional_logic",
]


@pytest.mark.parametrize("task", TASKS)
def test_splits_are_disjoint_whatever_the_seed(task):
    env = ReasoningGym(task, size=60)
    rows_of = {split: [*env.tasks(split, 0), *env.tasks(split, 1)] for split in SPLITS}

    check_disjoint(rows_of)
    assert all(rows_of.values())
    other = ReasoningGym(task, size=60)
    assert [row["item"] for row in other.tasks("train", 3, 5)] == [row["item"] for row in env.tasks("train", 3, 5)]
    assert [row["item"] for row in env.tasks("train", 4, 5)] != [row["item"] for row in env.tasks("train", 3, 5)]
    json.dumps(env.tasks("train", 0, 2))


def test_the_librarys_own_seeds_leak_and_a_pool_twice_as_large_keeps_every_split():
    seeds = [{item["question"] for item in create_dataset("chain_sum", seed=seed, size=1000)} for seed in (0, 1)]
    assert len(seeds[0] & seeds[1]) >= 990

    small, large = ReasoningGym("chain_sum", size=200), ReasoningGym("chain_sum", size=400)
    for split in SPLITS:
        assert {r["item"] for r in small.tasks(split, 0)} <= {r["item"] for r in large.tasks(split, 0)}


@pytest.mark.parametrize("task", TASKS[:-1])
def test_the_score_is_the_datasets_own(task):
    env = ReasoningGym(task, size=40)
    rows = env.tasks("train", 0, 5)
    dataset = create_dataset(task, seed=0, size=40)
    answers = [*(env.oracle(row) for row in rows), "0", "nan", "zzz", ""]

    items = [Scored(row, [{"role": "assistant", "content": answer}]) for row in rows for answer in answers]
    values = reasoning_gym_score.score(items)
    expected = [
        dataset.score_answer(answer, dict(row["entry"])) if answer else 0.0 for row in rows for answer in answers
    ]
    assert values == expected
    assert [values[i * len(answers) + i] for i in range(len(rows))] == [1.0] * len(rows)


@pytest.mark.parametrize(("extraction", "text"), [("boxed", "so \\boxed{{{}}}."), ("hash_answer", "hm\n#### {}")])
def test_an_answer_is_read_out_of_the_completion(extraction, text):
    env = ReasoningGym("leg_counting", size=20, extraction=extraction)
    (row,) = env.tasks("train", 0, 1)

    def paid(completion):
        return reasoning_gym_score.score([Scored(row, [{"role": "assistant", "content": completion}])])[0]

    assert paid(text.format(row["answer"])) == paid(env.oracle(row)) == 1.0
    assert paid(f"<think>{env.oracle(row)}</think>I don't know") == 0.0


def test_a_scorer_that_raises_makes_the_row_unscorable():
    (row,) = ReasoningGym("coin_flip", size=20).tasks("train", 0, 1)
    (value,) = reasoning_gym_score.score([Scored(row, [{"role": "assistant", "content": "1e999"}])])
    assert "OverflowError" in value.reason


def test_a_task_with_many_answers_has_no_oracle():
    env = ReasoningGym("propositional_logic", size=20)
    with pytest.raises(KeyError):
        env.oracle(env.tasks("train", 0, 1)[0])


def test_every_task_is_a_variant():
    variants = list(ReasoningGym.variants())
    assert len(variants) == len(names()) > 100
    assert {"task": "chain_sum"} in variants


BAD = [
    ({"task": "chain_sums"}, "no task 'chain_sums'; did you mean 'chain_sum'"),
    ({"task": "chain_sum", "config": {"min_term": 2}}, "min_term"),
    ({"task": "chain_sum", "config": {"seed": 2}}, "'seed' does not go into config"),
    ({"task": "composite"}, "composite with config"),
    ({"task": "chain_sum", "size": 0}, "size is 0"),
    ({"task": "chain_sum", "extraction": "box"}, "no extraction 'box'"),
]


@pytest.mark.parametrize(("kwargs", "message"), BAD)
def test_what_can_not_be_made(kwargs, message):
    with pytest.raises(BadInput, match=message.replace("(", "\\(")):
        ReasoningGym(**kwargs)


def test_more_tasks_than_the_pool_holds():
    with pytest.raises(BadInput, match="raise size"):
        ReasoningGym("chain_sum", size=20).tasks("train", 0, 500)


def test_without_the_library_the_module_imports_and_the_environment_says_what_to_install():
    code = (
        "import sys; sys.modules['reasoning_gym'] = None\n"
        "from journeyman.envs.reasoning_gym import ReasoningGym\n"
        "try: ReasoningGym('chain_sum')\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert "pip install 'journeyman[reasoning-gym]'" in done.stdout
