"""Rewards per turn in a real run: GRPO adds them up, evaluation records them, and replay leaves them where they are."""

import numpy as np
import pytest
from journeyman.recipes.evaluate import evaluate
from journeyman.rollouts.record import read_records

PAYS = '''
"""The tiny job, paid a little for each letter of its one turn too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tiny import Larger


class Pays(Larger):
    def step_reward(self, message):
        return len(message["content"]) / 8
'''


@pytest.fixture(scope="module")
def paid_run(make_job, tiny_base, train_here, tmp_path_factory):
    """A finished run of two steps by GRPO on that job, and its evaluation."""
    folder = tmp_path_factory.mktemp("pays")
    job = make_job(folder, environment="pays.py:Pays", model_name_or_path=str(tiny_base), nano=None)
    (folder / "pays.py").write_text(PAYS)
    run = train_here(folder / "run", job)
    evaluate(run, n=20, quiet=True)
    return run


def test_grpo_compares_totals_with_the_turns_in_them(paid_run):
    rollouts = list(read_records(paid_run, "train"))
    groups = {}
    for rollout in rollouts:
        groups.setdefault((rollout.step, rollout.group), []).append(rollout)

    assert {tuple(rollout.rewards) for rollout in rollouts} == {("exact", "close", "step_rewards")}
    assert any(len({tuple(r.step_rewards) for r in group}) > 1 for group in groups.values()), "they tell rollouts apart"
    for group in groups.values():
        total = np.array([r.rewards["exact"] + 0.5 * r.rewards["close"] + sum(r.step_rewards) for r in group])
        expected = (total - total.mean()) / (total.std(ddof=1) + 1e-4)
        assert [r.advantage for r in group] == pytest.approx(expected, abs=1e-6)


def test_every_record_holds_what_its_turns_earned(paid_run):
    for stem in ("train", "validation", "heldout-before", "heldout-after"):
        rollouts = list(read_records(paid_run, stem))
        assert rollouts
        for rollout in rollouts:
            asked = rollout.stop_reason == "eos"
            assert rollout.step_rewards == [len(rollout.messages[-1]["content"]) / 8] * asked
            assert rollout.rewards["step_rewards"] == sum(rollout.step_rewards)
            assert rollout.quality == rollout.rewards["exact"]
