r"""Whether two answers mean the same beyond plain numbers: math-verify's verdict, on one answer and within a limit on time.

Invariants: what comes here has passed `bounds.refused` and still belongs into a process that can be killed; an equation
that is left to be solved is no answer; a gold answer that takes too long is an error and not a wrong completion.

Source: math-verify (https://github.com/huggingface/Math-Verify), whose verdicts are kept but where it is mistaken: it takes
the last side of any equation (`1=2=42`, `|x|=5` for 5), drops the base of 12_3, knows no capitals (`r` is `R`), works out what
an answer left undone, reads `4 2` as 42 and `[42,42]` as 42, and compares numbers in 15 digits, in which all small ones are 0
(`precision.py`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

from .bounds import WORDS
from .notation import tidy
from .precision import exact_comparison
from .rational import without_unit

SECONDS = 0.5
"""Of processor time for one answer, and for reading a gold answer."""

_BASE = re.compile(r"\d\s*_\s*\{?\s*(\d+|\\text)")
_EQUALS = re.compile(r"(?<![<>!:\\])=(?!=)")
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3}|(?: \d{3}))+(?!\d)|\d+ (?=\d+/\d)")
_OBJECT = re.compile(
    r"[<>]|\\(?:pm|mp|[lg]e|[lg]t|ne|in|c[au]p|setminus|emptyset|mathbb|begin|vec|text|mathrm)(?![A-Za-z])"
)
_SIGNS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])")
_SPACED = re.compile(r"(?<![\d.])\d{1,3}(?: \d{3})+(?!\d)")
_SPACE = re.compile(r"(?<!\d) | (?!\d)")
_APART = re.compile(r"\d\s+\d")
_DENIES = re.compile(
    r"(?<![A-Za-z\\])(?:not|never|cannot|neither|nor|except|wrong|incorrect|false)(?![A-Za-z])|n['’]t(?![A-Za-z])|\\l?n(?:e|eq|eg|ot)(?![A-Za-z])",
    re.IGNORECASE,
)
_ONE_WORD = re.compile(r"[A-Za-z]{4,}")
_UNWRAPPED = re.compile(r"\\(?:text|mathrm|mbox|textbf|textit)\s*\{\s*([A-Za-z]*)\s*\}")
_LETTER = re.compile(rf"{WORDS.pattern}|\\[A-Za-z]+|([A-Za-z])")
_FREE = "qwzuktymhjrpsvbcnlxa"
"""Letters that stand for another one where it is needed, the rare ones first; none has a meaning of its own."""
_LISTS = re.compile(r"(?<![A-Za-z])(?:and|or)(?![A-Za-z])")
_NAME = re.compile(
    r"\|[A-Z]{2}\||-?(?:\\?[A-Za-z]+|\\(?:text|mathrm|operatorname|overline|angle|triangle|vec)\s*\{[^{}]*\}|\\(?:angle|triangle)\s*\w+)"
    r"(?:_(?:\w|\{[^{}]*\}))?'*(?:\s*\([^()]*\)|\s+[A-Za-z]|\s*\\[a-z]+)?"
)
_VARIABLE = re.compile(
    r"\\(?:alpha|beta|gamma|theta|phi|lambda|mu|omega|sigma|rho)|(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])|(?<![\\A-Za-z])[a-zA-Z]{2,}"
)


class GoldTooHard(RuntimeError):
    """The row's own answer is beyond what can be read: bad data, not a bad completion."""


def plain(text: str) -> str:
    """The spelling in which two answers are compared letter by letter: tidy, without spaces but those that keep digits apart."""
    return _SPACE.sub("", _SPACED.sub(lambda found: found[0].replace(" ", ""), tidy(text)))


def sides(text: str) -> list[str]:
    """The sides of an equation or of a chain of them; the whole text where it lists several or is none."""
    cuts, depth, start, parts = [m.start() for m in _EQUALS.finditer(text)], 0, 0, []
    if not cuts or _LISTS.search(text):
        return [text]
    for i, letter in enumerate(text):
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(letter, 0)
        if letter in ",;" and depth == 0:
            return [text]
        if depth == 0 and i in cuts:
            parts.append(text[start:i].strip())
            start = i + 1
    return [*parts, text[start:].strip()]


def several(text: str) -> bool:
    """Whether a tidied answer, or what it says that something equals, lists several: `42, 43`, `[42,42]`, `41 or 42`."""
    last = sides(text)[-1]
    return bool(_LISTS.search(last) or _SIGNS.search(last)) or any(
        mark in _THOUSANDS.sub("0", WORDS.sub(" ", last)) for mark in ",;"
    )


def may_list(gold: str) -> bool:
    """Whether an answer that lists several may equal a tidied gold answer: one that lists, or is a set, a relation, a vector."""
    return several(gold) or _OBJECT.search(gold) is not None


def apart(text: str) -> bool:
    """Whether digits are next to one another with nothing but white space between: `4 2` is neither 42 nor 8."""
    bare = WORDS.sub(lambda found: "w" if any(map(str.isalpha, found[0].partition("{")[2])) else " ", text)
    return _APART.search(_THOUSANDS.sub("0", bare)) is not None


def denies(text: str) -> bool:
    """Whether a text says that something is not so: `not 42`, `\\ne 42`."""
    return _DENIES.search(text) is not None


def is_name(side: str) -> bool:
    """Whether a side of an equation is what is asked for: a variable, a function's value, or a term in several variables."""
    if _NAME.fullmatch(side):
        return not side.startswith("-")
    if "|" in side or "vert" in side or "abs" in side:
        return False
    return len(set(_VARIABLE.findall(WORDS.sub(" ", side)))) > 1


def equal(gold: str, answer: str, seconds: float | None = None) -> bool:
    """Whether two tidied answers are equal in math-verify's eyes, with one side of `answer` taken where it is an equation.

    An answer that takes over `seconds` (`SECONDS` where None) is not. Call it in a process that can be killed: C code can stall.

    Raises:
        GoldTooHard: the gold answer alone takes too long to be read.
    """
    if _base(answer) != _base(gold):
        return False
    if (word := _word(gold)) and (said := _word(answer)):
        return word == said
    gold, answer = _told_apart(gold, answer)
    seconds = SECONDS if seconds is None else seconds
    gold, answer = _unitless(gold), _unitless(answer)
    expected = _read_gold(gold, seconds)
    try:
        with _within(seconds, TimeoutError()):
            return _answers(expected, sides(gold), answer)
    except TimeoutError:
        return False


def _base(text: str) -> str | None:
    """The base that a tidied answer names behind a number: `2` of `101_2`."""
    found = _BASE.search(text)
    return None if found is None else found[1]


def _word(text: str) -> str | None:
    """The word, in small letters, that a tidied text is and nothing else; as a product `live` would be `evil`."""
    found = _ONE_WORD.fullmatch(_UNWRAPPED.sub(r"\1", text))
    return None if found is None else found[0].lower()


def _told_apart(gold: str, answer: str) -> tuple[str, str]:
    """Both texts with another letter for each capital whose small letter occurs as well: math-verify knows small ones alone."""
    used = set(_LETTER.findall(f"{gold} {answer}")) - {""}
    free = [letter for letter in _FREE if letter not in used and letter.upper() not in used]
    table = dict(zip(sorted(c for c in used if c.isupper() and c.lower() in used), free, strict=False))

    def spell(text: str) -> str:
        return _LETTER.sub(lambda found: table.get(found[1], found[0]), text)

    return spell(gold), spell(answer)


def _answers(expected: Any, wanted: list[str], answer: str) -> bool:
    given = sides(answer)
    if len(given) > 1 and (len(wanted) == 1 or is_name(wanted[0])):
        last = _parsed(given[-1])
        checks = given[:-1] if len(wanted) == 1 else given[1:-1]
        if not all(is_name(side) or _verified(last, _parsed(side)) for side in checks):
            return False
        answer = given[-1] if len(wanted) == 1 else f"{given[0]} = {given[-1]}"
    return _verified(expected, _parsed(answer))


def _unitless(text: str) -> str:
    before, unit, scale = without_unit(text)
    removed = text[len(before) :].strip()
    # A single letter may be a factor of what stands before it, and degrees change what a sine is of.
    return text if scale != 1 or unit in ("%", "deg") or len(removed) < 2 else before


@functools.lru_cache(maxsize=256)
def _read_gold(gold: str, seconds: float) -> Any:
    with _within(
        seconds, GoldTooHard(f"the row's answer {gold[:80]!r} takes over {seconds:g} s to read; leave the row out")
    ):
        return _parsed(gold)


class _Late(BaseException):
    """Not an Exception: the libraries in between catch those."""


@contextlib.contextmanager
def _within(seconds: float, error: Exception) -> Iterator[None]:
    """Raise `error` when the block has used `seconds` of processor time: a busy machine is nobody's fault."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's, as in every worker
        yield
        return

    def late(*_: object) -> None:
        raise _Late

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.05)  # again and again: a bare except may have eaten the first
    try:
        yield
    except _Late:
        raise error from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _parsed(text: str) -> Any:
    parse, config = _math_verify()[:2]
    return parse(f"${text.replace('$', '')}$", config, parsing_timeout=None)


def _verified(gold: Any, answer: Any) -> bool:
    with exact_comparison():
        return bool(_math_verify()[2](gold, answer, timeout_seconds=None))


@functools.cache
def _math_verify() -> tuple[Any, list[Any], Any]:
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns that its own timeouts are off; ours are on
    # Its list of units holds single letters: 10t would be 10. Units are gone by now.
    normal = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
    return parse, [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normal)], verify
