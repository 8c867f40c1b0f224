"""The audit: each planted mistake is caught by the attack that should, good rewards pass, and nothing hangs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from journeyman.configs.errors import BadInput
from journeyman.envs.arithmetic import Arithmetic
from journeyman.envs.core import Generated
from journeyman.evals.audit import audit
from journeyman.evals.audit_all import audit_all, environment_faults, modules
from journeyman.evals.audit_rules import unlikely
from journeyman.evals.audit_sources import cases_of, defined_rewards, rows_of
from journeyman.rewards import reward
from journeyman.rewards.cases import Case
from scipy.stats import binomtest

PATH = Path(__file__).parent / "bad_rewards.py"
SPEC = importlib.util.spec_from_file_location("bad_rewards", PATH)
bad = importlib.util.module_from_spec(SPEC)
sys.modules["bad_rewards"] = bad
SPEC.loader.exec_module(bad)

ENVIRONMENT = Arithmetic(level=3)


class Flags(Generated):
    """True or false, three times as often false."""

    def generate(self, rng):
        n = rng.randrange(10_000)
        return {"prompt": f"Does 4 divide {n}?", "answer": str(n % 4 == 0)}


# name -> the attacks that must find it; each on rows of an environment unless its cases show more.
CAUGHT = {
    "nan_is_close": {"constants"},
    "substring": {"hedge", "dump"},
    "long_is_good": {"padding"},
    "words_for_numbers": {"types"},
    "mean_of_nothing": {"types"},
    "moody": {"determinism"},
    "first_come": {"gold", "determinism"},
    "digits_only": {"exceptions"},
    "sleeps": {"time"},
    "silence_is_golden": {"noop"},
    "prefix": {"truncated"},
    "adds_up": {"repeat"},
    "echo": {"echo"},
    "no_no": {"padding"},
    "recursive": {"exceptions"},
    "begins_with_it": {"near"},
    "size_alone": {"near"},
    "likes_full_stops": {"near"},
}
BY_CASES = {
    "hidden_exception": {"gold"},
    "capitals": {"gold"},
    "substring": {"hedge", "dump", "wrong"},
    "prefix": {"truncated", "wrong"},
    "digits_only": {"exceptions"},
}


def found(report):
    return {finding.attack for finding in report.defects}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_mistake_is_caught_on_an_environment(name):
    report = audit(getattr(bad, name), ENVIRONMENT, rows=20, seconds=0.3)

    assert CAUGHT[name] <= found(report), "\n".join(report.lines())
    assert all(finding.examples for finding in report.defects if finding.attack in CAUGHT[name])


@pytest.mark.parametrize("name", BY_CASES)
def test_a_planted_mistake_is_caught_by_worked_cases(name):
    assert BY_CASES[name] <= found(audit(getattr(bad, name)))


def test_a_regular_expression_that_backtracks_is_killed_and_reported():
    began = time.perf_counter()
    report = audit(bad.backtracks, ENVIRONMENT, rows=2, seconds=0.3)

    assert "time" in found(report) and "hangs" in next(f for f in report.defects if f.attack == "time").message
    assert time.perf_counter() - began < 30
    assert {row.attack: row.verdict for row in report.rows}["constants"] == "ok", "the rest goes on"


@pytest.mark.parametrize(("searches", "expected"), [("len(text) // 4", {"time"}), ("2500", set())])
def test_time_that_grows_with_the_square_of_the_length_is_reported(searches, expected):
    many = eval(f"lambda text: {searches}")

    @reward
    def searching(completion: str, answer: str) -> float:
        places = range(many(completion) if completion.startswith("aa") else 0)
        return float(completion == answer) + 0 * sum(completion.count("?!", i % len(completion)) for i in places)

    report = audit(searching, ENVIRONMENT, rows=1, attacks=["time"], seconds=10)
    assert found(report) == expected, "\n".join(report.lines())


def test_a_crash_is_reported_and_the_rest_goes_on():
    @reward
    def aborts(completion: str, answer: str) -> float:
        if "<" in completion:
            os.abort()
        return float(completion == answer)

    report = audit(aborts, ENVIRONMENT, rows=3)
    assert found(report) == {"exceptions"} and "takes its process down" in report.defects[0].message


@pytest.mark.parametrize("name", ["good", "good_number"])
def test_good_rewards_pass_on_an_environment_and_on_their_cases(name):
    for report in (audit(getattr(bad, name), ENVIRONMENT, rows=20), audit(getattr(bad, name))):
        assert not report.defects, "\n".join(report.lines())
        assert report.false_negatives.count == 0 and report.false_positives.n > 50
        assert report.untried == 0


def test_a_guess_at_few_answers_is_no_defect_but_nonsense_is():
    @reward
    def lenient(completion: str, answer: str) -> float:
        return float((completion.strip() == "True") == (answer == "True"))

    assert not audit(bad.good, Flags(), rows=40).defects
    report = audit(lenient, Flags(), rows=40)
    constants = next(finding for finding in report.defects if finding.attack == "constants")
    assert "'zzz' on" in constants.message and "'no' on" not in constants.message


def test_a_reward_that_reads_no_gold_is_told_to_be_paired():
    report = audit(bad.in_tags)

    assert not report.defects
    assert any("pair it with a reward" in note.message for note in report.notes)
    wrong = audit(bad.in_tags, cases=[Case({}, right=["1"], wrong=["<answer>1</answer>"])])
    assert found(wrong) == {"gold", "wrong"}


def test_what_the_report_counts():
    report = audit(
        bad.substring, cases=[Case({"answer": "42"}, right=["42"], wrong=["43", "420", "142"])], attacks=["wrong"]
    )

    assert [(row.attack, row.n, row.paid) for row in report.rows] == [("wrong", 3, 2)]
    assert str(report.false_positives) == "2 of 3 (66.7%)" and report.false_negatives.n == 0
    (defect,) = report.defects
    assert defect.message == "2 of 3 wrong completions are paid"
    assert "'420' -> 1" in defect.examples[0] and "right: '42'" in defect.examples[0]
    assert report.as_dict()["defects"][0]["attack"] == "wrong"
    assert any(defect.message in line for line in report.lines())


def test_a_function_with_trls_signature():
    def batched(completions, answer, **kwargs):
        return [float(c[0]["content"].strip() == a) for c, a in zip(completions, answer, strict=True)]

    assert not audit(batched, ENVIRONMENT, rows=5).defects


def test_an_isolated_reward_that_overruns_is_paid_what_it_says_and_noted():
    @reward(isolated=True, timeout=0.2, overrun=0.0)
    def slow_on_braces(completion: str, answer: str) -> float:
        while "{" in completion:
            pass
        return float(completion.strip() == answer)

    report = audit(slow_on_braces, ENVIRONMENT, rows=1, attacks=["gold", "malformed", "time"])
    assert not report.defects
    assert any("earn its overrun" in note.message for note in report.notes)


def test_a_declared_weakness_is_a_note_and_never_excuses_a_failure(monkeypatch):
    monkeypatch.setattr(
        bad, "KNOWN", {"substring": ["hedge", "dump", "retracted", "search", "echo", "wrong"]}, raising=False
    )
    report = audit(bad.substring)

    assert found(report) == {"wrong"}
    messages = {note.attack: note.message for note in report.notes}
    assert messages["hedge"].startswith("declared: pays") and "not found here" in messages["echo"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"reward": bad.moody}, ["'moody' has no worked cases", "--env", "CASES"]),
        ({"reward": bad.good, "attacks": ["gold", "bribe"]}, ["no attack 'bribe'", "constants"]),
        ({"reward": "nowhere:good"}, ["nowhere"]),
        ({"reward": "journeyman.rewards.judge:judge"}, ["makes a reward from arguments"]),
        ({"reward": bad.good, "env": "journeyman.envs.arithmetic:Arithmetic {level: 9}"}, ["levels 1, 2"]),
        ({"reward": bad.good, "env": "journeyman.envs.arithmetic:Arithmetic {lvl: 2}"}, ["no key 'lvl'", "level"]),
        ({"reward": bad.good, "env": "journeyman.envs.arithmetic:Arithmetic [2]"}, ["should be a mapping"]),
        ({"reward": bad.good, "env": "arithmetics"}, ["no job 'arithmetics'", "arithmetic"]),
        (
            {"reward": bad.echo, "cases": [Case({}, right=["1"])]},
            ["case 1 of reward 'echo'", "lacks the column 'answer'"],
        ),
    ],
)
def test_what_can_not_be_audited(arguments, parts):
    with pytest.raises(BadInput) as error:
        audit(**arguments)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("guess", [0.02, 0.25, 0.5, 0.9])
def test_what_a_guesser_could_reach(guess):
    for n in (5, 50, 200):
        for paid in range(0, n + 1, max(1, n // 25)):
            p = binomtest(paid, n, guess, alternative="greater").pvalue
            assert unlikely(paid, n, guess) == (p < 1e-4), (paid, n)


def test_an_environment_whose_rows_change_or_leak_is_found():
    class Drifts(Generated):
        calls = 0

        def generate(self, rng):
            Drifts.calls += 1
            return {"prompt": f"{Drifts.calls}", "answer": "1"}

    class Leaks(Arithmetic):
        def split_of(self, row):
            return "train" if len(row["prompt"]) % 2 else "heldout"

        def tasks(self, split, seed, n=None):
            return super().tasks("train", 0, n)

    assert environment_faults(ENVIRONMENT, rows_of(ENVIRONMENT, 10)) == []
    drifts, leaks = Drifts(), Leaks()
    assert "other rows" in environment_faults(drifts, rows_of(drifts, 10))[0]
    assert "overlap" in environment_faults(leaks, rows_of(leaks, 10))[-1]


@pytest.mark.long
def test_everything_that_ships_is_listed_and_passes():
    import journeyman.envs
    import journeyman.rewards

    sweep = audit_all(rows=10, budget=10)
    listed = {entry.name for entry in sweep.entries}
    shipped = {
        f"{name}:{attribute}"
        for package in (journeyman.rewards, journeyman.envs)
        for name, module, _ in modules(package)
        for attribute in defined_rewards(module)
    }
    assert len(shipped) >= 20 and shipped <= listed
    assert {"journeyman.envs.arithmetic:Arithmetic (configs/arithmetic/job.yaml)"} <= listed
    assert not sweep.defects, "\n".join(sweep.lines())
    passed = {entry.name for entry in sweep.entries if entry.verdict == "passed"}
    for name in ("journeyman.envs.lookup:Lookup", "journeyman.envs.courier:Courier"):  # those with tools, by episodes
        assert any(entry.startswith(name) for entry in passed), name
    assert sweep.counts("reward")["passed"] >= 20


def test_the_suite_knows_the_cases_of_its_own_rewards():
    assert cases_of(bad.good) == bad.NUMBERS


def test_an_interrupted_audit_leaves_no_process(tmp_path):
    """Killed in the middle of a call: the child that makes the call dies with it."""
    mark = tmp_path / "alive"
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from journeyman.evals.audit import audit\nfrom journeyman.rewards import reward\n"
        "from journeyman.rewards.cases import Case\n"
        "def beats(completion, answer):\n"
        f"    while True: open({str(mark)!r}, 'a').write('.'); time.sleep(0.05)\n"
        "audit(reward(beats), cases=[Case({'answer': '1'}, right=['1'])], seconds=60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd="/")
    for _ in range(600):
        time.sleep(0.1)
        if mark.exists() and mark.stat().st_size:
            break
    process.kill()
    process.wait()
    time.sleep(0.3)
    size = mark.stat().st_size
    time.sleep(0.4)
    assert size > 0 and mark.stat().st_size == size
