"""Any of our environments behind OpenEnv's WebSocket protocol, for whichever trainer speaks it.

Always true here: a connection is a session with an environment of its own; the reward comes with `done`, is the weighted sum
of the job's rewards, and a reward that fails is an error and not a 0; one split is served, and a seed names a row of it.

An action is an answer, which ends the episode, or a call of one of the environment's tools:

    {"answer": "42"}
    {"tool": "search", "arguments": {"query": "..."}}

`GET /schema`, `/metadata` and `/health` answer too. The HTTP routes `/reset` and `/step`, which keep no session, are left out.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from ..configs.errors import BadInput
from ..rewards.core import Reward, Scored
from ..rewards.executor import Executor
from .core import Environment, EnvironmentFailed, Limits, Row, tools_of


@dataclass
class Offer:
    """What is served: an environment, the rows that seeds name, and what a finished episode is paid."""

    env: Environment
    rows: Sequence[Row]
    rewards: Sequence[Reward]
    limits: Limits
    name: str = "environment"
    sessions: int = 256
    """How many there may be at once."""
    _executor: Executor = field(init=False)
    _lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        if not self.rows:
            raise BadInput(f"{self.name}: there are no tasks to serve; give the split a share above 0")
        self._executor = Executor(self.rewards)

    async def paid(self, item: Scored) -> tuple[float, dict[str, float | None]]:
        """The total of a finished episode, and what each reward gives.

        Raises:
            EnvironmentFailed: a weighted reward failed, or none applied.
        """
        async with self._lock:
            scores = await asyncio.to_thread(self._executor.score, [item])
        total = float(scores.total[0])
        if math.isnan(total):
            raise EnvironmentFailed(f"the episode can't be scored: {scores.errors[0] or 'no reward applies'}")
        return total, scores.of(0)

    def schema(self) -> dict[str, Any]:
        """What `GET /schema` says."""
        names = [tool.__name__ for tool in tools_of(self.env)]
        answer = {"type": "string", "description": "Your final answer; it ends the episode."}
        fields: dict[str, Any] = {"answer": answer}
        if names:
            fields["tool"] = {
                "type": "string",
                "enum": names,
                "description": "A tool to call, where there is no answer yet.",
            }
            fields["arguments"] = {"type": "object", "description": "The tool's arguments, by name."}
        action = {
            "title": "Action", "type": "object", "properties": fields, "required": [] if names else ["answer"],
            "description": "Call a tool, or answer." if names else "Answer the task.", "additionalProperties": False,
        }  # fmt: skip
        texts = {key: {"type": "string"} for key in ("text", "item", "episode_id")}
        seen = {"text": texts["text"], "messages": {"type": "array"}, "tools": {"type": "array"}}
        return {
            "action": action,
            "observation": {"title": "Observation", "type": "object", "properties": seen},
            "state": {"title": "State", "type": "object", "properties": {k: texts[k] for k in ("episode_id", "item")}},
        }


class Refused(ValueError):
    """An action that can't be taken; the session goes on."""


class Episode:
    """One session: its environment, and the row it is at."""

    def __init__(self, offer: Offer) -> None:
        self.offer, self.env = offer, offer.env.another()
        self.tools = {tool.__name__: tool for tool in tools_of(self.env)}
        self.row: Row | None = None
        self.messages: list[dict[str, Any]] = []
        self.turns = 0
        self.id = ""

    def reset(self, seed: int | None = None, episode_id: str | None = None, **other: Any) -> dict[str, Any]:
        """Start on the row that `seed` names, on any where it is None."""
        rows = self.offer.rows
        self.row = rows[random.randrange(len(rows)) if seed is None else int(seed) % len(rows)]
        self.id, self.messages, self.turns, self.env.done = episode_id or uuid.uuid4().hex, [], 0, False
        prompt = [dict(message) for message in self.row["prompt"]]
        prompt[-1]["content"] = f"{prompt[-1]['content']}{self.env.reset(**self.row) or ''}"
        tools = [
            {"name": n, "description": inspect.getdoc(t) or "", "signature": _signature(t)}
            for n, t in self.tools.items()
        ]
        seen = {"text": prompt[-1]["content"], "messages": prompt, "tools": tools}
        return {"observation": seen, "reward": None, "done": False}

    async def step(self, action: Mapping[str, Any]) -> dict[str, Any]:
        """Answer, or call a tool.

        Raises:
            Refused: the action is neither, or the episode is over or has not begun.
            EnvironmentFailed: the environment broke, or the episode can't be scored.
        """
        self._check(action)
        self.turns += 1
        if action.get("answer") is not None:
            self.messages.append({"role": "assistant", "content": action["answer"]})
            return await self._ended("")
        name, arguments = action["tool"], action.get("arguments") or {}
        call = {"type": "function", "function": {"name": name, "arguments": arguments}}
        self.messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        if self.turns >= self.offer.limits.turns:  # as in rollouts: the tools that the last turn calls are not run
            return await self._ended("")
        reply = await self._called(name, arguments)
        self.messages.append({"role": "tool", "name": name, "content": reply})
        if self.env.done:
            return await self._ended(reply)
        return {"observation": {"text": reply}, "reward": None, "done": False}

    def state(self) -> dict[str, Any]:
        """Where the session is."""
        return {"episode_id": self.id, "step_count": self.turns, "item": self.row["item"] if self.row else None}

    def _check(self, action: Mapping[str, Any]) -> None:
        if self.row is None:
            raise Refused("there is no episode; reset first")
        if unknown := sorted(set(action) - {"answer", "metadata", *(("tool", "arguments") if self.tools else ())}):
            raise Refused(f"{', '.join(unknown)}: no such field of an action")
        if action.get("answer") is not None:
            if not isinstance(action["answer"], str):
                raise Refused("answer: it should be a text")
        elif action.get("tool") not in self.tools:
            known = f", or a tool of {', '.join(self.tools)}" if self.tools else ""
            raise Refused(f"an action is an answer{known}")
        elif not isinstance(action.get("arguments") or {}, Mapping):
            raise Refused("arguments: it should be an object")

    async def _called(self, name: str, arguments: Mapping[str, Any]) -> str:
        tool, seconds = self.tools[name], self.offer.limits.tool_seconds
        try:
            async with asyncio.timeout(seconds):
                if inspect.iscoroutinefunction(tool):
                    return str(await tool(**arguments))
                return str(await asyncio.to_thread(tool, **arguments) if self.env.threads else tool(**arguments))
        except EnvironmentFailed:
            raise
        except TimeoutError:
            return str({"error": f"{name} took more than {seconds:g} s."})
        except Exception as error:  # whatever a tool raises is for the model to read
            return str({"error": str(error)})

    async def _ended(self, text: str) -> dict[str, Any]:
        assert self.row is not None
        row, self.row = self.row, None
        total, values = await self.offer.paid(Scored(row, self.messages, environment=self.env))
        return {"observation": {"text": text, "metadata": {"rewards": values}}, "reward": total, "done": True}


async def serve(
    offer: Offer, host: str = "127.0.0.1", port: int = 8000, ready: Callable[[int], None] | None = None
) -> None:
    """Serve until cancelled.

    Args:
        port: 0 for any that is free.
        ready: called with the port once connections are taken.

    Raises:
        BadInput: the extra isn't installed, or the port can't be had.
    """
    try:
        from websockets.asyncio.server import serve as listen
    except ImportError as error:
        raise BadInput(f"websockets is not installed ({error}): pip install 'journeyman[openenv]'") from None
    pages = {
        "/schema": offer.schema(),
        "/health": {"status": "healthy"},
        "/metadata": {
            "name": offer.name,
            "description": inspect.getdoc(type(offer.env)) or "",
            "version": offer.env.version,
        },
    }
    open_now: set[int] = set()

    def page(connection: Any, request: Any) -> Any:
        path = request.path.partition("?")[0]
        if path == "/ws":
            return None
        found = pages.get(path)
        reply = connection.respond(
            HTTPStatus.OK if found else HTTPStatus.NOT_FOUND, json.dumps(found or {"detail": "Not Found"})
        )
        del reply.headers["Content-Type"]
        reply.headers["Content-Type"] = "application/json"
        return reply

    async def session(socket: Any) -> None:
        if len(open_now) >= offer.sessions:
            text = f"all {offer.sessions} sessions are taken"
            await socket.send(
                _error("CAPACITY_REACHED", text, active_sessions=len(open_now), max_sessions=offer.sessions)
            )
            return
        open_now.add(id(socket))
        try:
            await _talk(Episode(offer), socket)
        finally:
            open_now.discard(id(socket))

    try:
        # No page of a browser has business here: only clients that send no Origin are let in.
        server = await listen(session, host, port, process_request=page, origins=[None])
    except OSError as error:
        raise BadInput(f"{host}:{port} can't be listened on: {error.strerror or error}; give another --port") from error
    async with server:
        if ready is not None:
            ready(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


async def _talk(episode: Episode, socket: Any) -> None:
    """Answer the messages of one connection until it ends."""
    try:
        async for raw in socket:
            try:
                message = json.loads(raw)
                kind, data = message.get("type"), message.get("data") or {}
                if kind == "close":
                    return
                if kind not in ("reset", "step", "state"):
                    reply = _error("UNKNOWN_TYPE", f"Unknown message type: {kind}")
                elif kind == "state":
                    reply = json.dumps({"type": "state", "data": episode.state()})
                else:
                    found = episode.reset(**data) if kind == "reset" else await episode.step(data)
                    reply = json.dumps({"type": "observation", "data": found}, default=str)
            except (json.JSONDecodeError, AttributeError) as error:
                reply = _error("INVALID_JSON", f"Invalid JSON: {error}")
            except Refused as error:
                reply = _error(
                    "VALIDATION_ERROR", f"Invalid message: {error}", errors=[{"loc": ["action"], "msg": str(error)}]
                )
            except Exception as error:  # the client sees why its episode is no result
                await socket.send(_error("SESSION_ERROR", f"{type(error).__name__}: {error}"))
                return
            await socket.send(reply)
    finally:
        episode.env.close()


def _error(code: str, message: str, **more: Any) -> str:
    return json.dumps({"type": "error", "data": {"message": message, "code": code, **more}}, default=str)


def _signature(tool: Callable[..., Any]) -> dict[str, str]:
    """argument -> its type, as the tool has it written."""
    return {
        p.name: p.annotation if isinstance(p.annotation, str) else inspect.formatannotation(p.annotation)
        for p in inspect.signature(tool).parameters.values()
    }
