"""Rewards per turn: asked once a turn is over, one for each turn, added up for GRPO; one that fails is no result."""

import numpy as np
import pytest
from journeyman.envs.core import pays_steps
from journeyman.rewards import reward
from journeyman.rewards.executor import Executor
from journeyman.rollouts.pool import Pool
from journeyman.rollouts.scoring import scored_rollouts


@pytest.fixture
def paying(desk):
    """Makes a desk that pays for what was counted, and notes what it was asked; `bad` is what a turn that counts 13 earns."""

    class Paying(desk):
        def __init__(self, notes=None, bad=0.0):
            super().__init__(notes)
            self.notes.setdefault("asked", [])
            self.bad, self.before = bad, 0

        def another(self):
            return type(self)(self.notes, self.bad)

        def reset(self, **row):
            self.before = 0
            return super().reset(**row)

        def step_reward(self, message):
            self.notes["asked"].append(message)
            earned, self.before = self.count - self.before, self.count
            if earned == 13 and isinstance(self.bad, Exception):
                raise self.bad
            return self.bad if earned == 13 else earned / 10

    return Paying


def test_each_turn_is_paid_once_its_tools_have_run_and_the_last_one_too(work, calling, paying):
    env = paying()
    both = calling("add", number=2) + "\n" + calling("add", number=3)
    (rollout,) = work([calling("add", number=1), both, calling("say", text="x"), "done"], env)

    assert rollout.step_rewards == [0.1, 0.5, 0.0, 0.0] and rollout.turns == 4
    assert env.notes["asked"] == [m for m in rollout.messages if m["role"] == "assistant"]


def test_a_turn_that_ends_the_episode_is_paid(work, calling, paying):
    (rollout,) = work([calling("add", number=4) + "\n" + calling("finish"), "never said"], paying())

    assert rollout.step_rewards == [0.4] and rollout.stop_reason == "eos"


CUT = {"turns": {"turns": 2}, "length": {"tokens": "a turn and a bit"}, "timeout": {"seconds": 1}}


@pytest.mark.parametrize(("reason", "limits"), CUT.items())
def test_a_turn_that_a_limit_ended_is_not_asked(work, calling, paying, chat, reason, limits):
    env, turn = paying(), calling("add", number=1)
    limits = {k: len(chat.ids(turn)) + 4 if isinstance(v, str) else v for k, v in limits.items()}
    (rollout,) = work([turn, calling("wait", seconds=30) if reason == "timeout" else turn], env, **limits)

    assert (rollout.stop_reason, rollout.turns, rollout.step_rewards) == (reason, 2, [0.1])
    assert len(env.notes["asked"]) == 1


BAD = {
    "raises": (KeyError("price"), "step_reward: KeyError: 'price'"),
    "NaN": (float("nan"), "step_reward: nan is no finite number"),
    "infinite": (float("inf"), "step_reward: inf is no finite number"),
    "no number": ("much", "step_reward: ValueError"),
    "nothing": (None, "step_reward: TypeError"),
}


@pytest.mark.parametrize(("bad", "message"), BAD.values(), ids=BAD)
def test_a_pay_that_fails_is_the_environments_failure_tried_once_more(work, calling, paying, bad, message):
    env = paying(bad=bad)
    (rollout,) = work([calling("add", number=1), calling("add", number=13), "done"], env)

    assert rollout.stop_reason == "error" and message in rollout.error
    assert env.notes["reset"] == 2, "it is tried once more"
    assert len(rollout.step_rewards) == 1, "what was earned until then"


def test_an_environment_that_does_not_pay_is_not_asked(work, calling, desk):
    (rollout,) = work([calling("add", number=1), "done"])

    assert rollout.step_rewards == [] and not pays_steps(desk())


@reward
def said(completion: str) -> float:
    return float(completion)


@reward(weight=0)
def half(completion: str) -> float:
    return 0.5


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_sum_is_one_more_reward_of_weight_1_and_failures_stay_out(work, calling, paying, weight):
    env = paying(bad=float("nan"))
    turns = {0: [1, 2, "1"], 1: [5, 1, "0"], 2: [13, 1, "1"], 3: [2, 2, "no number"]}
    pool = Pool(env)

    def collecting(on_finished):
        def script(request):
            said = turns[request.stream[2]][request.turn]
            return said if isinstance(said, str) else calling("add", number=said)

        return work(script, env, n=4, pool=pool, on_finished=on_finished)

    rows = env.tasks("train", 0, 4)
    rollouts, scores = scored_rollouts(
        collecting, Executor([said.weighing(weight), half]), rows, "half", 1, pays_steps(env)
    )

    assert scores.names == ["said", "half", "step_rewards"]
    assert scores.total[:2] == pytest.approx([0.3 + weight, 0.6]) and np.isnan(scores.total[2:]).all()
    assert rollouts[0].rewards == pytest.approx({"said": 1.0, "half": 0.5, "step_rewards": 0.3})
    assert [r.quality for r in rollouts] == [0.5, 0.5, None, 0.5]
    assert [r.error is None for r in rollouts] == [True, True, False, False]
