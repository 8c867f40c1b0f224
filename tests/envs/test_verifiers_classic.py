"""verifiers' classic environments through their bridge: a stand-in for the package here, the package itself in the slow test."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
from journeyman.configs.errors import BadInput
from journeyman.envs.core import SPLITS, EnvironmentFailed, check_disjoint, keeps_state, tools_of
from journeyman.envs.verifiers_bridge import as_verifiers, without_none
from journeyman.envs.verifiers_classic import Verifiers, bridge, verifiers_group_score, verifiers_score
from journeyman.rewards.core import Scored

STAND_IN = '''
"""As much of verifiers 0.3.1 as the bridge uses: what swallows exceptions there does here."""
import asyncio, importlib, inspect
from types import SimpleNamespace as Message

__version__ = "stand-in"


def load_environment(name, **arguments):
    return importlib.import_module(name.replace("-", "_")).load_environment(**arguments)


async def awaited(value):
    return await value if inspect.isawaitable(value) else value


class Rubric:
    def __init__(self, funcs, weights, groups=False):
        self.funcs, self.weights, self.has_group_rewards = funcs, weights, groups

    def _get_reward_func_names(self):
        return [f.__name__ for f in self.funcs]

    def _get_reward_weights(self):
        return self.weights

    async def score_rollout(self, state):
        state["metrics"] = {}
        for function in self.funcs:
            known = {"completion": state["completion"], "answer": state["answer"], "info": state["info"], "state": state}
            known = {k: known[k] for k in inspect.signature(function).parameters}
            try:
                state["metrics"][function.__name__] = float(await awaited(function(**known)))
            except Exception:
                state["metrics"][function.__name__] = 0.0
        state["reward"] = sum(w * v for w, v in zip(self.weights, state["metrics"].values()))

    async def score_group(self, states):
        values = self.funcs[0](completions=[s["completion"] for s in states])
        for state, value in zip(states, values):
            state["reward"], state["metrics"] = value, {self.funcs[0].__name__: value}


class Environment:
    max_turns, tool_defs = 1, None

    def __init__(self, rows, rubric):
        self.rows, self.rubric = rows, rubric

    def get_dataset(self):
        return self.rows


class SingleTurnEnv(Environment):
    pass


class MultiTurnEnv(Environment):
    pass


class ToolEnv(Environment):
    max_turns = 4

    def __init__(self, rows, rubric, tools):
        super().__init__(rows, rubric)
        self.tool_map = {t.__name__: t for t in tools}
        properties = {"a": {"type": "integer", "description": "One."}, "b": {"type": "integer", "description": "Two."}}
        schema = {"type": "object", "properties": properties, "required": ["a", "b"]}
        dump = lambda: {"name": "add", "description": "Add.", "parameters": schema}
        self.tool_defs = [Message(model_dump=dump)]

    def error_formatter(self, error):
        return f"oh: {error}"

    async def env_response(self, messages, state):
        raise NotImplementedError

    async def call_tool(self, name, arguments, number):
        return Message(content=str(self.tool_map[name](**arguments)))
'''
TYPES = """
class State(dict):
    def __init__(self, input):
        super().__init__(input)
"""
MESSAGES = """
from types import SimpleNamespace

def normalize_messages(messages):
    return [SimpleNamespace(**{"tool_calls": None, **m}) for m in messages]
"""
SUMS = """
import os, time
import verifiers as vf


def load_environment(kind="single", n=60):
    print("what an environment prints is no answer")
    rows = [
        {"prompt": [{"role": "user", "content": f"{a}+{a}", "name": None}], "answer": str(2 * a), "info": '{"a": %d}' % a}
        for a in range(n)
    ]

    def right(completion, answer):
        text = completion[-1].content
        if text == "die":
            os._exit(3)
        if text == "hang":
            time.sleep(60)
        if text == "raise":
            raise ZeroDivisionError("this can't be judged")
        return text == answer

    async def known(info, state):
        return float(info["a"] >= 0 and len(state["trajectory"]))

    def metric(completion):
        raise KeyError("of no weight")

    def longest(completions):
        sizes = [len(c[-1].content) for c in completions]
        return [float(size == max(sizes)) for size in sizes]

    def add(a, b):
        return a + b // (a != 13)

    rubric = vf.Rubric([right, known, metric], [1.0, 0.25, 0.0])
    if kind == "group":
        return vf.SingleTurnEnv(rows, vf.Rubric([longest], [1.0], groups=True))
    if kind == "tools":
        return vf.ToolEnv(rows, rubric, [add])
    if kind == "own":
        return vf.MultiTurnEnv(rows, rubric)
    if kind == "broken":
        raise OSError("no such dataset")
    return vf.SingleTurnEnv(rows if kind != "empty" else [], rubric)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with an environment, and the stand-in that it imports."""
    place = tmp_path_factory.mktemp("verifiers")
    (place / "verifiers" / "utils").mkdir(parents=True)
    (place / "verifiers" / "__init__.py").write_text(STAND_IN)
    (place / "verifiers" / "types.py").write_text(TYPES)
    (place / "verifiers" / "utils" / "__init__.py").write_text("")
    (place / "verifiers" / "utils" / "message_utils.py").write_text(MESSAGES)
    (place / "my_sums.py").write_text(SUMS)
    yield place
    bridge.cache_clear()


@pytest.fixture(scope="module")
def make(base):
    def env(kind="single", **options):
        return Verifiers("my-sums", sys.executable, {"kind": kind}, base=str(base), **options)

    return env


def said(row, *texts):
    return [Scored(row, [{"role": "assistant", "content": text}]) for text in texts]


def test_rows_are_the_datasets_own_and_splits_are_disjoint(make):
    env = make()
    rows_of = {split: [*env.tasks(split, 0), *env.tasks(split, 1)] for split in SPLITS}
    check_disjoint(rows_of)
    rows = [row for split in SPLITS for row in env.tasks(split, 0)]

    assert len(rows) == 60 and "stand-in" in env.version and not keeps_state(env)
    row = rows[0]
    assert row["prompt"] == [{"role": "user", "content": f"{int(row['answer']) // 2}+{int(row['answer']) // 2}"}]
    assert make(answer_format="\\boxed{{answer}}").oracle(row) == f"\\boxed{{{row['answer']}}}"
    json.dumps(rows)


def test_the_score_is_the_rubrics_and_its_functions_are_recorded(make):
    row = make().tasks("train", 0, 1)[0]
    items = said(row, row["answer"], "no")

    assert verifiers_score.score(items) == [1.25, 0.25]
    assert items[0].notes.extras == {"right": 1.0, "known": 1.0, "metric": 0.0}
    assert not verifiers_score.missing(list(row))


def test_what_a_weighted_function_raises_makes_the_row_unscorable(make):
    row = make().tasks("train", 0, 1)[0]
    failed, right = verifiers_score.score(said(row, "raise", row["answer"]))

    assert "'right' failed" in failed.reason and "this can't be judged" in failed.reason and right == 1.25


@pytest.mark.parametrize(("text", "reason"), [("die", "ended with 3"), ("hang", "no answer to score in 1 s")])
def test_a_function_that_ends_or_hangs_its_process_fails_alone(make, text, reason):
    row = make(timeout=1.0).tasks("train", 0, 1)[0]
    (failed,) = verifiers_score.score(said(row, text))

    assert reason in failed.reason
    assert verifiers_score.score(said(row, row["answer"])) == [1.25]


def test_a_group_is_scored_together(make):
    row = make("group").tasks("train", 0, 1)[0]
    items = said(row, "a", "abc", "ab", "abc")

    assert verifiers_group_score.score(items, 4) == [0.0, 1.0, 0.0, 1.0]
    with pytest.raises(BadInput, match="use verifiers_group_score"):
        verifiers_score.score(items)


def test_tools_are_called_where_they_are(make):
    from transformers.utils import get_json_schema

    env = make("tools").another()
    assert [t.__name__ for t in tools_of(env)] == ["add"] and keeps_state(env) and env.limits.turns == 4
    assert get_json_schema(env.add)["function"]["parameters"]["required"] == ["a", "b"]
    assert asyncio.run(env.add(a=3, b=4)) == "7"
    assert asyncio.run(env.add(a=13, b=4)).startswith("oh: integer division")

    row = env.tasks("train", 0, 1)[0]
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    messages = [
        {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "name": "add", "content": "3"},
        {"role": "assistant", "content": row["answer"]},
    ]  # fmt: skip
    assert verifiers_score.score([Scored(row, messages)]) == [1.5]  # two turns, and `known` counts them


def test_calls_and_their_replies_are_numbered():
    calls = [{"function": {"name": name, "arguments": {"x": 1}}} for name in "ab"]
    made = as_verifiers(
        [
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "name": "a", "content": "1"},
            {"role": "tool", "name": "b", "content": "2"},
            {"role": "assistant", "content": "end", "thinking": "-"},
        ]
    )

    assert [call["name"] for call in made[0]["tool_calls"]] == ["a", "b"]
    assert [call["id"] for call in made[0]["tool_calls"]] == [made[1]["tool_call_id"], made[2]["tool_call_id"]]
    assert made[0]["tool_calls"][0]["arguments"] == '{"x": 1}' and made[3] == {"role": "assistant", "content": "end"}
    assert without_none({"a": None, "b": [{"c": None, "d": 0}]}) == {"b": [{"d": 0}]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arguments": {"kind": "own"}}, "is a MultiTurnEnv, which answers a turn in its own way"),
        ({"arguments": {"kind": "broken"}}, "no such dataset"),
        ({"arguments": {"kin": 1}}, "unexpected keyword argument 'kin'"),
        ({"name": "nowhere"}, "No module named 'nowhere'"),
        ({"python": "/nowhere/python"}, "can't be started"),
    ],
)
def test_what_cant_be_loaded_is_said(base, options, message):
    with pytest.raises(BadInput, match=message):
        Verifiers(**{"name": "my-sums", "python": sys.executable, "base": str(base), **options})


def test_a_dataset_without_rows_is_said(make):
    with pytest.raises(BadInput, match="no rows"):
        make("empty").tasks("train", 0)


def test_a_process_that_ended_is_an_environment_that_failed(make):
    env = make("tools", timeout=5.0)
    there = bridge(env.source)
    future = there._send("nothing", {})
    with pytest.raises(EnvironmentFailed, match="KeyError"):
        future.result(10)
    there.close()
    assert asyncio.run(env.add(a=1, b=1)) == "2"


REAL = """
import random
import verifiers as vf
from datasets import Dataset


def load_environment(n=400):
    rng = random.Random(0)
    pairs = dict.fromkeys((rng.randrange(10), rng.randrange(10)) for _ in range(n))
    rows = [{"question": f"{a}+{b}", "answer": str(a + b)} for a, b in pairs]
    parser = vf.Parser()

    def correct(parser, completion, answer, **kwargs):
        return float((parser.parse_answer(completion) or "").strip() == answer)

    async def short(completion, state):
        return float(len(completion[-1].content or "") < 4)

    rubric = vf.Rubric(funcs=[correct, short], weights=[1.0, 0.1], parser=parser)
    return vf.SingleTurnEnv(dataset=Dataset.from_list(rows), parser=parser, rubric=rubric)
"""


@pytest.mark.long
def test_an_environment_of_verifiers_trains_unchanged(make_job, train_here, tmp_path):
    from journeyman.rollouts.record import read_records

    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    words = [str(python), "-m", "pip", "install", "-q", "--retries", "0", "--timeout", "10", "verifiers==0.3.1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    if done.returncode:
        pytest.skip(f"verifiers can't be installed from PyPI: {done.stderr.strip().splitlines()[-1:]}")
    job = make_job(
        tmp_path / "sums", job="sums", environment="journeyman.envs.verifiers_classic:Verifiers",
        environment_kwargs={"name": "vf-sums", "python": str(python)}, max_steps=5, validate_every=0,
        rewards=["journeyman.envs.verifiers_classic:verifiers_score"], train_rows=None, heldout_rows=None,
        nano={
            "hidden_size": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 32, "intermediate_size": 64,
            "context": 64, "vocab_size": 300, "steps": 60, "target": 0.2,
        },
    )  # fmt: skip
    (tmp_path / "sums" / "vf_sums.py").write_text(REAL)
    run = train_here(tmp_path / "run", job=job)

    rollouts = [r for r in read_records(run / "records") if r.split == "train"]
    assert {r.step for r in rollouts} == {0, 1, 2, 3, 4} and not any(r.error for r in rollouts)
    assert "verifiers 0.3.1" in rollouts[0].env_version and rollouts[0].extras.keys() >= {"correct", "short"}
    for r in rollouts:
        assert r.rewards["verifiers"] == pytest.approx(r.extras["correct"] + 0.1 * r.extras["short"])
