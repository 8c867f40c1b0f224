"""A policy that is a Python function: oracles, demonstrations and benchmarks work their jobs through the same loop as models.

Always true here: the text goes through the tokenizer once and ends with its end token, so that its record has ids, masks and
turns as a model's would; log-probs are 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ..envs.core import Environment, Row
from .chat import Chat
from .collect import Batch, collect
from .engine import Completion, Request, Sampling
from .pool import Pool
from .record import Rollout, StopReason

Script = Callable[[Request], str]
"""What the policy writes next, tool calls as the chat template has them."""


class ScriptedEngine:
    """An engine over a function."""

    policy_version = 0
    in_step = False

    def __init__(self, script: Script, chat: Chat) -> None:
        self.script, self.chat = script, chat

    async def complete(self, request: Request, sampling: Sampling) -> Completion:
        """See `Engine.complete`."""
        text = self.script(request)
        if "</think>" not in text and self.chat.opened(request.prompt_ids, list(request.messages)):
            text = f"\n</think>\n\n{text}"  # a script that doesn't think answers all the same
        ids = [*self.chat.ids(text), self.chat.tokenizer.eos_token_id]
        reason = StopReason.EOS if len(ids) <= sampling.max_tokens else StopReason.LENGTH
        ids = ids[: sampling.max_tokens]
        return Completion(ids, [0.0] * len(ids), reason)

    async def keep_in_step(self, rollouts: asyncio.Future[Any]) -> None:
        """See `Engine.keep_in_step`; there is nothing to keep."""

    def sync(self, model: Any, version: int) -> None:
        """See `Engine.sync`: only the version moves."""
        self.policy_version = version

    def close(self) -> None:
        """Nothing to free."""


def demonstrated(env: Environment, chat: Chat, rows: Sequence[Row], max_tokens: int = 10**6) -> list[Rollout]:
    """Each row as `env.demonstrate` works it: what an embedded model's warm start is shown."""
    return worked(env, chat, rows, lambda row, request: env.demonstrate(row, request.messages), max_tokens)


def oracle_rollouts(env: Environment, chat: Chat, rows: Sequence[Row], max_tokens: int = 10**6) -> list[Rollout]:
    """Each row as the environment's oracle works it."""
    return worked(env, chat, rows, lambda row, request: env.oracle_turn(row, request.messages), max_tokens)


def worked(
    env: Environment, chat: Chat, rows: Sequence[Row], policy: Callable[[Row, Request], str], max_tokens: int
) -> list[Rollout]:
    """One rollout a row under a scripted policy that sees the row."""
    engine = ScriptedEngine(lambda request: policy(rows[request.stream[2]], request), chat)
    pool = Pool(env)
    try:
        return collect(engine, chat, pool, rows, Sampling(max_tokens), Batch("scripted", 0, "demonstrations", 0))
    finally:
        pool.close()
