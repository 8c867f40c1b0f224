r"""Mathematical answers: exact fractions decide most of them inline, math-verify the rest in a worker that can be killed.

Invariants: one answer is read, the last one, and after the last `</think>`; a completion that makes the checker run out
of time earns 0, a gold answer that does is an error of the data.

    from journeyman.rewards.mathematics import mathematics

    mathematics(prompts=["?"], completions=[r"so \boxed{\frac{2}{4}}"], answer=["0.5"])   # [1.0]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..configs.errors import BadInput
from . import bounds, rational, symbolic
from .cases import Case
from .core import UNDECIDED, reward
from .notation import tidy
from .text import BOXES, boxed, final_answer, hash_answer

PRELOAD = ("math_verify", f"{__package__}.warm")
"""What the server that forks the workers loads before the first of them."""


@dataclass(frozen=True)
class Gold:
    """A row's answer, read once a group."""

    text: str
    """Tidied."""
    plain: str
    """The spelling that is compared letter by letter."""
    number: rational.Number | None
    undone: frozenset[str]
    """Operators that are part of the answer, as in `\\int f`: an answer may hold them then, and only then."""
    allowed: tuple[bool, bool, bool]
    """Whether it lists several, has digits apart, and denies something; what an answer does that it does not is wrong."""


def read_gold(answer: str) -> Gold:
    r"""The row's `answer`: LaTeX or plain, in dollar signs, in a box, or a worked solution that ends in `#### 42`.

    Raises:
        BadInput: it is empty, or beyond what the checker is asked about.
    """
    given = str(answer).strip()
    text = boxed(given) if any(box in given for box in BOXES) else hash_answer(given) if "####" in given else given
    if not text or not symbolic.plain(text):
        raise BadInput(
            f"the column 'answer' holds {given[:80]!r}, which is no answer; mathematics needs one in every row"
        )
    text = tidy(text)
    number = rational.read(text)
    if number is None and text.isascii() and (reason := bounds.refused(text)) is not None:
        raise BadInput(
            f"the column 'answer' holds {given[:80]!r}, which {reason}; leave the row out or shorten its answer"
        )
    allowed = symbolic.may_list(text), symbolic.apart(text), symbolic.denies(text)
    return Gold(text, symbolic.plain(text), number, frozenset(bounds.UNDONE.findall(text)), allowed)


def decide(completion: str, gold: Gold) -> Any:
    """0 or 1 where plain reading decides, else `UNDECIDED`. Costs microseconds."""
    answer = final_answer(completion)
    if answer is None:
        return 0.0
    number = rational.read(answer)
    if number is not None and gold.number is not None:
        if number.name and gold.number.name and number.name != gold.number.name:
            return UNDECIDED
        return float(rational.same(gold.number, number))
    if len(answer) > max(bounds.LONGEST, 2 * len(gold.text)):
        return 0.0
    answer = tidy(answer)
    if symbolic.plain(answer) == gold.plain:
        return 1.0
    undone = frozenset(bounds.UNDONE.findall(answer)) - gold.undone
    if undone or not answer or bounds.refused(answer):
        return 0.0
    manner = symbolic.several(answer), symbolic.apart(answer), symbolic.denies(answer)
    wrong = any(has and not may for has, may in zip(manner, gold.allowed, strict=True))
    return 0.0 if wrong else UNDECIDED


@reward(isolated=True, fast=decide, gold=read_gold, timeout=2.0, overrun=0.0, memory_mb=1024)
def mathematics(completion: str, gold: Gold) -> float:
    r"""1 where the final answer is the row's `answer`, in whatever form it is written, else 0.

    The last `\boxed{}` counts; without a box, what follows "answer is" or `####`, or the last line. Numbers are equal exactly,
    however small; where one is a decimal, they agree when they do to six places. Known units are compared and others dropped;
    `x = 5` answers 5, `2x = 10` does not; what is denied ("not 42"), listed (`42, 42`) or split (`4 2`) is no single answer.

    Source: math-verify 0.9 (https://github.com/huggingface/Math-Verify) for all that is no plain number; the classes of its
    mistakes are named in `rewards/symbolic.py`, each with a test.

    Known ways of being gamed: an answer may leave arithmetic undone (`6 \cdot 7` for 42, `\sqrt{1764}`); a whole percentage
    passes for the number before its sign; without a box, the last number of the last sentence counts, right or not in context.
    """
    quick = decide(completion, gold)
    if quick is not UNDECIDED:
        return float(quick)
    return float(symbolic.equal(gold.text, tidy(final_answer(completion) or "")))


CASES = {
    "mathematics": [
        Case(
            {"answer": "42"},
            right=[
                "42", r"\boxed{42}", r"so $x = 42$.", r"The answer is 42.", r"first \boxed{41}, no: \boxed{42}", r"\boxed{042.0}",
                r"\boxed{\frac{84}{2}}", r"<think>\boxed{1}</think>\boxed{42}", r"\boxed{6 \cdot 7}", "\\boxed{\uff14\uff12}",
            ],
            wrong=[
                "", "43", r"\boxed{}", r"\boxed{41}\boxed", r"<think>\boxed{42}", r"\boxed{1=2=42}", r"\boxed{|x|=42}",
                r"\boxed{42_5}", r"\boxed{41, 42, 43}", "41 or 42", r"\boxed{42} or \boxed{43}", r"\boxed{\sum_{i=42}^{42} i}",
                r"\boxed{9^{9^{9}}}", r"\boxed{nan}", "\\boxed{4\u00b2}",
            ],
        ),
        Case(
            {"answer": r"\frac{1}{3}"},
            right=["1/3", r"\boxed{\dfrac{2}{6}}", r"\boxed{0.\overline{3}}", r"33\frac{1}{3}\%", "0.333333",
            r"\boxed{x=\frac13}"],
            wrong=["0.33", "3", "-1/3", r"\boxed{\frac{3}{1}}"],
        ),
        Case(
            {"answer": r"x^2 + 2x + 1"},
            right=[r"\boxed{(x+1)^2}", r"\boxed{1 + 2x + x^2}", r"f(x) = x^2+2x+1"],
            wrong=[r"\boxed{(x-1)^2}", r"\boxed{x^2}", "4"],
        ),
    ]
}  # fmt: skip
