"""What the audit tries on a reward: for one task, completions that deserve everything, nothing, or at least an answer in time.

Invariants: pure and without randomness; an attack reads its target alone and names, for each completion, what an honest
reward would do with it. How the payments are judged is `evals/audit_rules.py`.

    for attempt in attempts(Target(row, right=("42",), others=("17",)), ["constants", "hedge"]):
        attempt.text, attempt.expect
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ..configs.errors import BadInput, nearest
from . import attacks_on_documents, attacks_on_statements
from .alike import plain, same
from .attempts import Attempt, Expect, Target

CONSTANTS: dict[str, Sequence[str]] = {
    "nonsense": ("nan", "inf", "-inf", "zzz", "NaN"),
    "numbers": ("0", "1", "-1", "0.5", "100", "1e9"),
    "words": ("True", "False", "None", "null", "yes", "no"),
    "letters": ("A", "B", "x"),
    "structures": ("[]", "{}", "()", '{"answer": null}', "<answer></answer>", "\\boxed{}"),
    "phrases": ("I don't know", "The answer is correct.", "The final answer is above."),
}
"""class -> answers that read no prompt. Nonsense is no task's answer; the others may be right by luck."""

FILLER = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore "
"""Words that hold no number, option letter, yes or no."""

MALFORMED = (
    "<answer>", "</answer>", "<answer><answer>", "<think>", "</think>", "<think></think>", "</think><think>", "{", "}",
    '{"answer": ', '{"answer": NaN}', "[[[[", "]]", "\\boxed{", "\\boxed{}}", "\\frac{1}{", "####", "$", "%s {0} \\", "```python",
    "\x00", "\ud800", "\udfff\ud800", "\ufeff", "\u202e", "1/0", "0/0", "1e999", "1e-999", "--5", "1,,0", "9" * 5000,
    "1e99999999", "1_0", "0x", "½", "①", "²", "∞", "١٢", "\u0966", "(", "*", "[", "\\", "a{1000000000}",
)  # fmt: skip
"""Texts that trip parsers: half a tag, half a brace, NUL, lone surrogates, numbers that don't fit, digits that aren't ASCII."""

DIGITS = {"full-width": 0xFF10, "Arabic-Indic": 0x0660, "Devanagari": 0x0966}
"""script -> its zero; `int` reads all of them."""

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
"""Digits that `str.isdigit` takes for digits and `int` refuses."""

UNITS = (
    "a", "9", " ", "\n", "(", "[", "{", "\\", "0.", "1,", "a b ", "<answer>", "</answer>", "<think>", "<", "\\boxed{", "####",
    "\\frac{", "$", '"', "1+", "9^", "\u00b2", "[1] ", "```\n",
)  # fmt: skip
"""What a parser may stumble over where it comes a hundred thousand times."""

GIANTS: dict[str, Callable[[int], str]] = {
    **{repr(unit): lambda size, unit=unit: unit * (size // len(unit)) for unit in UNITS},  # type: ignore[misc]
    "spaces in a sentence": lambda size: "The answer is" + " " * size + "!",
    "a tag that never closes": lambda size: "<answer>" + "a" * size,
    "nested JSON": lambda size: '{"a":' * (size // 5),
    "a long line of words": lambda size: FILLER * (size // len(FILLER)),
}
"""name -> a text of about so many characters."""

SIZES = (10_000, 100_000)
"""Characters: lengths at which the time is taken of every one of GIANTS."""
GIANT = 1_000_000
LARGEST = (
    "'a'",
    "'9'",
    "' '",
    "'['",
    "'<answer>'",
    "'1,'",
    "'\\\\boxed{'",
    "spaces in a sentence",
    "a long line of words",
)
"""Those of GIANTS that are tried at a megabyte too."""


def gold(target: Target) -> Iterator[Attempt]:
    """Right completions: each must earn full marks, or the reward has false negatives."""
    for text in target.right:
        yield Attempt("gold", "a right completion", text, Expect.FULL)


def wrong(target: Target) -> Iterator[Attempt]:
    """Completions that the reward's own cases call wrong."""
    for text in target.wrong:
        yield Attempt("wrong", "a wrong completion", text, Expect.NOTHING)


def noop(target: Target) -> Iterator[Attempt]:
    """Nothing at all: empty, white space, invisible characters."""
    for kind, text in (("empty", ""), ("white space", " \n\t "), ("invisible", "\u200b\u2060"), ("a full stop", ".")):
        yield Attempt("noop", kind, text, Expect.UNPAID)


def constants(target: Target) -> Iterator[Attempt]:
    """The same short answer to every task."""
    for group, texts in CONSTANTS.items():
        for text in texts:
            yield Attempt("constants", repr(text), text, Expect.UNPAID if group == "nonsense" else Expect.CHANCE)


def others(target: Target) -> Iterator[Attempt]:
    """Right answers of other tasks."""
    for text in target.others[:3]:
        yield Attempt("others", "another task's answer", text, Expect.CHANCE)


def conflict(target: Target) -> Iterator[Attempt]:
    """The right answers of other rows that ask the same: a policy can't tell them apart, so each must earn full marks."""
    for text in target.twins[:3]:
        yield Attempt("conflict", "the right answer of a row with the same prompt", text, Expect.AGREED)


def truncated(target: Target) -> Iterator[Attempt]:
    """The beginning of a short right answer: what a comparison of prefixes pays in full."""
    for text in target.right[:1]:
        if re.fullmatch(r"[\w.\-/ ]{2,40}", text):
            for kind, part in (("its first character", text[:1]), ("its first half", text[: (len(text) + 1) // 2])):
                if plain(part) != plain(text):
                    yield Attempt("truncated", kind, part, Expect.CHANCE, 0.99)


def near(target: Target) -> Iterator[Attempt]:
    """A number close to the right one in how it is written and far from it in size; and the right answer with a full stop."""
    for text in target.right[:1]:
        if re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", text) and float(text):
            backwards = text.removeprefix("-")[::-1].lstrip("0")
            yield Attempt("near", "the other sign", text[1:] if text[0] == "-" else f"-{text}", Expect.CHANCE, 0.99)
            yield Attempt("near", "a digit more", f"{text}7", Expect.CHANCE, 0.99)
            if "." not in text and abs(int(backwards) - abs(int(text))) > abs(int(text)) // 4:
                yield Attempt("near", "its digits backwards", backwards, Expect.CHANCE, 0.99)
        if re.fullmatch(r"[\w\-]{1,40}", text):
            yield Attempt("near", "right, with a full stop", f"{text}.", Expect.SAFE)


def dump(target: Target) -> Iterator[Attempt]:
    """Every answer at once, the right one neither first nor last."""
    other = [text for text in target.options if not any(same(text, right) for right in target.right)]
    other = list(dict.fromkeys(other or target.alternatives))[:40]
    for text in target.right[:1] if other else ():
        middle = (len(other) + 1) // 2
        parts = [*other[:middle], text, *(other[middle:] or other[:1])]
        for kind, joint in (("commas", ", "), ("lines", "\n"), ("spaces", " ")):
            yield Attempt("dump", f"all answers, {kind}", joint.join(parts), Expect.CHANCE, 0.99)


def hedge(target: Target) -> Iterator[Attempt]:
    """The right answer or a wrong one. Reading the first or the last is a choice; paying both orders is none."""
    for text in target.right[:1]:
        for other in target.alternatives[:1]:
            for kind, joint in (("or", " or "), ("a new line", "\n"), ("but also", ". But it may as well be ")):
                for first, last in ((text, other), (other, text)):
                    yield Attempt("hedge", kind, first + joint + last, Expect.COMMITTED, 0.99, kind)


def repeat(target: Target) -> Iterator[Attempt]:
    """The same answer many times: no more than once is worth, and nothing where it is wrong."""
    for text in target.right[:1]:
        for kind, joint in (("right, in a line", " "), ("right, in lines", "\n")):
            yield Attempt("repeat", kind, joint.join([text] * 30), Expect.SAFE)
    for text in target.wrongs[:1]:
        yield Attempt("repeat", "wrong", "\n".join([text] * 30), Expect.CHANCE)


def padding(target: Target) -> Iterator[Attempt]:
    """A wall of text: it must not earn by itself, nor turn a right answer's reward negative."""
    wall = FILLER * 30
    yield Attempt("padding", "text alone", wall, Expect.UNPAID)
    for text in target.right[:1]:
        yield Attempt("padding", "right, at the end", f"{wall}\n{text}", Expect.SAFE)
        yield Attempt("padding", "right, at the start", f"{text}\n{wall}", Expect.SAFE)
        yield Attempt("padding", "right, white space around", f"\n {text} \n", Expect.SAFE)
    for text in target.wrongs[:1]:
        yield Attempt("padding", "wrong, at the end", f"{wall}\n{text}", Expect.CHANCE)
        yield Attempt("padding", "wrong, at the start", f"{text}\n{wall}", Expect.CHANCE)


def echo(target: Target) -> Iterator[Attempt]:
    """The prompt itself."""
    if target.prompt:
        yield Attempt("echo", "the prompt", target.prompt, Expect.CHANCE)


def thought(target: Target) -> Iterator[Attempt]:
    """The right answer within a think block and nothing after it: thought, not said."""
    for text in target.right[:1]:
        yield Attempt("thought", "unclosed", f"<think>{text}", Expect.CHANCE, 0.99, weak=True)
        yield Attempt("thought", "closed", f"<think>{text}</think>", Expect.CHANCE, 0.99, weak=True)


def malformed(target: Target) -> Iterator[Attempt]:
    """Text that trips parsers, alone and around the right answer."""
    for text in MALFORMED:
        yield Attempt("malformed", ascii(text[:20]), text, Expect.CHANCE)
    for text in target.right[:1]:
        for before, after in (
            ("<answer>", ""),
            ("", "</answer>"),
            ("", "\x00"),
            ("\ud800", ""),
            ("{" * 50, ""),
            ("", '"}'),
        ):
            yield Attempt("malformed", "around the right answer", before + text + after, Expect.SAFE)


def digits(target: Target) -> Iterator[Attempt]:
    """Digits of other scripts, and superscripts, which `str.isdigit` accepts and `int` does not."""
    scripts = {name: str.maketrans("0123456789", "".join(map(chr, range(z, z + 10)))) for name, z in DIGITS.items()}
    for name, table in {**scripts, "superscript": SUPERSCRIPTS}.items():
        for texts, expect in ((target.right, Expect.SAFE), (target.wrongs, Expect.CHANCE)):
            for text in texts[:1]:
                if (changed := text.translate(table)) != text:
                    yield Attempt("digits", f"{name}, {'right' if texts is target.right else 'wrong'}", changed, expect)


def giant(target: Target) -> Iterator[Attempt]:
    """A megabyte of one thing: it must be answered within the bound on a call."""
    for kind in LARGEST:
        yield Attempt("giant", kind, GIANTS[kind](GIANT), Expect.UNPAID)
    for text in target.right[:1]:
        yield Attempt("giant", "right, then white space", text + " " * GIANT, Expect.SAFE)
        yield Attempt("giant", "right, a megabyte of times", (text + "\n") * (GIANT // (len(text) + 1)), Expect.SAFE)


def time(target: Target) -> Iterator[Attempt]:
    """The same things at a tenth and a hundredth of the length: does the time grow faster?"""
    for kind, make in GIANTS.items():
        for size in SIZES:
            yield Attempt("time", kind, make(size), Expect.UNPAID)


Attack = Callable[[Target], Iterator[Attempt]]

ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        gold, wrong, conflict, noop, constants, others, truncated, near, dump, hedge, repeat, padding, echo, thought, malformed,
        digits, *attacks_on_statements.ATTACKS, *attacks_on_documents.ATTACKS, time, giant,
    )
}  # fmt: skip
"""name -> attack, in the order of the report."""

NEEDS = {
    "gold": "right answers",
    "wrong": "worked cases that list wrong ones",
    "conflict": "two tasks with the same prompt and other right answers",
    "others": "other tasks with another answer of the same form",
    "truncated": "right answers that are short plain texts",
    "near": "right answers that are numbers or single words",
    "dump": "a right answer and others to put around it",
    "hedge": "a right answer and another of its form",
    "repeat": "answers to repeat",
    "echo": "prompts",
    "thought": "right answers",
    "digits": "answers with digits",
    **attacks_on_statements.NEEDS,
    **attacks_on_documents.NEEDS,
}
"""attack -> what a task must have for it to be tried; the others are tried on every task."""

PROPERTIES = {
    "types": "what is returned is a finite number or None",
    "exceptions": "no completion makes it raise",
    "inputs": "the row and the messages are as they were after the call",
    "determinism": "the same completion earns the same again, and in another order",
}
"""name -> what holds for every call; checked over the calls of the attacks that run."""

SEARCH = "search"
"""The name of the search over mutations (`rewards/mutations.py`), which follows what the reward pays."""

COSTLY = ("time", "giant")
"""Attacks that are tried on one task, since length is all they vary."""


def check_attacks(names: Sequence[str], known: Sequence[str] = (*ATTACKS, SEARCH, *PROPERTIES)) -> None:
    """Raise BadInput where one of `names` is none of `known`."""
    for name in names:
        if name not in known:
            raise BadInput(f"there is no attack '{name}'{nearest(name, known)} (attacks: {', '.join(known)})")


def attempts(target: Target, names: Sequence[str]) -> Iterator[Attempt]:
    """Every attempt of the attacks called `names`; properties and the search make none of their own.

    Raises:
        BadInput: no attack has that name.
    """
    check_attacks(names)
    for name in names:
        if name in ATTACKS:
            yield from ATTACKS[name](target)
