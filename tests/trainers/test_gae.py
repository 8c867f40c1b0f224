"""Advantages, returns and rewards per token, against sums written out over the tokens that the policy wrote."""

import math

import numpy as np
import pytest
from journeyman.trainers.gae import explained_variance, gae, token_rewards

C = 24
SEQUENCES = 1000


def draw(rng):
    """A rollout: which tokens the policy wrote, what its turns earned, a value before each token and one after the last."""
    kind = rng.choice(["one turn", "tools", "one token", "nothing written", "full"])
    written = np.zeros(C, dtype=bool)
    if kind == "one turn":
        written[: rng.integers(2, C)] = True
    elif kind == "one token":
        written[0] = True
    elif kind == "full":
        written[:] = True
    elif kind == "tools":
        at = 0
        while at < C:
            turn, reply = rng.integers(1, 6), rng.integers(1, 5)
            written[at : at + turn] = True
            at += turn + reply
    turns = runs(written)
    paid = rng.normal(size=rng.integers(0, len(turns) + 1)).tolist()  # the last turns may not have been asked for
    return {
        "written": written, "paid": paid, "last": rng.normal(), "values": rng.normal(size=C) * 3,
        "after": rng.normal() if rng.random() < 0.5 else 0.0,
    }  # fmt: skip


def runs(written):
    """Places of each turn's tokens."""
    found = []
    for place in np.flatnonzero(written):
        if found and found[-1][-1] == place - 1:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def expected(rollout, gamma, lam):
    """(advantages, returns, rewards) by the definitions: sums over sums, nothing carried along."""
    places = [place for turn in runs(rollout["written"]) for place in turn]
    n = len(places)
    rewards = dict.fromkeys(places, 0.0)
    for turn, reward in zip(runs(rollout["written"]), rollout["paid"], strict=False):
        rewards[turn[-1]] += reward
    if n:
        rewards[places[-1]] += rollout["last"]
    values = [float(rollout["values"][place]) for place in places] + [float(rollout["after"])]
    advantages, returns = np.zeros(C), np.zeros(C)
    for k in range(n):
        advantages[places[k]] = math.fsum(
            (gamma * lam) ** (j - k) * (rewards[places[j]] + gamma * values[j + 1] - values[j]) for j in range(k, n)
        )
        # The lambda-return: every n-step return, weighed by (1 - lambda) lambda^(n-1), the last by what is left.
        steps = [
            math.fsum(gamma ** (i - k) * rewards[places[i]] for i in range(k, j + 1))
            + gamma ** (j - k + 1) * values[j + 1]
            for j in range(k, n)
        ]
        weights = [(1 - lam) * lam ** (j - k) for j in range(k, n - 1)] + [lam ** (n - 1 - k)]
        returns[places[k]] = math.fsum(w * s for w, s in zip(weights, steps, strict=True))
    return advantages, returns, np.array([rewards.get(place, 0.0) for place in range(C)])


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (1.0, 1.0), (0.9, 0.8), (0.99, 0.0), (0.0, 0.5)])
def test_a_thousand_sequences(gamma, lam):
    rng = np.random.default_rng(17)
    rollouts = [draw(rng) for _ in range(SEQUENCES)]
    written_BC, values_BC = (np.stack([r[key] for r in rollouts]) for key in ("written", "values"))
    after_B, last_B = (np.array([r[key] for r in rollouts]) for key in ("after", "last"))
    rewards_BC = token_rewards(written_BC, [r["paid"] for r in rollouts], last_B)
    advantages_BC = gae(rewards_BC, values_BC, after_B, written_BC, gamma, lam)
    found = np.stack([advantages_BC, (advantages_BC + values_BC) * written_BC, rewards_BC])
    wanted = np.stack([expected(r, gamma, lam) for r in rollouts], axis=1)

    assert np.abs(found - wanted).max() <= 1e-6
    assert found.dtype == np.float64 and not found[:, ~written_BC].any(), "what tools replied earns and owes nothing"


def test_a_reply_of_a_tool_is_skipped_and_not_a_step():
    written, bare = np.array([[1, 1, 0, 0, 0, 1, 1]], bool), np.ones((1, 4), bool)
    values = np.array([[3.0, 1.0, 70.0, -80.0, 90.0, 2.0, 4.0]])
    without = values[:, written[0]]
    far = gae(token_rewards(written, [[5.0, 1.0]], np.array([2.0])), values, np.array([6.0]), written, 0.9, 0.7)
    # One run of tokens has one turn: give the first turn's reward where it was earned.
    rewards = np.array([[0.0, 5.0, 0.0, 3.0]])
    near = gae(rewards, without, np.array([6.0]), bare, 0.9, 0.7)

    np.testing.assert_allclose(far[:, written[0]], near, rtol=0, atol=1e-12)


def test_explained_variance():
    returns = np.array([0.0, 1.0, 3.0, 2.0])

    assert explained_variance(returns, returns) == 1.0 and explained_variance(returns, returns - 5) == 1.0
    assert explained_variance(returns, np.full(4, 0.7)) == 0.0
    assert explained_variance(returns, -returns) == pytest.approx(-3.0)
    assert math.isnan(explained_variance(np.ones(4), returns)) and math.isnan(
        explained_variance(np.zeros(0), np.zeros(0))
    )
