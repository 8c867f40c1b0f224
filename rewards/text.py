"""Reading an answer out of a completion: linear in the length of the completion, whatever it holds.

Each extractor takes the completion and returns the answer, or None where there is none to be read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

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

_FILLERS = "\u2800\u3164\u115f\u1160\uffa0"
"""Letters and signs that are blank: the empty braille pattern and the Hangul fillers."""
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
    r"|\banything but|\b(?:less|more|greater|fewer|smaller|larger|bigger|higher|lower) than|\bat (?:least|most)"
    r"|≠|\\neq?|\\not[ ]?=?)(?:[\s:*$`({]|\\\(|\b(?:equals?|equal to|be|been|to|exactly|simply|just|really"
    r"|quite|the|an?|about|near|close|number|value|answer|is|think|believe|say|claim|that|it|it['’]s|this)\b){0,8}\Z",
    re.IGNORECASE,
)
_TRIGGERS = (
    "no",
    "never",
    "n't",
    "n’t",
    "neither",
    "except",
    "than",
    "instead",
    "far",
    "but",
    "≠",
    "\\n",
    "least",
    "most",
)
"""One of these is in whatever `_DENIAL` finds."""
_DOUBT = re.compile(
    r"(?:(?:n['’]t|\b(?:not|never))\s(?:think|believe|say|mean|claim|sure|certain|true|the case)"
    r"|\b(?:false|untrue|wrong|incorrect|worst|doubtful|doubt))"
    r"(?:\s(?:that|the|my|our|your|final|correct|right)){0,4}\s?\Z",
    re.IGNORECASE,
)
_WRONG = re.compile(
    r"[\s$*`)(\]}\\.,:;-]{0,8}(?:text\s?\{\s?)?(?:(?:this|that|it|which)\s)?(?:is|was)"
    r"(?:(?:[ ]not|n['’]t)[ ](?:the[ ]|an?[ ])?(?:(?:right|correct|final)[ ])?"
    r"(?:answer|solution|right|correct)|[ ](?:wrong|incorrect|false))\b",
    re.IGNORECASE,
)
_MINUS = re.compile(r"\b(?:negative|minus)[ ]\Z", re.IGNORECASE)
_DISPLAYS = (("$$", "$$"), ("\\[", "\\]"))
_FENCED = re.compile(r"```(?:\w{0,20}\n)?([^`]{1,2000})```")
_NUMBER_ALONE = re.compile(r"(?:\\text ?\{[-−]\}|\{,\}|\\[,!]|[-+−\d.,]){1,80}")
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


def visible(text: str) -> bool:
    """Whether there is a character to be seen: no white space, control or format character, filler or accent on its own."""
    return any(unicodedata.category(c)[0] in "LNPS" and c not in _FILLERS for c in text)


def strip(text: str) -> str | None:
    """The whole answer without the white space around it."""
    return after_thinking(text).strip() or None


def first_line(text: str) -> str | None:
    """The first line that is not blank."""
    return next((line.strip() for line in after_thinking(text).splitlines() if line.strip()), None)


def as_list(values: object, column: str) -> list[Any]:
    """The entries of a column or a setting that holds several.

    Raises:
        BadInput: it is one text, whose characters would be the entries, or no list at all.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise BadInput(
            f"'{column}' should be a list; it is {values!r:.80}: give it as a list (a table needs JSON or Parquet for that)"
        )
    return list(values)


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
    return box(text, start)[0]


def box(text: str, start: int) -> tuple[str | None, int]:
    """The content of the box at `start`, and where the box ends."""
    opening = _OPENING.match(text, start)
    if opening is None:
        return None, start
    depth, begin = 1, opening.end()
    for brace in _BRACE.finditer(text, begin, begin + LONGEST_BOX):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            content = (
                text[begin : brace.start()].strip().strip("~").removesuffix("\\").strip()
            )  # `\\ ` and `~` are spaces
            return content or None, brace.end()
    return None, start


def answer_tag(text: str) -> str | None:
    """What the last `<answer>` holds that is closed; None where there is none."""
    text = after_thinking(text)
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    return text[start + len("<answer>") : end].strip() or None if start >= 0 else None


def answer_part(text: str) -> str:
    """What is read for an answer: a closed `<answer>` section alone, or else all that follows the thinking."""
    return answer_tag(text) or after_thinking(text)


def final_answer(text: str) -> str | None:
    r"""The one answer that a worked solution ends with: the last box and nothing else where there is a box.

    A closed `<answer>` section is read alone.

    Without a box: what follows the last `####` or "answer is" on its line, or else the last line. Of a sentence, its last
    formula between dollar signs, or its last number; none where it offers several ("3 or 4"), and never one that is denied
    ("not 42", "42 is wrong").
    """
    text = answer_part(text)
    if any(box in text for box in BOXES):
        start = max(text.rfind(box) for box in BOXES)
        content, end = box(text, start)
        if content is None or denied(text, start, end):
            return None
        return numbers.without_latex(content) if _NUMBER_ALONE.fullmatch(content) else content
    tail = text[-TAIL:].strip()
    anchors = list(_ANCHOR.finditer(tail))
    if anchors:
        after = tail[anchors[-1].end() :].strip()
        return _of_sentence(_first_of(after)) if after and not doubted(tail, anchors[-1].start()) else None
    return _of_sentence(_last_of(tail))


def _last_of(text: str) -> str:
    r"""The last line of `text`; what is between `$$`, `\[ \]` or fences that end it is one line."""
    for opening, closing in (*_DISPLAYS, ("```", "```")):
        if text.endswith(closing) and (start := text.rfind(opening, 0, -len(closing))) >= 0:
            inside = text[start + len(opening) : -len(closing)].strip()
            return f"${' '.join(inside.split())}$" if opening != "```" else inside.rsplit("\n", 1)[-1]
    return text.rsplit("\n", 1)[-1]


def denied(text: str, start: int, end: int) -> bool:
    """Whether what comes right before `start` or right after `end` denies what is between them."""
    before = text[max(0, start - NEAR) : start].lower()
    if any(word in before for word in _TRIGGERS) and _DENIAL.search(before) is not None:
        return True
    return _WRONG.match(text, end) is not None


def doubted(text: str, start: int) -> bool:
    """Whether what comes before "the answer is" at `start` takes it back: "I don't think", "it is false that", "the wrong"."""
    return _DOUBT.search(text, max(0, start - NEAR), start) is not None


def _first_of(text: str) -> str:
    r"""The first line of `text`; what is between `$$`, `\[ \]` or fences that begin it is one line."""
    for opening, closing in _DISPLAYS:
        if text.startswith(opening) and closing in text[len(opening) :]:
            inside = text[len(opening) : text.index(closing, len(opening))]
            return f"${' '.join(inside.split())}$"
    if (fenced := _FENCED.match(text)) is not None:
        return fenced[1].strip().rsplit("\n", 1)[-1]
    return text.split("\n", 1)[0]


def _of_sentence(line: str) -> str | None:
    line = numbers.without_latex(line[-LONGEST_LINE:]).strip().strip("*`_").strip().rstrip(".").rstrip("*_").strip()
    words = _WORDS.search(line) is not None
    line = numbers.spelled(line) if words else line
    for parts in (list(_FORMULA.finditer(line)), list(numbers.every(line)) if words else []):
        if not parts:
            continue
        parts = [part for part in parts if not denied(line, part.start(), part.end())]
        if not parts:
            return None
        if len(parts) > 1 and _OFFERS.fullmatch(line[parts[-2].end() : parts[-1].start()]):
            return ", ".join(part[0].strip("$") for part in parts)  # several answers are handed on as several
        formula = next((group for group in parts[-1].groups() if group), None) if parts[-1].re is _FORMULA else None
        found = (formula or parts[-1][0]).strip()
        if _MINUS.search(line, 0, parts[-1].start()) and not found.startswith("-"):
            found = f"-{found}"
        percent = line[parts[-1].end() :].lstrip().startswith(("%", "\\%"))
        return found + "%" if percent and not found.endswith("%") else found or None
    return line or None


EXTRACTORS: dict[str, Callable[[str], str | None]] = {
    function.__name__: function
    for function in (strip, first_line, last_number, hash_answer, boxed, answer_tag, final_answer)
}
WRITTEN = {"hash_answer": "#### {}", "boxed": "\\boxed{{{}}}", "answer_tag": "<answer>{}</answer>"}
"""extraction -> how an answer is written so that it is read; where none is named, as it is."""


def extractor(name: str) -> Callable[[str], str | None]:
    """The extractor called `name`.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in EXTRACTORS:
        raise BadInput(f"there is no extraction '{name}'{nearest(name, EXTRACTORS)} (known: {', '.join(EXTRACTORS)})")
    return EXTRACTORS[name]
