"""Rows in, finished rollouts out: render, generate, read back. One turn each; longer jobs come in through here too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from ..configs.errors import BadInput
from ..envs.core import Environment, Row
from .chat import Chat
from .engine import Engine, Request, Sampling
from .record import Rollout


def collect(
    engine: Engine,
    chat: Chat,
    env: Environment,
    rows: Sequence[Row],
    sampling: Sampling,
    *,
    run: str,
    step: int,
    split: str,
    seed: int,
    group_size: int = 1,
    first_row: int = 0,
    context: int | None = None,
    on_finished: Callable[[int, Rollout, Any], None] | None = None,
) -> list[Rollout]:
    """One rollout a row, in the order of `rows` (which hold each prompt `group_size` times, next to one another).

    Args:
        first_row: number of the first row in this step, over all processes; with seed and step it keys the sampling.
        context: most tokens that prompt and completion may have together.
        on_finished: called as each rollout ends, with its number among `rows`, the rollout and its environment.

    Raises:
        BadInput: a prompt leaves no room for a completion in the model's context.
    """
    rollouts, requests, environments = [], [], []
    rendered: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        # One of its own for each rollout, where a reward reads the state that it was left in.
        environments.append(copy.copy(env) if hasattr(env, "get_reward") else env)
        messages = opening(environments[i], row)
        key = row["item"] + str(messages[-1]["content"])
        if key not in rendered:
            rendered[key] = chat.prompt_ids(messages)
        ids = rendered[key]
        if context is not None and len(ids) + sampling.max_tokens > context:
            raise BadInput(
                f"the prompt of item {row['item']} has {len(ids)} tokens; with max_completion_length "
                f"{sampling.max_tokens} that is more than the model's context of {context}: shorten one of them"
            )
        number = first_row + i
        rollouts.append(
            Rollout(
                run=run, step=step, split=split, item=row["item"], group=number // group_size, row=number, seed=seed,
                policy_version=engine.policy_version, messages=messages, prompt_ids=ids, completion_ids=[],
                logprobs=[], env_mask=[], env_version=env.version,
            )
        )  # fmt: skip
        requests.append(Request(ids, (seed, step, number)))
    for i, completion in engine.generate(requests, sampling):
        rollout = rollouts[i]
        rollout.completion_ids, rollout.logprobs = completion.ids, completion.logprobs
        rollout.env_mask = [1] * len(completion.ids)
        rollout.messages = [*rollout.messages, {"role": "assistant", "content": chat.answer(completion.ids)}]
        rollout.stop_reason = completion.stop_reason.value
        rollout.tokens_in, rollout.tokens_out = len(rollout.prompt_ids), len(completion.ids)
        rollout.tokens_cached = completion.tokens_cached
        rollout.first_token_s, rollout.latency_s = completion.first_token_s, completion.latency_s
        if on_finished is not None:
            on_finished(i, rollout, environments[i])
    return rollouts


def opening(env: Environment, row: Row) -> list[dict[str, Any]]:
    """The messages a rollout starts from: the row's prompt, and what `reset` adds to its last message."""
    messages = [dict(message) for message in row["prompt"]]
    observation = env.reset(**row)
    if observation is not None:
        messages[-1]["content"] = str(messages[-1]["content"]) + observation
    return messages
