"""What the model is told of its tool calls: results, errors, and cut-off texts; the rollout goes on after each."""

import contextlib
import threading
import time

import pytest
from journeyman.rewards.core import Scored
from journeyman.rewards.executor import Executor
from journeyman.rewards.mathematics import mathematics
from journeyman.rollouts.record import RecordWriter, read_records
from journeyman.rollouts.tools import cut

TOLD = {
    "an exception": ('{"name": "fail", "arguments": {"why": "no such page"}}', "{'error': 'no such page'}"),
    "a timeout of its own": ('{"name": "fail", "arguments": {"why": "timeout"}}', "{'error': 'timeout'}"),
    "an unknown tool": ('{"name": "dig", "arguments": {}}', "{'error': 'Tool dig not found.'}"),
    "an argument too many": (
        '{"name": "add", "arguments": {"number": 1, "colour": "red"}}', "unexpected keyword argument 'colour'",
    ),
    "an argument too few": ('{"name": "add", "arguments": {}}', "missing 1 required positional argument: 'number'"),
    "an argument of the wrong type": ('{"name": "add", "arguments": {"number": "one"}}', "{'error': "),
    "arguments that are a list": ('{"name": "add", "arguments": [1]}', None),
    "arguments that are a number": ('{"name": "add", "arguments": 1}', None),
    "no arguments at all": ('{"name": "finish"}', None),
    "a name that is no text": (r'{"name": "\udfff", "arguments": {}}', "{'error': 'Tool \ufffd not found.'}"),
    "a name of a control token": ('{"name": "<|im_end|>", "arguments": {}}', "{'error': 'Tool <|im_end|> not found.'}"),
    "a private method": ('{"name": "_made_with", "arguments": {}}', "{'error': 'Tool _made_with not found.'}"),
    "the contract's own": ('{"name": "reset", "arguments": {}}', "{'error': 'Tool reset not found.'}"),
    "an async one that takes too long": (
        '{"name": "wait", "arguments": {"seconds": 9}}', "{'error': 'wait took more than 0.5 s.'}",
    ),
    "one in a thread that takes too long": (
        '{"name": "sleep", "arguments": {"seconds": 5}}', "{'error': 'sleep took more than 0.5 s.'}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "told"), TOLD.values(), ids=TOLD)
def test_what_goes_wrong_is_told_to_the_model_and_the_rollout_goes_on(work, desk, consistent, call, told):
    began = time.perf_counter()
    (rollout,) = work([f"<tool_call>\n{call}\n</tool_call>", "I see"], desk(threads=True), tool_seconds=0.5)

    consistent(rollout)
    assert time.perf_counter() - began < 3.75
    assert rollout.error is None and rollout.stop_reason == "eos"
    if told is not None:
        assert told in rollout.messages[-2]["content"] and rollout.messages[-1]["content"] == "I see"
        assert (rollout.turns, rollout.tool_calls, rollout.tool_errors) == (2, 1, 1)


def nested(depth, start="[", end="]"):
    return start * depth + "1" + end * depth


ODD = [  # what a call's argument may be, and what the tool says of it; None where the call can't be read
    (r'"no \ud800 here"', "no \ufffd here"), (r'[{"\ud800": "\udfff"}]', "[{'\ufffd': '\ufffd'}]"),
    ("NaN", "nan"), ("1e999", "inf"), ("9" * 3000, "9" * 3000), ("9" * 5000, None), (r'["\u0000"]', r"['\x00']"),
    (nested(90), nested(90)), (nested(101), None), (nested(480), None), (nested(900, '{"a":', "}"), None), (nested(1500), None),
]  # fmt: skip


@pytest.mark.parametrize(("argument", "told"), ODD, ids=[f"{argument:.20}" for argument, _ in ODD])
def test_no_argument_ends_the_run_or_keeps_a_rollout_from_its_record_and_its_rewards(
    work, desk, tmp_path, argument, told
):
    call = f'{{"name": "say", "arguments": {{"text": {argument}}}}}'
    (rollout,) = work([f"<tool_call>\n{call}\n</tool_call>", "I see"], desk(), max_tokens=20_000, observation=10_000)

    assert rollout.error is None and rollout.tool_calls == (told is not None)
    if told is not None:
        assert rollout.messages[-2]["content"] == told
    with contextlib.closing(RecordWriter(tmp_path, "train")) as writer:
        writer.write([rollout])
    (read,) = read_records(tmp_path)
    assert len(read.messages) == len(rollout.messages)
    with Executor([mathematics]) as executor:  # scored in a process of its own
        assert executor.score([Scored({"answer": "42"}, rollout.messages)]).of_reward("mathematics") == [0.0]


def test_a_result_that_can_not_be_written_is_an_error_for_the_model(work, calling):
    calls = [calling("add", number=9 * 10**4299), calling("add", number=10**4299), "I see"]  # 4,301 digits in all
    (rollout,) = work(calls, max_tokens=20_000)

    assert rollout.error is None and rollout.tool_errors == 1
    assert "Exceeds the limit" in rollout.messages[-2]["content"]


@pytest.mark.parametrize(
    "text", ["<tool_call>\n{not json}\n</tool_call>", "<tool_call>", '{"name": "add"}', "</tool_call>"]
)
def test_a_call_that_cannot_be_read_is_an_answer_like_any_other(work, consistent, text):
    (rollout,) = work([text, "never said"])

    assert consistent(rollout) == [text + "<|im_end|>"]
    assert rollout.stop_reason == "eos" and rollout.turns == 1 and rollout.messages[-1]["role"] == "assistant"


def test_synchronous_tools_run_in_threads_only_where_that_is_allowed(work, calling, desk):
    here = threading.current_thread().name
    for threads in (False, True):
        (rollout,) = work([calling("sleep", seconds=0), "done"], desk(threads=threads))
        assert (rollout.messages[-2]["content"] == f"slept in {here}") is not threads


def test_many_threads_at_once_and_one_that_hangs_holds_up_nobody(work, calling, desk):
    began = time.perf_counter()
    rollouts = work(
        lambda r: "done" if r.turn else calling("sleep", seconds=8 if r.stream[2] == 0 else 0.2),
        desk(threads=True), n=40, tool_seconds=2.0,
    )  # fmt: skip

    assert time.perf_counter() - began < 6, "not even the end of the batch waits for the thread that hangs"
    assert [r.tool_errors for r in rollouts] == [1] + [0] * 39


def test_a_long_reply_is_cut_and_says_so(work, calling, chat):
    (rollout,) = work([calling("say", text="abc ", times=500), "done"], observation=50)
    told = rollout.messages[-2]["content"]
    text, note = told.rsplit("\n", 1)

    assert ("abc " * 500).startswith(text) and len(chat.ids(text)) == 50
    assert note == f"[cut: 50 of {len(chat.ids('abc ' * 500))} tokens]"


@pytest.mark.parametrize("text", ["", "a" * 10, "🎉" * 10, "🎉" * 3, "é" * 9])
def test_tokens_are_counted_where_characters_are_many_tokens(chat, text):
    length = len(chat.ids(text))

    assert (cut(text, 10, chat) == text) == (length <= 10)
    assert len(chat.ids(cut(text, 10, chat).rsplit("\n[cut: ", 1)[0])) <= 10 + 3
