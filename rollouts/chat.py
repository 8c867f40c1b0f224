"""From messages to token ids and back. Nothing that was sampled goes through here twice: a completion's ids are kept.

Always true here: a model without a chat template gets a plain one, and a template that knows no system role (Gemma's)
gets the system text at the head of the first user message.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2.exceptions import TemplateError
from transformers.utils import get_json_schema
from transformers.utils.chat_parsing.response_templates import load_response_template
from trl.chat_template_utils import add_response_schema, parse_response

from ..configs.errors import BadInput

PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
"""For base models that come without a template: the texts, a line break after each."""

Messages = list[dict[str, Any]]
Tools = Sequence[Callable[..., Any]]
"""Functions with types and Google docstrings, whose schema the template renders."""


class Chat:
    """A tokenizer and the way its prompts are rendered.

    Args:
        tokenizer: gets PLAIN_TEMPLATE where it has no chat template, and its end token for padding where it has none.
        template_kwargs: passed to the template, for example `enable_thinking: false` for Qwen3.
    """

    def __init__(self, tokenizer: Any, template_kwargs: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = tokenizer
        self.template_kwargs = dict(template_kwargs or {})
        if getattr(tokenizer, "chat_template", None) is None:
            tokenizer.chat_template = PLAIN_TEMPLATE
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._merge_system = not self._takes_system()
        self._before_reply: dict[str, list[int]] = {}
        self._compiled: tuple[Any, Any] | None = None
        self._schemas: dict[Callable[..., Any], dict[str, Any]] = {}

    def text(self, messages: Messages, tools: Tools = (), generation: bool = True) -> str:
        """The messages as the model reads them, up to where its answer begins (where `generation`).

        Raises:
            BadInput: the template refuses these messages.
        """
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    self._merged(messages), tools=self._described(tools) or None, tokenize=False,
                    add_generation_prompt=generation, **self.template_kwargs,
                )
            )  # fmt: skip
        except TemplateError as error:
            raise BadInput(f"the model's chat template refuses the prompt: {error}") from error

    def prompt_ids(self, messages: Messages, tools: Tools = ()) -> list[int]:
        """Token ids of `text(messages, tools)`; the template writes its own special tokens, none are added."""
        return self.ids(self.text(messages, tools))

    def ids(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens are written out."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def answer(self, completion_ids: Sequence[int]) -> str:
        """The text of a completion, without special tokens."""
        return str(self.tokenizer.decode(completion_ids, skip_special_tokens=True))

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

    def message(self, completion_ids: Sequence[int], prefix_ids: Sequence[int], tools: Tools) -> dict[str, Any]:
        """A completion as an assistant's message, with `tool_calls` where it makes any; plain text where it can't be read.

        Args:
            prefix_ids: everything that came before the completion.
        """
        end, start = self.tokenizer.eos_token_id, len(prefix_ids)
        while start and prefix_ids[start - 1] != end:
            start -= 1
        turn = list(prefix_ids[start:])  # the rest tells nothing about this turn, and takes long to read
        return dict(parse_response(self._reader(), list(completion_ids), turn, self._described(tools)))

    def _reader(self) -> Any:
        """The tokenizer with its response template compiled: otherwise it is compiled anew for every completion."""
        template = getattr(self.tokenizer, "response_template", None)
        if self._compiled is None or self._compiled[0] is not template:
            reader = copy.copy(self.tokenizer)
            if isinstance(template, dict):
                reader.response_template = load_response_template(template)
            self._compiled = (template, reader)
        return self._compiled[1]

    def tool_reply_ids(self, tool_messages: Messages) -> list[int]:
        """What stands between a turn's end token and the next turn, with the tools' replies in it.

        Nothing that was sampled is rendered: the template is asked about a made-up call with the same replies, and what
        comes after the call is kept. How the template writes the call itself does not matter: Qwen3's drops the thoughts
        of a turn once something follows it.

        Raises:
            BadInput: the template renders the replies into what stands before them.
        """
        call = {"type": "function", "function": {"name": tool_messages[0]["name"], "arguments": {}}}
        before: Messages = [
            {"role": "user", "content": "-"}, {"role": "assistant", "content": "", "tool_calls": [call]}
        ]  # fmt: skip
        key = str(tool_messages[0]["name"])
        if key not in self._before_reply:
            self._before_reply[key] = self._up_to_reply(before, key)
        known = self._before_reply[key]
        ids = self.ids(self.text([*before, *tool_messages]))
        if ids[: len(known)] != known:
            raise BadInput("the model's chat template changes a turn once a tool has replied; use another template")
        return ids[len(known) :]

    def _up_to_reply(self, before: Messages, name: str) -> list[int]:
        """Token ids of `before` as they stand ahead of a tool's reply, their last end token included.

        The policy wrote that token; a line break after it is the template's.
        """
        end = self.tokenizer.eos_token_id
        alone = self.ids(self.text(before, generation=False))
        ids = self.ids(self.text([*before, {"role": "tool", "name": name, "content": "-"}]))
        ends = [i for i, token in enumerate(ids) if token == end]
        ended = alone.count(end)
        return ids[: ends[ended - 1] + 1] if 0 < ended <= len(ends) else alone

    def _described(self, tools: Tools) -> list[Any]:
        """The schema of each tool, worked out of a function once: each rollout has methods of its own environment."""
        found = []
        for tool in tools:
            function = getattr(tool, "__func__", tool)
            if function not in self._schemas:
                self._schemas[function] = get_json_schema(tool)
            found.append(self._schemas[function])
        return found

    def _merged(self, messages: Messages) -> Messages:
        if not self._merge_system or messages[0]["role"] != "system" or len(messages) < 2:
            return messages
        system, user, *rest = messages
        return [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *rest]

    def _takes_system(self) -> bool:
        probe = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
        try:
            self.tokenizer.apply_chat_template(probe, tokenize=False, **self.template_kwargs)
        except TemplateError:
            return False
        return True


def end_ids(tokenizer: Any, generation_config: Any = None) -> list[int]:
    """Every token id that ends a completion: the tokenizer's own and those the model declares."""
    declared = getattr(generation_config, "eos_token_id", None)
    ids = declared if isinstance(declared, list) else [declared]
    return sorted({int(i) for i in [*ids, tokenizer.eos_token_id] if i is not None})
