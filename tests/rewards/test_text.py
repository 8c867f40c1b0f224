import time

import pytest
from journeyman.configs import BadInput
from journeyman.rewards.match import exact, label, number
from journeyman.rewards.text import EXTRACTORS, extractor

CASES = [
    ("strip", "  42\n", "42"),
    ("strip", " \n ", None),
    ("strip", "", None),
    ("strip", "<think>it is 41</think>\n42", "42"),
    ("strip", "<think>it is 42", None),
    ("strip", "42<think>hm", "42"),
    ("strip", "<think>a</think>41<think>b</think>42", "42"),
    ("first_line", "\n  billing \ndelivery", "billing"),
    ("first_line", "", None),
    ("first_line", "<think>\nother\n</think>\n\nbilling", "billing"),
    ("last_number", "from 3 to 1,234.50 then", "1234.50"),
    ("last_number", "it fell by -7.", "-7"),
    ("last_number", "7 is it. </think> no digits", None),
    ("last_number", "none", None),
    ("hash_answer", "6 * 7 = 42\n#### 42", "42"),
    ("hash_answer", "#### 1\n#### $1,234.", "1234"),
    ("hash_answer", "#### 5\nand so on", "5"),
    ("hash_answer", "42", None),
    ("hash_answer", "####", None),
    ("boxed", r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
    ("boxed", r"\boxed{1} or \boxed{2}", "2"),
    ("boxed", r"\boxed{1", None),
    ("boxed", r"\boxed{}", None),
    ("boxed", "42", None),
    ("answer_tag", "so <answer> a cat </answer>.", "a cat"),
    ("answer_tag", "<answer>1</answer><answer>2</answer> <answer>3", "2"),
    ("answer_tag", "<think><answer>1</answer></think>a cat", None),
    ("answer_tag", "a cat</answer>", None),
    ("final_answer", "<answer>The answer is 42.</answer> or 43", "42"),
    ("final_answer", "The answer is:\n$$\n42\n$$", "42"),
    ("final_answer", "So\n\\[\nx = 7\n\\]", "x = 7"),
    ("final_answer", "So\n```\n42\n```", "42"),
    ("final_answer", r"\boxed{42\ }", "42"),
    ("final_answer", "The answer is minus 5.", "-5"),
]


@pytest.mark.parametrize(("name", "text", "expected"), CASES)
def test_extraction(name, text, expected):
    assert extractor(name)(text) == expected


def test_an_unknown_extraction_names_the_nearest():
    with pytest.raises(BadInput, match="no extraction 'boxd'; did you mean 'boxed'"):
        extractor("boxd")


HOSTILE = {
    "digits": "9" * 130_000,
    "digits and commas": "1," * 65_000,
    "minus signs": "-" * 130_000,
    "points": "1." * 65_000,
    "blank lines": "\n" * 130_000,
    "white space": " \t" * 65_000 + "x",
    "open boxes": r"\boxed{" * 18_000,
    "open braces": r"\boxed" + "{" * 130_000,
    "closed boxes": r"\boxed{}" * 16_000,
    "hashes": "#" * 130_000,
    "hash lines": "#### \n" * 21_000,
    "open thoughts": "<think>" * 18_000,
    "closed thoughts": "</think>" * 16_000,
    "thoughts": "<think></think>" * 8_600,
    "wide letters": "\u0660\U0001f600" * 65_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", EXTRACTORS)
def test_hostile_text_is_read_in_linear_time(name, text):
    def seconds():
        began = time.process_time()
        EXTRACTORS[name](text)
        return time.process_time() - began

    assert min(seconds() for _ in range(3)) < 0.05


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("judge", [exact, label, number], ids=lambda judge: judge.name)
def test_hostile_text_earns_nothing_and_breaks_nothing(judge, text):
    began = time.process_time()
    (value,) = judge(prompts=["q"], completions=[text], answer=["42"])

    assert value == 0.0 and time.process_time() - began < 0.5
