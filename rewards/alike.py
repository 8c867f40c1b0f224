"""When two answers are the same, format aside; and an answer that is another in the same form.

Always true here: pure, and linear in the length of a text, of which no more than the first 4,000 characters are read.
"""

from __future__ import annotations

import re
from fractions import Fraction

_DIGITS, _LETTERS = "0123456789", "abcdefghijklmnopqrstuvwxyz"
_OTHER_DIGITS = str.maketrans(_DIGITS, "5678901234")
_OTHER_LETTERS = str.maketrans(
    _LETTERS + _LETTERS.upper(), _LETTERS[1:] + "a" + _LETTERS[1:].upper() + "A"
)  # A -> B: an option stays an option
_NUMBER = re.compile(r"[-+]?\d{1,30}(\.\d{0,30})?(e[-+]?\d{1,2})?|[-+]?\d{1,30}/\d{1,30}")


def altered(text: str) -> str:
    """`text` with every digit changed, or every letter of one that is letters alone; empty where it has neither."""
    if any(c in _DIGITS for c in text):
        return text.translate(_OTHER_DIGITS)
    return text.translate(_OTHER_LETTERS) if re.fullmatch(r"[A-Za-z ]+", text) else ""


def plain(text: str) -> str:
    """`text` without case, outer punctuation and the tags answers are written in: what two formats have in common."""
    text = re.sub(r"</?\w+>|\\boxed|####", " ", text[:4000]).casefold()
    return " ".join(text.split()).strip(" \"'`.,;:!?$()[]{}")


def same(a: str, b: str) -> bool:
    """Whether two answers are the same, format aside: equal when `plain`, or equal numbers."""
    a, b = plain(a), plain(b)
    if a == b:
        return True
    if not (_NUMBER.fullmatch(a) and _NUMBER.fullmatch(b)):
        return False
    try:
        return Fraction(a) == Fraction(b)
    except ZeroDivisionError:
        return False
