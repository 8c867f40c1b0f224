"""Policies that deserve nothing, and honest ones that deserve all: what the audit plays in a job with tools.

Invariants: but for the oracle's, no policy reads the task: it knows the tools' names and signatures, and what they reply.
"""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..envs.core import Environment, Row, tools_of
from .audit_play import Messages, Policy, Turn, turn_of

DONE = Turn("Done.")
FINISHING = re.compile(r"submit|finish|final|answer|done|complete|end|report|decide", re.IGNORECASE)
"""Names of tools that hand a result in."""
NO_SUCH_TOOL = "no_operation"
ODD: Sequence[Any] = (
    "\x00\ud800",
    "9" * 4000,
    -1,
    10**30,
    float("nan"),
    None,
    True,
    [[[]]],
    {"a": {}},
    "../../etc/passwd",
)
"""Arguments of any type, which a tool may refuse but which must not break the environment."""
CANDIDATES = 3
"""Values that are read out of one reply."""
DOCUMENT = 60
"""Characters from which a text that is handed to a tool counts as a document."""


def arguments(tool: Callable[..., Any], text: str) -> dict[str, Any]:
    """The least that a tool's signature takes: `text` for a text, the first choice of several, 0, False or nothing else."""
    parameters = inspect.signature(tool).parameters.values()
    try:
        hints = typing.get_type_hints(tool)
    except Exception:  # a name that only type checkers see
        hints = {}
    return {p.name: _value(hints.get(p.name, p.annotation), text) for p in parameters if p.default is p.empty}


def _value(kind: Any, text: str) -> Any:
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return _value(typing.get_args(kind)[0], text)
    simple: dict[Any, Any] = {int: 0, float: 0.0, bool: False, list: [], dict: {}}
    found = simple.get(typing.get_origin(kind) or kind, text)
    return type(found)(found) if isinstance(found, list | dict) else found


def script(turns: Sequence[Turn]) -> Policy:
    """These turns one after the other, then that it is done."""

    def act(messages: Messages) -> Turn:
        turn = sum(message["role"] == "assistant" for message in messages)
        return turns[turn] if turn < len(turns) else DONE

    return act


def oracle(env: Environment, row: Row, hidden: int = 0) -> Policy:
    """The environment's oracle.

    Args:
        hidden: messages after the prompt that it is not shown, such as a call that somebody else has made.
    """
    start = len(row["prompt"])
    return lambda messages: turn_of(env.oracle_turn(row, [*messages[:start], *messages[start + hidden :]]))


def idle(env: Environment) -> Iterator[tuple[str, Policy]]:
    """Doing nothing: saying so, claiming the contrary, or never coming to an end."""
    tool = tools_of(env)[0]
    yield "says it is done, and calls nothing", script([DONE])
    yield "claims success, and calls nothing", script([Turn("I have done everything that was asked, successfully.")])
    yield "never ends", lambda messages: Turn("Let me see.", ((tool.__name__, arguments(tool, "")),))


def calls(env: Environment) -> Iterator[tuple[str, Policy]]:
    """Calling tools without having read the task."""
    tools = tools_of(env)
    for kind, text in (("each tool once, empty", ""), ("each tool once, 'unknown'", "unknown")):
        yield kind, script([Turn("", ((tool.__name__, arguments(tool, text)),)) for tool in tools])
    for tool in tools:
        if FINISHING.search(tool.__name__):
            yield f"{tool.__name__} at once", script([Turn("", ((tool.__name__, arguments(tool, "unknown")),))])
    yield "a tool that there is not", script([Turn("", ((NO_SUCH_TOOL, {}),))])
    odd = [
        Turn("", tuple((tool.__name__, dict.fromkeys(inspect.signature(tool).parameters, value)) for tool in tools))
        for value in ODD
    ]
    most = max(1, env.limits.turns - 1)
    yield "odd arguments", script([Turn("", sum((tuple(t.calls) for t in odd[i::most]), ())) for i in range(most)])


def revealed(env: Environment) -> Iterator[tuple[str, Policy]]:
    """A wrong value for a tool that takes a text, then whatever the reply gives away: to the tool again, and as the answer."""
    for tool in tools_of(env)[:4]:
        if arguments(tool, "a") != arguments(tool, "b"):
            for k in range(CANDIDATES):
                yield f"{tool.__name__}, then what it replied ({k + 1})", _repeating(tool, k)


def _repeating(tool: Callable[..., Any], k: int) -> Policy:
    def act(messages: Messages) -> Turn:
        replies = [str(message["content"]) for message in messages if message["role"] == "tool"]
        if not replies:
            return Turn("", ((tool.__name__, arguments(tool, "unknown")),))
        found = given_away(replies[0])
        value = found[min(k, len(found) - 1)]
        return Turn("", ((tool.__name__, arguments(tool, value)),)) if len(replies) == 1 else Turn(value)

    return act


def given_away(reply: str) -> list[str]:
    """What a reply may give away: what comes after "is", "was" or a colon, what is quoted, and all of it."""
    reply = reply[:2000]
    found = re.findall(r"(?:\b(?:is|was|be|expected|got)\b|[:=])\s*[\"'`*]*([^\s\"'`*,;:!?]+)", reply)[-1:]
    found += [text for text in re.findall(r"[\"'`]([^\"'`]{1,80})[\"'`]", reply) if text not in ("unknown", "error")][
        -1:
    ]
    return [text.rstrip(".") for text in [*found, reply.strip()] if text.strip(". ")][:CANDIDATES] or [""]


def spoilt(turns: Sequence[Turn]) -> dict[str, list[Turn]]:
    """How -> the oracle's turns with every document that they hand to a tool spoilt; empty where they hand in none."""
    made: dict[str, list[Turn]] = {}
    for kind, change in (("empty", lambda text: ""), ("cut to its first half", lambda text: text[: len(text) // 2])):
        changed = [Turn(t.text, tuple((name, _changed(given, change)) for name, given in t.calls)) for t in turns]
        if changed != list(turns):
            made[kind] = changed
    return made


def _changed(given: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    return {key: change(value) if is_document(value) else value for key, value in given.items()}


def is_document(value: Any) -> bool:
    """Whether a tool's argument is a text such as a file holds: long, of several lines, or JSON."""
    if not isinstance(value, str):
        return False
    if len(value) >= DOCUMENT or "\n" in value.strip():
        return True
    try:
        return value.lstrip()[:1] in ("{", "[") and bool(json.loads(value))
    except ValueError:
        return False
