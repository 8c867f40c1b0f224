r"""The one reader of numbers as people and models write them: exact, and the same for every reward that compares numbers.

`match:number`, `match:numeric`, the extractions `last_number` and `hash_answer`, and the fast path of `mathematics` read by
this table. A number is found in a sentence by `last`, and is a whole answer for `rational.read`, which adds LaTeX to it.

| written | read as |
|---|---|
| `42`, `+42`, `-42`, `042`, `42.`, `42.0`, `.5`, `1.50` | the decimal number; a full stop behind it is none of its digits |
| `−42` with U+2212, a figure dash, en dash, hyphen, full-width or small minus | -42 |
| `3-5`, `3–5`, `5%-10%`, `$3-$5`, `--5` | two numbers: a dash right behind a digit, letter, bracket or sign is no minus |
| `1,234`, `1,234,567.89`, `1'234`, `1 234` with no-break, thin or figure spaces | thousands, in whole groups of three |
| `12,34`, `1,2,3`, `1,23,456`, `3,14` | a list: commas without groups of three separate, and no comma is a decimal point |
| `1e5`, `1.5E-3`, `1.5 × 10^3`, `2*10**5`, `6·10⁵`, `10^3` | scientific notation, up to three digits of exponent |
| `1/2`, `-3 / 4`, `½`, `\frac{1}{2}`, `3 1/2`, `3½` | fractions and mixed numbers |
| `$5`, `-$5`, `$-5`, `€5`, `5 €`, `5kg`, `5%`, `3rd` | the number; what follows is its unit. For `mathematics`, 5% is 1/20 |
| `４２`, `𝟒𝟐`, `٤٢`, `४२` | digits of any one script; `٤२`, of two, is no number |
| `12:30`, `3:2`, `2024-03-06`, `3/6/2024`, `1.2.3`, `1.234.567`, `12_3`, `1_000`, `0x1F`, `x2`, `cm^2`, `x_5` | no number |
| `4²`, `2^3`, `1/0`, `1e9999` | a number that is not worked out: it equals nothing, and no number before it counts instead |

Invariants: no float and no expression is evaluated; time is linear in the text, and no number is built that is longer than its
digits and three digits of exponent allow; the value is a `Fraction`, so numbers that differ anywhere differ.

    last("It fell from 1,234 to −5 km.")    # Found(value=Fraction(-5, 1), plain="-5", after=" km.")
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

TAIL = 2000
"""Characters at the end of a text in which a number is looked for."""
_LINE = 200
"""Characters before the last digit in which its number begins, unless there is no space among them."""

MINUSES = "−‐‑‒–﹣－"
"""What is typed, printed or copied for a minus sign; the em dash is punctuation."""
_SIGNS = {**dict.fromkeys(MINUSES, "-"), "＋": "+", "．": ".", "٫": ".", "٬": ",", "，": ",", "％": "%", "٪": "%", "：": ":",
          "／": "/", "⁄": "/", "∕": "/", "＄": "$", "＾": "^", "’": "'", "\u2007": "\u00a0", "\u2009": "\u00a0",
          "\u202f": "\u00a0"}  # fmt: skip
_TABLE = {
    **{ord(sign): plain for sign, plain in _SIGNS.items()},
    **{0xFF10 + digit: str(digit) for digit in range(10)},
    **{0x1D7CE + place: str(place % 10) for place in range(50)},
}
_RUN = re.compile(r"\d+")
_UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
VULGAR = {sign: tuple(unicodedata.normalize("NFKC", sign).split("⁄")) for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"}
"""Fractions of one character -> numerator and denominator."""

GROUPED = r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:'[0-9]{3})+|[0-9]{1,3}(?:\u00a0[0-9]{3})+"
"""Digits with separators between the thousands, none of them missing."""
_WHOLE = rf"(?:(?<![0-9][,'\u00a0])(?:{GROUPED})(?![0-9]|[,'][0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.[0-9]+)?|(?<![\w.)\]])\.[0-9]+)"
_RAISING = r"(?:\^\{?[ ]?(?P<_a>[-+]?[0-9]+)[ ]?\}?|\*\*(?P<_b>[-+]?[0-9]+)|(?P<_c>[⁺⁻]?[⁰¹²³⁴-⁹]+))"
_FORM = re.compile(
    rf"""
    (?P<none>
        (?<![\\A-Za-z0-9])(?!(?:USD?|EUR|GBP|CHF|CAD|AUD|INR|RM|Rs)[0-9])[A-Za-z]+_?[0-9]\w*(?:\.[0-9]+)*
        | 0[xXoObB][0-9A-Fa-f]+\b
        | (?<=[A-Za-z])(?:\^|\*\*|_)\{{?[-+]?[0-9]+
        | [0-9]+(?:\.[0-9]+){{2,}} | [0-9]+(?::[0-9]+)+(?:\.[0-9]+)? | [0-9]+(?:/[0-9]+){{2,}}
        | [0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}(?![0-9])(?:T[0-9:.]+Z?)? | [0-9]{{1,2}}-[0-9]{{1,2}}-[0-9]{{4}}(?![0-9])
        | [0-9]+(?:[_{_UNSEEN}]+[0-9]+)+
    )
    | (?P<sign>(?<![0-9A-Za-z_.)\]}}%+\-$€£¥])[-+]\u00a0?)? (?:\\?[$€£¥][ ]?(?P<inner>(?<![0-9][$€£¥])[-+])?)?
      (?:
        \\[dt]?frac\{{[ ]?(?P<above>[-+]?[0-9]+)[ ]?\}}\{{[ ]?(?P<below>[-+]?[0-9]+)[ ]?\}}
        | (?P<units>[0-9]+)?[ ]?(?P<vulgar>[{"".join(VULGAR)}])
        | (?P<mixed>[0-9]+)[ ](?P<top>[0-9]+)/(?P<bottom>[0-9]+)(?![0-9/]|\.[0-9])
        | (?P<number>{_DECIMAL})
          (?: [ ]?/[ ]?(?P<over>[-+]?{_DECIMAL})
            | (?P<exponent>[eE][-+]?[0-9]+)(?![A-Za-z0-9])
            | [ ]?(?:[x*×·⋅]|\\times|\\cdot)[ ]?10{_RAISING.replace("_", "t")}
            | [ ]?{_RAISING.replace("_", "p")}
          )?
      )
    """,
    re.VERBOSE,
)  # fmt: skip


class Found(NamedTuple):
    """The last number of a text."""

    value: Fraction | None
    """None where it is one that is not worked out, see the table."""
    plain: str
    """Its plainest spelling: ASCII, no separators, no currency."""
    after: str
    """What follows it."""


def spelled(text: str) -> str:
    """`text` with the digits and signs that numbers are made of in ASCII; as many characters as before."""
    if text.isascii():
        return text
    return _RUN.sub(_one_script, text.translate(_TABLE))


def _one_script(run: re.Match[str]) -> str:
    digits = run[0]
    if digits.isascii():
        return digits
    zeros = {ord(digit) - unicodedata.decimal(digit) for digit in digits}
    return str(int(digits)).zfill(len(digits)) if len(zeros) == 1 and len(digits) < TAIL else _UNSEEN[0] * len(digits)


def united(text: str) -> str:
    """A spelled text whose thousands have no separators any more: `1,234` is `1234`, and `12,34` stays."""
    return _THOUSANDS.sub(lambda found: re.sub(r"[,'\u00a0]", "", found[0]), text)


_THOUSANDS = re.compile(rf"(?<![0-9.])(?<![0-9][,'\u00a0])(?:{GROUPED})(?![0-9]|[,'][0-9])")


def without_latex(text: str) -> str:
    """Numbers that LaTeX or Markdown takes apart, in one piece: `1{,}234`, `1\\,234`, `\\frac12`, `$-$5`, `_-5_`."""
    if "\\" not in text and "{,}" not in text and "$-$" not in text and "_-" not in text:
        return text
    text = _TEX_COMMA.sub(",", text)
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)
    return _EMPHASIS.sub(" ", _APART_MINUS.sub("-", text))


def last(text: str) -> Found | None:
    """The last number in the last `TAIL` characters of `text`; None where there is none."""
    text = spelled(without_latex(text[-TAIL:]))
    backwards = text[::-1]
    seen = _DIGIT.search(backwards)
    if seen is None:
        return None
    end = len(text) - seen.start()
    if text[end : end + 1] in _ENDS and (simple := _SIMPLE.match(backwards, seen.start())):
        digits = simple[0][::-1]
        return Found(decimal(digits), digits, text[end:])
    # Numbers end with their line, and few begin more than a line before their last digit.
    start = text.rfind("\n", 0, end) + 1
    if end - start > _LINE:
        start = max(start, text.find(" ", end - _LINE, end - _LINE // 2))
    numbers = every(text, start) or every(text)
    if not numbers:
        return None
    value, plain = _worth(numbers[-1])
    return Found(value, plain, text[numbers[-1].end() :])


_EMPHASIS = re.compile(r"(?<!\w)_(?=[-−]\d)")
_TEX_COMMA = re.compile(r"(?<=\d)(?:\{,\}|\\[,!])(?=\d{3})")
_SHORT_FRACTION = re.compile(r"\\[dt]?frac ?(\d) ?(\d)")
_APART_MINUS = re.compile(r"\\text ?\{[-−]\}|\$[-−]\$")
_DIGIT = re.compile(f"[0-9{''.join(VULGAR)}]")


def every(text: str, start: int = 0) -> list[re.Match[str]]:
    """Where the numbers of a spelled text are, as the table has them."""
    first = _DIGIT.search(text, start)
    if first is None:
        return []
    # No sign, currency or word that belongs to a number begins much before its first digit.
    return [found for found in _FORM.finditer(text, max(start, first.start() - 20)) if found["none"] is None]


# The usual case, read from its end: plain digits between a word and white space or a full stop. `_FORM` reads it alike.
_SIMPLE = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?-?(?=[ \n][A-Za-z=:]|\Z)")
_ENDS = frozenset(["", " ", "\n", "."])


def _worth(found: re.Match[str]) -> tuple[Fraction | None, str]:
    """The value of a match of `_FORM` and its plainest spelling."""
    sign = "-" if "-" in f"{found['sign']}{found['inner']}" else ""
    try:
        if found["number"] is None:
            plain = _fraction(found)
            return ratio(sign, *plain), sign + "/".join(plain)
        digits = re.sub(r"[,'\u00a0]", "", found["number"])
        if over := found["over"]:
            over = re.sub(r"[,'\u00a0]", "", over)
            return ratio(sign, digits, over), f"{sign}{digits}/{over}"
    except ZeroDivisionError:
        return None, sign + found[0]
    exponent = (found["exponent"] or "")[1:] or _raised(found, "t")
    if power := _raised(found, "p"):
        if digits != "10":
            return None, sign + found[0]
        digits, exponent = "1", power
    return scaled(sign + digits, exponent), f"{sign}{digits}{'e' if exponent else ''}{exponent}"


def _fraction(found: re.Match[str]) -> tuple[str, str]:
    """Numerator and denominator of a match that is a fraction or a mixed number."""
    if found["above"] is not None:
        return found["above"], found["below"]
    whole = found["units"] or found["mixed"] or "0"
    above, below = VULGAR[found["vulgar"]] if found["vulgar"] else (found["top"], found["bottom"])
    if found["mixed"] and int(above) >= int(below):  # 5 10/2: two numbers, and the last is a ratio
        whole = "0"
    return str(int(whole) * int(below) + int(above)), below


def _raised(found: re.Match[str], kind: str) -> str:
    return found[f"{kind}a"] or found[f"{kind}b"] or (found[f"{kind}c"] or "").translate(_RAISED)


def ratio(sign: str, above: str, below: str) -> Fraction:
    """A fraction of two decimals.

    Raises:
        ZeroDivisionError: the denominator is 0.
    """
    value = decimal(above) / decimal(below)
    return -value if sign == "-" else value


_PLAIN = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")


def decimal(digits: str) -> Fraction:
    """The exact value of plain digits with a sign and a point perhaps, and with separators that are in their places."""
    if not _PLAIN.fullmatch(digits):
        digits = re.sub(r"[, '\u00a0]", "", digits)
    if "." not in digits:
        return Fraction(int(digits))
    whole, _, part = digits.partition(".")
    return Fraction(int(whole + part), 10 ** len(part)) if whole + part not in ("", "+", "-") else Fraction(0)


def scaled(digits: str, exponent: str) -> Fraction | None:
    """`digits` times ten to the power of `exponent`; None where that has over three digits: it could fill the memory."""
    if not exponent:
        return decimal(digits)
    size = exponent.lstrip("+-").lstrip("0") or "0"
    return decimal(digits) * Fraction(10) ** int(exponent) if len(size) <= 3 else None
