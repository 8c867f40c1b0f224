"""The audit of whole episodes: each planted environment is caught, good ones and those that ship are spared."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Literal

import pytest
from journeyman.configs.errors import BadInput
from journeyman.envs.courier import Courier, arrival
from journeyman.envs.lookup import Lookup
from journeyman.evals.audit import audit
from journeyman.evals.audit_all import audit_job
from journeyman.evals.audit_episodes import EPISODES
from journeyman.evals.audit_play import play, turn_of
from journeyman.evals.audit_policies import arguments, given_away, script
from journeyman.evals.audit_sources import Job, rewards_of
from journeyman.rewards.entries import environment_reward
from journeyman.rewards.match import exact

SPEC = importlib.util.spec_from_file_location("bad_environments", Path(__file__).parent / "bad_environments.py")
bad = importlib.util.module_from_spec(SPEC)
sys.modules["bad_environments"] = bad
SPEC.loader.exec_module(bad)

# planted environment -> (reward, the attack that finds it, what is said of it)
CAUGHT = {
    "Leaves": ("opened", "state", "nothing is done, after an episode that was won on 6 of 6"),
    "Shares": ("opened", "state", "go another way alongside another episode"),
    "PaysPatience": ("opened", "idle", "says it is done, and calls nothing on 6 of 6"),
    "PaysTrying": ("opened", "calls", "each tool once, empty on 6 of 6"),
    "Tells": ("opened", "revealed", "submit, then what it replied (1) on 6 of 6"),
    "Writes": ("opened", "artifact", "the document empty on 6 of 6"),
    "Fragile": ("opened", "exceptions", "EnvironmentFailed"),
    "Vault": ("second_message", "spare", "6 of 6 honest answers lose their marks"),
}


def found(report):
    return {finding.attack for finding in report.defects}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_mistake_is_caught_by_episodes(name):
    of, attack, message = CAUGHT[name]
    reward = getattr(bad, of)
    # The environment decides alone whether it is judged: what it pays by itself reads no gold.
    report = audit(reward, getattr(bad, name)(), rows=6, attacks=["gold", *EPISODES])
    finding = next((f for f in report.findings if f.attack == attack), None)

    assert finding is not None and message in finding.message, "\n".join(report.lines())
    assert finding.defect, "\n".join(report.lines())
    assert finding.examples


def test_an_episode_that_hangs_is_killed_and_the_rest_goes_on():
    began = time.perf_counter()
    report = audit(bad.opened, bad.Sleeps(), rows=1, attacks=["calls"], seconds=0.2)
    assert any(f.attack == "time" and "hangs" in f.message for f in report.defects)
    assert time.perf_counter() - began < 60


@pytest.mark.parametrize(
    ("reward", "env"),
    [
        (bad.opened, bad.Vault()),
        (bad.any_call, bad.Vault()),
        (bad.opened, bad.Asynchronous()),
        (arrival, Courier()),
        (environment_reward, Courier()),
        (exact, Lookup()),
    ],
    ids=["vault", "vault by its calls", "asynchronous", "arrival", "courier", "lookup"],
)
def test_good_environments_are_spared(reward, env):
    report = audit(reward, env, rows=6, attacks=["gold", *EPISODES])
    assert not report.defects, "\n".join(report.lines())
    assert report.false_negatives.n == 6 and report.false_negatives.count == 0


def test_answers_after_an_episode_are_attacked_too():
    report = audit(exact, Lookup(), rows=6, attacks=["hedge", "noop"])
    assert {row.attack: row.verdict for row in report.rows} == {"hedge": "ok", "noop": "ok"}
    silent = audit(arrival, Courier(), rows=3, attacks=["gold", "hedge"])
    assert "the episodes tell" in silent.not_tried["hedge"]


def test_what_could_not_be_played_is_said_with_the_reason():
    report = audit(bad.opened, bad.Untaught(), rows=3)
    assert "no oracle was written" in report.not_tried["spare"] and "no oracle was written" in report.not_tried["gold"]
    assert (
        "hands in a document"
        in audit(bad.opened, bad.Vault(), rows=3, attacks=["gold", "artifact"]).not_tried["artifact"]
    )
    with pytest.raises(BadInput, match=r"nothing could be tried .*idle: needs an environment with tools"):
        audit("journeyman.rewards.match:exact", attacks=["idle"])


def test_what_turns_earn_is_audited_as_well():
    assert [reward.name for reward in rewards_of(Job("courier", Courier(), [arrival]))] == ["arrival", "step_rewards"]
    entry = audit_job("Courier", "here", lambda: Job("courier", Courier(), [arrival]), 4, 5.0, 20.0)
    assert entry.verdict == "passed" and len(entry.audits) == 2, entry


def test_an_episode_is_played_by_the_contract_of_a_run():
    env, row = bad.Vault(), bad.Vault().tasks("train", 0, 1)[0]
    two = turn_of(bad.call("look", name="x") + bad.call("submit", code="1"))
    assert [name for name, _ in two.calls] == ["look", "submit"] and two.text == ""
    played = play(env, row, script([two, turn_of("so be it")]), bad.opened)
    assert played.replies == ["there is no such vault", "it stays shut"] and played.said == "so be it"
    assert [message["role"] for message in played.messages] == ["assistant", "tool", "tool", "assistant"]
    endless = play(env, row, lambda messages: two, bad.opened)
    assert not endless.ended and len(endless.turns) == env.limits.turns
    assert len(endless.replies) == 2 * (env.limits.turns - 1), "the tools that the last turn calls are not run"


def test_the_least_that_a_signature_takes():
    def tool(a: str, b: int, c: Literal["x", "y"], d: list[str], e: float | None, f: bool, g: str = "z") -> str:
        return ""

    assert arguments(tool, "t") == {"a": "t", "b": 0, "c": "x", "d": [], "e": 0.0, "f": False}


@pytest.mark.parametrize(
    ("reply", "first"), [("the code is 42.", "42"), ("answer: 'Oslo'", "Oslo"), ("wrong", "wrong"), ("", "")]
)
def test_what_a_reply_gives_away(reply, first):
    assert given_away(reply)[0] == first
