"""The audit of what completions claim: notes, retractions, denials, documents, contradictions; and the search over changes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from journeyman.configs.errors import BadInput
from journeyman.envs.arithmetic import Arithmetic
from journeyman.envs.core import Generated, Rows
from journeyman.evals.audit import audit
from journeyman.rewards import reward
from journeyman.rewards.cases import Case
from journeyman.rewards.length import length

if (
    "bad_rewards" not in sys.modules
):  # another test file may have loaded it, and worked cases are looked up by this name
    SPEC = importlib.util.spec_from_file_location("bad_rewards", Path(__file__).parent / "bad_rewards.py")
    sys.modules["bad_rewards"] = importlib.util.module_from_spec(SPEC)
    SPEC.loader.exec_module(sys.modules["bad_rewards"])
bad = sys.modules["bad_rewards"]


class Boxed(Arithmetic):
    """Arithmetic whose oracle answers in a box."""

    def oracle(self, row):
        return f"\\boxed{{{row['answer']}}}"


class Tickets(Generated):
    """A document for an answer: a label, a reason that the prompt gives, a count, how sure."""

    def generate(self, rng):
        n, label = rng.randrange(2, 90), rng.choice(["refund", "delivery", "invoice", "login"])
        why = rng.choice(["it came broken", "it came late", "nobody told me"])
        gold = {"label": label, "why": why, "count": n, "sure": 1.0}
        told = " ".join(reversed(why.split()))
        prompt = f"Ticket {rng.randrange(10**6)}: {n} times {label} and {told} again"
        return {"prompt": prompt, "answer": json.dumps(gold)}


class Tagged(Arithmetic):
    """Arithmetic with a list among its columns."""

    def finished(self, row, index):
        return {**super().finished(row, index), "tags": ["a", "b"]}


class Contradicting(Rows):
    """Two clerks who disagree on every third question."""

    def rows(self):
        plain = [{"prompt": f"Is {n} a good number?", "answer": str(n % 7), "clerk": 1} for n in range(60)]
        return [*plain, *({**row, "answer": "yes", "clerk": 2} for row in plain[::3])]


class Agreeing(Contradicting):
    """The same without the second clerk."""

    def rows(self):
        return [row for row in super().rows() if row["clerk"] == 1]


PLAIN = Arithmetic(level=3)
BOXED, TICKETS, TAGGED, CLERKS = Boxed(level=3), Tickets(), Tagged(level=3), Contradicting()

# planted reward -> (where it is caught, by which attack, what is said of it)
CAUGHT = {
    "believes_what_it_is_told": (PLAIN, "note", "a note, after a wrong answer on 12 of 12"),
    "any_statement": (PLAIN, "retracted", "a sentence on 12 of 12"),
    "number_in_the_box": (BOXED, "denied", "is wrong, in LaTeX on 12 of 12"),
    "first_box": (BOXED, "named", "12 of 12 honest answers lose their marks: before"),
    "words_in_common": (TICKETS, "fields", "text fields hold the prompt on 12 of 12"),
    "begins_alike": (TICKETS, "fields", "'label', then (this is wrong) on 12 of 12"),
    "calibrated": (TICKETS, "fixed", "numbers 0.5 on"),
    "whole_numbers": (TICKETS, "output", "whole numbers and 0.9 on 12 of 12"),
    "not_far_off": (TICKETS, "output", "numbers are NaN on 12 of 12"),
    "takes_away": (TAGGED, "inputs", "changes its row or messages on"),
    "good": (CLERKS, "conflict", "their answers contradict each other"),
    "manners": (PLAIN, "search", "steps before"),
}
SPARED = {"good": PLAIN, "good_number": PLAIN, "good_box": BOXED, "good_document": TICKETS}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_mistake_is_caught_with_its_evidence(name):
    env, attack, message = CAUGHT[name]
    attacks = None if attack == "inputs" else ["gold", attack]
    report = audit(getattr(bad, name), env, rows=12, attacks=attacks)
    finding = next((f for f in report.defects if f.attack == attack), None)

    assert finding is not None and message in finding.message, "\n".join(report.lines())
    assert finding.examples


@pytest.mark.parametrize("name", SPARED)
def test_good_rewards_are_spared(name):
    report = audit(
        getattr(bad, name),
        SPARED[name],
        rows=12,
        attacks=["gold", "note", "retracted", "denied", "named", "fields", "fixed", "output", "search"],
    )
    assert not report.defects, "\n".join(report.lines())


def test_rows_without_contradictions_are_spared():
    report = audit(bad.good, Agreeing(), rows=12, attacks=["gold", "conflict"])
    assert not report.defects and report.not_tried["conflict"].startswith("needs two tasks with the same prompt")


def test_a_search_is_shortened_to_the_fewest_changes_and_comes_out_the_same_again():
    first, again = (audit(bad.manners, PLAIN, rows=12, attacks=["gold", "search"], seed=3) for _ in range(2))
    (defect,) = first.defects
    recipe = defect.message.removeprefix("pays ").split(" on ")[0]
    assert sorted(recipe.split(" + ")[1:]) == ["a citation after", "steps before"]
    assert first.searched.startswith("search: seed 3, ") and first.searched == again.searched
    assert first.findings == again.findings


def test_a_property_alone_makes_the_calls_that_it_is_about():
    assert {f.attack for f in audit(bad.moody, PLAIN, rows=6, attacks=["determinism"]).defects} == {"determinism"}
    assert {f.attack for f in audit(bad.words_for_numbers, PLAIN, rows=2, attacks=["types"]).defects} == {"types"}


def test_what_a_call_breaks_is_said_whatever_attack_made_it():
    report = audit(bad.digits_only, PLAIN, rows=6, attacks=["digits"])
    assert "exceptions" in {f.attack for f in report.defects}


def test_a_reward_that_asks_for_token_ids_is_given_some():
    report = audit(length.binding(limit=3, margin=0), PLAIN, rows=3, attacks=["gold", "padding"])
    assert report.paid_something and "token ids" in report.not_tried
    assert next(row for row in report.rows if row.attack == "padding").mean < -0.5


class Silent(Arithmetic):
    """Its oracle knows nothing."""

    def oracle(self, row):
        raise NotImplementedError("no oracle")


class Half(Arithmetic):
    """Its oracle knows every other task."""

    def oracle(self, row):
        return {0: row["answer"]}[row["index"] % 2]


class Broken(Arithmetic):
    """Its oracle has a mistake."""

    def oracle(self, row):
        return len(row["answer"])


class Remembers(Arithmetic):
    """A reward reads from it which task it is at."""

    def reset(self, **row):
        self.gold = row["answer"]


def test_an_oracle_that_knows_nothing_is_said_and_is_no_pass():
    silent = audit(bad.good, Silent(level=3), rows=5)
    assert "no right answer was tried" in silent.blind and "no oracle" in silent.not_tried["gold"]
    assert any("not tried:" in line for line in silent.lines())
    half = audit(bad.good, Half(level=3), rows=6, attacks=["gold"])
    assert not half.defects and "gives no right answer on 3 of 6 rows" in half.notes[0].message
    broken = audit(bad.good, Broken(level=3), rows=5)
    assert "the oracle breaks on 5 of 5 rows" in broken.defects[0].message


def test_an_environment_without_tools_is_reset_to_the_row_that_is_scored():
    @reward
    def as_it_remembers(completion: str, environment: object) -> float:
        return float(completion.strip() == environment.gold)

    assert not audit(as_it_remembers, Remembers(level=3), rows=6).defects


def test_a_column_that_is_never_filled_is_said():
    def misspelt(completion: str, anwser: str = "") -> float:
        return float(completion.strip() == anwser)

    report = audit(reward(misspelt), PLAIN, rows=3, attacks=["gold"])
    assert "did you mean 'answer'" in report.not_tried["the column 'anwser'"]


class Ragged(Arithmetic):
    """One row lacks a column."""

    def finished(self, row, index):
        row = super().finished(row, index)
        return row if index != 4 else {key: value for key, value in row.items() if key != "answer"}

    def oracle(self, row):
        return row.get("answer", "0")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"env": Ragged(level=3)}, ["column 'answer'", "row 4"]),
        ({"cases": [Case({"answer": "42"}, right="42")]}, ["case 1", "right is '42'", "a list of texts"]),
        ({"cases": [Case({"answer": "42"}, right=["42"], wrong=["42"])]}, ["case 1", "as right and as wrong"]),
        (
            {"cases": [Case({"answer": "42"}, right=["42"])], "attacks": ["echo"]},
            ["nothing could be tried", "needs prompts"],
        ),
        ({"env": PLAIN, "attacks": [""]}, ["no attack ''"]),
    ],
)
def test_what_can_not_be_audited_is_refused(arguments, parts):
    with pytest.raises(BadInput) as error:
        audit(bad.good, **arguments)
    for part in parts:
        assert part in str(error.value)
