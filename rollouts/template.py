"""A chat template, and the way messages are put to it so that the model reads all of their text.

Invariants: after rendering, the text of every message is in the prompt, the white space around it aside; a text that the
template leaves out is moved (a system text to the head of the next user's message), or the messages are refused.

How a sequence of roles is put is found once, with made-up texts that can't be there by chance; each real text is then looked
for as well, since a template may cut or change what it shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, meta, nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.parser import Parser

from ..configs.errors import BadInput, nearest

Messages = list[dict[str, Any]]
Way = Callable[[Messages], Messages]
_CLOSED = "</think>"
_INSTRUCTIONS = ("system", "developer")


class _Generation(Extension):
    """The tag of transformers' that marks what an assistant wrote."""

    tags = {"generation"}  # as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class Template:
    """The chat template of a tokenizer; `kwargs` are handed to it."""

    def __init__(self, tokenizer: Any, kwargs: Mapping[str, Any]) -> None:
        self._tokenizer, self._kwargs = tokenizer, dict(kwargs)
        self._ways: dict[Any, Way] = {}

    def unread(self) -> dict[str, str]:
        """Those of its arguments that the template never looks at, each with the nearest name that it does, as `nearest` has it.

        None where its text can't be analysed.
        """
        environment = Environment(extensions=["jinja2.ext.loopcontrols"])
        environment.add_extension(_Generation)
        try:
            read = meta.find_undeclared_variables(environment.parse(str(self._tokenizer.chat_template)))
        except TemplateError:
            return {}
        return {name: nearest(name, read) for name in self._kwargs if name not in read}

    def render(self, messages: Messages, schemas: Sequence[Any] = (), generation: bool = True) -> str:
        """The prompt, with the head of the next answer where `generation`.

        Args:
            messages: with texts for content, see `plain_messages`.
            schemas: of the tools that the model may call.

        Raises:
            BadInput: the template refuses the messages, or leaves out the text of one.
        """
        key = (tuple(map(_shape, messages)), bool(schemas), generation)
        if key not in self._ways:
            self._ways[key] = self._find(messages, schemas, generation)
        way = self._ways[key]
        text = self._apply(way(messages), schemas, generation)
        for number, message in enumerate(messages, 1):
            for wanted in _texts(message):
                if not shows(text, wanted):
                    raise _left_out(number, message, wanted)
        return text

    def _find(self, messages: Messages, schemas: Sequence[Any], generation: bool) -> Way:
        """The first way in which the template shows a made-up text in the place of each."""
        made_up = [_made_up(message, number) for number, message in enumerate(messages, 1)]
        wanted = [(n, m, text) for n, m in enumerate(made_up, 1) for text in _texts(m)]
        trouble: BadInput | None = None
        for way in WAYS:
            try:
                text = self._apply(way(made_up), schemas, generation)
            except BadInput as error:
                trouble = trouble or error
                continue
            missing = [part for part in wanted if part[2] not in text or _as_code(part[2], text)]
            if not missing:
                return way
            number, message, sought = missing[0]
            real = messages[number - 1]
            real_texts = dict(enumerate(_texts(real)))
            trouble = trouble or _left_out(
                number, real, real_texts.get(_texts(message).index(sought), str(real["content"]))
            )
        assert trouble is not None
        raise trouble

    def _apply(self, messages: Messages, schemas: Sequence[Any], generation: bool) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages,
                    tools=list(schemas) or None,
                    tokenize=False,
                    add_generation_prompt=generation,
                    **self._kwargs,
                )
            )
        except (TemplateError, TypeError, KeyError, AttributeError, ValueError) as error:
            raise BadInput(f"the model's chat template refuses the prompt: {error}") from error


def as_given(messages: Messages) -> Messages:
    """The messages as they are."""
    return messages


def as_one_system(messages: Messages) -> Messages:
    """The texts of system and developer that come first as one system message; those that come later as `into_user` has it."""
    first = next((i for i, m in enumerate(messages) if m["role"] not in _INSTRUCTIONS), len(messages))
    texts = [m["content"] for m in messages[:first] if m["content"].strip()]
    head: Messages = [{"role": "system", "content": "\n\n".join(texts)}] if texts else []
    return [*head, *into_user(messages[first:])]


def into_user(messages: Messages) -> Messages:
    """The texts of system and developer at the head of the user's message that follows."""
    found: Messages = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] in _INSTRUCTIONS:
            waiting += [message["content"]] if message["content"].strip() else []
        elif message["role"] == "user" and waiting:
            found.append({**message, "content": "\n\n".join([*waiting, message["content"]])})
            waiting = []
        else:
            found.append(message)
    return found


def _in_parts(way: Way) -> Way:
    """The same for a template that reads lists of parts alone, as those of vision models do."""

    def put(messages: Messages) -> Messages:
        return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in way(messages)]

    return put


WAYS: tuple[Way, ...] = (as_given, as_one_system, into_user, *map(_in_parts, (as_given, as_one_system, into_user)))
"""In the order tried."""


def _as_code(wanted: str, text: str) -> bool:
    """Whether a template that knows no parts has written a list of them as Python or JSON would."""
    return any(re.search(rf"text{quote}: ?{quote}{re.escape(wanted)}", text) for quote in ("'", '"'))


def _shape(message: Mapping[str, Any]) -> Any:
    """What decides how a message is put: all but its texts."""
    calls = [type(_function(call).get("arguments")).__name__ for call in message.get("tool_calls") or []]
    return message["role"], bool(message["content"].strip()), tuple(calls), bool(message.get("name"))


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function: Mapping[str, Any] = call.get("function", call)
    return function


def _name(message: Mapping[str, Any]) -> str:
    """Who speaks, where the message says it and it is no tool."""
    return "" if message["role"] == "tool" else str(message.get("name") or "")


def _texts(message: Mapping[str, Any]) -> list[str]:
    """What the prompt must show of a message. Thoughts of earlier turns aren't asked for: templates drop them by design."""
    content = message["content"]
    if message["role"] == "assistant":
        content = content.rpartition(_CLOSED)[2]
    found = [content, _name(message)]
    for function in map(_function, message.get("tool_calls") or []):
        arguments = function.get("arguments") or {}
        found.append(function["name"])
        found += [v for v in arguments.values() if isinstance(v, str)] if isinstance(arguments, Mapping) else []
    return [text for text in found if text.strip()]


def _made_up(message: Mapping[str, Any], number: int) -> dict[str, Any]:
    """`message` with a text that can't be in a prompt by chance wherever it has one."""
    text = f"Zq{number}xJw"
    made = {**message, "content": text if message["content"].strip() else message["content"]}
    if _name(message):
        made["name"] = f"{text}n"
    if message.get("tool_calls"):
        made["tool_calls"] = [
            _made_up_call(call, f"{text}{i}") for i, call in enumerate(message["tool_calls"])
        ]  # fmt: skip
    return made


def _made_up_call(call: Mapping[str, Any], text: str) -> dict[str, Any]:
    given = _function(call).get("arguments")
    arguments: Any = {f"{text}k": f"{text}v"}
    function = {
        **_function(call), "name": f"{text}f", "arguments": json.dumps(arguments) if isinstance(given, str) else arguments
    }  # fmt: skip
    return {**call, "function": function} if "function" in call else function


def shows(prompt: str, text: str) -> bool:
    """Whether `text` is in the prompt, as it is or as JSON writes it."""
    text = text.strip()
    return text in prompt or json.dumps(text, ensure_ascii=False)[1:-1] in prompt or json.dumps(text)[1:-1] in prompt


def _left_out(number: int, message: Mapping[str, Any], text: str) -> BadInput:
    role, what = message["role"], "text of"
    hint = (
        "use another template" if role == "user" else "put it into a message of the role user, or use another template"
    )
    if text and text == _name(message):
        what, hint = "the name in", "write it into the content"
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return BadInput(f"the model's chat template leaves out {what} message {number}, role {role} ({shown!r}); {hint}")


def open_thought(text: str) -> str:
    """The thought that `text` begins and does not close, its `<think>` included; nothing where there is none."""
    start = text.rfind("<think>")
    return text[start:] if start > text.rfind(_CLOSED) else ""


def opened_at_end(prompt: str) -> str:
    """The `<think>` that ends a prompt, with the white space after it, as templates open a thought for the model."""
    found = re.search(r"<think>\s*\Z", prompt)
    return found[0] if found else ""
