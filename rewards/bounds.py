r"""What sympy is not asked about: answers whose size alone could keep it busy for seconds, or for ever.

Always true here: time linear in the answer, no evaluation; every bound is far above what a person writes as a result. What
passes costs sympy milliseconds, with few exceptions, which the limits on time end.
"""

from __future__ import annotations

import math
import re

LONGEST = 1000
"""Characters of an answer that sympy is asked about."""
PARENTHESES, BRACES = 6, 12
"""How deep they may nest; the grammar's cost doubles with every few."""
DIGITS, ALL_DIGITS = 60, 800
"""Of one number, and of all."""
BITS = 50_000
"""Of the value of a power of whole numbers."""
EXPONENT, EXPANDED, FACTORIAL, CHOSEN = 5000, 30, 2000, 5000
"""The largest exponent, exponent of a sum with letters, and number under a factorial or in a binomial."""
COUNTS = (
    ("signs", re.compile(r"[+-]|\\pm|\\mp"), 60),
    ("signs in a row", re.compile(r"(?:[+-]\s*|\\pm\s*|\\mp\s*){4}"), 0),
    ("roots", re.compile(r"\\sqrt"), 20),
    ("functions", re.compile(r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc|ln|log|exp)"), 12),
    ("functions of functions", re.compile(r"(?:\\(?:arc)?(?:sin|cos|tan|cot|sec|csc|ln|log|exp)[\s({]*){3}"), 0),
    ("powers", re.compile(r"\^"), 40),
    ("bars", re.compile(r"\||\\[lr]?vert"), 8),
    ("sets", re.compile(r"\\c[au]p"), 16),
    ("commas", re.compile(r"[,;]"), 80),
    ("numbers side by side", re.compile(r"\d\s+(?=\d)"), 20),
    ("equations", re.compile(r"="), 24),
)
"""What an answer may hold only so many of."""

UNDONE = re.compile(
    r"\\(?:sum|prod|coprod|i*int|idotsint|oint|lim|limsup|liminf|det|partial|nabla)(?![A-Za-z])|\\frac\s*\{\s*d\s*\}\s*\{\s*d\s*[a-z]"
)
"""Operators that leave the work to the checker."""
_FOREIGN = re.compile(
    r"\\(?:def|let|[a-z]*newcommand|input|include|csname|catcode|write|loop|expandafter|variable|url|href)\b"
)
WORDS = re.compile(r"\\(?:text|mathrm|mbox|textbf|textit|operatorname)\s*\{[^{}]*\}")
_POWER = re.compile(r"(\d+)\s*\^\s*(?:\{\s*-?(\d+)\s*\}|(\d))")
_HIDDEN = re.compile(r"\\[hv]?phantom(?![A-Za-z])")
_BINOMIAL = re.compile(r"\\[dt]?binom\s*\{\s*(\d{1,9}|[a-z])\s*\}\s*\{\s*(\d{1,9}|[a-z])\s*\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")


def refused(text: str) -> str | None:
    """Why sympy is not asked about a tidied answer; None where it is.

    An honest answer passes: the bounds are far above what a person writes as a result.
    """
    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    bare = WORDS.sub(" ", text)
    if not bare.isascii() or not bare.isprintable():
        return "holds letters that are not mathematics"
    if _FOREIGN.search(text):
        return "defines or loads something"
    if _HIDDEN.search(text):
        return "hides what it holds"
    if (reason := _nested(bare)) is not None:
        return reason
    for what, pattern, most in COUNTS:
        if sum(1 for _ in pattern.finditer(bare)) > most:
            return f"has over {most} {what}"
    runs = re.findall(r"\d+", bare)
    if max(map(len, runs), default=0) > DIGITS or sum(map(len, runs)) > ALL_DIGITS:
        return "holds a giant number"
    return _factorials(bare) or _binomials(bare) or _powers(bare)


def _nested(text: str) -> str | None:
    round_, curly, deepest, unmatched = 0, 0, 0, False
    for found in re.finditer(r"\\[{}]|[(){}\[\]]", text):
        match found[0]:
            case "(" | "[":
                round_ += 1
            case ")" | "]":
                round_ -= 1
            case "{":
                curly += 1
            case "}":
                curly -= 1
                unmatched |= curly < 0
        deepest = max(deepest, round_)
        if deepest > PARENTHESES or curly > BRACES:
            return "nests too deeply"
    return "has braces that do not match" if unmatched or curly else None


def _factorials(text: str) -> str | None:
    places = [found.start() for found in re.finditer(r"!(?!=)", text)]
    if len(places) > 12:
        return "holds too many factorials"
    for place in places:
        before = text[:place].rstrip()
        if before.endswith("!"):
            return "holds a factorial of a factorial"
        number = re.search(r"\d+$", before)
        inside = _group_before(before) if before.endswith((")", "}", "]")) else number[0] if number else ""
        if re.search(r"[!^]|\d\s*[({\\*]|\d{5}", inside) or sum(map(int, re.findall(r"\d+", inside))) > FACTORIAL:
            return "holds a giant factorial"
    return None


def _group_before(text: str) -> str:
    """What the parenthesis or brace holds that `text` ends with."""
    depth = 0
    for i in range(len(text) - 1, -1, -1):
        depth += {")": 1, "}": 1, "]": 1, "(": -1, "{": -1, "[": -1}.get(text[i], 0)
        if depth == 0:
            return text[i:]
    return text


def _binomials(text: str) -> str | None:
    if re.search(r"\)\s*_", text):
        return "holds a falling factorial"
    if len(re.findall(r"binom|choose", text)) > len(_BINOMIAL.findall(text)):
        return "holds a binomial of something else than numbers"
    large = any(part.isdigit() and int(part) > CHOSEN for pair in _BINOMIAL.findall(text) for part in pair)
    return "holds a giant binomial" if large else None


def _powers(text: str) -> str | None:
    """Work out powers of whole numbers from the inside by their size alone; then look at the exponents that remain."""
    for _ in range(LONGEST):
        found = _POWER.search(text)
        if found is None:
            break
        base, exponent = int(found[1]), int(found[2] or found[3])
        bits = exponent * math.log2(base) if base > 1 else 0
        if bits > BITS:
            return "holds a giant power"
        value = str(base**exponent) if bits < 64 else "9" * 20  # a stand-in: too large to be an exponent itself
        text = text[: found.start()] + value + text[found.end() :]
    stacked = 1.0
    for found in re.finditer(r"\^\s*", text):
        raised = _argument(text, found.end())
        literals = [int(run) for run in re.findall(r"\d+", raised)]
        letters = re.search(r"[A-Za-z]", _COMMAND.sub("", raised)) is not None
        if "!" in raised or max(literals, default=0) > EXPONENT or (not letters and math.prod(literals) > EXPONENT):
            return "holds a giant exponent"
        before = text[: found.start()].rstrip()
        if before.endswith((")", "]", "}")) and literals:
            stacked *= max(1, *literals)
            inside = _COMMAND.sub("", _group_before(before))
            sums = re.search(r"[A-Za-z]", inside) and re.search(r"[+-]", inside)
            if (sums or "matrix" in before[-12:]) and max(literals) > EXPANDED:
                return "holds a giant power of a sum"
    return "holds powers of powers" if stacked > EXPONENT else None


def _argument(text: str, start: int) -> str:
    """The group, the parenthesis or the single character at `start`."""
    if start >= len(text) or text[start] not in "{(":
        return text[start : start + 1]
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start + 1 : i]
    return text[start + 1 :]
