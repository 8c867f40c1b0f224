"""The messages that a prompt consists of: checked for their shape, with the parts of a text joined.

Invariants: a message has a role and a text; what can't be shown to a text model is refused and not dropped. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..configs.errors import BadInput

ROLES = ("system", "developer", "user", "assistant", "tool")
DEEPEST = 100
"""Levels of lists and objects that what a policy wrote may nest."""
_MEDIA = frozenset({"image", "images", "image_url", "audio", "input_audio", "video", "videos"})
_SHARE_GPT = {"from": "role", "value": "content"}


def plain_messages(prompt: Any) -> list[dict[str, Any]]:
    """`prompt` as messages whose content is a text: new mappings, so that the row's own stay as they are.

    Args:
        prompt: a text, which is one message of the user; or messages with `role` and `content`, where content is a text or a
            list of parts `{"type": "text", "text": ...}`, which are joined without anything between them.

    Raises:
        BadInput: no message at all, a message of another shape, or a part that is not text (an image, a sound).
    """
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if isinstance(prompt, Mapping) or not isinstance(prompt, Iterable):
        raise BadInput(
            f"the prompt is {_short(prompt)}; it should be a text, or a list of messages with role and content"
        )
    messages = [_plain(message, number) for number, message in enumerate(prompt, 1)]
    if not messages:
        raise BadInput("the prompt holds no message; give it at least one of the role user")
    return messages


def _plain(message: Any, number: int) -> dict[str, Any]:
    at = f"message {number}"
    if not isinstance(message, Mapping):
        raise BadInput(f"{at} is {_short(message)}; it should be a mapping with role and content")
    for other, key in _SHARE_GPT.items():
        if key not in message and other in message:
            raise BadInput(
                f"{at} has the key '{other}', which no chat template reads; write '{key}' for it "
                "(from: human is role: user, from: gpt is role: assistant)"
            )
    role = message.get("role")
    if role not in ROLES:
        raise BadInput(f"{at} has the role {role!r}; it should be one of {', '.join(ROLES)}")
    for key in _MEDIA & message.keys():
        raise BadInput(f"{at} ({role}) has the key '{key}'; this version reads texts alone, so take it out")
    calls = message.get("tool_calls")
    if calls:
        _check_calls(calls, at)
    content = message.get("content")
    if content is None:
        if not calls:
            raise BadInput(f"{at} ({role}) has no content; give it a text, an empty one where nothing is said")
        content = ""
    text = content if isinstance(content, str) else _joined(content, f"{at} ({role})")
    if text != whole_characters(text):
        raise BadInput(
            f"{at} ({role}) holds half of a surrogate pair (\\ud800 to \\udfff), which is no text; take it out"
        )
    return {**message, "content": text}


def whole_characters(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair, which JSON can spell and no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def plain_values(value: Any, levels: int = DEEPEST) -> Any:
    """What a tool call holds, with its texts and keys as `whole_characters` has them.

    Raises:
        RecursionError: it nests over `levels` deep, more than pickles, encoders and templates can all follow.
    """
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, Mapping | list) and not levels:
        raise RecursionError("nests too deep")
    if isinstance(value, Mapping):
        return {plain_values(key): plain_values(item, levels - 1) for key, item in value.items()}
    return [plain_values(item, levels - 1) for item in value] if isinstance(value, list) else value


def _joined(content: Any, at: str) -> str:
    if isinstance(content, Mapping) or not isinstance(content, Iterable):
        raise BadInput(f"{at} has the content {_short(content)}; it should be a text, or a list of parts of type text")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else None
            what = f"of type {kind!r}" if kind not in (None, "text") else _short(part)
            raise BadInput(f"{at} holds a part {what}; this version reads parts of type text alone")
        texts.append(text)
    return "".join(texts)


def _check_calls(calls: Any, at: str) -> None:
    for call in calls if isinstance(calls, list | tuple) else [None]:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if (
            not isinstance(function, Mapping)
            or not isinstance(function.get("name"), str)
            or not isinstance(function.get("arguments", {}), Mapping | str)
        ):
            raise BadInput(
                f"{at} has the tool_calls {_short(calls)}; they should be a list of "
                "{'type': 'function', 'function': {'name': ..., 'arguments': {...}}}"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
