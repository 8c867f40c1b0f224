"""Reading an answer out of a completion: linear in the length of the completion, whatever it holds.

Each extractor takes the completion and returns the answer, or None where there is none to be read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from ..configs.errors import BadInput, nearest
from . import numbers

BOXES = ("\\boxed", "\\fbox")
LONGEST_BOX = 10_000
"""Characters; a longer box is no answer."""
TAIL, LONGEST_LINE = 2000, 500
"""Characters from the end in which an answer without a box is looked for, and of the line that holds it."""

MOST_ACCENTS = 30
"""On one letter."""
NEAR = 60
"""Characters before an answer in which a word that denies it is looked for."""

_CURRENCY = re.compile(r"^([-+]?)\s?[$€£¥]\s?(?=[-+.\d])")
_OPENING = re.compile(r"\\f?box(?:ed)?[ \t\n]{0,8}\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_ANCHOR = re.compile(r"####|\banswer\b(?:[ ]is\b|[ ]?[:=])[ ]?:?", re.IGNORECASE)
_FORMULA = re.compile(r"(?<!\\)\$([^$\n]{1,400})(?<!\\)\$|\\\(([^\n]{1,400}?)\\\)|\\\[([^\n]{1,400}?)\\\]")
_WORDS = re.compile(
    rf"(?<![\\A-Za-z])[A-Za-z]{{2,}}[ ,][^\d]{{0,40}}[\d\\{''.join(numbers.VULGAR)}]"
    r"|\d[^\d]{0,3}[ ][A-Za-z]{2,}[ ][A-Za-z]"
)
_DENIAL = re.compile(
    r"(?:\b(?:not|never|cannot|neither|nor|except)|n['’]t|\b(?:other|rather) than|\binstead of|\bfar from|\bnowhere near"
    r"|\banything but|≠|\\neq?|\\not[ ]?=?)(?:[\s:*$`({]|\\\(|\b(?:equals?|equal to|be|been|to|exactly|simply|just|really"
    r"|quite|the|an?|about|near|close|number|value|answer|is)\b){0,8}\Z",
    re.IGNORECASE,
)
_TRIGGERS = ("no", "never", "n't", "n’t", "neither", "except", "than", "instead", "far", "but", "≠", "\\n")
"""One of these is in whatever `_DENIAL` finds."""
_DOUBT = re.compile(
    r"(?:n['’]t|\b(?:not|never))\s(?:think|believe|say|mean|claim|sure|certain|true|the case)"
    r"(?:\s(?:that|the|my|our|your|final|correct|right)){0,4}\s?\Z",
    re.IGNORECASE,
)
_WRONG = re.compile(
    r"[\s$*`)\]}\\.]{0,8}(?:is|was)(?:(?:[ ]not|n['’]t)[ ](?:the[ ]|an?[ ])?(?:(?:right|correct|final)[ ])?"
    r"(?:answer|solution|right|correct)|[ ](?:wrong|incorrect|false))\b",
    re.IGNORECASE,
)
_OFFERS = re.compile(r"[ ,;]*(?:[ ](?:or|and|and/or|maybe|perhaps|/)|,|;|)[ ]*", re.IGNORECASE)


def after_thinking(text: str) -> str:
    """What follows the last `</think>`; an unclosed `<think>` hides everything after it."""
    text = text[text.rfind("</think>") + len("</think>") :] if "</think>" in text else text
    return text[: text.find("<think>")] if "<think>" in text else text


def composed(text: str, form: Literal["NFC", "NFD"] = "NFC") -> str:
    """`text` in the one spelling of all that Unicode holds to be the same text, with accents composed (or decomposed).

    A text with over 30 accents on one letter stays as it is: no language has them (UAX #15, Stream-Safe Text Format), and sorting
    them takes quadratic time.
    """
    if text.isascii() or "1" * (MOST_ACCENTS + 1) in "".join("1" if unicodedata.combining(c) else "0" for c in text):
        return text
    return unicodedata.normalize(form, text)


def strip(text: str) -> str | None:
    """The whole answer without the white space around it."""
    return after_thinking(text).strip() or None


def first_line(text: str) -> str | None:
    """The first line that is not blank."""
    return next((line.strip() for line in after_thinking(text).splitlines() if line.strip()), None)


def last_number(text: str) -> str | None:
    """The last number in the answer, spelled plainly (`-1234.5`, `1/3`); `rewards/numbers.py` says what is one.

    `float` can't read every one of them: `numbers.last` gives the value, exactly.
    """
    found = numbers.last(after_thinking(text))
    return None if found is None else found.plain


def hash_answer(text: str) -> str | None:
    """What follows the last `####` on its line, as GSM8K writes its answers.

    Digits, signs and thousands are spelled plainly (`1,234` as `1234`, while `12,34` stays); a closing full stop and a currency
    sign before the number are dropped.
    """
    text = after_thinking(text)
    if "####" not in text:
        return None
    line = text[text.rfind("####") + 4 :].strip().split("\n", 1)[0].strip()
    line = numbers.united(numbers.spelled(line)).strip().rstrip(".")
    return _CURRENCY.sub(r"\1", line, count=1) or None


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
    formula between dollar signs, or its last number; none where it offers several ("3 or 4"), and never one that is denied
    ("not 42", "42 is wrong").
    """
    text = after_thinking(text)
    if any(box in text for box in BOXES):
        start = max(text.rfind(box) for box in BOXES)
        return None if _denied(text, start) else content_of_box(text, start)
    tail = text[-TAIL:].strip()
    anchors = list(_ANCHOR.finditer(tail))
    if anchors:
        after = tail[anchors[-1].end() :].strip()
        doubted = _DOUBT.search(tail[max(0, anchors[-1].start() - NEAR) : anchors[-1].start()])
        return _of_sentence(after.split("\n", 1)[0]) if after and not doubted else None
    lines = tail.rsplit("\n", 1)
    return _of_sentence(lines[-1]) if lines else None


def _denied(text: str, start: int) -> bool:
    """Whether what stands right before `start` denies what follows."""
    before = text[max(0, start - NEAR) : start].lower()
    return any(word in before for word in _TRIGGERS) and _DENIAL.search(before) is not None


def _of_sentence(line: str) -> str | None:
    line = line[-LONGEST_LINE:].strip().strip("*`").strip().rstrip(".").rstrip("*").strip()
    words = _WORDS.search(line) is not None
    line = numbers.spelled(line) if words else line
    for parts in (list(_FORMULA.finditer(line)), list(numbers.every(line)) if words else []):
        if not parts:
            continue
        parts = [part for part in parts if not (_denied(line, part.start()) or _WRONG.match(line, part.end()))]
        if not parts:
            return None
        if len(parts) > 1 and _OFFERS.fullmatch(line[parts[-2].end() : parts[-1].start()]):
            return ", ".join(part[0].strip("$") for part in parts)  # several answers are handed on as several
        formula = next((group for group in parts[-1].groups() if group), None) if parts[-1].re is _FORMULA else None
        found = (formula or parts[-1][0]).strip()
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
