"""`journeyman audit`: exit codes, what it prints, and the three tasks of reasoning-gym that pay for nonsense."""

from __future__ import annotations

import json

import pytest

MINE = """
from journeyman.rewards import reward
from journeyman.rewards.cases import Case

@reward
def contains(completion: str, answer: str) -> float:
    return float(answer in completion)

@reward
def exact(completion: str, answer: str) -> float:
    return float(completion.strip() == answer)

CASES = {name: [Case({"answer": "42"}, right=["42"], wrong=["43"])] for name in ("contains", "exact")}
"""
ARITHMETIC = "journeyman.envs.arithmetic:Arithmetic {level: 2}"


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_sound_reward_exits_with_0_and_a_gameable_one_with_1(command, mine):
    good = command("audit", f"{mine}:exact", "--env", ARITHMETIC, "--rows", 10)
    assert good.code == 0 and "0 defects" in good.out and "10 tasks from " in good.out

    bad = command("audit", f"{mine}:contains")
    assert bad.code == 1 and "1 task from worked cases" in bad.out
    assert "defect, hedge: pays 3 of 3 hedges in full" in bad.out and "'42 or 97' -> 1" in bad.out


def test_a_jobs_own_rewards_are_audited(command, tiny):
    done = command("audit", "--env", tiny, "--rows", 10, "--attack", "gold,constants")
    assert "exact: 10 tasks" in done.out and "close: 10 tasks" in done.out


def test_a_job_with_tools_is_audited_by_episodes_under_a_seed(command):
    done = command("audit", "--env", "lookup", "--rows", 6, "--attack", "gold,state,spare,search", "--seed", 5)
    assert done.code == 0 and "0 defects" in done.out
    assert "search: seed 5, " in done.out
    assert [line.split()[0] for line in done.out.splitlines() if line.endswith("ok")] == [
        "gold",
        "state",
        "spare",
        "search",
    ]


def test_what_was_not_tried_is_printed_with_the_reason(command, mine):
    done = command("audit", f"{mine}:exact", "--attack", "gold,echo,fields")
    assert "not tried:\n    echo: needs prompts\n    fields: needs right answers that are JSON" in done.out


def test_json_holds_the_whole_report(command, mine):
    done = command("audit", f"{mine}:contains", "--attack", "gold,hedge", "--json")
    (report,) = json.loads(done.out)
    assert done.code == 1
    assert [row["attack"] for row in report["rows"]] == ["gold", "hedge"]
    assert report["defects"][0]["attack"] == "hedge" and report["defects"][0]["examples"]


@pytest.mark.parametrize(
    ("task", "attack", "message"),
    [
        ("coin_flip", "constants", "'0' on"),
        ("complex_arithmetic", "constants", "'nan' on 50 of 50"),
        ("game_of_life_halting", "constants", "'zzz' on 50 of 50"),
    ],
)
def test_tasks_of_reasoning_gym_that_pay_for_nonsense_are_flagged(command, task, attack, message):
    pytest.importorskip("reasoning_gym")
    env = f"journeyman.envs.reasoning_gym:ReasoningGym {{task: {task}}}"
    done = command("audit", "--env", env, "--attack", f"gold,{attack}", "--json")
    (report,) = json.loads(done.out)

    assert done.code == 1 and report["false_negatives"]["count"] == 0
    (defect,) = report["defects"]
    assert defect["attack"] == attack and message in defect["message"]


def test_variants_are_each_listed(command, tmp_path):
    path = tmp_path / "family.py"
    path.write_text(
        MINE
        + """
import time
from journeyman.envs.core import Generated

class Family(Generated):
    def __init__(self, digits=1):
        super().__init__()
        if digits > 3:
            time.sleep(60)
        self.digits = digits

    def generate(self, rng):
        n = rng.randrange(10**self.digits, 10 ** (self.digits + 1))
        return {"prompt": f"repeat {n}", "answer": str(n)}

    @classmethod
    def variants(cls):
        yield from ({"digits": digits} for digits in (2, 3, 4))
"""
    )
    from journeyman.evals.audit_variants import audit_variants

    sweep = audit_variants(f"{path}:Family", rows=5, budget=8)
    assert [entry.verdict for entry in sweep.entries] == ["DEFECTS", "DEFECTS", "not audited"]
    assert sweep.brief()[0].startswith("2  DEFECTS") and "hedge" in sweep.brief()[0]
    assert sweep.brief()[-2] == "3 environments: 2 defects, 1 not audited"


WORDS = {
    "nothing to audit": ([], ["nothing to audit", "--all"]),
    "no such reward": (["nowhere:exact"], ["nowhere"]),
    "no such attack": (["journeyman.rewards.match:exact", "--attack", "bribes"], ["no attack 'bribes'"]),
    "no rows": (["journeyman.rewards.match:exact", "--rows", "0"], ["--rows 0"]),
    "all and one": (["journeyman.rewards.match:exact", "--all"], ["--all audits everything"]),
    "no such job": (["--env", "arithmetics"], ["no job 'arithmetics'", "did you mean 'arithmetic'"]),
    "an environment without rewards": (["--env", ARITHMETIC], ["no reward goes with this class"]),
    "no variants": (["--env", "journeyman.envs.arithmetic:Arithmetic", "--variants"], ["has no variants()"]),
    "variants of nothing": (["--variants"], ["--variants goes with --env"]),
    "variants and attacks": (["--env", ARITHMETIC, "--variants", "--attack", "gold"], ["all attacks are made"]),
    "no name of an attack": (["journeyman.rewards.match:exact", "--attack", ""], ["no attack ''"]),
    "seconds without end": (["journeyman.rewards.match:exact", "--seconds", "inf"], ["--seconds inf", "at most"]),
    "episodes without tools": (
        ["journeyman.rewards.match:exact", "--attack", "state"],
        ["state: needs an environment with"],
    ),
}


@pytest.mark.parametrize(("words", "parts"), WORDS.values(), ids=WORDS)
def test_what_can_not_be_audited_is_one_line(command, words, parts):
    done = command("audit", *words)
    (line,) = done.err.splitlines()
    assert done.code == 2 and line.startswith("journeyman: ")
    for part in parts:
        assert part in line
