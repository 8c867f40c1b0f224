r"""Whole answers that are one number: what `numbers.py` reads, and LaTeX, names, percentages and units round it.

Invariants: no float, no sympy, time linear in the text; what is not plainly one number is None and left to others.

    read(r"x = -1{,}234.50 \text{ cm}")   # Number(-2469/2, DECIMAL, False, "x", "cm")
    read(r"33\frac{1}{3}\%").value        # Fraction(1, 3)
    read(r"\sqrt{4}")                     # None
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from .notation import tidy
from .numbers import GROUPED, decimal, ratio, scaled

LONGEST = 2000
"""Characters; what is longer is no number that anyone asked for."""
PLACES = 6
"""Decimal places to which a rounded decimal must agree, as math-verify has it."""
CLOSE = Fraction(1, 1000)
"""Relative difference beyond which two decimals differ although their first places agree: 0 is no answer for 0.0000002."""

TINY = Fraction(1, 10**4)
"""Below this, six places are less than three digits."""

INTEGER, DECIMAL, FRACTION = "integer", "decimal", "fraction"


class Number(NamedTuple):
    """One number and how it was written."""

    value: Fraction
    form: str
    """INTEGER, DECIMAL or FRACTION; of a percentage, that of the number before the sign."""
    percent: bool = False
    name: str = ""
    """`x` where it was written `x = 5`."""
    unit: str = ""
    """A unit of `_UNITS` in its shortest spelling; other words after a number are ignored."""


_SPELLINGS = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "m": "meter metre", "km": "kilometer kilometre",
    "in": "inch inche", "ft": "foot feet", "yd": "yard", "mi": "mile",
    "mg": "milligram", "g": "gram gm", "kg": "kilogram", "lb": "pound", "oz": "ounce",
    "ms": "millisecond", "s": "sec second", "min": "minute", "h": "hr hour", "d": "day", "wk": "week",
    "mo": "month", "yr": "year", "ml": "milliliter millilitre", "l": "liter litre", "gal": "gallon",
    "usd": "dollar", "c": "cent", "eur": "euro", "deg": "degree",
    "": "unit square people person student child children way point apple coin book ticket page car mph kmph integer digit",
}  # fmt: skip
_UNITS = {word: short for short, words in _SPELLINGS.items() for word in [short, *words.split()] if word}
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_NOT_UNITS = frozenset(
    [
        "half",
        "third",
        "quarter",
        "percent",
        "base",
        "or",
        "and",
        "not",
        "to",
        "pi",
        "i",
        "e",
        "x",
        "y",
        "squared",
        "cubed",
        "is",
        "wrong",
        "incorrect",
        "false",
        "never",
    ]
)
_DIGITS = rf"(?:{GROUPED}|\d{{1,3}}(?: \d{{3}})+|\d+)"
_UNSIGNED = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)"
_INTEGER = re.compile(r"[+-]?[0-9]+")
_POINTED = re.compile(r"[+-]?[0-9]+\.[0-9]+")
_NAMED = re.compile(
    r"((?:\\?[A-Za-z]{1,12})(?:_(?:\w|\{\w{1,8}\}))?'?(?:\([A-Za-z0-9, ]{1,12}\))?)\s*=\s*(?=[-+.\d\\$(])"
)
_AFTER = re.compile(
    r"\s*(?:\^\{?\s*(?:\\circ|\\degree)\s*\}?|\\degree|\\circ|\\?(?:text|mathrm|mbox|textbf|textrm)\s?\{([A-Za-z .]{0,40})\}"
    r"|(?:(?<=[\d}])(?=[A-Za-z]{2})|(?<=\s))([A-Za-z]{1,12}(?: [A-Za-z]{1,12})?)\.?)\s*(?:\^\{?([23])\}?)?$"
)
_POWERS = {"square": "2", "squared": "2", "sq": "2", "cubic": "3", "cubed": "3", "cu": "3"}
_DECIMAL = re.compile(rf"([+-]?)\s*({_UNSIGNED})")
_SCIENTIFIC = re.compile(
    rf"([+-]?{_UNSIGNED})(?:[eE]([+-]?\d{{1,3}})|\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?:\{{\s*([+-]?\d{{1,3}})\s*\}}|(\d)(?!\d)))"
)
_OVER = re.compile(rf"([+-]?)\s*({_UNSIGNED})\s*(?:/|\\div)\s*([+-]?{_UNSIGNED})")
_FRAC = re.compile(
    rf"([+-]?)\s*({_DIGITS})?\s*\\frac\s*(?:\{{\s*([+-]?\s*{_UNSIGNED})\s*\}}|\s?(\d))\s*(?:\{{\s*([+-]?\s*{_UNSIGNED})\s*\}}|(\d))"
)
_MIXED = re.compile(rf"([+-]?)\s*({_DIGITS})[ ]+(\d+)/(\d+)")
_REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*)\\(?:overline|bar|dot|overbar)\s*(?:\{(\d{1,60})\}|(\d))")


def read(text: str) -> Number | None:
    """The one number that `text` is, or None. `text` is an answer by itself, not a sentence."""
    if len(text) > LONGEST:
        return None
    if _INTEGER.fullmatch(text):
        return Number(Fraction(int(text)), INTEGER)
    if _POINTED.fullmatch(text):
        return Number(decimal(text), DECIMAL)
    text = tidy(text)
    if not text.isascii():
        return None
    named = _NAMED.match(text)
    name = named[1].replace("{", "").replace("}", "") if named else ""
    text = text[named.end() :] if named else text
    money = "usd" if text.startswith("$") or text.endswith("$") else ""
    text = text.removeprefix("$").removesuffix("$").strip()
    if text.startswith("(") and text.endswith(")") and text.count("(") == 1 and "," not in text:
        text = text[1:-1].strip()
    text, unit, scale = without_unit(text)
    value = _value(text)
    if value is None:
        return None
    number, form = value
    if unit == "%":
        return Number(number / 100, form, True, name)
    return Number(number * scale, form, False, name, unit or money)


def same(gold: Number, answer: Number) -> bool:
    """Whether `answer` is `gold`: exactly, or rounded to six places where one of them is a decimal fraction.

    A whole percentage is also the whole number before its sign: 12% for a gold 12, as math-verify has it. Units count where
    both are known ones: 5 cm is not 5 m.
    """
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return False
    if gold.value == answer.value:
        return True
    if gold.form == answer.form == INTEGER:
        return gold.percent != answer.percent and _bare(gold) == _bare(answer)
    if DECIMAL not in (gold.form, answer.form) or _whole(gold) or _whole(answer):
        return False
    return rounded_alike(gold.value, answer.value)


def rounded_alike(one: Fraction, other: Fraction) -> bool:
    """Whether two numbers are the same when they are rounded to six places; tiny ones, to six significant digits."""
    difference, size = abs(one - other), max(abs(one), abs(other))
    if difference > CLOSE * size:
        return False
    if size < TINY:
        return difference * 2 * 10**PLACES <= size
    return round(one, PLACES) == round(other, PLACES)


def _whole(number: Number) -> bool:
    """An exact whole number: nothing but itself is near enough."""
    return number.form != DECIMAL and number.value.denominator == 1


def _bare(number: Number) -> Fraction:
    return number.value * 100 if number.percent else number.value


def without_unit(text: str) -> tuple[str, str, int]:
    """What stands before a unit, the unit, and by how much its word multiplies; "%" is the unit of a percentage.

    A letter that stands right after a number is a variable and stays; so do words that are no units, unless in `\\text{}`.
    """
    if text.endswith("%"):
        return text[:-1].rstrip(), "%", 1
    if not text or (text[-1] in "0123456789.)" and "^" not in text[-4:]):
        return text, "", 1
    tail = text[-80:]
    after = _AFTER.search(tail)
    if after is None:
        return text, "", 1
    before = text[: len(text) - len(tail) + after.start()].rstrip()
    in_text, bare = after[1], after[2]
    words = (in_text if in_text is not None else bare or "").lower().replace(".", " ").split()
    if words in (["percent"], ["pct"], ["percentage"]):
        return before, "%", 1
    scale = _SCALES.get(words[0], 1) if words else 1
    words = words[1:] if scale > 1 else words
    if not before or any(word in _NOT_UNITS for word in words) or (bare and any(_unit(word) is None for word in words)):
        return text, "", 1
    known = [unit + _power(words, after[3]) for unit in map(_unit, words) if unit]
    return before, known[-1] if known else "deg" if in_text is None and bare is None else "", scale


def _power(words: list[str], written: str | None) -> str:
    """`^2` of a unit in `square cm` or `cm^2`, `^3` of a cubic one."""
    spoken = next((power for word, power in _POWERS.items() if word in words), None)
    return f"^{written or spoken}" if written or spoken else ""


def _unit(word: str) -> str | None:
    return _UNITS.get(word, _UNITS.get(word.removesuffix("s")))


def _value(text: str) -> tuple[Fraction, str] | None:
    if found := _DECIMAL.fullmatch(text):
        form = DECIMAL if "." in found[2].rstrip(".") else INTEGER
        return decimal(found[1] + found[2]), form
    try:
        if found := _FRAC.fullmatch(text):
            return _of_frac(found)
        if found := _OVER.fullmatch(text):
            return ratio(found[1], found[2], found[3]), DECIMAL if "." in found[0] else FRACTION
        if found := _MIXED.fullmatch(text):
            value = decimal(found[2]) + ratio("", found[3], found[4])
            return _signed(found[1], value), FRACTION
    except ZeroDivisionError:
        return None
    if found := _REPEATING.fullmatch(text):
        whole, head, tail = found[2] or "0", found[3], found[4] or found[5]
        value = Fraction(int(whole + head)) + Fraction(int(tail), 10 ** len(tail) - 1)
        return _signed(found[1], value / 10 ** len(head)), FRACTION
    if found := _SCIENTIFIC.fullmatch(text):
        number = scaled(found[1], found[2] or found[3] or found[4])
        return None if number is None else (number, FRACTION)
    return None


def _of_frac(found: re.Match[str]) -> tuple[Fraction, str] | None:
    sign, whole, above, below = found[1], found[2], found[3] or found[4], found[5] or found[6]
    value = ratio("", above, below)
    if whole is not None:
        if not 0 < value < 1 or "." in above + below:
            return None  # 2\frac{3}{2} is a product as well as a sum
        value += decimal(whole)
    return _signed(sign, value), DECIMAL if "." in above + below else FRACTION


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value
