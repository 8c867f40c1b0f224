"""One episode of a job with tools, played by a scripted policy: turns, calls, replies, and what a reward pays in the end.

Invariants: the same contract as in a run: a turn that calls no tool ends the episode, the tools that the last turn calls are
not run, what a tool raises is its reply. No model, no tokens, no torch.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..envs.core import Environment, EnvironmentFailed, Row, pays_steps, tools_of
from ..rewards.core import Reward, Scored
from .audit_calls import Outcome, call

Messages = list[dict[str, Any]]
ToolCall = tuple[str, Mapping[str, Any]]
"""A tool's name and its arguments."""

_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


@dataclass(frozen=True)
class Turn:
    """What a policy does next: it says `text`, and makes `calls`; without any, the episode ends."""

    text: str = ""
    calls: Sequence[ToolCall] = ()


Policy = Callable[[Messages], Turn]
"""Sees the messages so far, the prompt included."""


@dataclass(frozen=True)
class Played:
    """An episode that is over.

    Args:
        outcome: what the reward paid.
        turns: what the policy did, one a turn.
        messages: what was written after the prompt.
        step_rewards: what its turns earned by the environment's `step_reward`.
        ended: whether it ended before the limit of turns.
    """

    outcome: Outcome
    turns: Sequence[Turn] = ()
    messages: Sequence[Mapping[str, Any]] = field(default=())
    step_rewards: float = 0.0
    ended: bool = True

    @property
    def said(self) -> str:
        """The text of the last message, where the policy wrote it and called nothing with it."""
        last = self.messages[-1] if self.messages else {}
        return "" if last.get("role") != "assistant" or last.get("tool_calls") else str(last.get("content") or "")

    @property
    def replies(self) -> list[str]:
        """What the tools replied."""
        return [str(message["content"]) for message in self.messages if message["role"] == "tool"]

    def shown(self, most: int = 160) -> str:
        """The episode as one line of evidence."""
        parts = []
        for turn in self.turns:
            parts += [f"{name}({', '.join(f'{k}={v!r:.40}' for k, v in given.items())})" for name, given in turn.calls]
            parts += [turn.text] if turn.text else []
        text = "; ".join(parts)
        return text if len(text) <= most else text[: most - 3] + "..."


def turn_of(text: str) -> Turn:
    """What a turn written for a chat template does: its calls as JSON between `<tool_call>` tags, and the text around them."""
    calls: list[ToolCall] = []
    for found in _CALL.findall(text):
        try:
            value = json.loads(found)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            calls.append((value["name"], value.get("arguments") or {}))
    return Turn(_CALL.sub("", text).strip(), tuple(calls))


class Episode:
    """An episode under way in `env`, a turn at a time, so that others may be played in between.

    Args:
        env: reset to `row`; it may have been played in before.
    """

    def __init__(self, env: Environment, row: Row) -> None:
        self.env, self.row = env, row
        self.tools = {tool.__name__: tool for tool in tools_of(env)}
        env.done = False
        prompt: Messages = [dict(message) for message in row["prompt"]]
        seen = env.reset(**row)
        if seen is not None:
            prompt[-1]["content"] = f"{prompt[-1]['content']}{seen}"
        self.start, self.messages = len(prompt), prompt
        self.turns: list[Turn] = []
        self.steps = 0.0
        self.over = self.cut = False

    def step(self, policy: Policy) -> None:
        """One turn."""
        turn = policy(list(self.messages))
        self.turns.append(turn)
        message: dict[str, Any] = {"role": "assistant", "content": turn.text}
        if turn.calls:
            message["tool_calls"] = [
                {"type": "function", "function": {"name": name, "arguments": dict(given)}} for name, given in turn.calls
            ]
        self.messages.append(message)
        if turn.calls and len(self.turns) >= self.env.limits.turns:
            self.over = self.cut = True
            return
        self.messages += [{"role": "tool", "name": name, "content": self._reply(name, a)} for name, a in turn.calls]
        if pays_steps(self.env):
            self.steps += float(self.env.step_reward(message))
        self.over = not turn.calls or self.env.done

    def play(self, policy: Policy, reward: Reward) -> Played:
        """The rest of it, and what `reward` makes of it."""
        while not self.over:
            self.step(policy)
        said = self.messages[self.start :]
        scored = Scored(
            {**self.row, "step_rewards": self.steps}, said, (), "turns" if self.cut else "eos", environment=self.env
        )
        return Played(call(reward, scored), tuple(self.turns), said, self.steps, not self.cut)

    def _reply(self, name: str, arguments: Mapping[str, Any]) -> str:
        try:
            if name not in self.tools:
                raise ValueError(f"Tool {name} not found.")
            tool = self.tools[name]
            if inspect.iscoroutinefunction(tool):
                return str(
                    _loop().run_until_complete(asyncio.wait_for(tool(**arguments), self.env.limits.tool_seconds))
                )
            return str(tool(**arguments))
        except EnvironmentFailed:
            raise
        except Exception as error:  # for the policy to read, as in a run
            return str({"error": str(error)})


def play(env: Environment, row: Row, policy: Policy, reward: Reward) -> Played:
    """One episode from its beginning; where the environment breaks, the outcome says so."""
    try:
        return Episode(env, row).play(policy, reward)
    except Exception as error:
        return Played(Outcome(None, "raised", f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"))


_loops: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """One loop for all episodes of a process, so that what an environment keeps open stays usable."""
    if not _loops:
        _loops.append(asyncio.new_event_loop())
    return _loops[0]
