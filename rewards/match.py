"""Rewards that compare the answer with the row's `answer` column. A row may name its own extraction in `extraction`.

Invariants: one answer is read out of a completion, never several, so listing every option earns what the last one
(or the first line) earns; a gold answer that can't be read makes the row unscorable and pays nobody.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from ..configs.errors import BadInput
from .cases import Case
from .core import reward
from .numbers import Found, every, last, spelled
from .text import after_thinking, answer_tag, composed, denied, extractor, hash_answer

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
_AROUND_UNITS = " \t\r\n.,;:"


class _Gold(NamedTuple):
    value: Fraction
    unit: str


@reward
def exact(completion: str, answer: str, extraction: str = "strip") -> float:
    """1 where the extracted answer is the row's `answer` to the letter, else 0.

    A letter with an accent is the same whether it is written as one character or as two (Unicode's canonical equivalence).

    Source: the exact match of closed-form question answering, without any normalisation.
    Known ways of being gamed: none beyond guessing; the extractors return one answer, never several.
    """
    found = extractor(extraction)(completion)
    return float(found is not None and composed(found) == composed(str(answer).strip()))


@reward
def label(completion: str, answer: str, extraction: str = "first_line") -> float:
    """1 where the extracted label is the row's, upper and lower case alike, else 0.

    Compared without case (`STRASSE` is `straße`; the Turkish dotless i is no i), with any white space as one space, without the
    characters that are never seen (soft hyphen, byte-order mark, zero-width space), and with composed and decomposed accents
    alike. Other forms of a letter, such as full-width ones, and curly quotation marks are other characters.

    Source: the accuracy of text classification.
    Known ways of being gamed: guessing earns each label's share, so one frequent label makes a constant worth much.
    """
    found = extractor(extraction)(completion)
    return float(found is not None and _caseless(found) == _caseless(str(answer)))


def _caseless(text: str) -> str:
    """Unicode's canonical caseless form (Unicode 17, D145), and one kind of white space."""
    text = composed(composed(text.translate(_UNSEEN), "NFD").casefold(), "NFD")
    return " ".join(text.split())


@reward
def number(completion: str, answer: str) -> float:
    """1 where the number after `####`, or else the last number of the completion, equals the row's; else 0.

    A closed `<answer>` section is read alone, and nothing that is denied in it counts.
    Compared exactly, as `rewards/numbers.py` reads them both. The gold answer is read the same way, so GSM8K's worked solutions
    serve as they are.

    Raises:
        ValueError: the gold answer holds no number.

    Source: GSM8K (Cobbe et al. 2021, arXiv 2110.14168), whose answers follow `####`.
    Known ways of being gamed: a completion that ends in many numbers is judged by the last one alone, and what is said of it
    ("not 42") is not read.
    """
    gold = _gold(hash_answer(str(answer)) or str(answer))
    found = _stated(hash_answer(completion) or completion)
    return float(found is not None and found.value == gold.value)


def _stated(completion: str) -> Found | None:
    """The last number of a completion; where it closes an `<answer>` section, the section's, unless that is denied."""
    section = answer_tag(completion)
    if section is None:
        return last(after_thinking(completion))
    section = spelled(section)
    found = every(section)
    return last(section) if found and not denied(section, found[-1].start(), found[-1].end()) else None


@lru_cache(maxsize=1024)
def _gold(answer: str) -> _Gold:
    """The number of a row's answer, read once a group."""
    found = last(answer)
    if found is None or found.value is None:
        raise ValueError(f"the row's answer {answer[-60:]!r} holds no number")
    return _Gold(found.value, found.after.strip(_AROUND_UNITS))


@reward
def f1(completion: str, answer: str | Sequence[str], extraction: str = "strip") -> float | None:
    """How far the words of the answer are those of the row's `answer`, in [0, 1]; of several answers the best counts.

    The harmonic mean of precision and recall over the words, as often as each occurs, in lower case and without English
    articles and punctuation. None where the gold answer has no word.

    Source: the F1 of SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250).
    Known ways of being gamed: word order does not count, and neither does `not`: a denial of the right answer earns most of
    the marks; copying the sentence that holds the answer earns a part. Measure beside `exact`.
    """
    golds = [
        words for text in ([answer] if isinstance(answer, str | int | float) else answer) if (words := _words(text))
    ]
    if not golds:
        return None
    found = _words(extractor(extraction)(completion) or "")
    return max(_overlap(found, gold) for gold in golds)


def _words(text: object) -> list[str]:
    """The words that SQuAD counts."""
    return _ARTICLES.sub(" ", composed(str(text)).lower().translate(_PUNCTUATION)).split()


def _overlap(found: list[str], gold: list[str]) -> float:
    same = sum((Counter(found) & Counter(gold)).values())
    return 2 * same / (len(found) + len(gold))


@reward
def numeric(
    completion: str, answer: str | float, rtol: float = 1e-6, atol: float = 0.0, unit: str | None = None
) -> float:
    """1 where the last number of the completion is within `atol + rtol * |answer|` of the row's, else 0.

    A closed `<answer>` section is read alone, and nothing that is denied in it counts.
    Compared exactly, whatever the number of digits, as `rewards/numbers.py` reads them both. Nothing is converted: where the row
    names a `unit`, or its `answer` has one (`5 km`), that unit must follow the number to the letter, and `5000 m` or a bare `5`
    earn nothing; without a unit, what follows the number is not read, so `50%` is 50 and not 0.5. NaN and infinities are no
    numbers.

    Args:
        completion: read from its last 2,000 characters, after any thinking.
        answer: the gold number, with its unit where it has one.
        rtol: relative tolerance, a share of the gold number.
        atol: absolute tolerance, in the gold number's unit.
        unit: what must follow the number; what follows the gold number where not given; "" for anything.

    Raises:
        BadInput: a tolerance that is negative or not a finite number.
        ValueError: the gold answer holds no number.

    Source: the tolerance of `numpy.isclose(completion, answer, rtol, atol)`.
    Known ways of being gamed: a wide tolerance pays guesses, and with `rtol` a gold 0 takes an exact 0 only; of several
    numbers the last alone counts.
    """
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < float("inf"):
            raise BadInput(f"reward 'numeric': {name} is {tolerance!r}; it should be a finite number, 0 or more")
    low, high = _range(str(answer), rtol, atol)
    found = _stated(completion)
    if found is None or found.value is None or not low <= found.value <= high:
        return 0.0
    wanted = _gold(str(answer)).unit if unit is None else spelled(unit.strip())
    follows = not wanted or re.match(re.escape(wanted) + r"(?!\w)", found.after.strip(_AROUND_UNITS))
    return float(bool(follows))


@lru_cache(maxsize=1024)
def _range(answer: str, rtol: float, atol: float) -> tuple[Fraction, Fraction]:
    """From where to where a number is near enough to a row's answer."""
    gold = _gold(answer).value
    # By their decimal texts: 0.1 is meant as a tenth and not as the nearest float.
    room = Fraction(str(atol)) + Fraction(str(rtol)) * abs(gold)
    return gold - room, gold + room


CASES = {
    "exact": [
        Case({"answer": "42"}, right=["42", " 42\n", "<think>41?</think>42"], wrong=["43", "42 or 43", "042", ""]),
        Case({"answer": "4", "extraction": "boxed"}, right=[r"so \boxed{4}"], wrong=["4", r"\boxed{4} or \boxed{5}"]),
    ],
    "label": [
        Case(
            {"answer": "billing"},
            right=["billing", "Billing\nbecause of the invoice"],
            wrong=["delivery", "billing, delivery", "billing or delivery", "delivery\nbilling", ""],
        ),
    ],
    "number": [
        Case(
            {"answer": "6 * 7 = 42\n#### 42"},
            right=["42", "so 42.0", "#### 42\nor 43", "21 + 21 = 42", "<answer>42</answer> in 7 steps", "_42_"],
            wrong=[
                "43",
                "42 43",
                "<answer>43</answer> and not 42",
                "<answer>not 42</answer>",
                "<answer>42 (this is wrong)</answer>",
                "nan",
                "#### forty-two",
                "inf",
                "",
            ],
        ),
        Case({"answer": "1,000"}, right=["1000", "1,000", "1\uff0c000"], wrong=["1", "100", "10000"]),
    ],
    "f1": [
        Case(
            {"answer": "the Eiffel Tower"},
            right=["Eiffel Tower", "The eiffel tower.", "<think>Rome?</think>Eiffel Tower"],
            wrong=["Big Ben", "the", "<think>Eiffel Tower", ""],
        ),
        Case({"answer": ["1889", "in 1889"]}, right=["1889", "in 1889"], wrong=["1989", "18 89"]),
    ],
    "numeric": [
        Case(
            {"answer": "3.14159", "rtol": 0.001},
            right=["3.14", "about 3.1416", "3.140e0", "<answer>3.14</answer> (step 2)", "π is 3.1416."],
            wrong=["3.2", "nan", "inf", "-3.14", "3.14 or 4", "1e999999999", "", "three"],
        ),
        Case({"answer": "5 km"}, right=["5 km", "It is 5.0 km."], wrong=["5 m", "5", "5000 m", "5 kmh", "5 mi (km)"]),
        Case({"answer": 0, "atol": 0.5}, right=["0.25", "-0.5"], wrong=["0.51", "-1"]),
    ],
}
