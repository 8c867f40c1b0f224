"""The loop of turns and tools, by scripted policies: what it writes into the record, and how each limit ends it."""

import asyncio
import time

import pytest
from journeyman.configs import BadInput
from journeyman.envs.core import Generated
from journeyman.rewards import reward
from journeyman.rewards.executor import Executor
from journeyman.rollouts.engine import Request, Sampling
from journeyman.rollouts.pool import Pool
from journeyman.rollouts.scoring import scored_rollouts
from journeyman.rollouts.scripted import ScriptedEngine, oracle_rollouts

REPLY = "\n<|im_start|>user\n<tool_response>\n{}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"


def test_turns_and_replies_stand_one_after_another_and_only_turns_are_the_policys(work, calling, consistent, chat):
    turns = [calling("add", number=2), calling("wait", seconds=0.01), "It is " + calling("add", number=3), "5"]
    (rollout,) = work(turns)

    replies = [REPLY.format(text) for text in ("2", "waited 0.01", "5")]
    written = [turn + "<|im_end|>" for turn in turns]
    assert consistent(rollout) == [text for pair in zip(written, replies, strict=False) for text in pair] + written[3:]
    assert chat.tokenizer.decode(rollout.prompt_ids).endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert '"name": "break_down"' in chat.tokenizer.decode(rollout.prompt_ids), "the tools are described"
    assert [m["role"] for m in rollout.messages] == ["user", *["assistant", "tool"] * 3, "assistant"]
    assert (rollout.stop_reason, rollout.turns, rollout.tool_calls, rollout.tool_errors) == ("eos", 4, 3, 0)
    assert rollout.tokens_in == sum(
        len(rollout.prompt_ids) + sum(len(chat.ids(t + r)) for t, r in zip(written[:turn], replies[:turn], strict=True))
        for turn in range(4)
    )
    assert rollout.latency_s > 0 and rollout.error is None


def test_a_turn_may_call_several_tools(work, calling, consistent):
    calls = "\n".join(calling("add", number=n) for n in (1, 2)) + "\n" + calling("wait", seconds=0)
    (rollout,) = work([calls, "done"])
    (_, reply, _) = consistent(rollout)

    assert [m["content"] for m in rollout.messages if m["role"] == "tool"] == ["1", "3", "waited 0"]
    assert reply.count("<tool_response>") == 3 and rollout.tool_calls == 3


def test_every_turn_is_asked_with_all_that_came_before_and_a_stream_of_its_own(work, calling, chat):
    asked: list[Request] = []

    def script(request):
        asked.append(request)
        return "end" if request.turn == 2 else calling("add", number=1)

    (rollout,) = work(script)
    ids = rollout.prompt_ids + rollout.completion_ids
    assert [(r.stream, r.turn) for r in asked] == [((5, 3, 0), turn) for turn in range(3)]
    assert all(list(r.prompt_ids) == ids[: len(r.prompt_ids)] for r in asked)
    assert asked[2].messages[-1] == {"role": "tool", "name": "add", "content": "2"}


@pytest.mark.parametrize("threads", [False, True])
def test_tools_of_many_rollouts_run_beside_one_another(work, calling, desk, threads):
    env = desk(threads=threads)
    tool = "sleep" if threads else "wait"
    turns = [calling(tool, seconds=0.2)] * 3 + ["done"]
    work(turns, env, n=2)
    began = time.perf_counter()
    rollouts = work(turns, env, n=64)
    seconds = time.perf_counter() - began

    assert seconds < 6, "one after another it would be 64 x 3 x 0.2 = 38 s; together 0.6"
    assert all(r.tool_calls == 3 and r.stop_reason == "eos" for r in rollouts)
    assert threads or env.notes["most"] > 16
    if not threads:
        assert all("slept in" not in str(r.messages) for r in rollouts)


def test_nobody_waits_for_the_slowest(work, calling):
    order = []
    work(
        lambda r: f"{r.stream[2]}" if r.turn else calling("wait", seconds=0.2 if r.stream[2] == 0 else 0.0),
        n=4, on_finished=lambda i, rollout, env: order.append((i, rollout.messages[-1]["content"])),
    )  # fmt: skip

    assert order == [(1, "1"), (2, "2"), (3, "3"), (0, "0")]


def test_a_tool_may_say_that_there_is_nothing_left_to_do(work, calling, consistent):
    (rollout,) = work([calling("add", number=1), calling("finish"), "never said"])
    parts = consistent(rollout)

    assert rollout.stop_reason == "eos" and rollout.turns == 2 and rollout.tool_calls == 2
    assert rollout.messages[-1] == {"role": "tool", "name": "finish", "content": "bye"}
    assert parts[-1].startswith("<tool_call>") and len(parts) == 3


def test_the_next_rollout_at_the_same_desk_is_not_done_yet(work, calling, desk):
    env = desk()
    pool = Pool(env)
    for _ in range(2):
        (rollout,) = work([calling("add", number=1), calling("finish")], env, pool=pool)
        assert rollout.turns == 2
    assert env.notes["made"] == 1


LONG = [*["<tool_call>\n" + '{"name": "say", "arguments": {"text": "abc"}}' + "\n</tool_call>"] * 20]
LIMITED = {
    "turns": ("turns", {"turns": 3}, {}),
    "one turn": ("turns", {"turns": 1}, {}),
    "sampled tokens, within a turn": ("length", {"tokens": 100, "turns": 50}, {}),
    "sampled tokens, at a turn's end": ("length", {"tokens": "one turn", "turns": 50}, {}),
    "max_tokens": ("length", {"turns": 50}, {"max_tokens": 200}),
    "max_tokens, in the first turn": ("length", {"turns": 50}, {"max_tokens": 7}),
    "max_tokens, no room for a reply": ("length", {"turns": 50}, {"max_tokens": "one turn and a bit"}),
    "max_tokens, no room after a reply": ("length", {"turns": 50}, {"max_tokens": "one turn and its reply"}),
    "context": ("context", {"turns": 50}, {"context": 2300}),
}


@pytest.mark.parametrize(("reason", "limits", "more"), LIMITED.values(), ids=LIMITED)
def test_each_limit_ends_a_rollout_and_says_which_it_was(work, consistent, chat, reason, limits, more):
    turn, reply = len(chat.ids(LONG[0])) + 1, len(chat.ids(REPLY.format("abc")))
    lengths = {"one turn": turn, "one turn and a bit": turn + 3, "one turn and its reply": turn + reply}
    limits, more = ({k: lengths.get(v, v) for k, v in given.items()} for given in (limits, more))
    (rollout,) = work(LONG, **limits, **more)
    consistent(rollout)

    assert rollout.stop_reason == reason and rollout.error is None
    assert len(rollout.completion_ids) <= more.get("max_tokens", 4096)
    assert rollout.tokens_out <= (limits.get("tokens") or 4096) and rollout.turns <= limits["turns"]
    assert len(rollout.prompt_ids) + len(rollout.completion_ids) <= more.get("context", 10**6)
    assert rollout.env_mask[-1] == 1, "a reply that nobody read is not in the record"
    assert rollout.messages[-1]["role"] == "assistant"
    assert rollout.tool_calls == rollout.turns - 1 or reason != "turns", "the last turn's tools are not run"
    if more.get("context"):
        assert more["context"] - len(rollout.prompt_ids) - len(rollout.completion_ids) < reply + 1


@pytest.mark.parametrize("tool", ["wait", "sleep"])
def test_the_clock_ends_a_rollout_and_what_was_written_stays(work, calling, consistent, desk, tool):
    turns = [calling("add", number=1), calling(tool, seconds=6), "late"]
    began = time.perf_counter()
    rollouts = work(turns, desk(threads=True), n=3, seconds=1)

    assert time.perf_counter() - began < 4, "nobody waits for a tool that the clock has ended, in a thread or not"
    for rollout in rollouts:
        assert consistent(rollout)[-1] == turns[1] + "<|im_end|>"
        assert rollout.stop_reason == "timeout" and rollout.turns == 2 and 1 <= rollout.latency_s < 3.3


def test_a_policy_that_is_too_slow_is_ended_too_and_its_own_timeouts_are_not_the_clocks(work, chat):
    class Slow(ScriptedEngine):
        async def complete(self, request: Request, sampling: Sampling):
            await asyncio.sleep(60)

    class Broken(ScriptedEngine):
        async def complete(self, request: Request, sampling: Sampling):
            raise TimeoutError("the server does not answer")

    (rollout,) = work([], engine=Slow(str, chat), seconds=0.1)
    assert rollout.stop_reason == "timeout" and rollout.completion_ids == [] and rollout.turns == 0
    with pytest.raises(TimeoutError, match="server does not answer"):
        work([], engine=Broken(str, chat), seconds=5)


def test_a_prompt_without_room_for_an_answer_is_bad_input(work, desk):
    env = desk()
    with pytest.raises(BadInput, match=r"has \d+ tokens; .* more than the model's context of 50"):
        work(["x"], env, n=3, context=50)
    assert env.notes["closed"] == env.notes["made"]


def test_a_reset_that_fails_once_is_tried_again_and_leaves_one_record(work, desk):
    env, seen = desk(resets_that_fail=[0]), []
    rollouts = work(["done"], env, n=3, on_finished=lambda i, rollout, env: seen.append(i))

    assert [(r.stop_reason, r.error, r.row) for r in rollouts] == [("eos", None, row) for row in range(3)]
    assert sorted(seen) == [0, 1, 2] and env.notes == {**env.notes, "reset": 4, "made": 4, "closed": 4}


@reward
def one(completion):
    return 1.0


@reward(weight=0)
def metric(completion):
    return 0.5


def broken(work, calling, desk, chat, how):
    """Four rollouts, of which the second meets a broken desk twice; scored."""
    env = desk(resets_that_fail=[1, 2] if how == "reset" else [])
    rows = env.tasks("train", 0, 4)

    def script(request):
        if how == "a tool" and request.stream[2] == 1 and request.turn == 1:
            return calling("break_down")
        return calling("add", number=1) if request.turn == 0 else "done"

    def collect(on_finished):
        return work(script, env, n=4, on_finished=on_finished)

    with Executor([one, metric]) as executor:
        return env, *scored_rollouts(collect, executor, rows, "one", 2)


@pytest.mark.parametrize("how", ["reset", "a tool"])
def test_a_desk_that_fails_twice_is_an_error_and_no_zero(work, calling, desk, chat, consistent, how):
    env, rollouts, scores = broken(work, calling, desk, chat, how)
    failed = rollouts[1]

    assert failed.stop_reason == "error" and failed.error.startswith("environment: ")
    assert ("the desk is gone" if how == "reset" else "the desk broke") in failed.error
    assert failed.quality is None and failed.rewards == {"one": None, "metric": None}
    assert scores.total.tolist()[0::2] == [1.0, 1.0] and scores.total[1] != scores.total[1], "unscorable"
    assert {name: len(found) for name, found in scores.failures.items()} == {"one": 1, "metric": 1}
    assert [r.quality for r in rollouts] == [1.0, None, 1.0, 1.0]
    consistent(failed)
    assert env.notes["closed"] == env.notes["made"], "the broken ones as well"


def test_a_broken_desk_leaves_no_other_tool_running_in_it(work, calling, desk):
    env = desk()
    calls = calling("wait", seconds=0.5) + "\n" + calling("break_down")
    (rollout,) = work([calls], env)

    assert rollout.stop_reason == "error" and rollout.error == "environment: the desk broke"
    assert env.notes["now"] == 2, "both tries were cancelled while they waited"


def test_desks_are_made_once_reset_often_and_closed(work, calling, desk):
    env = desk()
    pool = Pool(env)
    for n in (8, 3, 8):
        rollouts = work([calling("add", number=1), "done"], env, n=n, pool=pool)
        assert all("'1'" in str(r.messages) for r in rollouts), "each rollout counts from 0"
    assert (env.notes["made"], env.notes["reset"], env.notes["closed"]) == (8, 19, 0)
    pool.close()
    assert env.notes["closed"] == 8


def test_a_desk_that_a_slow_tool_still_works_at_is_not_given_to_the_next(work, calling, desk):
    env = desk(threads=True)
    pool = Pool(env)
    (first,) = work([calling("sleep", seconds=0.8), "done"], env, pool=pool, tool_seconds=0.1)
    work(["done"], env, pool=pool)

    assert first.tool_errors == 1 and first.stop_reason == "eos"
    assert env.notes["made"] == 2 and env.notes["closed"] == 1


def test_a_failure_of_the_policy_ends_the_batch_and_closes_every_desk(work, calling, desk):
    env = desk()

    def script(request):
        if request.stream[2] == 2:
            raise RuntimeError("out of memory")
        return calling("wait", seconds=5)

    began = time.perf_counter()
    with pytest.raises(RuntimeError, match="out of memory"):
        work(script, env, n=4)
    assert time.perf_counter() - began < 3 and env.notes["closed"] == env.notes["made"]


def test_a_job_without_state_is_one_environment_for_all():
    class Plain(Generated):
        made = 0

        def __init__(self):
            super().__init__()
            Plain.made += 1

        def generate(self, rng):
            return {"prompt": str(rng.randrange(10**6)), "answer": "yes"}

    env = Plain()
    pool = Pool(env)
    assert pool.shared and pool.take() is env and pool.take() is env
    assert Plain.made == 1


def test_the_oracle_works_each_row_by_the_same_loop(desk, chat, calling):
    class Worked(desk):
        def another(self):
            return Worked(self.notes)

        def oracle_turn(self, row, messages):
            return row["answer"] if messages[-1]["role"] == "tool" else calling("add", number=len(row["prompt"]))

    env = Worked()
    rollouts = oracle_rollouts(env, chat, env.tasks("train", 0, 3))

    assert [[m["content"] for m in r.messages[-2:]] for r in rollouts] == [["1", "1"]] * 3
    assert [r.stop_reason for r in rollouts] == ["eos"] * 3 and env.notes["closed"] == env.notes["made"] == 3
