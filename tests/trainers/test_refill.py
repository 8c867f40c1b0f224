"""Dynamic sampling: a step's groups all teach, as far as the rounds reach, and nothing that was sampled is lost."""

import json

import numpy as np
import pytest
from journeyman.rollouts.record import read_records
from journeyman.trainers.refill import dead_groups, other_rows

NAN = float("nan")
DEAD = {
    "alike": ([1, 1, 0, 1], [0]),
    "all differ": ([1, 0, 0, 1], []),
    "one scored": ([NAN, 1, 0, 1], [0]),
    "none scored": ([NAN, NAN, 0.5, 0.5], [0, 1]),
}


@pytest.mark.parametrize(("total", "expected"), DEAD.values(), ids=DEAD)
def test_groups_that_teach_nothing(total, expected):
    assert dead_groups(np.array(total, dtype=float), 2) == expected


def test_other_rows_are_other_rows():
    rows = [{"item": str(i)} for i in range(10)]
    found = other_rows(rows, {"1", "2", "3"}, 4, (0, 1, 2))

    assert len({row["item"] for row in found}) == 4 and not {row["item"] for row in found} & {"1", "2", "3"}
    assert found == other_rows(rows, {"1", "2", "3"}, 4, (0, 1, 2)) != other_rows(rows, {"1", "2", "3"}, 4, (0, 1, 3))
    assert len(other_rows(rows, {"1", "2", "3"}, 99, (0,))) == 7


def live_share(rollouts, step):
    groups = {}
    for r in rollouts:
        if r.step == step:
            groups.setdefault(r.group, []).append(r)
    return sum(any(r.advantage for r in group) for group in groups.values()), len(groups)


def test_a_step_is_filled_with_groups_that_teach(make_job, train_here, tmp_path):
    job = make_job(tmp_path / "job", rewards=["journeyman.rewards.match:exact"])
    plain = list(read_records(train_here(tmp_path / "plain", job, max_steps=3), "train"))
    run = train_here(tmp_path / "refilled", job, max_steps=3, dynamic_sampling=True, dynamic_sampling_rounds=8)
    rollouts = list(read_records(run, "train"))
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    before, after = (sum(live_share(found, step)[0] for step in range(3)) for found in (plain, rollouts))
    assert live_share(plain, 0)[1] == 4 and before < 12 and after > before
    assert len({r.key for r in rollouts}) == len(rollouts) > len(plain), "what was replaced is recorded too"
    assert sum(row["refilled_groups"] for row in metrics) > 0
    for step in range(3):
        trained = [r for r in rollouts if r.step == step and r.advantage]
        assert len(trained) <= 16
    again = train_here(tmp_path / "again", job, max_steps=3, dynamic_sampling=True, dynamic_sampling_rounds=8)
    weights = [(place / "adapter" / "adapter_model.safetensors").read_bytes() for place in (run, again)]
    assert weights[0] == weights[1]
