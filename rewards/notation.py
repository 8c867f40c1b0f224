r"""One way of writing for what is written in several: letters of other fonts, typographic signs, spaces and sizes of LaTeX.

Invariants: the meaning stays. Digits and signs are spelled as `numbers.py` has them; raised digits are read as what they are and
never as plain ones (4² is 4^{2}, not 42); signs that are not seen stay in and keep a text from being read.
"""

from __future__ import annotations

import re

from .numbers import VULGAR, spelled

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True))
_SIGNS = {
    "＝": "=", "﹪": "%", "（": "(", "）": ")", "［": "[", "］": "]", "｛": "{", "｝": "}",
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∗": "*", "÷": r"\div ", "±": r"\pm ", "∓": r"\mp ",
    "√": r"\sqrt ", "π": r"\pi ", "θ": r"\theta ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"^\circ", "\u00a0": " ", "“": '"', "”": '"',
    "€": "", "£": "", **{sign: rf"\frac{{{top}}}{{{below}}}" for sign, (top, below) in VULGAR.items()},
}  # fmt: skip
_TABLE = {ord(sign): plain for sign, plain in _SIGNS.items()}
_POWER = re.compile("[" + "".join(_RAISED) + "]+")
_COMMAND = re.compile(
    r"\\\\|\\(?:(?:[dtc]frac|[bB]igg?[lr]?|displaystyle|limits|q?quad|[lgn]eq)(?![A-Za-z])|(?:left|right)(?![A-Za-z])\.?"
    r"|[!,;:> $%()\[\]])"
)
_SHORT = {
    "\\\\": "\\\\",
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\!": "", r"\$": "$", r"\%": "%",
    r"\leq": r"\le", r"\geq": r"\ge", r"\neq": r"\ne", r"\,": " ", r"\;": " ", r"\:": " ", r"\>": " ", "\\ ": " ",
    r"\quad": " ", r"\qquad": " ",
}  # fmt: skip
_SPACES = re.compile(r"\s{2,}|[\t\n\r\v\f]")


def tidy(text: str) -> str:
    """`text` in its plainest spelling: `\\dfrac` is `\\frac`, `1{,}000` is `1,000`, sizes and delimiters of formulas go."""
    if not text.isascii():
        text = _POWER.sub(lambda found: "^{" + "".join(_RAISED[c] for c in found[0]) + "}", text)
        text = spelled(text).translate(_TABLE)
    if "\\" in text:
        text = _COMMAND.sub(lambda found: _SHORT.get(found[0], ""), text)
    text = text.replace("{,}", ",")
    text = _SPACES.sub(" ", text).strip()
    if len(text) > 1 and text.startswith("$") and text.endswith("$"):
        text = text.strip("$").strip()
    text = text.rstrip(".").rstrip() if text.endswith(".") and text != "." else text
    while text.startswith("{") and text.endswith("}") and text.count("{") == 1:
        text = text[1:-1].strip()
    return text
