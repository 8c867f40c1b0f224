"""Reading an answer out of a completion: linear in the length of the completion, whatever it holds.

Each extractor takes the completion and returns the answer, or None where there is none to be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..configs.errors import BadInput, nearest

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def after_thinking(text: str) -> str:
    """What follows the last `</think>`; an unclosed `<think>` hides everything after it."""
    text = text[text.rfind("</think>") + len("</think>") :] if "</think>" in text else text
    return text[: text.find("<think>")] if "<think>" in text else text


def strip(text: str) -> str | None:
    """The whole answer without the white space around it."""
    return after_thinking(text).strip() or None


def first_line(text: str) -> str | None:
    """The first line that is not blank."""
    return next((line.strip() for line in after_thinking(text).splitlines() if line.strip()), None)


def last_number(text: str) -> str | None:
    """The last number in the answer, without thousands separators."""
    numbers = _NUMBER.findall(after_thinking(text)[-2000:])
    return numbers[-1].replace(",", "") if numbers else None


def hash_answer(text: str) -> str | None:
    """What follows the last `####`, as GSM8K writes its answers; commas and a closing full stop are dropped."""
    text = after_thinking(text)
    if "####" not in text:
        return None
    line = text[text.rfind("####") + 4 :].strip().split("\n", 1)[0]
    return line.replace(",", "").strip().rstrip(".").lstrip("$") or None


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`, braces counted."""
    text = after_thinking(text)
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed")
    for i in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[begin + 1 : i].strip() or None
    return None


EXTRACTORS: dict[str, Callable[[str], str | None]] = {
    function.__name__: function for function in (strip, first_line, last_number, hash_answer, boxed)
}


def extractor(name: str) -> Callable[[str], str | None]:
    """The extractor called `name`.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in EXTRACTORS:
        raise BadInput(f"there is no extraction '{name}'{nearest(name, EXTRACTORS)} (known: {', '.join(EXTRACTORS)})")
    return EXTRACTORS[name]
