import random
import time
from decimal import Decimal

import numpy as np
import pytest
from journeyman.configs import BadInput
from journeyman.rewards.core import Failure, Scored
from journeyman.rewards.match import CASES, exact, f1, label, number, numeric

REWARDS = {judge.name: judge for judge in (exact, label, number, f1, numeric)}


def earns(judge, completion, **row):
    (value,) = judge.score([Scored(row, [{"role": "assistant", "content": completion}])])
    return value


SHIPPED = [
    (name, case.row, completion, case.full if kind == "right" else 0.0)
    for name, cases in CASES.items()
    for case in cases
    for kind in ("right", "wrong")
    for completion in getattr(case, kind)
]


@pytest.mark.parametrize(("name", "row", "completion", "expected"), SHIPPED)
def test_the_shipped_cases_hold(name, row, completion, expected):
    assert earns(REWARDS[name], completion, **row) == expected


TABLE = [
    (exact, "42.", {"answer": "42"}, 0.0),
    (exact, "41 42", {"answer": "42"}, 0.0),
    (exact, r"so \boxed{42}", {"answer": "42", "extraction": "boxed"}, 1.0),
    (exact, "<think>42</think>41", {"answer": "42"}, 0.0),
    (label, "STRASSE", {"answer": "straße"}, 1.0),
    (label, "caf\u00e9", {"answer": "cafe\u0301"}, 1.0),
    (label, "CAFE\u0301", {"answer": "caf\u00e9"}, 1.0),
    (label, "cafe", {"answer": "caf\u00e9"}, 0.0),
    (label, "lost\u00a0 parcel", {"answer": "Lost parcel"}, 1.0),
    (label, "\ufeffbill\u00ading", {"answer": "billing"}, 1.0),
    (label, "billing", {"answer": "\ufeffbilling"}, 1.0),
    (label, "\u0131stanbul", {"answer": "istanbul"}, 0.0),
    (label, "\u1fb3", {"answer": "\u03b1\u03b9"}, 1.0),
    (label, "\uff42illing", {"answer": "billing"}, 0.0),
    (label, "it\u2019s", {"answer": "it's"}, 0.0),
    (exact, "caf\u00e9", {"answer": "cafe\u0301"}, 1.0),
    (exact, "Caf\u00e9", {"answer": "cafe\u0301"}, 0.0),
    (exact, "a\u00a0b", {"answer": "a b"}, 0.0),
    (f1, "the caf\u00e9", {"answer": "cafe\u0301"}, 1.0),
    (number, "none", {"answer": "42"}, 0.0),
    (number, "#### inf", {"answer": "42"}, 0.0),
    (number, "1 2 3 4 42", {"answer": "42"}, 1.0),
    (f1, "the cat sat", {"answer": "a cat sat down"}, 0.8),
    (f1, "cat cat cat", {"answer": "cat"}, 0.5),
    (f1, "cat", {"answer": ["dog", "cat cat"]}, 2 / 3),
    (f1, "anything", {"answer": "the"}, None),
    (f1, "", {"answer": ""}, None),
    (f1, "so it is <answer>", {"answer": "answer", "extraction": "boxed"}, 0.0),
    (numeric, "100000000000000000001", {"answer": "100000000000000000000", "rtol": 0}, 0.0),
    (numeric, "100000000000000000000", {"answer": "100000000000000000000", "rtol": 0}, 1.0),
    (numeric, "1.1", {"answer": "1", "atol": 0.1, "rtol": 0}, 1.0),
    (numeric, "1.1000000000000000001", {"answer": "1", "atol": 0.1, "rtol": 0}, 0.0),
    (numeric, "1e-3", {"answer": 0.001}, 1.0),
    (numeric, "-1,234.5", {"answer": "-1234.5"}, 1.0),
    (numeric, "−5", {"answer": "-5"}, 1.0),
    (numeric, "pages 3-5", {"answer": 5}, 1.0),
    (numeric, "50%", {"answer": 0.5}, 0.0),
    (numeric, "50%", {"answer": 50}, 1.0),
    (numeric, "50", {"answer": "50%"}, 0.0),
    (numeric, "50 %", {"answer": "50%"}, 1.0),
    (numeric, "3 m", {"answer": 3, "unit": "m"}, 1.0),
    (numeric, "3 mm", {"answer": 3, "unit": "m"}, 0.0),
    (numeric, "3 m", {"answer": "3 km", "unit": ""}, 1.0),
    (numeric, "<think>42", {"answer": 42}, 0.0),
    (numeric, "1e99999", {"answer": 1, "rtol": 1e9}, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("judge", "completion", "row", "expected"), TABLE)
def test_what_a_completion_earns(judge, completion, row, expected):
    assert earns(judge, completion, **row) == (pytest.approx(expected) if expected is not None else None)


@pytest.mark.parametrize("judge", REWARDS.values(), ids=REWARDS)
def test_gold_earns_full_marks_and_an_answer_that_is_a_number_is_read_as_text(judge):
    assert judge(prompts=["q"], completions=["42"], answer=["42"]) == [1.0]
    assert judge(prompts=["q"], completions=["42"], answer=[42]) == [1.0]


def test_f1_is_the_best_matching_of_words_by_brute_force():
    rng = random.Random(0)
    for _ in range(500):
        found, gold = ([rng.choice("bcde") for _ in range(rng.randint(1, 7))] for _ in range(2))
        left, same = list(gold), 0
        for word in found:  # each word of the answer takes one of the gold's
            if word in left:
                left.remove(word)
                same += 1
        precision, recall = same / len(found), same / len(gold)
        expected = 2 * precision * recall / (precision + recall) if same else 0.0
        assert earns(f1, " ".join(found), answer=" ".join(gold)) == pytest.approx(expected)


def test_the_tolerance_is_numpys():
    rng = random.Random(0)
    for _ in range(500):
        gold, rtol, atol = rng.uniform(-50, 50), rng.choice([0, 1e-6, 0.01, 0.5]), rng.choice([0, 1e-3, 2.0])
        found = gold + rng.uniform(-3, 3) * rng.choice([1e-7, 1e-3, 1, 10])
        expected = float(np.isclose(found, gold, rtol=rtol, atol=atol))
        assert earns(numeric, f"{Decimal(found):f}", answer=repr(gold), rtol=rtol, atol=atol) == expected, (found, gold)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "0.1", True])
@pytest.mark.parametrize("name", ["rtol", "atol"])
def test_a_tolerance_that_is_none_is_bad_input(name, value):
    with pytest.raises(BadInput, match=name):
        earns(numeric, "1", answer=1, **{name: value})


@pytest.mark.parametrize("answer", ["none", "", "nan", None, "1e999999999"])
def test_a_gold_answer_without_a_number_is_unscorable_and_pays_nobody(answer):
    assert isinstance(earns(numeric, str(answer), answer=answer), Failure)


HOSTILE = {
    "digits": "9" * 130_000, "digits and commas": "1," * 65_000, "points": "1." * 65_000, "minus signs": "-" * 130_000,
    "exponents": "1e" * 65_000, "words": "a b " * 32_000, "articles": "the " * 32_000, "blank": " \n" * 65_000,
    "wide letters": "\u0660\U0001f600" * 65_000, "surrogates": "\ud800" * 65_000, "zeros": "\0" * 65_000,
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("judge", [f1, numeric], ids=lambda judge: judge.name)
def test_hostile_text_earns_nothing_and_takes_no_time(judge, text):
    began = time.process_time()

    assert earns(judge, text, answer="42 km") == 0.0 and time.process_time() - began < 0.5
