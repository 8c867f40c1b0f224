import asyncio
import importlib.util
import math

import numpy as np
import pytest
from journeyman.configs import BadInput
from journeyman.rewards import Failure, Reward, Scored, as_reward, reward
from journeyman.rewards.executor import score


def says(text, **row):
    return Scored(row, [{"role": "assistant", "content": text}], completion_ids=[1, 2], stop_reason="length")


@reward
def exact(completion: str, answer: str) -> float:
    return float(completion == answer)


async def slowly(completion):
    await asyncio.sleep(0)
    return len(completion)


PROMPT = [{"role": "user", "content": "q"}]
BY_NAME = {
    "column": (lambda answer: len(answer), 2.0),
    "the text": (lambda completion: completion == "hi", 1.0),
    "the prompt's messages": (lambda prompt: len(prompt), 1.0),
    "the rollout's messages": (lambda messages: messages[-1]["role"] == "assistant", 1.0),
    "token ids": (lambda completion_ids: sum(completion_ids), 3.0),
    "stop reason": (lambda stop_reason: stop_reason == "length", 1.0),
    "a default where the row has no such column": (lambda completion, level=7: level, 7.0),
    "a column over a default": (lambda answer="none at all": len(answer), 2.0),
    "everything": (lambda **given: len({"answer", "completion", "stop_reason"} & given.keys()), 3.0),
    "a coroutine": (slowly, 2.0),
    "numpy's numbers": (lambda completion: np.float32(0.5), 0.5),
    "true and false": (lambda completion: True, 1.0),
    "does not apply": (lambda completion: None, None),
}


@pytest.mark.parametrize(("function", "expected"), BY_NAME.values(), ids=BY_NAME)
def test_arguments_are_filled_in_by_name(function, expected):
    (value,) = reward(function).score([says("hi", prompt=PROMPT, answer="42")])

    assert value == expected


def test_arguments_that_a_row_cannot_give_are_named():
    def asks(completion, prompt, stop_reason, rubric, answer, hint=""): ...

    def trl_asks(prompts, completions, completion_ids, trainer_state, log_metric, rubric, **rest): ...

    assert reward(asks).missing(["prompt", "answer"]) == ["rubric"]
    assert as_reward(trl_asks).missing(["prompt", "answer"]) == ["rubric"]


def raises(completion, answer):
    raise ZeroDivisionError("no such thing")


FAILURES = {
    "an exception": (raises, "ZeroDivisionError: no such thing"),
    "not a number": (lambda completion, answer: math.nan, "nan"),
    "infinite": (lambda completion, answer: -math.inf, "inf"),
}


@pytest.mark.parametrize(("broken", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_failure_makes_the_row_unscorable_and_is_no_zero(broken, reason):
    @reward
    def sometimes(completion, answer):
        return broken(completion, answer) if answer == "bad" else 0.25

    scores = score([exact, sometimes], [says("a", answer="a"), says("bad", answer="bad")])

    assert scores.total[0] == 1.25 and math.isnan(scores.total[1])
    assert scores.of(1) == {"exact": 1.0, "sometimes": None}
    assert scores.errors[0] is None and scores.errors[1].startswith("sometimes: ") and reason in scores.errors[1]
    assert [len(failures) for failures in scores.failures.values()] == [1]


def test_a_failure_keeps_its_traceback():
    (failure,) = reward(raises).score([says("a", answer="a")])

    assert isinstance(failure, Failure) and "in raises" in failure.traceback


def test_a_metric_that_fails_leaves_the_row_scorable():
    metric = reward(name="metric", weight=0)(raises)
    scores = score([exact, metric], [says("a", answer="a")])

    assert scores.total.tolist() == [1.0]
    assert scores.of(0) == {"exact": 1.0, "metric": None} and scores.errors[0].startswith("metric: Zero")


def test_none_leaves_the_other_rewards_standing_and_alone_makes_unscorable():
    half = reward(name="half", weight=0.5)(lambda completion: 1.0 if completion == "a" else None)
    never = reward(name="never")(lambda completion: None)
    items = [says("a", answer="a"), says("b", answer="b")]

    assert score([exact, half, never], items).total.tolist() == [1.5, 1.0]
    alone = score([half], items)
    assert alone.total[0] == 0.5 and math.isnan(alone.total[1]) and alone.errors == [None, None]


def test_totals_are_weighted_sums():
    rng = np.random.default_rng(0)
    table, weights = rng.normal(size=(20, 3)), [1.0, -0.5, 0.0]
    rewards = [reward(name=f"r{f}", weight=w)(lambda i, f=f: table[i, f]) for f, w in enumerate(weights)]
    scores = score(rewards, [says("x", i=i) for i in range(20)])

    np.testing.assert_allclose(scores.total, [sum(w * v for w, v in zip(weights, row, strict=True)) for row in table])
    np.testing.assert_array_equal(scores.values, table)


def test_no_items_score_nothing():
    scores = score([exact, as_reward(lambda completions, **_: [])], [])

    assert scores.total.shape == (0,) and scores.values.shape == (0, 2)


WRONG = {
    "a text": (reward(name="r")(lambda completion: "yes"), "'yes'"),
    "a list": (reward(name="r")(lambda completion: [1.0]), "list"),
    "a batch of texts": (Reward(lambda completions, **_: ["1"] * len(completions), name="r", kind="batch"), "'1'"),
    "too few": (Reward(lambda completions, **_: [1.0], name="r", kind="batch"), "1 values for 2 completions"),
    "too many": (Reward(lambda completions, **_: [1.0] * 3, name="r", kind="batch"), "3 values for 2 completions"),
    "one number for all": (Reward(lambda completions, **_: 1.0, name="r", kind="batch"), "float"),
    "none for all": (Reward(lambda completions, **_: None, name="r", kind="batch"), "NoneType"),
}


@pytest.mark.parametrize(("wrong", "says_so"), WRONG.values(), ids=WRONG)
def test_another_type_or_length_is_bad_input_that_names_the_reward(wrong, says_so):
    with pytest.raises(BadInput, match="reward 'r' returned") as error:
        score([wrong], [says("a"), says("b")])

    assert says_so in str(error.value)


def trl_reward(
    prompts, completions, completion_ids, answer, trainer_state=None, log_extra=None, log_metric=None, **kwargs
):
    log_extra("seen", list(answer))
    log_metric("count", float(len(completions)))
    assert [p[0]["content"] for p in prompts] == ["q", "q"] and kwargs["level"] == [1, None]
    return [
        None if c[0]["content"] == "skip" else float(c[0]["content"] == a)
        for c, a in zip(completions, answer, strict=True)
    ]


async def trl_reward_async(completions, **kwargs):
    await asyncio.sleep(0)
    return [float(len(c[0]["content"])) for c in completions]


def only_completions(completions):
    return [1.0 for _ in completions]


def test_trls_batch_signature_is_accepted_as_it_is():
    items = [says("4", prompt=PROMPT, answer="4", level=1), says("skip", prompt=PROMPT, answer="4")]
    rewards = [as_reward(f) for f in (trl_reward, trl_reward_async, only_completions)]
    scores = score(rewards, items, trainer_state="state")

    assert scores.names == ["trl_reward", "trl_reward_async", "only_completions"]
    assert scores.of(0) == {"trl_reward": 1.0, "trl_reward_async": 1.0, "only_completions": 1.0}
    assert scores.of(1) == {"trl_reward": None, "trl_reward_async": 4.0, "only_completions": 1.0}
    assert scores.extras == [{"seen": "4"}, {"seen": "4"}] and scores.metrics == {"count": 2.0}


def test_a_batch_reward_that_raises_fails_every_row():
    def broken(completions, **kwargs):
        raise KeyError("answer")

    scores = score([exact, as_reward(broken)], [says("a", answer="a"), says("b", answer="a")])

    assert np.isnan(scores.total).all() and all("KeyError" in error for error in scores.errors)


@pytest.mark.parametrize("conversational", [True, False])
def test_a_decorated_reward_has_trls_batch_signature(conversational):
    texts = ["4", "5"]
    completions = [[{"role": "assistant", "content": t}] for t in texts] if conversational else texts

    assert exact(
        prompts=[PROMPT, PROMPT], completions=completions, completion_ids=[[1], [2]], answer=["4", "4"],
        trainer_state=object(), log_extra=print, log_metric=print, environments=None,
    ) == [1.0, 0.0]  # fmt: skip
    assert exact.__name__ == "exact"


def test_a_decorated_reward_called_directly_raises_what_its_function_raises():
    with pytest.raises(RuntimeError, match="no such thing"):
        reward(raises)(prompts=[PROMPT], completions=["a"], answer=["a"])


def test_name_weight_and_reference_are_carried():
    made = reward(name="close", weight=0.5, needs_reference=False)(lambda completion: 1.0)
    metric = made.weighing(0)

    assert (made.name, made.weight, made.needs_reference) == ("close", 0.5, False)
    assert (metric.name, metric.weight, metric.needs_reference) == ("close", 0.0, False)
    assert metric.source_hash == made.source_hash and as_reward(made) is made
    with pytest.raises(BadInput, match="a reward is a function"):
        as_reward(1.0)


def test_the_hash_follows_the_source_and_nothing_else(tmp_path):
    def hash_of(name, body):
        path = tmp_path / f"{name}.py"
        path.write_text(f"# {name}\ndef judge(completion):\n    return {body}\n")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return reward(module.judge).source_hash

    assert hash_of("one", "1.0") == hash_of("two", "1.0") != hash_of("three", "2.0")


def test_the_hash_of_a_function_without_source_follows_its_code():
    def made(body):
        space = {}
        exec(f"def judge(completion):\n    return {body}", space)
        return reward(space["judge"]).source_hash

    assert made("1.0") == made("1.0") != made("2.0")


def test_the_hash_follows_what_the_function_uses_of_its_own_module(tmp_path):
    def hash_of(number, **changed):
        parts = {"level": "0.5", "helper": "x + LEVEL", "unused": "1", "pattern": "a+"} | changed
        path = tmp_path / f"uses{number}.py"
        path.write_text(
            f"import math, re\nLEVEL = {parts['level']}\nPATTERN = re.compile({parts['pattern']!r})\n"
            f"def unused(x):\n    return {parts['unused']}\n"
            f"def helper(x):\n    return {parts['helper']}\n"
            "class Reader:\n    def read(self, text):\n        return helper(len(PATTERN.findall(text)))\n"
            "def judge(completion):\n    return math.sqrt(Reader().read(completion))\n"
        )
        spec = importlib.util.spec_from_file_location(f"uses{number}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return reward(module.judge).source_hash

    plain = hash_of(0)
    assert hash_of(1) == plain == hash_of(2, unused="2")
    assert len({plain, hash_of(3, level="0.6"), hash_of(4, helper="x - LEVEL"), hash_of(5, pattern="b+")}) == 4
