"""Recorded rollouts under other rewards: a case worked out by hand, and a recorded run."""

import itertools
import json
from functools import partial

import journeyman
import numpy as np
import pytest
from journeyman.configs import BadInput
from journeyman.evals.replay import change, reproduction, rescore
from journeyman.rewards import reward
from journeyman.rollouts.record import RecordWriter, Rollout, read_records
from journeyman.trainers.advantages import advantages


def rollout(row, item="i", text="t", **rewards):
    return Rollout(
        run="r", step=0, split="train", item=item, group=row // 4, row=row, seed=0, policy_version=0,
        messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": text}], prompt_ids=[1],
        completion_ids=[2], logprobs=[0.0], env_mask=[1], rewards=rewards,
    )  # fmt: skip


def way(weights):
    return lambda values, total: advantages(values, total, np.array(weights), 4, "group", "sum_then_normalize")[0]


def test_the_difference_on_a_case_worked_out_by_hand():
    nan = np.nan
    #           group 0: two change places    group 1: was level    group 2: one becomes unscorable
    before = [[0.0], [1.0], [0.5], [0.5], [1.0], [1.0], [1.0], [1.0], [0.0], [0.0], [1.0], [1.0]]
    after = [[1.0], [0.0], [0.5], [0.5], [1.0], [0.0], [1.0], [1.0], [0.0], [0.0], [1.0], [nan]]
    steps = [[rollout(i) for i in range(12)]]
    one = np.array([1.0])
    found = change(steps, [np.array(before)], [np.array(after)], (one, one), (way([1]), way([1])), 4)

    assert (found.n, found.gained, found.lost) == (12, 1, 2)
    assert (found.mean_before, found.mean_after) == (pytest.approx(8 / 12), pytest.approx(6 / 11))
    assert (found.unscorable_before, found.unscorable_after) == (0, 1)
    assert (found.groups, found.groups_reordered) == (3, 2)
    # group 0: of its 5 ordered pairs (0 and 1; each of them with 2 and 3) all are reversed; 2 and 3 stay level
    # group 1: 6 level pairs, of which the 3 with row 5 are ordered now; group 2: the 3 pairs with row 11 are left out
    assert (found.pairs, found.pairs_reversed, found.pairs_tied, found.pairs_untied) == (5 + 2, 5, 0, 3)
    # group 0: rows 0 and 1 change sides; group 1: from 0 to three above and one below; group 2: row 11 from above to 0
    assert found.flips == {
        "below 0 to above 0": 1, "above 0 to below 0": 1, "0 to above 0": 3, "0 to below 0": 1, "above 0 to 0": 1,
    }  # fmt: skip
    assert [(r.row, b, a) for _, r, b, a in found.gainers] == [(0, 0.0, 1.0)]
    assert {(r.row, b, a) for _, r, b, a in found.losers} == {(1, 1.0, 0.0), (5, 1.0, 0.0)}
    assert "1 gain, 2 lose, 9 stay" in found.lines()[0] and found.as_dict()["losers"][0]["after"] == 0.0


def test_pairs_are_counted_as_by_brute_force():
    rng = np.random.default_rng(3)
    before, after = (rng.integers(0, 3, (40, 1)).astype(float) for _ in range(2))
    one = np.array([1.0])
    found = change(
        [[rollout(i) for i in range(40)]], [before], [after], (one, one), (way([1]), way([1])), 4
    )  # fmt: skip
    counted = {"pairs": 0, "pairs_reversed": 0, "pairs_tied": 0, "pairs_untied": 0}
    for start in range(0, 40, 4):
        for i, j in itertools.combinations(range(start, start + 4), 2):
            a, b = before[i, 0] - before[j, 0], after[i, 0] - after[j, 0]
            counted["pairs"] += a != 0
            counted["pairs_reversed"] += a * b < 0
            counted["pairs_tied"] += a != 0 and b == 0
            counted["pairs_untied"] += a == 0 and b != 0

    assert counted == {name: getattr(found, name) for name in counted}


def test_a_value_that_differs_and_a_source_that_changed_are_named():
    @reward
    def short(completion):
        return float(len(completion) < 3)

    rollouts = [rollout(i, text="a" * i, short=1.0) for i in range(4)]
    for r in rollouts:
        r.reward_hashes = {"short": "0" * 16}
    scored = rescore(rollouts, {"i": {"prompt": [{"role": "user", "content": "q"}]}}, [short], on_step=lambda n: None)
    found = reproduction(scored, [short])

    assert found.values == 4 and [(r.row, old, new) for r, _, old, new in found.differing] == [(3, 1.0, 0.0)]
    assert found.changed == ["short"] and not found.exact and "3 of 4 recorded rewards" in found.lines()[0]


def test_a_run_is_reproduced_exactly(trained, command):
    done = command("replay", trained)
    n = len(list(read_records(trained, "train")))

    assert done.code == 0 and done.out.strip() == f"{2 * n} of {2 * n} recorded rewards reproduced exactly"
    assert command("replay", trained, "--split", "validation").code == 0


def test_a_run_whose_records_say_otherwise_is_not(run_copy, command):
    (path,) = (run_copy / "records").glob("train*")
    rollouts = list(read_records(path))
    path.unlink()
    rollouts[5].rewards["close"] += 0.125
    RecordWriter(run_copy / "records", "train").write(rollouts)
    done = command("replay", run_copy)

    assert done.code == 1 and f"step {rollouts[5].step} row {rollouts[5].row} close: recorded" in done.out


NEW = """
from journeyman.rewards import reward

@reward
def exact(completion, answer):
    return 1 - float(completion.strip() == answer)

@reward(weight=2.0)
def long(completion):
    return len(completion) / 10

@reward
def asks(completion, rubric):
    return 1.0
"""


def test_a_changed_reward_takes_the_place_and_weight_of_its_name(trained, command, tmp_path):
    (tmp_path / "new.py").write_text(NEW)
    done = command("replay", trained, "--reward", f"{tmp_path / 'new.py'}:exact", "--json")
    found = json.loads(done.out)
    rollouts = list(read_records(trained, "train"))
    old = [r.rewards["exact"] + 0.5 * r.rewards["close"] for r in rollouts]
    new = [1 - r.rewards["exact"] + 0.5 * r.rewards["close"] for r in rollouts]

    assert done.code == 0 and found["n"] == len(rollouts)
    assert found["mean_before"] == pytest.approx(np.mean(old)) and found["mean_after"] == pytest.approx(np.mean(new))
    assert found["gained"] == sum(r.rewards["exact"] == 0 for r in rollouts)


def test_another_name_is_added_with_its_own_weight_or_replaces_the_one_that_is_said(trained, tmp_path):
    (tmp_path / "new.py").write_text(NEW)
    spec = f"{tmp_path / 'new.py'}:long"
    rollouts = list(read_records(trained, "train"))
    exact, close = (np.array([r.rewards[name] for r in rollouts]) for name in ("exact", "close"))
    length = np.array([len(r.messages[-1]["content"]) / 10 for r in rollouts])

    added = journeyman.replay(trained, [spec], quiet=True).changed
    placed = journeyman.replay(trained, [spec], replaces="exact", quiet=True).changed
    assert added.mean_after == pytest.approx(np.mean(exact + 0.5 * close + 2 * length))
    assert placed.mean_after == pytest.approx(np.mean(length + 0.5 * close))


def test_what_turns_were_paid_stays_what_it_was(run_copy, tmp_path):
    (path,) = (run_copy / "records").glob("train*")
    rollouts = list(read_records(path))
    path.unlink()
    for i, rollout in enumerate(rollouts):
        rollout.step_rewards = [0.25, 0.125 * (i % 3)]
        rollout.rewards["step_rewards"] = sum(rollout.step_rewards)
    RecordWriter(run_copy / "records", "train").write(rollouts)
    (tmp_path / "new.py").write_text(NEW)
    exact, close, paid = (np.array([r.rewards[name] for r in rollouts]) for name in ("exact", "close", "step_rewards"))

    found = journeyman.replay(run_copy, [f"{tmp_path / 'new.py'}:exact"], quiet=True).changed
    assert found.mean_before == pytest.approx(np.mean(exact + 0.5 * close + paid))
    assert found.mean_after == pytest.approx(np.mean(1 - exact + 0.5 * close + paid))


def test_bad_input(trained, run_copy, tmp_path):
    (tmp_path / "new.py").write_text(NEW)
    new = f"{tmp_path / 'new.py'}:"
    replay = partial(journeyman.replay, trained, quiet=True)
    cases = [
        (lambda: journeyman.replay(tmp_path), "not a run's folder"),
        (lambda: replay(split="test"), "there is no split 'test'"),
        (lambda: replay([new + "asks"]), "asks for the column 'rubric'"),
        (lambda: replay([new + "long"], replaces="exakt"), "did you mean 'exact'"),
        (lambda: replay(["environment"]), "reads the state of the environment"),
        (lambda: replay([new + "nothing"]), "has no 'nothing'"),
    ]
    for call, says in cases:
        with pytest.raises(BadInput) as error:
            call()
        assert says in str(error.value)
    config = run_copy / "config.yaml"
    config.write_text(config.read_text() + "environment_kwargs: {padding: 3}\n")
    with pytest.raises(BadInput, match="no longer has item"):
        journeyman.replay(run_copy, quiet=True)
