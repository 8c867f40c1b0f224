r"""Multiple choice: the letter of one option, or its text.

Always true here: an answer names one option. Everything that states an answer must agree - every box, or else every "answer is",
or else every line that is an option by itself - so listing options earns nothing, whichever comes last.

    from journeyman.rewards.choice import choice

    choice(prompts=["?"], completions=["The answer is (B)."], answer=["B"], choices=[["Oslo", "Rome"]])   # [1.0]
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..configs.errors import BadInput
from .cases import Case
from .core import reward
from .text import BOXES, TAIL, answer_part, box, denied, doubted

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
STATEMENTS = 64
"""Boxes or lines that are looked at; a completion with more of them lists instead of answering."""
LONGEST = 1000
"""Characters of one statement."""

_BOX = re.compile(r"\\f?box(?:ed)?(?![A-Za-z])")
_EMPTY_BOX = re.compile(r"\\f?box(?:ed)?[ \t\n]{0,8}\{[ \t\n]{0,8}\}")
_ANSWER = re.compile(
    r"\b(?:answer|choice|option)[ \t]*(?:is|:|=|would be|should be)[ \t]*:?[ \t]*(?:option|choice|letter)?[ \t]*",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"(?:(?:option|choice|letter|answer) )?[(\[]? ?([A-Za-z])(?: ?[)\].:]+|(?= |$)) ?(.*)", re.DOTALL | re.IGNORECASE
)
"""On one line in which no white space is doubled: `_squeezed`."""
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_BECAUSE = re.compile(r"\b(?:because|since|as|for)\b", re.IGNORECASE)
_IS_RIGHT = re.compile(
    r"\sis\s(?:the\s)?(?:correct|right)(?:\s(?:one|answer|choice|option))?[.!]{0,3}\Z", re.IGNORECASE
)
_NEXT_SENTENCE = re.compile(r"\.\s(?!\s?(?:or|and|maybe|perhaps|no|wait|actually)\b)", re.IGNORECASE)
_RAISED = re.compile("[⁰¹²³⁴-⁹]+")
_DOLLARS = re.compile(r"\$([^$]*)\$")


@dataclass(frozen=True)
class Options:
    """A row's options, read once a group: `texts` as they are compared, and the right one."""

    texts: tuple[str, ...]
    right: int


def read_options(answer: str, choices: Sequence[str] | Mapping[str, object]) -> Options:
    """The row's `choices` (a list of texts) and `answer` (a letter).

    Raises:
        BadInput: there are none, too many, two alike, or the letter is none of theirs.
    """
    if isinstance(choices, str) or not 2 <= len(choices) <= len(LETTERS):
        raise BadInput(f"the column 'choices' should be a list of 2 to {len(LETTERS)} texts; it is {choices!r:.80}")
    texts = tuple(_plain(str(text)) for text in choices)
    if len(set(texts)) < len(texts) or "" in texts:
        raise BadInput(f"the column 'choices' holds two options that are alike when case, spaces and signs around them do "
                       f"not count, or an empty one: {choices!r:.200}; leave the row out or make them differ")  # fmt: skip
    letter = str(answer).strip().strip("().").upper()
    right = LETTERS.find(letter) if len(letter) == 1 else -1
    if not 0 <= right < len(texts):
        raise BadInput(f"the column 'answer' holds {answer!r:.40}; with {len(texts)} choices it should be a letter from A to "
                       f"{LETTERS[len(texts) - 1]}")  # fmt: skip
    return Options(texts, right)


@reward(gold=read_options)
def choice(completion: str, gold: Options) -> float:
    r"""1 where the completion ends in the row's option: its letter (`B`, `(b)`, `B. Rome`, `\boxed{B}`) or its text; else 0.

    `answer` is the letter, `choices` the list of texts. A letter with the text of another option earns nothing. An explanation
    belongs before the answer: behind it, it is paid only after "the answer is B" (`B. Rome is the capital.` names no option).

    Source: letters as in MMLU (https://arxiv.org/abs/2009.03300), read from free text; that all statements have to agree is ours.

    Known ways of being gamed: guessing pays its share, 1 in the number of options, and a constant letter pays where the gold
    letters are not spread evenly: shuffle the options. A correction ("B. No, C") in the final text earns nothing; it belongs
    before `</think>`.
    """
    found = {_first_named(ways, gold.texts) for ways in statements(completion)}
    return float(found == {gold.right})


def _first_named(ways: Sequence[str], texts: Sequence[str]) -> int | None:
    return next((found for found in (named(text, texts) for text in ways) if found is not None), None)


def statements(completion: str) -> list[list[str]]:
    """What states an answer: the boxes; without any, what follows each "answer is"; without any, the lines that are short.

    Each is a list of ways to read it, of which the first that names an option counts; one that is denied ("not B", "B is
    wrong") is empty. Without box or phrase, the last line is always among them. More than `STATEMENTS` of a kind are none.
    Linear in the text.
    """
    text = answer_part(completion).strip()
    if any(box in text for box in BOXES):
        places = [found.start() for found, _ in zip(_BOX.finditer(text), range(STATEMENTS + 1), strict=False)]
        # An empty box names the form ("I will answer in \\boxed{}") and states nothing, unless it is all there is.
        stated = [place for place in places if not _EMPTY_BOX.match(text, place)] or places
        boxes = [box(text, place) for place in stated] if len(places) <= STATEMENTS else []
        return [
            [content or ""] * (not denied(text, place, end))
            for place, (content, end) in zip(stated, boxes, strict=False)
        ]
    tail = text[-TAIL:]
    found_answers = list(_ANSWER.finditer(tail))
    if found_answers:
        if len(found_answers) > STATEMENTS:
            return []
        return [_readings(tail[found.end() :]) * (not doubted(tail, found.start())) for found in found_answers]
    lines = [line.strip() for line in text[-10 * TAIL :].splitlines() if line.strip()]
    if not lines or len(lines) > STATEMENTS:
        return []
    listed = [line for line in lines[:-1] if len(line) < 200 and _LABEL.fullmatch(_squeezed(line.strip("*_`")))]
    return [*([line] for line in listed), [_IS_RIGHT.sub("", lines[-1])]]


def _readings(text: str) -> list[str]:
    """What follows "the answer is", read in three ways: its whole line, its first sentence, that sentence up to a reason."""
    line = text.lstrip(" \t\n*_`").split("\n", 1)[0]
    sentence = _NEXT_SENTENCE.split(line, maxsplit=1)[0]
    return list(dict.fromkeys([line, sentence, _without_reason(sentence)]))


def named(statement: str, texts: Sequence[str]) -> int | None:
    """The option that a statement names, by its letter, its text or both; None where it names none, or several."""
    if len(statement) > LONGEST:
        return None
    plain = _plain(statement)
    if plain in texts:
        return texts.index(plain)
    label = _LABEL.fullmatch(_bare(statement))
    if label is None:
        return None
    number, rest = LETTERS.find(label[1].upper()), _plain(label[2].strip().removeprefix("(").removesuffix(")"))
    return number if 0 <= number < len(texts) and rest in ("", texts[number]) else None


def _without_reason(statement: str) -> str:
    """A statement up to "because", "since", "as" or "for", where no full stop follows but at the end."""
    reason = _BECAUSE.search(statement, statement.removesuffix(".").rfind(".") + 1)
    return statement if reason is None else statement[: reason.start()].rstrip().rstrip(",;:.")


def _squeezed(text: str) -> str:
    """`text` with one space for any white space: no pattern has to try how much of it belongs to which part."""
    return " ".join(text.split())


def _bare(text: str) -> str:
    text = _RAISED.sub(lambda digits: f"^{digits[0]}", _TEXT.sub(r"\1", text))  # 10² is not 102
    text = unicodedata.normalize("NFKC", text).replace("\\(", "").replace("\\)", "")
    return _squeezed(_DOLLARS.sub(r"\1", text)).strip("*_`\"'").rstrip("!").strip()


def _plain(text: str) -> str:
    """A text as options are compared: one case, one white space, no decoration and no full stop."""
    return _bare(text).casefold().rstrip(".").strip()


CASES = {
    "choice": [
        Case(
            {"answer": "B", "choices": ["Oslo", "Rome", "Bern", "A city in Peru"]},
            right=[
                "B", "b", "(B)", "B.", "B) Rome", "**B. Rome**", "Rome", r"\boxed{B}", r"so \boxed{\text{(B)}}",
                r"I will answer in \boxed{}. \boxed{B}",
                "The answer is (B).",
                "Answer: B\nbecause it is", "<think>A? C?</think>B", "It can't be A.\n\nThe answer is B. Rome.",
                r"\boxed{B} so \boxed{B}",
                "The answer is B, because A is in Norway.", "Answer: \uff22",
                "Answer:\nB", "The answer is\n\nB", r"The answer is \(B\)", "The answer is B (Rome)", "The answer is B!",
                "B is correct", "<answer>B</answer>",
            ],
            wrong=[
                "", "A", "C", "Bern", "A or B", "B or C", "A, B", "A B C D", "ABCD", "A\nB\nC\nD", "D\nC\nA\nB",
                "B. Oslo", "B) Rome C) Bern",
                "A) Oslo\nB) Rome\nC) Bern\nD) A city in Peru\nB", r"\boxed{A}\boxed{B}", r"\boxed{A, B}",
                "The answer is A. The answer is B.",
                "Answer: B or C", "Answer: all of them", "<think>B", "E", "I like Rome and Bern", "not B", "The answer is not B",
                "B because C", "2", "Answer:", "B and also A", r"\boxed{B",
                r"not \boxed{B}", r"\boxed{B} is wrong", "I don't think the answer is B",
                "It is false that the answer is B", "The wrong answer is B", "The incorrect choice is B",
                "The worst option is B",
            ],
        ),
        Case({"answer": "a", "choices": ["$\\frac{1}{2}$", "2"]}, right=["A", r"\boxed{\frac{1}{2}}"], wrong=["B", "2", "1"]),
    ]
}  # fmt: skip
