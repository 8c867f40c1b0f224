"""Text is text: what data and tools say is tokenised as characters, even where it spells one of the model's control tokens.

Invariants: the template's own control tokens stay what they are; a prompt in which no text spells one has the token ids that
the tokenizer gives for the whole of it.

A text that spells `<|im_end|>` gets a mark after the first character. The template renders it as any other text, and the
rendered prompt is tokenised in pieces, divided at the marks, so that no piece holds the whole name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

THOUGHT = ("<think>", "</think>")
_FORMS = (("<|", "|>"), ("<\uff5c", "\uff5c>"))
"""How control tokens are written that a tokenizer doesn't call special: Qwen's `<|fim_prefix|>`, DeepSeek's with wide bars."""
_MARKS = range(0xE000, 0xF900)
"""Code points for private use."""


class Controls:
    """The control tokens of a tokenizer, and how to keep a text from spelling one.

    Special tokens are control tokens; so are added ones by which the chat template marks a thought, a call or a tool's reply
    (`<think>`, `<tool_call>`). Those may be written in an assistant's text, whose notation they are.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, template = tokenizer, str(tokenizer.chat_template)
        added = list(tokenizer.added_tokens_decoder.values())
        special = {*(token.content for token in added if token.special), *tokenizer.all_special_tokens}
        notation = {token.content for token in added if _is_notation(token.content, template)} - special
        self._anchor = next(iter(sorted(special)), "")
        self._special, self._every = _pattern(special), _pattern(special | notation)

    def marked(self, value: Any, mark: str, role: str = "user") -> Any:
        """`value` with `mark` inside every control token that one of its texts spells; mappings and lists are gone through."""
        if isinstance(value, str):
            pattern = self._special if role == "assistant" else self._every
            return value if pattern is None else pattern.sub(lambda found: found[0] + mark, value)
        if isinstance(value, Mapping):
            return {self.marked(key, mark, role): self.marked(item, mark, role) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.marked(item, mark, role) for item in value]
        return value

    def ids(self, text: str, mark: str | None = None) -> list[int]:
        """Token ids of `text`, in which control tokens are recognised but for those that `mark` divides."""
        first, *rest = text.split(mark) if mark else [text]
        ids = self._encode(first)
        for piece in rest:  # behind a special token: no tokenizer takes it for the beginning of a text
            ids += self._encode(self._anchor + piece)[1:]
        return ids

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def unused(values: Sequence[Any]) -> str:
    """A character that no text in `values` holds, however deep in mappings and lists."""
    held = json.dumps(values, ensure_ascii=False, default=str)
    return next(character for character in map(chr, _MARKS) if character not in held)


def _is_notation(token: str, template: str) -> bool:
    if token in THOUGHT or (token[:1] in ("<", "[") and token in template):
        return True
    return any(token.startswith(start) and token.endswith(end) for start, end in _FORMS)


def _pattern(tokens: set[str]) -> re.Pattern[str] | None:
    """Matches the first character of each control token, of those that overlap too."""
    names = sorted((token for token in tokens if len(token) > 1), key=len, reverse=True)
    return re.compile(f"(?={'|'.join(map(re.escape, names))}).", re.DOTALL) if names else None
