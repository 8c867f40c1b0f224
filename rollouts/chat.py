"""From messages to token ids and back. Nothing that was sampled goes through here twice: a completion's ids are kept.

Always true here: a model without a chat template gets a plain one, and a template that knows no system role (Gemma's)
gets the system text at the head of the first user message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from ..configs.errors import BadInput

PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
"""For base models that come without a template: the texts, a line break after each."""

Messages = list[dict[str, Any]]


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

    def text(self, messages: Messages) -> str:
        """The prompt as the model reads it, up to where its answer begins.

        Raises:
            BadInput: the template refuses these messages.
        """
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    self._merged(messages), tokenize=False, add_generation_prompt=True, **self.template_kwargs
                )
            )
        except TemplateError as error:
            raise BadInput(f"the model's chat template refuses the prompt: {error}") from error

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Token ids of `text(messages)`; the template writes its own special tokens, none are added."""
        return list(self.tokenizer(self.text(messages), add_special_tokens=False)["input_ids"])

    def answer(self, completion_ids: Sequence[int]) -> str:
        """The text of a completion, without special tokens."""
        return str(self.tokenizer.decode(completion_ids, skip_special_tokens=True))

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
