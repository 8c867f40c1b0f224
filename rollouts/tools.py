"""A turn's tool calls: run beside one another, within their time, and told to the model whatever comes of them.

Always true here: what a tool raises is its reply, as TRL has it (`{'error': ...}`), unless the environment itself is broken;
a synchronous tool runs in a thread only where its environment says that it may.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..envs.core import Environment, EnvironmentFailed, Limits
from ..envs.messages import whole_characters
from .chat import Chat

_in_threads: Counter[int] = Counter()
"""id of an environment -> its tools that are running in threads, those that nobody waits for any more among them"""
_lock = threading.Lock()


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
    waiting = [_call(call, env, tools, limits.tool_seconds) for call in calls]
    # One alone begins at once, in the rollout's own task: while it waits, other rollouts are read.
    done = [await waiting[0]] if len(waiting) == 1 else await _together(waiting)
    messages = [
        {
            "role": "tool",
            "name": name,
            "content": cut(whole_characters(text), limits.observation, chat),
        }
        for name, text, _ in done
    ]  # a call that the policy wrote can spell what is no text, and a tool can say it again
    return Replies(messages, sum(failed for _, _, failed in done))


async def _together(waiting: Sequence[Any]) -> list[tuple[str, str, bool]]:
    """All of them, in their order; where one says that the environment is broken, the others are not left running in it."""
    tasks = [asyncio.ensure_future(call) for call in waiting]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _call(
    call: Mapping[str, Any], env: Environment, tools: Mapping[str, Callable[..., Any]], seconds: float
) -> tuple[str, str, bool]:
    """(name, reply, whether it is an error) of one call."""
    function = call.get("function", call)
    name, arguments = str(function.get("name", "unknown")), function.get("arguments") or {}
    limit = asyncio.timeout(seconds)
    try:
        if name not in tools:
            raise ValueError(f"Tool {name} not found.")  # TRL's words: the model reads the same in both
        if not isinstance(arguments, Mapping):
            raise ValueError(f"The arguments of {name} are not an object.")
        tool = tools[name]
        if inspect.iscoroutinefunction(tool):
            async with limit:
                result = await tool(**arguments)
        elif env.threads:
            async with limit:
                result = await _in_thread(env, tool, arguments)
        else:
            result = tool(**arguments)
        return name, str(result), False
    except EnvironmentFailed:
        raise
    except Exception as error:  # whatever a tool raises is for the model to read
        if isinstance(error, TimeoutError) and limit.expired():
            return name, str({"error": f"{name} took more than {seconds:g} s."}), True
        return name, str({"error": str(error)}), True


async def _in_thread(env: Environment, tool: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """What `tool` returns, from a thread of its own: one that never ends holds up neither the others nor the batch's end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def tell(result: Any, error: BaseException | None) -> None:
        if not future.done():
            future.set_exception(error) if error else future.set_result(result)

    def work() -> None:
        result, failed = None, None
        try:
            result = context.run(tool, **arguments)
        except BaseException as error:  # handed on to the rollout; StopIteration can't be set on a future
            failed = RuntimeError(repr(error)) if isinstance(error, StopIteration) else error
        with _lock:
            _in_threads[id(env)] -= 1
            if not _in_threads[id(env)]:
                del _in_threads[id(env)]
        try:
            loop.call_soon_threadsafe(tell, result, failed)
        except RuntimeError:  # the batch is over and its loop closed
            return

    with _lock:
        _in_threads[id(env)] += 1
    threading.Thread(target=work, name="tool", daemon=True).start()
    return await future


def busy(env: Environment) -> bool:
    """Whether a thread still works in `env`: a tool that took too long was left behind there."""
    with _lock:
        return id(env) in _in_threads


def cut(text: str, most: int, chat: Chat) -> str:
    """`text` with at most `most` tokens of its own; what was cut off is said."""
    if len(text.encode()) <= most:  # a token has at least one byte
        return text
    ids = chat.text_ids(text)
    if len(ids) <= most:
        return text
    return f"{chat.tokenizer.decode(ids[:most])}\n[cut: {most} of {len(ids)} tokens]"
