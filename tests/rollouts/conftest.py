"""A desk with every kind of tool, worked by scripted policies."""

import asyncio
import json
import threading
import time
from dataclasses import replace

import pytest
from journeyman.envs.core import EnvironmentFailed, Generated, Limits
from journeyman.rollouts.chat import Chat
from journeyman.rollouts.collect import Batch, collect
from journeyman.rollouts.engine import Sampling
from journeyman.rollouts.pool import Pool
from journeyman.rollouts.scripted import ScriptedEngine
from journeyman.trainers.tokenizer import train_tokenizer


class Desk(Generated):
    """Counts what was done at it, and notes what becomes of each desk in `notes`, which all of them share."""

    limits = Limits(turns=10)

    def __init__(self, notes=None, threads=False, resets_that_fail=()):
        super().__init__()
        self.notes = {"made": 0, "reset": 0, "closed": 0, "now": 0, "most": 0} if notes is None else notes
        self.threads, self.resets_that_fail = threads, resets_that_fail
        self.notes["made"] += notes is not None
        self.count, self.closed = 0, False

    def another(self):
        return Desk(self.notes, self.threads, self.resets_that_fail)

    def generate(self, rng):
        return {"prompt": f"item {rng.randrange(10**6)}", "answer": "1"}

    def reset(self, **row):
        number, self.count = self.notes["reset"], 0
        self.notes["reset"] += 1
        assert not self.closed
        if number in self.resets_that_fail:
            raise OSError("the desk is gone")
        return None

    def close(self):
        self.closed = True
        self.notes["closed"] += 1

    def add(self, number: int) -> int:
        """Add to the count.

        Args:
            number: how much.
        """
        self.count += number
        return self.count

    async def wait(self, seconds: float) -> str:
        """Wait without holding anyone up.

        Args:
            seconds: how long.
        """
        self.notes["now"] += 1
        self.notes["most"] = max(self.notes["most"], self.notes["now"])
        await asyncio.sleep(seconds)
        self.notes["now"] -= 1
        return f"waited {seconds:g}"

    def sleep(self, seconds: float) -> str:
        """Sleep.

        Args:
            seconds: how long.
        """
        time.sleep(seconds)
        return f"slept in {threading.current_thread().name}"

    def say(self, text: str, times: int = 1) -> str:
        """Say a text.

        Args:
            text: what.
            times: how often.
        """
        return text * times

    def fail(self, why: str) -> str:
        """Fail.

        Args:
            why: the reason.
        """
        raise {"timeout": TimeoutError}.get(why, ValueError)(why)

    async def break_down(self) -> str:
        """Break the desk."""
        raise EnvironmentFailed("the desk broke")

    def finish(self) -> str:
        """Leave the desk."""
        self.done = True
        return "bye"


def calling(name, **arguments):
    """A tool call as Qwen3's template has it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.fixture(scope="session")
def chat():
    """The embedded tokenizer; its tool calls can be read."""
    made = Chat(train_tokenizer([], [], 300))
    made.learn_to_parse()
    return made


@pytest.fixture(scope="session", name="calling")
def calling_fixture():
    return calling


@pytest.fixture
def desk():
    """Makes the desk that rollouts are worked at."""
    return Desk


@pytest.fixture
def work(chat):
    """Works `n` rollouts at a desk by a script: a list of turns, or a function of the request. Returns the rollouts."""

    def run(script, env=None, n=1, max_tokens=4096, context=None, pool=None, engine=None, on_finished=None, **limits):
        env = env or Desk()
        rows = env.tasks("train", 0, n)
        write = script if callable(script) else lambda request: script[min(request.turn, len(script) - 1)]
        mine = pool or Pool(env)
        try:
            return collect(
                engine or ScriptedEngine(write, chat), chat, mine, rows, Sampling(max_tokens), Batch("r", 3, "train", 5),
                context=context, limits=replace(env.limits, **limits), on_finished=on_finished,
            )  # fmt: skip
        finally:
            if pool is None:
                mine.close()

    return run


@pytest.fixture
def consistent(chat):
    """Checks that ids, masks and log-probs of a rollout belong together, and that the policy wrote what is not masked."""

    def check(rollout):
        assert len(rollout.completion_ids) == len(rollout.env_mask) == len(rollout.logprobs)
        assert rollout.tokens_out == sum(rollout.env_mask)
        parts, start = [], 0
        for i in range(1, len(rollout.env_mask) + 1):
            if i == len(rollout.env_mask) or rollout.env_mask[i] != rollout.env_mask[i - 1]:
                parts.append((rollout.env_mask[start], chat.tokenizer.decode(rollout.completion_ids[start:i])))
                start = i
        assert [mask for mask, _ in parts] == [i % 2 ^ 1 for i in range(len(parts))], "turn, reply, turn, ..."
        assert sum(mask for mask, _ in parts) == rollout.turns or not parts
        for mask, text in parts:
            if mask == 0:
                assert text.startswith("\n<|im_start|>user\n<tool_response>\n")
                assert text.endswith("\n</tool_response><|im_end|>\n<|im_start|>assistant\n")
        return [text for _, text in parts]

    return check
