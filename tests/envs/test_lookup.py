"""Lookup: the register shows through its tools alone, the oracle finds its way, and the clerk errs as often as is said."""

from __future__ import annotations

import asyncio
import re

import pytest
from journeyman.configs.errors import BadInput
from journeyman.envs.core import SPLITS, Limits, check_disjoint, tools_of
from journeyman.envs.lookup import CLERK_RIGHT, FIELDS, HABIT, IDS, NAMES, Lookup
from journeyman.rewards.match import exact
from journeyman.rollouts.chat import Chat
from journeyman.rollouts.scoring import as_scored
from journeyman.rollouts.scripted import demonstrated, oracle_rollouts, worked
from journeyman.rollouts.tools import call_tools
from journeyman.trainers.nano import apart, dialogues
from journeyman.trainers.tokenizer import train_tokenizer

JOB = Lookup()


@pytest.fixture(scope="module")
def chat():
    """A tokenizer that has read demonstrations, as the embedded model's has."""
    texts = [part for text in dialogues(JOB, JOB.tasks("demonstrations", 0, 100)) for part in apart(text, JOB.labels)]
    chat = Chat(train_tokenizer(texts, JOB.labels, 768))
    chat.learn_to_parse()
    return chat


def marks(rollouts, rows):
    return exact.score([as_scored(rollout, row) for rollout, row in zip(rollouts, rows, strict=True)])


@pytest.mark.parametrize("people", [1, 4, 20])
def test_the_oracle_earns_full_marks_by_two_calls(chat, people):
    job = Lookup(people=people)
    rows = job.tasks("train", 3, 40)
    rollouts = oracle_rollouts(job, chat, rows)

    assert marks(rollouts, rows) == [1.0] * 40
    for rollout, row in zip(rollouts, rows, strict=True):
        assert (rollout.turns, rollout.tool_calls, rollout.tool_errors, rollout.stop_reason) == (3, 2, 0, "eos")
        first, last = (message["content"] for message in rollout.messages if message["role"] == "tool")
        assert row["register"][first]["name"] == row["name"] and last == row["answer"] == job.oracle(row)


@pytest.mark.parametrize("answer", ["", "I don't know", "city", "r10"])
def test_other_answers_earn_nothing(chat, answer):
    rows = JOB.tasks("train", 0, 20)

    assert marks(worked(JOB, chat, rows, lambda row, request: answer, 64), rows) == [0.0] * 20


def test_what_is_asked_for_does_not_show_in_the_prompt(chat):
    for rollout, row in zip(oracle_rollouts(JOB, chat, rows := JOB.tasks("heldout", 0, 100)), rows, strict=True):
        shown = set(re.findall(r"\w+", chat.tokenizer.decode(rollout.prompt_ids)))
        assert {row["name"], row["field"]} <= shown
        assert not shown & ({*IDS, *NAMES, *(t for texts in FIELDS.values() for t in texts)} - {row["name"]})


def test_a_text_tells_its_field_and_every_word_is_a_token(chat):
    assert len(JOB.labels) == len(set(JOB.labels))
    assert {len(chat.ids(word)) for word in JOB.labels} == {1}


def test_a_dialogue_is_short(chat):
    for rollout in demonstrated(JOB, chat, JOB.tasks("validation", 0, 50)):
        assert len(rollout.prompt_ids) + len(rollout.completion_ids) <= 64
        assert sum(rollout.env_mask) == 16


def test_splits_share_no_task_and_no_register():
    splits = {split: JOB.tasks(split, 0, 300) for split in SPLITS}
    check_disjoint(splits)
    registers = [str(row["register"]) for rows in splits.values() for row in rows]

    assert len(registers) == len(set(registers)) == 1200


def test_a_seed_gives_the_same_rows_and_another_seed_others():
    assert Lookup().tasks("train", 1, 50) == JOB.tasks("train", 1, 50)
    one, other = ({row["item"] for row in JOB.tasks("train", seed, 200)} for seed in (1, 2))
    assert not one & other


@pytest.mark.parametrize("people", [0, 31, "four", True])
def test_a_number_of_people_out_of_range(people):
    with pytest.raises(BadInput, match=r"people is .* from 1 to 30"):
        Lookup(people=people)


def test_registers_hold_each_name_and_id_once():
    for row in JOB.tasks("train", 0, 200):
        people = list(row["register"].values())
        assert len({person["name"] for person in people}) == len(people) == 4
        assert all(person[field] in texts for person in people for field, texts in FIELDS.items())
        assert [p[row["field"]] for p in people if p["name"] == row["name"]] == [row["answer"]]


REGISTER = {
    "r10": {"name": "Mara", "city": "Oslo", "craft": "dyer", "pet": "cat", "drink": "tea"},
    "r11": {"name": "Hugo", "city": "Rome", "craft": "mason", "pet": "dog", "drink": "milk"},
}


@pytest.mark.parametrize(
    ("tool", "arguments", "reply", "errors"),
    [
        ("search", {"name": "Hugo"}, "r11", 0),
        ("read", {"id": "r11", "field": "pet"}, "dog", 0),
        ("search", {"name": "Maria"}, "nobody is called 'Maria'; did you mean 'Mara'? (names: Hugo, Mara)", 1),
        ("search", {"name": 7}, "nobody is called '7' (names: Hugo, Mara)", 1),
        ("read", {"id": "r12", "field": "pet"}, "no record has the id 'r12'; search(name) returns the id", 1),
        ("read", {"id": "r10", "field": "town"}, "records have no field 'town' (fields: city, craft, pet, drink)", 1),
        ("read", {"id": "r10", "field": "pets"}, "records have no field 'pets'; did you mean 'pet'?", 1),
        ("read", {"id": "r10", "field": "name"}, "records have no field 'name'", 1),
        ("read", {"id": ["r10"], "field": "pet"}, "unhashable", 1),
        ("search", {}, "missing 1 required positional argument: 'name'", 1),
        ("reset", {}, "Tool reset not found", 1),
    ],
)
def test_the_tools_answer_and_say_what_was_wrong(chat, tool, arguments, reply, errors):
    job = Lookup()
    job.reset(register=REGISTER, prompt="", answer="")
    tools = {tool.__name__: tool for tool in tools_of(job)}
    call = {"type": "function", "function": {"name": tool, "arguments": arguments}}
    replies = asyncio.run(call_tools([call], job, tools, Limits(), chat))

    assert sorted(tools) == ["read", "search"]
    assert reply in replies.messages[0]["content"] and replies.errors == errors


def test_the_clerk_is_right_as_often_as_is_said_and_wrong_by_habit(chat):
    rows = JOB.tasks("demonstrations", 0, 1000)
    right = marks(rollouts := demonstrated(JOB, chat, rows), rows)
    asked = {
        field: [(mark, rollout) for mark, rollout, row in zip(right, rollouts, rows, strict=True) if row["field"] == field]
        for field in FIELDS
    }  # fmt: skip

    assert sum(right) / len(right) == pytest.approx(CLERK_RIGHT, abs=0.047)  # three standard errors
    assert all(rollout.stop_reason == "eos" and rollout.tool_errors == 0 for rollout in rollouts)
    for field, cases in asked.items():
        share = sum(mark for mark, _ in cases) / len(cases)
        assert share < 0.35 if field in HABIT else share > 0.6
    for field, instead in HABIT.items():
        read = [rollout.messages[-3]["tool_calls"][0]["function"]["arguments"]["field"] for _, rollout in asked[field]]
        assert read.count(instead) > 0.5 * len(read)


def test_demonstrations_follow_from_the_task_alone(chat):
    rows = JOB.tasks("demonstrations", 0, 50)
    once, again = (demonstrated(Lookup(), chat, part) for part in (rows, list(reversed(rows))))

    assert [rollout.messages for rollout in once] == [rollout.messages for rollout in reversed(again)]
