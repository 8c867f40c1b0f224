"""An OpenEnv server as an environment: what the model calls is the server's action, what it pays is the reward.

Always true here: a rollout has a WebSocket session of its own; a session that was lost in the middle of an episode is an
EnvironmentFailed, never a zero; a row is a seed, and a seed belongs to one split. No package of OpenEnv's is needed.

    environment: journeyman.envs.openenv:OpenEnv
    environment_kwargs: {url: "http://localhost:8000", prompt: "Guess the word.", reward: last}
    rewards: [environment]

Needs the extra `openenv`. The server must allow as many sessions as there are rollouts at once (`max_concurrent_envs`).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import json
import random
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import httpx

from ..configs.errors import BadInput
from .core import Environment, EnvironmentFailed, Limits, Row, Splitter, check_split, digest
from .schema_tools import tool

SHARES = {"train": 0.6, "validation": 0.15, "heldout": 0.25}
"""No demonstrations: nobody knows a server's right answers. A subclass with an `oracle_turn` may give them a share."""
REFUSED = ("VALIDATION_ERROR", "EXECUTION_ERROR", "INVALID_JSON")
"""Errors about one action, which the model may read and do better; every other one is of the session."""


class OpenEnv(Splitter):
    """The environment behind an OpenEnv server; the model acts by calling `step` with the fields of the server's action."""

    limits = Limits(turns=8)

    def __init__(
        self,
        url: str,
        prompt: str = "Act by calling step.",
        seeds: int = 1000,
        reward: Literal["sum", "last"] = "sum",
        observation: str | None = None,
        reset: Mapping[str, Any] | None = None,
        timeout: float = 60.0,
        shares: Mapping[str, float] | None = None,
        system_prompt: str | None = None,
    ) -> None:
        """Ask the server for its action's schema.

        Args:
            url: where the server is, such as `http://localhost:8000` or `https://user-space.hf.space`.
            prompt: what the model is told; the first observation is put after it.
            seeds: how many tasks there are, over all splits: the seeds 0, 1, ...
            reward: the sum of the rewards of an episode's steps, or the last one.
            observation: the field of an observation that the model sees; where not given, all of them as JSON,
                but for `metadata`.
            reset: sent with every reset, beside the seed.
            timeout: seconds that the server may take for one reply.
            shares: the share of each split.
            system_prompt: put before every prompt where given.

        Raises:
            BadInput: the server does not answer or is none of OpenEnv's, or an option is out of range.
        """
        super().__init__(SHARES if shares is None else shares, system_prompt)
        if reward not in ("sum", "last"):
            raise BadInput(f"openenv: reward is {reward!r}; it should be sum or last")
        if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
            raise BadInput(f"openenv: seeds is {seeds!r}; it should be a whole number, at least 1")
        base = address(url)
        schema = action_schema(base, timeout)
        self.prompt, self.seeds, self.reward, self.observation = prompt, seeds, reward, observation
        self.reset_options = dict(reset or {})
        self.version = f"openenv/{schema.get('title', 'action')}/{digest(json.dumps(schema, sort_keys=True))}"
        self._session = Session(base, timeout)
        self._rewards: list[float] = []
        # A method of a class of its own: tools are looked for in classes, and each server has another action.
        about = schema.get("description") or "Do one action; the reply is what is then observed."
        step = tool("step", about, schema, _step, left_out=("metadata",))
        self.__class__ = type(type(self).__name__, (type(self),), {"step": step, "__module__": type(self).__module__})

    def another(self) -> Environment:
        """One with a session of its own, for the same server."""
        other = copy.copy(self)
        other._session, other._rewards = Session(self._session.base, self._session.timeout), []
        return other

    def key(self, row: Row) -> str:
        """A task is a seed."""
        return f"seed/{row['seed']}"

    def tasks(self, split: str, seed: int, n: int | None = None) -> list[Row]:
        """`n` rows of `split`, all of them where None, in the order that `seed` gives."""
        check_split(split)
        rows = [row for i in range(self.seeds) if self.split_of(row := {"prompt": self.prompt, "seed": i}) == split]
        if n is not None and len(rows) < n:
            raise BadInput(
                f"openenv: {len(rows)} of {self.seeds} seeds are {split} and {n} were asked for; raise seeds"
            )
        random.Random(f"{split}/{seed}").shuffle(rows)
        return [self.finished(row, index) for index, row in enumerate(rows[:n])]

    def reset(self, **row: Any) -> str | None:
        """Start an episode; returns what is first observed, under the prompt."""
        self._rewards = []
        data = _wait(self._session.begin({**self.reset_options, "seed": row["seed"]}))
        self.done = bool(data.get("done"))
        seen = self._shown(data.get("observation"))
        return f"\n\n{seen}" if seen else None

    def get_reward(self) -> float:
        """What the server paid for the episode; 0 where no action was taken."""
        return (self._rewards[-1] if self.reward == "last" else sum(self._rewards)) if self._rewards else 0.0

    def close(self) -> None:
        """End the session."""
        _wait(self._session.close())

    def _shown(self, observation: Any) -> str:
        if not isinstance(observation, Mapping):
            return "" if observation is None else str(observation)
        if self.observation is None:
            return json.dumps({k: v for k, v in observation.items() if k != "metadata"}, ensure_ascii=False)
        if self.observation not in observation:
            raise EnvironmentFailed(f"openenv: there is no '{self.observation}' in {sorted(observation)}")
        value = observation[self.observation]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


async def _step(env: OpenEnv, action: dict[str, Any]) -> str:
    data = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_one_step(env, action), _loop()))
    return env._shown(data.get("observation"))


async def _one_step(env: OpenEnv, action: dict[str, Any]) -> dict[str, Any]:
    async with env._session.lock:  # a turn may hold several calls: they act one after the other
        if env.done:
            raise ValueError("The episode is over.")
        data = await env._session.ask("step", action)
        if data.get("reward") is not None:
            env._rewards.append(float(data["reward"]))
        env.done = bool(data.get("done"))
        return data


class Refused(ValueError):
    """The server refused an action; the session goes on."""


class Session:
    """One WebSocket session, opened when it is first needed; all sessions live in one loop, in a thread of their own."""

    def __init__(self, base: str, timeout: float) -> None:
        self.base, self.timeout = base, timeout
        self.lock = asyncio.Lock()
        self._socket: Any = None

    async def begin(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Reset, in a new session where the old one is gone: servers end those that wait too long.

        Raises:
            BadInput: the server has no session to spare.
            EnvironmentFailed: it can't be reached or can't reset.
        """
        for kept in (self._socket is not None, False):
            try:
                if self._socket is None:
                    self._socket = await _connected(self.base, self.timeout)
                return await self.ask("reset", data)
            except Refused as error:
                raise EnvironmentFailed(f"openenv: reset: {error}") from error
            except EnvironmentFailed:
                if not kept:
                    raise
        raise AssertionError("the second try returns or raises")

    async def ask(self, kind: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send one message and return the reply's data.

        Raises:
            Refused: the server refused the action.
            BadInput: the server has no session to spare.
            EnvironmentFailed: there is no session any more.
        """
        from websockets.exceptions import ConnectionClosed

        socket = self._socket
        if socket is None:
            raise EnvironmentFailed("openenv: the session was lost in the middle of an episode")
        try:
            async with asyncio.timeout(self.timeout):
                with contextlib.suppress(ConnectionClosed):  # why it was closed may have been said before
                    await socket.send(json.dumps({"type": kind, "data": data or {}}))
                reply = json.loads(await socket.recv())
        except BaseException as error:  # whatever it was: the next reply would be the one to this message
            self._socket = None
            await asyncio.shield(socket.close())
            if isinstance(error, ConnectionClosed | TimeoutError | OSError | ValueError):
                raise EnvironmentFailed(f"openenv: {kind}: {type(error).__name__}: {error}") from error
            raise
        found: dict[str, Any] = reply.get("data") or {}
        if reply.get("type") != "error":
            return found
        code, text = found.get("code"), f"{found.get('message')}"
        if found.get("errors"):
            text = "; ".join(f"{'.'.join(map(str, e.get('loc', ())))}: {e.get('msg')}" for e in found["errors"])
        if code in REFUSED:
            raise Refused(text)
        self._socket = None
        await socket.close()
        if code == "CAPACITY_REACHED":
            raise BadInput(
                f"openenv: {self.base} allows {found.get('max_sessions')} sessions at once and every rollout of a batch "
                "needs one: raise max_concurrent_envs where the server's app is made"
            )
        raise EnvironmentFailed(f"openenv: {kind}: {code}: {text}")

    async def close(self) -> None:
        """Say goodbye, as far as the server listens."""
        socket, self._socket = self._socket, None
        if socket is not None:
            try:
                await socket.send(json.dumps({"type": "close"}))
            finally:
                await socket.close()


async def _connected(base: str, timeout: float) -> Any:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake

    url = f"ws{base.removeprefix('http')}/ws"
    try:
        return await connect(url, open_timeout=timeout, close_timeout=1, max_size=None)
    except (OSError, TimeoutError, InvalidHandshake) as error:
        raise EnvironmentFailed(f"openenv: {url}: {type(error).__name__}: {error}") from error


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """Where all sessions live: a batch of rollouts has a loop of its own, which ends with it."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="openenv", daemon=True).start()
    return loop


def _wait(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()


def address(url: str) -> str:
    """`http(s)://host:port/path` of a server, without a slash at the end.

    Raises:
        BadInput: it is no address.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    if scheme not in ("http", "https") or not parts.netloc:
        raise BadInput(f"openenv: url is {url!r}; it should read http://host:port")
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/").removesuffix("/ws"), "", ""))


def action_schema(base: str, timeout: float) -> dict[str, Any]:
    """The JSON schema of the server's action.

    Raises:
        BadInput: the extra isn't installed, or the server doesn't answer with one.
    """
    try:
        import websockets.asyncio.client  # noqa: F401
    except ImportError as error:
        raise BadInput(f"websockets is not installed ({error}): pip install 'journeyman[openenv]'") from None
    try:
        reply = httpx.get(f"{base}/schema", timeout=timeout, follow_redirects=True)
        reply.raise_for_status()
        schema = reply.json()["action"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"openenv: {base}/schema: {type(error).__name__}: {error}; start the server, or correct the url"
        ) from error
    if not isinstance(schema, dict):
        raise BadInput(f"openenv: {base}/schema has no schema of an action")
    return schema
