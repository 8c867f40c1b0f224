import pytest
from journeyman.rewards.match import exact, label, number

CASES = [
    (exact, "42", {"answer": "42"}, 1.0),
    (exact, " 42\n", {"answer": "42"}, 1.0),
    (exact, "42.", {"answer": "42"}, 0.0),
    (exact, "042", {"answer": "42"}, 0.0),
    (exact, "41 42", {"answer": "42"}, 0.0),
    (exact, "", {"answer": "42"}, 0.0),
    (exact, r"so \boxed{42}", {"answer": "42", "extraction": "boxed"}, 1.0),
    (exact, "<think>42</think>41", {"answer": "42"}, 0.0),
    (label, "Billing\nbecause", {"answer": "billing"}, 1.0),
    (label, "billing delivery", {"answer": "billing"}, 0.0),
    (label, "", {"answer": "billing"}, 0.0),
    (label, "STRASSE", {"answer": "straße"}, 1.0),
    (number, "so 1,000 it is", {"answer": "1000"}, 1.0),
    (number, "#### 42\nor 43", {"answer": "6 * 7\n#### 42"}, 1.0),
    (number, "42.0", {"answer": "42"}, 1.0),
    (number, "43", {"answer": "42"}, 0.0),
    (number, "none", {"answer": "42"}, 0.0),
    (number, "#### forty", {"answer": "42"}, 0.0),
    (number, "#### nan", {"answer": "#### nan"}, 0.0),
    (number, "#### inf", {"answer": "42"}, 0.0),
    (number, "1 2 3 4 42", {"answer": "42"}, 1.0),
]


@pytest.mark.parametrize(("judge", "completion", "row", "expected"), CASES)
def test_what_a_completion_earns(judge, completion, row, expected):
    columns = {name: [value] for name, value in row.items()}

    assert judge(prompts=["q"], completions=[completion], **columns) == [expected]


@pytest.mark.parametrize("judge", [exact, label, number], ids=lambda judge: judge.name)
def test_gold_earns_full_marks_and_an_answer_that_is_a_number_is_read_as_text(judge):
    assert judge(prompts=["q"], completions=["42"], answer=["42"]) == [1.0]
    assert judge(prompts=["q"], completions=["42"], answer=[42]) == [1.0]
