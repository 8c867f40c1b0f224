"""From messages to token ids and back. Nothing that was sampled goes through here twice: a completion's ids are kept.

Invariants: a model without a chat template gets a plain one; the text of every message is in the prompt (`template`), and
none of it becomes a control token (`controls`); a prompt that ends in an assistant's message is continued; a thought is in
a message's content, in its tags, whether the template opened it, the policy did, and with tools as without.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers.utils import get_json_schema
from transformers.utils.chat_parsing.response_templates import load_response_template
from trl.chat_template_utils import add_response_schema, parse_response

from ..configs.errors import BadInput
from ..envs.messages import plain_messages, plain_values
from .controls import THOUGHT, Controls, unused
from .template import Template, open_thought, opened_at_end, shows

PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
"""For base models that come without a template: the texts, a line break after each."""

Messages = list[dict[str, Any]]
Tools = Sequence[Callable[..., Any]]
"""Functions with types and Google docstrings, whose schema the template renders."""

_TAIL = 16
"""Tokens: the `<think>` with which a template opens a thought is among the prompt's last ones."""


class Chat:
    """A tokenizer and the way its prompts are rendered.

    Args:
        tokenizer: gets PLAIN_TEMPLATE where it has no chat template, and its end token for padding where it has none.
        template_kwargs: passed to the template, for example `enable_thinking: false` for Qwen3.
        raw_prompt: control tokens that the text of a prompt spells are control tokens, for prompts that hold a template
            written by hand. What tools reply is text all the same.
    """

    def __init__(
        self, tokenizer: Any, template_kwargs: Mapping[str, Any] | None = None, raw_prompt: bool = False
    ) -> None:
        self.tokenizer = tokenizer
        if getattr(tokenizer, "chat_template", None) is None:
            tokenizer.chat_template = PLAIN_TEMPLATE
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.raw_prompt, self.template_kwargs = raw_prompt, dict(template_kwargs or {})
        self._template, self._controls = Template(tokenizer, self.template_kwargs), Controls(tokenizer)
        special = set(tokenizer.all_special_ids)
        marks = set(tokenizer.convert_tokens_to_ids(list(THOUGHT))) & special
        self._unread = special - marks if marks else None  # the tags of a thought are read where they are special too
        self._before_reply: dict[str, list[int]] = {}
        self._compiled: tuple[Any, Any] | None = None
        self._schemas: dict[Callable[..., Any], dict[str, Any]] = {}

    def text(self, messages: Messages, tools: Tools = (), generation: bool = True) -> str:
        """The messages as the model reads them, up to where its answer begins (where `generation`).

        Where the last message is an assistant's, the answer goes on with that: its turn isn't closed, and no other is opened.

        Raises:
            BadInput: the template refuses these messages, or leaves out the text of one.
        """
        return self._rendered(plain_messages(messages), self._described(tools), generation)

    def prompt_ids(self, messages: Messages, tools: Tools = ()) -> list[int]:
        """Token ids of `text(messages, tools)`: the template's control tokens are such, what the messages spell is text."""
        return self._ids_of(plain_messages(messages), tools, self.raw_prompt)

    def undescribed(self, tools: Tools) -> list[str]:
        """Names and descriptions, of `tools` and of their arguments, that the template does not show to the model."""
        prompt = self.text([{"role": "user", "content": "-"}], tools)
        return [text for schema in self._described(tools) for text in _descriptions(schema) if not shows(prompt, text)]

    def ids(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens are written out."""
        return self._controls.ids(text)

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a text from outside, in which nothing is a control token."""
        mark = unused([text])
        return self._controls.ids(self._controls.marked(text, mark), mark)

    def answer(self, completion_ids: Sequence[int]) -> str:
        """The text of a completion, without special tokens; the tags of a thought are kept."""
        if self._unread is None:
            return str(self.tokenizer.decode(completion_ids, skip_special_tokens=True))
        return str(self.tokenizer.decode([i for i in completion_ids if i not in self._unread]))

    def learn_to_parse(self) -> None:
        """Make tool calls readable: TRL's response template for this chat template, unless the tokenizer has its own.

        Raises:
            BadInput: TRL knows none for it.
        """
        if any(getattr(self.tokenizer, name, None) is not None for name in ("response_template", "response_schema")):
            return
        try:
            add_response_schema(self.tokenizer)
        except ValueError as error:
            raise BadInput(
                "tool calls of this model can't be read: its chat template is none that TRL knows; use a model whose "
                "template is (Qwen, Llama 3, GLM, gpt-oss and others), or set the tokenizer's response_template"
            ) from error

    def message(
        self,
        completion_ids: Sequence[int],
        prefix_ids: Sequence[int],
        tools: Tools = (),
        before: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:
        """A completion as an assistant's message, with `tool_calls` where it makes any; plain text where it can't be read.

        Its content holds the thought in `<think>` and `</think>`, with tools as without; where the prompt has opened the
        thought, the content begins with what the prompt opened it with.

        Args:
            prefix_ids: everything that came before the completion.
            before: the messages that came before it; a last one of an assistant is what the completion goes on with.
        """
        text, begun = self.opened(prefix_ids, before) + self.answer(completion_ids), ""
        if before and before[-1]["role"] == "assistant":
            begun = before[-1]["content"].strip()
        if not tools or not completion_ids:
            return {"role": "assistant", "content": text}
        end, start = self.tokenizer.eos_token_id, len(prefix_ids)
        while start and prefix_ids[start - 1] != end:
            start -= 1
        turn = list(prefix_ids[start:])  # the rest tells nothing about this turn, and takes long to read
        try:
            read = dict(parse_response(self._reader(), list(completion_ids), turn, self._described(tools)))
            read |= {"tool_calls": plain_values(read["tool_calls"])} if read.get("tool_calls") else {}
        except RecursionError:  # arguments that nest too deep
            return {"role": "assistant", "content": text}
        thought = read.pop("reasoning_content", None) or read.pop("thinking", None)
        if text.lstrip().startswith("<think>"):
            head, closed, rest = text.partition("</think>")
            calls = bool(read.get("tool_calls")) and bool(closed)
            space = rest[: len(rest) - len(rest.lstrip())]
            read["content"] = head + closed + space + read["content"] if calls else text
        elif begun:  # the reader takes what the completion goes on with for a part of it
            read["content"] = read["content"].removeprefix(begun) if read.get("tool_calls") else text
        elif thought:
            read["content"] = f"<think>\n{thought}\n</think>\n\n{read['content']}"
        return read

    def unread_arguments(self) -> dict[str, str]:
        """The names among `template_kwargs` that the chat template never looks at, see `Template.unread`."""
        return self._template.unread()

    def opened(self, prefix_ids: Sequence[int], before: Sequence[dict[str, Any]] = ()) -> str:
        """The thought in whose midst a completion begins, from its `<think>` on; nothing where none is open."""
        if before and before[-1]["role"] == "assistant" and (thought := open_thought(str(before[-1]["content"]))):
            return thought
        return opened_at_end(str(self.tokenizer.decode(list(prefix_ids[-_TAIL:]))))

    def tool_reply_ids(self, tool_messages: Messages) -> list[int]:
        """What stands between a turn's end token and the next turn, with the tools' replies in it.

        Nothing that was sampled is rendered: the template is asked about a made-up call with the same replies, and what
        comes after the call is kept. How the template writes the call itself does not matter: Qwen3's drops the thoughts
        of a turn once something follows it.

        Raises:
            BadInput: the template renders the replies into what stands before them, or leaves out their text.
        """
        call = {"type": "function", "function": {"name": tool_messages[0]["name"], "arguments": {}}}
        before: Messages = [
            {"role": "user", "content": "-"}, {"role": "assistant", "content": "", "tool_calls": [call]}
        ]  # fmt: skip
        key = str(tool_messages[0]["name"])
        if key not in self._before_reply:
            self._before_reply[key] = self._up_to_reply(before, key)
        known = self._before_reply[key]
        ids = self._ids_of([*before, *tool_messages])
        if ids[: len(known)] != known:
            raise BadInput("the model's chat template changes a turn once a tool has replied; use another template")
        return ids[len(known) :]

    def _up_to_reply(self, before: Messages, name: str) -> list[int]:
        """Token ids of `before` as they stand ahead of a tool's reply, their last end token included.

        The policy wrote that token; a line break after it is the template's.
        """
        end = self.tokenizer.eos_token_id
        alone = self._ids_of(before, generation=False)
        ids = self._ids_of([*before, {"role": "tool", "name": name, "content": "-"}])
        ends = [i for i, token in enumerate(ids) if token == end]
        ended = alone.count(end)
        return ids[: ends[ended - 1] + 1] if 0 < ended <= len(ends) else alone

    def _ids_of(
        self, messages: Messages, tools: Tools = (), raw: bool = False, generation: bool = True
    ) -> list[int]:  # fmt: skip
        """Token ids of the messages as rendered; what they and the tools' descriptions spell is text, unless `raw`."""
        schemas = self._described(tools)
        if raw:
            return self._controls.ids(self._rendered(messages, schemas, generation))
        mark = unused([messages, schemas])
        safe = [
            {**self._controls.marked(m, mark), "role": m["role"], "content": self._controls.marked(m["content"], mark, m["role"])}
            for m in messages
        ]  # fmt: skip
        return self._controls.ids(self._rendered(safe, self._controls.marked(schemas, mark), generation), mark)

    def _rendered(self, messages: Messages, schemas: list[Any], generation: bool) -> str:
        last = messages[-1]
        if not generation or last["role"] != "assistant" or last.get("tool_calls"):
            return self._template.render(messages, schemas, generation)
        text = last["content"]
        if open_thought(text):  # a template would close the thoughts of a turn that it is given
            head = self._template.render(messages[:-1], schemas)
            return head.removesuffix(opened_at_end(head)) + text
        end = unused(messages)
        # With a last character that is no white space, a template that strips its texts leaves this one's end alone.
        whole = self._template.render([*messages[:-1], {**last, "content": text + end}], schemas, generation=False)
        return whole[: whole.rindex(end)]

    def _reader(self) -> Any:
        """The tokenizer with its response template compiled: otherwise it is compiled anew for every completion."""
        template = getattr(self.tokenizer, "response_template", None)
        if self._compiled is None or self._compiled[0] is not template:
            reader = copy.copy(self.tokenizer)
            if isinstance(template, dict):
                reader.response_template = load_response_template(_linear(template))
            self._compiled = (template, reader)
        return self._compiled[1]

    def _described(self, tools: Tools) -> list[Any]:
        """The schema of each tool, worked out of a function once: each rollout has methods of its own environment."""
        found = []
        for tool in tools:
            function = getattr(tool, "__func__", tool)
            if function not in self._schemas:
                self._schemas[function] = get_json_schema(tool)
            found.append(self._schemas[function])
        return found


def _linear(template: dict[str, Any]) -> dict[str, Any]:
    """A response template that reads the same in linear time.

    Where no `</think>` follows at one place, none does at the next; the pattern of some templates looks again all the same.
    """
    ahead = r"(?=[\s\S]*?</think>)"
    once = rf"(?:{ahead}|[\s\S]*(*SKIP)(*FAIL))"
    fields = template.get("fields")
    if not isinstance(fields, dict):
        return template
    changed = {
        name: {**field, "open_pattern": once}
        if isinstance(field, dict) and field.get("open_pattern") == ahead
        else field
        for name, field in fields.items()
    }
    return {**template, "fields": changed}


def _descriptions(schema: Any) -> list[str]:
    """Every name and description in a tool's schema."""
    found: list[str] = []
    if isinstance(schema, Mapping):
        found += [
            schema[key] for key in ("name", "description") if isinstance(schema.get(key), str) and schema[key].strip()
        ]
        properties = schema.get("properties")
        found += list(properties) if isinstance(properties, Mapping) else []
    values = schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else []
    return [*found, *(text for value in values for text in _descriptions(value))]


def end_ids(tokenizer: Any, generation_config: Any = None) -> list[int]:
    """Every token id that ends a completion: the tokenizer's own and those the model declares."""
    declared = getattr(generation_config, "eos_token_id", None)
    ids = declared if isinstance(declared, list) else [declared]
    return sorted({int(i) for i in [*ids, tokenizer.eos_token_id] if i is not None})
