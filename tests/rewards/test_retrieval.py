import json
import random
import time

import numpy as np
import pytest
from journeyman.configs import BadInput
from journeyman.rewards.core import Failure, Scored
from journeyman.rewards.retrieval import CASES, ndcg, recall_at_k
from sklearn.metrics import ndcg_score

REWARDS = {judge.name: judge for judge in (recall_at_k, ndcg)}


def earns(judge, completion, **row):
    (value,) = judge.score([Scored(row, [{"role": "assistant", "content": completion}])])
    return value


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in CASES.items() for case in cases])
def test_the_shipped_cases_hold(name, case):
    assert [earns(REWARDS[name], text, **case.row) for text in case.right] == [1.0] * len(case.right)
    assert [earns(REWARDS[name], text, **case.row) for text in case.wrong] == [0.0] * len(case.wrong)


def written(rng, ids):
    """A ranking in one of the forms that are read."""
    forms = [
        json.dumps(ids),
        " ".join(ids),
        ", ".join(ids),
        "\n".join(f"{i}. {name}" for i, name in enumerate(ids, 1)),
        "\n".join(f"- {name}" for name in ids),
        "[" + ", ".join(ids) + "]",
        "<think>d0</think>\n" + "\n".join(ids),
    ]
    return rng.choice(forms)


@pytest.mark.parametrize("graded", [False, True])
def test_ndcg_is_scikit_learns(graded):
    rng = random.Random(graded)
    for _ in range(200):
        names = [f"d{i}" for i in range(rng.randint(2, 12))]
        gains = {name: float(rng.choice([0, 0, 1, 2, 5] if graded else [0, 1])) for name in names}
        order, k = rng.sample(names, len(names)), rng.randint(1, 14)
        row = {"gains": gains} if graded else {"relevant": [name for name in names if gains[name]]}
        value = earns(ndcg, written(rng, order), k=k, **row)
        if not any(gains.values()):
            assert value is None
            continue
        scores = [-order.index(name) for name in names]
        assert value == pytest.approx(ndcg_score([list(gains.values())], [scores], k=k))


def test_recall_by_brute_force():
    rng = random.Random(0)
    for _ in range(200):
        names = [f"d{i}" for i in range(12)]
        relevant, order, k = (
            rng.sample(names, rng.randint(1, 6)),
            rng.sample(names, rng.randint(1, 12)),
            rng.randint(1, 12),
        )
        expected = np.mean([name in order[:k] for name in relevant])
        assert earns(recall_at_k, written(rng, order), relevant=relevant, k=k) == pytest.approx(expected)


@pytest.mark.parametrize("judge", REWARDS.values(), ids=REWARDS)
def test_repeating_and_listing_everything_earns_nothing_more(judge):
    row = {"relevant": ["d1", "d2"], "k": 3}
    dump = " ".join(f"d{i}" for i in range(1000, 0, -1))

    assert earns(judge, "d1 d1 d1 d2", **row) == earns(judge, "d1", **row) < earns(judge, "d1 d1 d2", **row) < 1.001
    assert earns(judge, dump, **row) == 0.0 and earns(judge, f"d1 d8 d9 {dump}", **row) == earns(judge, "d1", **row)
    assert earns(judge, "x", relevant=[]) is None


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", True])
@pytest.mark.parametrize("judge", REWARDS.values(), ids=REWARDS)
def test_a_k_that_is_none_is_bad_input(judge, k):
    with pytest.raises(BadInput, match="k is"):
        earns(judge, "d1", relevant=["d1"], k=k)


@pytest.mark.parametrize("gain", [-1, float("nan"), float("inf")])
def test_a_gain_that_is_none_is_unscorable(gain):
    assert isinstance(earns(ndcg, "a", gains={"a": gain, "b": 1}), Failure)


@pytest.mark.parametrize("judge", REWARDS.values(), ids=REWARDS)
@pytest.mark.parametrize("relevant", ["12", '["d1"]', 12, {"d1": 1}], ids=str)
def test_a_text_is_no_list_of_ids(judge, relevant):
    with pytest.raises(BadInput, match="'relevant' should be a list"):
        earns(judge, "d1", relevant=relevant)


HOSTILE = {
    "brackets": "[" * 130_000, "commas": "," * 130_000, "a list": json.dumps(["x"] * 40_000), "one word": "x" * 130_000,
    "blank": " \n" * 65_000, "numbering": "1. " * 40_000, "bullets": "- \n" * 40_000, "objects": '[{"id": "d1"}]',
    "zeros": "\0" * 130_000,
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("judge", REWARDS.values(), ids=REWARDS)
def test_hostile_text_earns_nothing_and_takes_no_time(judge, text):
    began = time.process_time()

    assert earns(judge, text, relevant=["d1"]) == 0.0 and time.process_time() - began < 0.2
