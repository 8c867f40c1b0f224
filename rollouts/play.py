"""One rollout as a coroutine: reset, turn, tool calls, next turn, until it ends; as many at once as there are rows.

Always true here: no rollout waits for another; what was sampled stays the ids that were sampled, and what tools replied is
masked from the loss; an environment that fails is tried once more, and then the rollout is an error, not a zero.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ..configs.errors import BadInput
from ..envs.core import Environment, EnvironmentFailed, Limits, Row, pays_steps, tools_of
from ..envs.messages import plain_messages, whole_characters
from .chat import Chat
from .engine import Completion, Engine, Request, Sampling
from .record import Rollout, StopReason
from .tools import call_tools


@dataclass
class Play:
    """What the rollouts of a batch have in common.

    Args:
        sampling: `max_tokens` is for the whole completion, tools' replies included, as TRL's `max_completion_length`.
        context: most tokens that prompt and completion may have together.
    """

    engine: Engine
    chat: Chat
    sampling: Sampling
    limits: Limits
    context: int | None = None
    _rendered: dict[str, list[int]] = field(default_factory=dict)
    _tools: dict[type, list[str]] = field(default_factory=dict)

    async def __call__(self, rollout: Rollout, env: Environment, row: Row) -> None:
        """Work `row` and write what happened into `rollout`, which names its sampling stream.

        Raises:
            EnvironmentFailed: the environment broke; `rollout` holds what there was until then.
            BadInput: the prompt leaves no room for a completion in the model's context.
        """
        began = time.perf_counter()
        if type(env) not in self._tools:
            self._tools[type(env)] = [tool.__name__ for tool in tools_of(env)]
        tools = {name: getattr(env, name) for name in self._tools[type(env)]}
        try:
            rollout.messages = opening(env, row)
        except (BadInput, EnvironmentFailed):
            raise
        except Exception as error:
            raise EnvironmentFailed(f"reset: {type(error).__name__}: {error}") from error
        rollout.prompt_ids = self._prompt_ids(row, rollout.messages, list(tools.values()))
        limit = asyncio.timeout(self.limits.seconds)
        try:
            async with limit:
                rollout.stop_reason = (await self._turns(rollout, env, tools)).value
        except TimeoutError:
            if not limit.expired():  # the engine's own
                raise
            rollout.stop_reason = StopReason.TIMEOUT.value
        rollout.latency_s = time.perf_counter() - began

    async def _turns(self, rollout: Rollout, env: Environment, tools: dict[str, Callable[..., Any]]) -> StopReason:
        while True:
            room, full = self._room(rollout)
            completion = await self.engine.complete(
                Request(
                    [*rollout.prompt_ids, *rollout.completion_ids], (rollout.seed, rollout.step, rollout.row),
                    rollout.turns, list(rollout.messages),
                ),
                replace(self.sampling, max_tokens=room),
            )  # fmt: skip
            message = self._wrote(rollout, completion, list(tools.values()))
            calls = message.get("tool_calls")
            if completion.stop_reason is not StopReason.EOS:
                return full
            if not calls:
                self._pay(rollout, env, message)
                return StopReason.EOS
            if rollout.turns >= self.limits.turns:
                return StopReason.TURNS
            replies = await call_tools(calls, env, tools, self.limits, self.chat)
            rollout.tool_calls += len(calls)
            rollout.tool_errors += replies.errors
            rollout.messages += replies.messages
            self._pay(rollout, env, message)
            if env.done:
                return StopReason.EOS
            ids = self.chat.tool_reply_ids(replies.messages)
            room, full = self._room(rollout, len(ids))
            if room < 1:  # as TRL: what doesn't fit was never said
                del rollout.messages[-len(replies.messages) :]
                return full
            rollout.completion_ids += ids
            rollout.logprobs += [0.0] * len(ids)
            rollout.env_mask += [0] * len(ids)

    def _wrote(self, rollout: Rollout, completion: Completion, tools: list[Any]) -> dict[str, Any]:
        """Add what the policy wrote to the rollout; returns it as a message."""
        before = [*rollout.prompt_ids, *rollout.completion_ids]
        if rollout.turns == 0:
            rollout.first_token_s = completion.first_token_s
        rollout.turns += 1
        rollout.tokens_in += len(before)
        rollout.tokens_cached += completion.tokens_cached
        rollout.tokens_out += len(completion.ids)
        rollout.completion_ids += completion.ids
        rollout.logprobs += completion.logprobs
        rollout.env_mask += [1] * len(completion.ids)
        message = self.chat.message(completion.ids, before, tools, rollout.messages)
        rollout.messages.append(message)
        return message

    def _pay(self, rollout: Rollout, env: Environment, message: dict[str, Any]) -> None:
        """Ask what the turn that wrote `message` has earned, where the environment pays per turn."""
        if not pays_steps(env):
            return
        try:
            earned = float(env.step_reward(message))
        except Exception as error:
            raise EnvironmentFailed(f"step_reward: {type(error).__name__}: {error}") from error
        if not math.isfinite(earned):
            raise EnvironmentFailed(f"step_reward: {earned} is no finite number")
        rollout.step_rewards.append(earned)

    def _room(self, rollout: Rollout, coming: int = 0) -> tuple[int, StopReason]:
        """Tokens that may still be written after `coming` ones of a tool, and why the rollout ends once they are."""
        used = len(rollout.completion_ids) + coming
        room, reason = self.sampling.max_tokens - used, StopReason.LENGTH
        if self.limits.tokens is not None:
            room = min(room, self.limits.tokens - rollout.tokens_out)
        if self.context is not None and self.context - len(rollout.prompt_ids) - used < room:
            room, reason = self.context - len(rollout.prompt_ids) - used, StopReason.CONTEXT
        return room, reason

    def _prompt_ids(self, row: Row, messages: list[dict[str, Any]], tools: list[Any]) -> list[int]:
        key = row["item"] + str(messages[-1]["content"])
        if key not in self._rendered:
            self._rendered[key] = self.chat.prompt_ids(messages, tools)
        ids, most = self._rendered[key], self.sampling.max_tokens
        if self.context is not None and len(ids) + (1 if tools else most) > self.context:
            raise BadInput(
                f"the prompt of item {row['item']} has {len(ids)} tokens; with max_completion_length {most} that is more than "
                f"the model's context of {self.context}: shorten one of them"
            )
        return list(ids)


def opening(env: Environment, row: Row) -> list[dict[str, Any]]:
    """The messages a rollout starts from: the row's prompt, and what `reset` adds to its last message."""
    env.done = False
    messages = plain_messages(row["prompt"])
    observation = env.reset(**row)
    if observation is not None:
        messages[-1]["content"] += whole_characters(observation)
    return messages
