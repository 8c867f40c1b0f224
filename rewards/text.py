"""Reading an answer out of a completion: linear in the length of the completion, whatever it holds.

Each extractor takes the completion and returns the answer, or None where there is none to be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..configs.errors import BadInput, nearest

BOXES = ("\\boxed", "\\fbox")
LONGEST_BOX = 10_000
"""Characters; a longer box is no answer."""
TAIL, LONGEST_LINE = 2000, 500
"""Characters from the end in which an answer without a box is looked for, and of the line that holds it."""

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_OPENING = re.compile(r"\\f?box(?:ed)?[ \t\n]{0,8}\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_ANCHOR = re.compile(r"####|\banswer\b(?:[ ]is\b|[ ]?[:=])[ ]?:?", re.IGNORECASE)
_FORMULA = re.compile(r"(?<!\\)\$([^$\n]{1,400})(?<!\\)\$|\\\(([^\n]{1,400}?)\\\)|\\\[([^\n]{1,400}?)\\\]")
_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}[ ,][^\d]{0,40}[\d\\]|\d[^\d]{0,3}[ ][A-Za-z]{2,}[ ][A-Za-z]")
_AMOUNT = re.compile(r"(?<![\d.,/\w])[-+]?[$]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?%?")
_OFFERS = re.compile(r"[ ,;]*(?:[ ](?:or|and|and/or|maybe|perhaps|/)|,|;|)[ ]*", re.IGNORECASE)


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
    r"""The content of the last `\boxed{...}` (or `\fbox{...}`), braces counted; None where it holds nothing or never ends."""
    text = after_thinking(text)
    start = max(text.rfind(box) for box in BOXES)
    return content_of_box(text, start) if start >= 0 else None


def content_of_box(text: str, start: int) -> str | None:
    r"""What the braces hold that follow the `\boxed` or `\fbox` at `start`, up to `LONGEST_BOX` characters."""
    opening = _OPENING.match(text, start)
    if opening is None:
        return None
    depth, begin = 1, opening.end()
    for brace in _BRACE.finditer(text, begin, begin + LONGEST_BOX):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[begin : brace.start()].strip() or None
    return None


def final_answer(text: str) -> str | None:
    r"""The one answer that a worked solution ends with: the last box and nothing else where there is a box.

    Without a box: what follows the last `####` or "answer is" on its line, or else the last line. Of a sentence, its last
    formula between dollar signs, or its last number; none where it offers several ("3 or 4").
    """
    text = after_thinking(text)
    if any(box in text for box in BOXES):
        return boxed(text)
    tail = text[-TAIL:].strip()
    anchors = list(_ANCHOR.finditer(tail))
    if anchors:
        after = tail[anchors[-1].end() :].strip()
        return _of_sentence(after.split("\n", 1)[0]) if after else None
    lines = tail.rsplit("\n", 1)
    return _of_sentence(lines[-1]) if lines else None


def _of_sentence(line: str) -> str | None:
    line = line[-LONGEST_LINE:].strip().strip("*`").strip().rstrip(".").rstrip("*").strip()
    for parts in (list(_FORMULA.finditer(line)), list(_AMOUNT.finditer(line)) if _WORDS.search(line) else []):
        if not parts:
            continue
        if len(parts) > 1 and _OFFERS.fullmatch(line[parts[-2].end() : parts[-1].start()]):
            return ", ".join(part[0].strip("$") for part in parts)  # several answers are handed on as several
        found = next((group for group in parts[-1].groups() if group), parts[-1][0]).strip()
        percent = line[parts[-1].end() :].lstrip().startswith(("%", "\\%"))
        return found + "%" if percent and not found.endswith("%") else found or None
    return line or None


EXTRACTORS: dict[str, Callable[[str], str | None]] = {
    function.__name__: function for function in (strip, first_line, last_number, hash_answer, boxed, final_answer)
}


def extractor(name: str) -> Callable[[str], str | None]:
    """The extractor called `name`.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in EXTRACTORS:
        raise BadInput(f"there is no extraction '{name}'{nearest(name, EXTRACTORS)} (known: {', '.join(EXTRACTORS)})")
    return EXTRACTORS[name]
