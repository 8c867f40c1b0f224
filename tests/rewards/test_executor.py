import asyncio
import importlib.util
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from journeyman.configs import BadInput
from journeyman.configs.read import load_attribute
from journeyman.rewards import Failure, Scored, as_reward, group_reward, reward
from journeyman.rewards.executor import Executor, RewardsFailed, score
from journeyman.rewards.isolated import workers

BAD = Path(__file__).with_name("misbehaving.py")


def misbehaving(name):
    return load_attribute(f"{BAD}:{name}")


def says(text, **row):
    return Scored({"prompt": [], **row}, [{"role": "assistant", "content": text}], [1, 2])


STOPPED = {
    "hangs": "timed out after 1 s",
    "hangs_and_ignores_signals": "timed out after 1 s",
    "crashes": "its worker process died (SIGABRT)",
    "exits": "its worker process died (exit code 0)",
    "eats_memory": "MemoryError: out of memory",
    "eats_memory_in_small_bites": "MemoryError: out of memory",
    "raises": "ZeroDivisionError: this completion can't be judged",
}


@pytest.mark.parametrize(("name", "reason"), STOPPED.items(), ids=STOPPED)
def test_what_misbehaves_is_stopped_counted_and_harms_no_other_row(name, reason):
    function = misbehaving(name)
    score([function], [says("warm")])
    began = time.monotonic()
    with Executor([function, misbehaving("good")]) as executor:
        scores = executor.score([says(t, answer="a") for t in ("a", "bad", "a", "bad")])
    seconds = time.monotonic() - began

    assert scores.of_reward("good") == [1.0, 0.0, 1.0, 0.0]
    values = scores.of_reward(name)
    assert [values[0], values[2]] == [1.0, 1.0]
    assert [v.reason for v in (values[1], values[3])] == [reason] * 2
    assert [math.isnan(total) for total in scores.total] == [False, True, False, True]
    assert executor.failed == {name: 2} and executor.scored == 4
    assert seconds < 2 * function.timeout + 1


def test_a_failure_in_a_worker_keeps_the_traceback_of_the_function_alone():
    (failure,) = misbehaving("raises").score([says("bad")])

    assert isinstance(failure, Failure) and "misbehaving.py" in failure.traceback
    assert "executor.py" not in failure.traceback and "call.py" not in failure.traceback


def test_too_many_failures_stop_the_run_and_say_what_the_first_was():
    with Executor([misbehaving("raises")], max_error_rate=0.3) as executor:
        executor.score([says("a"), says("a"), says("a"), says("bad")])
        with pytest.raises(RewardsFailed, match="reward 'raises' failed on 4 of 8 rollouts, more than max_error_rate"):
            executor.score([says("bad"), says("bad"), says("bad"), says("a")])


def test_the_error_rate_is_that_of_the_latest_rollouts():
    broken = []

    @reward
    def breaks_later(completion):
        if broken:
            raise KeyError("gone")
        return 1.0

    with Executor([breaks_later], max_error_rate=0.1) as executor:
        for _ in range(20):
            executor.score([says("a")] * 64)
        broken.append(True)
        with pytest.raises(RewardsFailed, match="failed on 64 of"):
            executor.score([says("a")] * 64)


def test_a_batch_that_only_hangs_is_not_waited_for_to_its_end():
    with Executor([misbehaving("hangs")], max_error_rate=0.01) as executor:
        began = time.monotonic()
        with pytest.raises(RewardsFailed, match="reward 'hangs' failed"):
            executor.score([says("bad")] * 64)

    assert time.monotonic() - began < 64 * 1.0 / workers().size / 2


def test_a_completion_that_is_to_blame_gets_what_the_reward_says():
    with Executor([misbehaving("blames_the_completion")]) as executor:
        scores = executor.score([says("a"), says("bad")])

    assert scores.total.tolist() == [1.0, 0.0] and scores.overruns == {"blames_the_completion": 1}
    assert not executor.failed and scores.errors == [None, None]


def test_nonsense_from_a_worker_is_bad_input_too():
    with pytest.raises(BadInput, match="reward 'returns_nonsense' returned 'yes'"):
        misbehaving("returns_nonsense").score([says("a")])


def test_coroutines_groups_and_what_is_logged_cross_processes():
    assert misbehaving("asynchronous").score([says("a")]) == [1.0]
    assert misbehaving("ranks").score([says(t) for t in "cabfed"], group_size=3) == [2.0, 0.0, 1.0, 2.0, 1.0, 0.0]
    scores = score([misbehaving("good")], [says("abc", answer="abc"), says("a", answer="b")])
    assert scores.extras == [{"seen": "abc"}, {"seen": "a"}] and scores.metrics == {"length": 2.0}


def test_the_gold_answer_is_parsed_once_a_group():
    function = misbehaving("against_gold")
    parsed = misbehaving("calls")
    parsed.clear()
    items = [says(str(i % 3), answer=str(group)) for group in range(3) for i in range(8)]

    assert function.score(items, 8) == [float(i % 3 == group) for group in range(3) for i in range(8)]
    assert parsed == ["0", "1", "2"]

    far = score([misbehaving("against_gold_far_away")], items, 8)
    by_process = {}
    for extras in far.extras:
        by_process[extras["process"]] = max(extras["parsed"], by_process.get(extras["process"], 0))
    assert all(parsed <= 3 for parsed in by_process.values()) and os.getpid() not in by_process


def test_a_fast_function_is_asked_first_and_leaves_the_rest_to_the_isolated_one():
    scores = score([misbehaving("equality")], [says("a", answer="a"), says(" a", answer="a"), says("b", answer="a")])

    assert scores.of_reward("equality") == [1.0, 1.0, 0.0]
    assert scores.extras[0] == {} and scores.extras[1]["process"] != os.getpid()


def test_rewards_that_wait_wait_together():
    assert misbehaving("waits_for_seven_others").score([says("a")] * 8) == [1.0] * 8


def test_scoring_begins_before_the_batch_is_complete():
    with Executor([misbehaving("says_where"), misbehaving("ranks")]) as executor:
        batch = executor.batch(group_size=2)
        batch.add(1, says("b"))
        batch.add(3, says("d"))
        deadline = time.monotonic() + 10
        while not all(future.done() for future in batch._pending) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(batch._pending) == 2, "no group is complete yet"
        batch.add(0, says("a"))
        assert len(batch._pending) == 4, "the first group is"
        batch.add(2, says("c"))
        scores = batch.finish()

    assert scores.of_reward("ranks") == [0.0, 1.0, 0.0, 1.0]


def test_group_rewards_see_whole_groups_whatever_the_order():
    seen = []

    @group_reward
    def spread(completions, answer, prompt, stop_reason, log_extra, log_metric):
        seen.append((completions, answer, stop_reason))
        log_extra("length", [len(c) for c in completions])
        log_metric("groups", 1)
        return [len(set(completions)) / len(completions)] * len(completions)

    with Executor([spread]) as executor:
        batch = executor.batch(group_size=3)
        for i in (5, 0, 2, 4, 1, 3):
            batch.add(i, says("ab"[i % 2], answer=str(i // 3)))
        scores = batch.finish()

    assert sorted(seen) == [(["a", "b", "a"], "0", ["eos"] * 3), (["b", "a", "b"], "1", ["eos"] * 3)]
    assert scores.total.tolist() == pytest.approx([2 / 3] * 6)
    assert scores.extras == [{"length": 1}] * 6 and scores.metrics == {"groups": 1.0}


def test_a_group_reward_serves_trl_as_it_is():
    @group_reward
    def first_of_all(completions):
        return [float(completion == completions[0]) for completion in completions]

    prompts = [[{"role": "user", "content": text}] for text in "xxyy"]

    assert first_of_all(prompts=prompts, completions=["a", "b", "b", "a"]) == [1.0, 0.0, 1.0, 0.0]


def test_functions_that_another_process_cannot_find_are_refused():
    def inner(completion):
        return 1.0

    for function in (inner, lambda completion: 1.0):
        with pytest.raises(BadInput, match="define it with def at the top level of a module"):
            reward(isolated=True)(function).score([says("a")])
    with pytest.raises(BadInput, match="isolated, gold and fast are for functions of one completion"):
        from journeyman.rewards import Reward

        Reward(inner, kind="batch", isolated=True)
    with pytest.raises(BadInput, match="timeout is 0"):
        reward(isolated=True, timeout=0)(inner)


def test_workers_and_their_server_end_with_their_owner(tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(
        f"import os, sys\nsys.path.insert(0, {str(BAD.parent)!r})\nimport misbehaving\n"
        "from journeyman.rewards import Scored\nfrom journeyman.rewards.executor import score\n"
        "if __name__ == '__main__':\n"
        "    item = Scored({}, [{'role': 'assistant', 'content': 'a'}])\n"
        "    print(score([misbehaving.says_where], [item]).extras[0]['process'], flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)

    assert done.returncode == -9 and not Path(f"/proc/{pid}").exists()


def test_rewards_of_a_script_run_as_main_are_found(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        "from journeyman.rewards import Scored, reward\n"
        "@reward(isolated=True)\ndef mine(completion):\n    return 0.5\n"
        "if __name__ == '__main__':\n"
        "    print(mine.score([Scored({}, [{'role': 'assistant', 'content': 'a'}])]))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.strip() == "[0.5]", done.stderr


def noting(seconds, kind=reward, does=None):
    """A reward that takes `seconds` a call, and where each of its calls ran, with how many others at once."""
    calls, running = [], []

    def function(completion, log_extra):
        running.append(1)
        calls.append((threading.current_thread().name, len(running)))
        time.sleep(seconds)
        log_extra("seen", completion)
        running.pop()
        return does(completion) if does else len(completion) / 10

    def of_group(completions):
        return [function(completion, lambda *_: None) for completion in completions]

    return kind(function if kind is reward else of_group), calls


def test_a_slow_plain_function_gets_a_thread_of_its_own_and_stays_serial():
    slow, calls = noting(0.02)
    with Executor([slow, slow.weighing(0).named("again")]) as executor:
        batch = executor.batch()
        began = time.monotonic()
        for i in range(24):
            batch.add(i, says("a" * i))
        added = time.monotonic() - began
        scores = batch.finish()
        other = executor.score([says("a")])

    assert added < 0.3 < 48 * 0.02 <= time.monotonic() - began
    assert scores.total.tolist() == [i / 10 for i in range(24)] == scores.of_reward("again") and other.total == [0.1]
    assert scores.extras == [{"seen": "a" * i} for i in range(24)]
    here = threading.current_thread().name
    assert [name == here for name, _ in calls] == [True] * 2 + [False] * 48, "two slow calls, and then never again here"
    assert len({name for name, _ in calls}) == 2 and {at_once for _, at_once in calls} == {1}


def test_slow_groups_go_beside_too_and_fast_functions_stay(monkeypatch):
    monkeypatch.setattr("journeyman.rewards.lanes.SLOW", 0.03)  # a busy machine must not make the fast one slow
    (groups, slow_calls), (fast, fast_calls) = noting(0.01, group_reward), noting(0.0)
    with Executor([groups, fast]) as executor:
        scores = executor.score([says("a" * i) for i in range(40)], group_size=4)

    assert scores.total.tolist() == [pytest.approx(i / 5) for i in range(40)]
    here = threading.current_thread().name
    assert [name == here for name, _ in slow_calls] == [True] * 8 + [False] * 32
    assert {name for name, _ in fast_calls} == {here}


def test_a_function_that_is_slow_once_stays_where_it_is(monkeypatch):
    monkeypatch.setattr("journeyman.rewards.lanes.SLOW", 0.03)
    took = iter([0.05] + [0.0] * 40 + [0.05] + [0.0] * 40)
    now_and_then, calls = noting(0, does=lambda _: time.sleep(next(took)) or 1.0)
    score([now_and_then], [says("a")] * 82)

    assert {name for name, _ in calls} == {threading.current_thread().name}


def fails_on_bad(text):
    if text == "bad":
        raise ZeroDivisionError("can't be judged")
    return "yes" if text == "nonsense" else 1.0


def test_failures_beside_are_failures_as_they_are_here():
    texts = ["a", "a", "a", "bad", "a", "bad"] * 4
    (here, _), (beside, calls) = noting(0, does=fails_on_bad), noting(0.005, does=fails_on_bad)
    with Executor([here.named("r")]) as one, Executor([beside.named("r")]) as other:
        scores = [executor.score([says(text) for text in texts]) for executor in (one, other)]
        counted = [executor.failed for executor in (one, other)]

    assert len({name for name, _ in calls}) == 2
    assert scores[0].errors == scores[1].errors and counted[0] == counted[1] == {"r": 8}
    assert [math.isnan(t) for t in scores[1].total] == [text == "bad" for text in texts]
    assert all("call.py" not in f.traceback and "thread.py" not in f.traceback for f in scores[1].failures["r"])
    with (
        Executor([beside.named("r")], max_error_rate=0.1) as executor,
        pytest.raises(RewardsFailed, match="'r' failed on"),
    ):
        executor.score([says(text) for text in texts])
    with pytest.raises(BadInput, match="returned 'yes'"):
        score([beside], [says("a")] * 4 + [says("nonsense")])


def alarmed(text):
    """Sets a timer, which works in the main thread alone."""
    signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGALRM))
    return 1.0


def test_a_function_that_is_bound_to_its_thread_goes_back_there():
    bound, calls = noting(0.005, does=alarmed)
    with Executor([bound]) as executor:
        first, second = (executor.score([says("a")] * 6) for _ in range(2))
        names = [name for name, _ in calls]

    assert first.total.tolist() == second.total.tolist() == [1.0] * 6 and not executor.failed
    here = threading.current_thread().name
    assert [name == here for name in names] == [True] * 2 + [False] * 4 + [True] * 4 + [True] * 6


@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_function_may_run_a_loop_of_its_own_beside_that_of_the_rollouts():
    async def asked(text):
        await asyncio.sleep(0)
        return 0.5

    looping, _ = noting(0, does=lambda text: asyncio.run(asked(text)))

    async def rollouts():
        batch = executor.batch()
        for i in range(3):
            batch.add(i, says("a"))
        return batch

    with Executor([looping]) as executor:
        assert asyncio.run(rollouts()).finish().total.tolist() == [0.5] * 3


def test_the_environments_own_reward_is_asked_of_each_rollouts_environment():
    from journeyman.rewards.entries import environment_reward

    class Counter:
        def __init__(self, count):
            self.count = count

        async def get_reward(self):
            return self.count / 2

    items = [Scored({}, [], environment=Counter(i)) for i in range(3)]
    batch = as_reward(lambda environments, completions: [e.count for e in environments])

    assert environment_reward.score(items) == [0.0, 0.5, 1.0] and batch.score(items) == [0.0, 1.0, 2.0]


def test_an_imported_module_is_scored_as_well_as_a_path(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(
        "from journeyman.rewards import reward\n@reward(isolated=True)\ndef mine(completion):\n    return 0.25\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("my_rewards")

    assert module.mine.score([says("a")]) == [0.25]
