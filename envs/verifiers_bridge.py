"""The far side of `verifiers_classic`: runs in the Python that has verifiers, and answers JSON lines on its standard streams.

Always true here: nothing of Journeyman is imported, since it isn't there; a line in is a request `{"id", "do", "data"}`, a line
out its answer `{"id", "data"}` or `{"id", "error"}`; requests are worked on beside one another. A reward function that raises
is told as an error: verifiers itself would make a 0 of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

failures: contextvars.ContextVar[list[tuple[str, str]]] = contextvars.ContextVar("failures")
"""What functions raised while the request of this task was scored: (function, traceback)."""


class Bridge:
    """One environment and what is asked of it: `rows`, `score` and `tool`."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        import verifiers as vf

        self.vf, self.env = vf, vf.load_environment(name, **arguments)
        self.rubric = self.env.rubric
        for rubric in leaves(self.rubric):
            rubric.funcs = [telling(function) for function in rubric.funcs]

    def about(self) -> dict[str, Any]:
        """What the environment is: its kind, version, functions, weights, tools and turns; `plain` where it can be adapted."""
        vf, env = self.vf, self.env
        tools = isinstance(env, vf.ToolEnv)
        own = [vf.ToolEnv.env_response, vf.ToolEnv.call_tool]
        plain = isinstance(env, vf.SingleTurnEnv) or (tools and [type(env).env_response, type(env).call_tool] == own)
        names, weights = self.rubric._get_reward_func_names(), self.rubric._get_reward_weights()
        return {
            "kind": type(env).__name__, "plain": plain, "verifiers": getattr(vf, "__version__", "unknown"),
            "rewards": dict(zip(names, weights, strict=False)), "turns": getattr(env, "max_turns", 1),
            "groups": bool(getattr(self.rubric, "has_group_rewards", False)),
            "tools": [tool.model_dump() for tool in env.tool_defs or []] if tools else [],
        }  # fmt: skip

    async def rows(self, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every row of the dataset, prompts as messages."""
        return [without_none(dict(row)) for row in self.env.get_dataset()]

    async def score(self, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What the rubric gives to rollouts of one row: reward, metrics, and what raised; all of a group together.

        Args:
            data: `entry` (the row), `rollouts` (lists of messages) and `truncated` (a bool each).
        """
        states = [
            self.state(data["entry"], messages, cut)
            for messages, cut in zip(data["rollouts"], data["truncated"], strict=True)
        ]
        found: list[tuple[str, str]] = []
        failures.set(found)
        if getattr(self.rubric, "has_group_rewards", False):
            await self.rubric.score_group(states)
        else:
            for state in states:
                await self.rubric.score_rollout(state)
        return [{"reward": s["reward"], "metrics": s["metrics"], "failed": found} for s in states]

    async def tool(self, data: Mapping[str, Any]) -> str:
        """What a tool returns; what it raises, as the environment words it for the model."""
        try:
            message = await self.env.call_tool(data["name"], data["arguments"], "0")
        except Exception as error:
            return str(self.env.error_formatter(error))
        return str(getattr(message, "content", message))

    def state(self, entry: Mapping[str, Any], rollout: list[dict[str, Any]], truncated: bool) -> Any:
        """A finished rollout as verifiers has it."""
        from verifiers.types import State
        from verifiers.utils.message_utils import normalize_messages

        row = json.loads(json.dumps(entry))
        if isinstance(row.get("info"), str):
            row["info"] = json.loads(row["info"])
        row.setdefault("answer", "")
        row.setdefault("info", {})
        state = State(input=row)
        state["task"] = dict(row)
        state["prompt"] = normalize_messages(row["prompt"])
        state["completion"] = normalize_messages(as_verifiers(rollout))
        state["trajectory"] = list(steps(state["prompt"], state["completion"]))
        state.update(
            is_completed=True, is_truncated=truncated, tool_defs=self.env.tool_defs or [], reward=None, metrics=None,
            error=None, final_env_response=None, trajectory_id="", model="", sampling_args=None, client=None,
        )  # fmt: skip
        return state


def leaves(rubric: Any) -> Iterator[Any]:
    """The rubrics of a group, or the one that it is."""
    inner = getattr(rubric, "rubrics", None)
    if not inner:
        yield rubric
    for part in inner or ():
        yield from leaves(part)


def telling(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which also notes what it raises."""
    name = getattr(function, "__name__", type(function).__name__)

    def note() -> None:
        failures.get([]).append((name, traceback.format_exc()))

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except Exception:
            note()
            raise

    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception:
            note()
            raise

    told: Callable[..., Any] = awaited if inspect.iscoroutinefunction(function) else called
    wrapped = functools.wraps(function)(told)
    wrapped.__name__ = name
    return wrapped


def without_none(value: Any) -> Any:
    """`value` without the empty fields that a table gives to its mappings, as JSON knows it."""
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    return [without_none(v) for v in value] if isinstance(value, list) else value


def as_verifiers(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A rollout's messages with tool calls as verifiers has them; each reply answers the next call that has none yet."""
    known: list[dict[str, Any]] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            number = waiting.pop(0) if waiting else ""
            known.append({"role": "tool", "tool_call_id": number, "content": message["content"]})
            continue
        waiting = []
        message = {k: v for k, v in message.items() if k in ("role", "content", "reasoning_content", "tool_calls")}
        for i, call in enumerate(message.get("tool_calls") or []):
            function = call.get("function", call)
            waiting.append(f"call-{len(known)}-{i}")
            arguments = function.get("arguments") or {}
            message["tool_calls"][i] = {
                "id": waiting[-1],
                "name": str(function.get("name")),
                "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
            }
        known.append(message)
    return known


def steps(prompt: list[Any], completion: list[Any]) -> Iterator[dict[str, Any]]:
    """A step a turn of the model, as rubrics read them."""
    for i, message in enumerate(completion):
        if message.role == "assistant":
            yield {
                "prompt": [*prompt, *completion[:i]], "completion": [message], "response": None, "tokens": None,
                "reward": None, "advantage": None, "is_truncated": False, "trajectory_id": "", "extras": {},
            }  # fmt: skip


async def serve(bridge: Bridge, answer: Callable[[dict[str, Any]], None]) -> None:
    """Answer requests until the other side closes the stream."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def one(request: Mapping[str, Any]) -> None:
        try:
            data = await {"rows": bridge.rows, "score": bridge.score, "tool": bridge.tool}[request["do"]](
                request["data"]
            )
            answer({"id": request["id"], "data": data})
        except Exception:
            answer({"id": request["id"], "error": traceback.format_exc()})

    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(one(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def main() -> None:
    """`python -c SOURCE ENVIRONMENT ARGUMENTS`: load, say what it is, answer."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the environment prints is no answer

    def answer(message: dict[str, Any]) -> None:
        out.write(json.dumps(message, default=str) + "\n")
        out.flush()

    try:
        bridge = Bridge(sys.argv[1], json.loads(sys.argv[2]))
        answer({"id": 0, "data": bridge.about()})
    except Exception as error:
        answer({"id": 0, "error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from error
    asyncio.run(serve(bridge, answer))


if __name__ == "__main__":
    main()
