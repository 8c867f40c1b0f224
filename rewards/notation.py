r"""One way of writing for what is written in several: letters of other fonts, typographic signs, spaces and sizes of LaTeX.

Always true here: the meaning stays. Full-width and mathematical digits are digits; digits of other scripts, raised digits read
as what they are and never as plain ones (4² is 4^{2}, not 42); signs that are not seen stay in and keep a text from being read.
"""

from __future__ import annotations

import re

_DIGITS = {
    **{0xFF10 + d: str(d) for d in range(10)},
    **{0x1D7CE + n: str(n % 10) for n in range(50)},
}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True))
_SIGNS = {
    "−": "-", "‐": "-", "‑": "-", "–": "-", "﹣": "-", "－": "-", "＋": "+", "＝": "=", "／": "/", "⁄": "/", "∕": "/",
    "．": ".", "，": ",", "％": "%", "﹪": "%", "（": "(", "）": ")", "［": "[", "］": "]", "｛": "{", "｝": "}", "＾": "^",
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∗": "*", "÷": r"\div ", "±": r"\pm ", "∓": r"\mp ",
    "√": r"\sqrt ", "π": r"\pi ", "θ": r"\theta ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"^\circ", "¼": r"\frac{1}{4}",
    "½": r"\frac{1}{2}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "\u00a0": " ", "\u2009": " ",
    "\u202f": " ", "\u2007": " ", "“": '"', "”": '"', "’": "'", "€": "", "£": "",
}  # fmt: skip
_TABLE = {**_DIGITS, **{ord(sign): plain for sign, plain in _SIGNS.items()}}
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
        text = _POWER.sub(lambda found: "^{" + "".join(_RAISED[c] for c in found[0]) + "}", text).translate(_TABLE)
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
