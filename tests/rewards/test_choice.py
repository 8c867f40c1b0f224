import time

import pytest
from journeyman.configs import BadInput
from journeyman.rewards.choice import CASES, choice
from journeyman.rewards.core import Scored

ROW = {"answer": "B", "choices": ["Oslo", "Rome", "Bern", "A city in Peru"]}


def earned(completion, **row):
    (value,) = choice.score([Scored(row or ROW, [{"role": "assistant", "content": completion}])])
    return value


WORTH = [
    (case, text, worth)
    for case in CASES["choice"]
    for worth, texts in ((1.0, case.right), (0.0, case.wrong))
    for text in texts
]


@pytest.mark.parametrize(("case", "text", "worth"), WORTH, ids=[f"{worth:g} {text!r}" for _, text, worth in WORTH])
def test_what_a_completion_earns(case, text, worth):
    assert earned(text, **case.row) == worth


@pytest.mark.parametrize("count", [2, 4, 10, 26])
def test_a_constant_letter_earns_only_its_guess_and_a_list_of_all_nothing(count):
    choices = [f"option number {i}" for i in range(count)]
    letters = [chr(65 + i) for i in range(count)]
    rows = [{"answer": letter, "choices": choices} for letter in letters]
    dump = "\n".join(f"{letter}) {text}" for letter, text in zip(letters, choices, strict=True))
    joined = [dump, "".join(letters), *(between.join(letters) for between in (" ", "\n", ", ", " or "))]
    boxes, answers = (form * count % tuple(letters) for form in (r"\boxed{%s}", "The answer is %s. "))

    for letter in letters:
        assert sum(earned(letter, **row) for row in rows) == 1.0
    for text in [*joined, boxes, answers, *(f"{dump}\n{letter}" for letter in letters)]:
        assert [earned(text, **row) for row in rows] == [0.0] * count


def test_every_letter_can_be_right_with_its_text():
    for i, text in enumerate(ROW["choices"]):
        row = {**ROW, "answer": "ABCD"[i]}
        for said in (
            text,
            text.upper(),
            f"{'ABCD'[i]}. {text}",
            f"The answer is ({'abcd'[i]}) {text}.",
            rf"\boxed{{{text}}}",
        ):
            assert earned(said, **row) == 1.0


BAD = {
    "no such letter": ({"answer": "E", "choices": ["x", "y"]}, "a letter from A to B"),
    "no letter": ({"answer": "", "choices": ["x", "y"]}, "a letter from A to B"),
    "two letters": ({"answer": "AB", "choices": ["x", "y"]}, "a letter from A to B"),
    "one choice": ({"answer": "A", "choices": ["x"]}, "a list of 2 to 26 texts"),
    "a text": ({"answer": "A", "choices": "xy"}, "a list of 2 to 26 texts"),
    "too many": ({"answer": "A", "choices": [str(i) for i in range(27)]}, "a list of 2 to 26 texts"),
    "alike": ({"answer": "A", "choices": ["Rome", "rome."]}, "two options that are alike"),
    "an empty one": ({"answer": "A", "choices": ["Rome", ""]}, "or an empty one"),
}


@pytest.mark.parametrize(("row", "says"), BAD.values(), ids=BAD)
def test_rows_that_cannot_be_judged_are_bad_input(row, says):
    with pytest.raises(BadInput, match=says):
        earned("A", **row)


HOSTILE = {
    "boxes": r"\boxed{B}" * 14_000,
    "open boxes": r"\boxed{" * 18_000,
    "open braces": r"\boxed" + "{" * 130_000,
    "answers": "the answer is B or " * 7_000,
    "answer words": "answer" * 20_000,
    "letters": "B " * 65_000,
    "lines": "B\n" * 65_000,
    "parentheses": "(" * 130_000 + "B",
    "stops": "B" + "." * 130_000,
    "spaces": " " * 130_000 + "B C",
    "an open thought": "B" + "<think>" * 18_000 + "C",
    "NUL bytes": "B" + "\0" * 130_000,
    "no-break spaces": "Answer: x" + "\u00a0" * 1980 + "y",
    "spaces of all kinds": "Answer: (" + " \u00a0\u2003\t" * 480 + "y",
    "a letter and spaces": "(" + "\u00a0" * 900 + "B" + "\u00a0" * 900 + ")" + "\u00a0" * 150 + "x",
    "reasons": "The answer is A" + " as since for" * 9_000 + ".x",
    "reasons of many answers": "answer is as as as as " * 6_000,
}


@pytest.mark.parametrize(
    "text", [text for name, text in HOSTILE.items() if name != "an open thought"], ids=lambda t: repr(t[:12])
)
def test_hostile_text_earns_nothing_at_once(text):
    began = time.process_time()

    assert earned(text) == 0.0 and time.process_time() - began < 0.5


SPACED = {
    "Answer:\u00a0B": 1, "Option\u00a0 B": 1, "(\u00a0B )\u00a0Rome": 1, "B.\u2003Rome": 1,
    "The answer is B,\u00a0because A is in Norway.": 1,
    "Answer: B since 3.5 is more. than 3": 0, "Answer: A B": 0, "Answer: B since 3 is more.": 1, "The answer is B, not C": 0,
}  # fmt: skip


@pytest.mark.parametrize(("text", "worth"), SPACED.items())
def test_white_space_of_any_kind_is_a_space(text, worth):
    assert earned(text) == worth


ODD = ["10²", "One step for man, as it were", "102", "$5", "5"]


@pytest.mark.parametrize(
    ("text", "worth"),
    {"The answer is One step for man, as it were.": 1, "The answer is B) One step for man, as it were": 1, "102": 0,
     "The answer is B. No, C": 0, "The answer is B. Or C.": 0, "The answer is B. It is 102.": 1}.items(),
)  # fmt: skip
def test_an_option_is_read_whole_before_a_reason_is_cut_off(text, worth):
    assert earned(text, answer="B", choices=ODD) == worth


def test_signs_that_tell_options_apart_are_kept():
    assert [earned(text, answer="A", choices=ODD) for text in ("10²", "102")] == [1.0, 0.0]
    assert [earned(text, answer="E", choices=ODD) for text in ("5", "$5")] == [1.0, 0.0]


def test_what_stands_before_an_unfinished_thought_counts():
    assert earned(HOSTILE["an open thought"]) == 1.0
