"""A turn's tool calls: run beside one another, within their time, and told to the model whatever comes of them.

Always true here: what a tool raises is its reply, as TRL has it (`{'error': ...}`), unless the environment itself is broken;
a synchronous tool runs in a thread only where its environment says that it may.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..envs.core import Environment, EnvironmentFailed, Limits
from .chat import Chat


@dataclass(frozen=True)
class Replies:
    """What a turn's calls came to: a message of role `tool` for each, in their order."""

    messages: list[dict[str, Any]]
    errors: int


async def call_tools(
    calls: Sequence[Mapping[str, Any]], env: Environment, tools: Mapping[str, Callable[..., Any]], limits: Limits, chat: Chat
) -> Replies:  # fmt: skip
    """Run the calls of one turn.

    Args:
        calls: as chat templates have them: `{"type": "function", "function": {"name": ..., "arguments": {...}}}`.

    Raises:
        EnvironmentFailed: a tool said that the environment is broken.
    """
    done = await asyncio.gather(*(_call(call, env, tools, limits.tool_seconds) for call in calls))
    messages = [
        {"role": "tool", "name": name, "content": cut(text, limits.observation, chat)} for name, text, _ in done
    ]
    return Replies(messages, sum(failed for _, _, failed in done))


async def _call(
    call: Mapping[str, Any], env: Environment, tools: Mapping[str, Callable[..., Any]], seconds: float
) -> tuple[str, str, bool]:
    """(name, reply, whether it is an error) of one call."""
    function = call.get("function", call)
    name, arguments = str(function.get("name", "unknown")), function.get("arguments") or {}
    try:
        if name not in tools:
            raise ValueError(f"Tool {name} not found.")  # TRL's words: the model reads the same in both
        if not isinstance(arguments, Mapping):
            raise ValueError(f"The arguments of {name} are not an object.")
        tool = tools[name]
        if inspect.iscoroutinefunction(tool):
            result = await asyncio.wait_for(tool(**arguments), seconds)
        elif env.threads:
            result = await asyncio.wait_for(asyncio.to_thread(tool, **arguments), seconds)
        else:
            result = tool(**arguments)
    except EnvironmentFailed:
        raise
    except TimeoutError:
        return name, str({"error": f"{name} took more than {seconds:g} s."}), True
    except Exception as error:  # whatever a tool raises is for the model to read
        return name, str({"error": str(error)}), True
    return name, str(result), False


def cut(text: str, most: int, chat: Chat) -> str:
    """`text` with at most `most` tokens of its own; what was cut off is said."""
    if len(text) <= most:  # a token has at least one character
        return text
    ids = chat.ids(text)
    if len(ids) <= most:
        return text
    return f"{chat.answer(ids[:most])}\n[cut: {most} of {len(ids)} tokens]"
