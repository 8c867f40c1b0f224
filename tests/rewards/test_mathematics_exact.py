r"""What `mathematics` pays where math-verify is too generous: small numbers, and answers that are denied, listed or split."""

from fractions import Fraction
from itertools import product

import pytest
from journeyman.rewards.core import Scored
from journeyman.rewards.mathematics import mathematics


def said(gold, completion):
    return Scored({"answer": gold}, [{"role": "assistant", "content": completion}])


def earned(gold, completion):
    (value,) = mathematics.score([said(gold, completion)])
    return value


BOX = r"\boxed{%s}"
EXACT = [  # gold, answer in a box, what it earns: numbers without a decimal point are equal exactly, decimals to six places
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", 0), (r"\frac{1}{2^{99}}", "2^{-99}", 1), ("10^{-21}", "10^{-20}", 0),
    ("e^{-60}", "e^{-50}", 0), ("e^{-60}", r"\frac{1}{e^{60}}", 1), ("2^{-1000}", "2^{-1001}", 0),
    ("10^{-400}", "10^{-401}", 0),
    (r"\sqrt{10^{-40}}", "10^{-20}", 1), (r"\sqrt{10^{-40}}", "10^{-21}", 0),
    (r"\sqrt{2}\cdot10^{-20}", r"\sqrt{3}\cdot10^{-20}", 0),
    ("10^{-9}", r"\sin(10^{-9})", 0), ("1", "1+10^{-30}", 0), ("0", "10^{-30}", 0), ("0", "e^{-30}", 0), ("0", r"\sin(\pi)", 1),
    ("42", r"\sqrt{42^2+10^{-12}}", 0), ("42", r"\sqrt{42^2+10^{-200}}", 0), ("42", "42+e^{-100}", 0),
    ("42", r"42\cos(10^{-20})", 0),
    ("10^{50}", "10^{50}+1", 0), ("10^{20}+0.5", "10^{20}", 0), ("2^{100}", "1267650600228229401496703205376", 1),
    ("2^{100}", "1267650600228229401496703205377", 0), ("e^{100}", "e^{50}e^{50}", 1), ("e^{100}", "e^{100}+1", 0),
    ("10^{-20}", "0.00000000000000000001", 1), ("10^{-20}", "0.00000000000000000002", 0), ("0.1+0.2", "0.3", 1),
    (r"\sqrt{2}", "1.414214", 1), (r"\sqrt{2}", "1.41421356", 1), (r"\sqrt{2}", "1.4142", 0), (r"\pi", "3.141593", 1),
    (r"\pi", "3.14159", 0), (r"\pi", r"\frac{355}{113}", 0), (r"\pi", r"\frac{21053343141}{6701487259}", 0),
    ("1", "1+10^{-8}i", 0),
    ("(10^{-20},1)", "(10^{-21},1)", 0), ("[10^{-20},2]", "[10^{-21},2]", 0), (r"\{1,10^{-20}\}", r"\{1,10^{-21}\}", 0),
    (r"\{1,10^{-20}\}", r"\{10^{-20},1\}", 1), ("x+10^{-20}", "x+10^{-21}", 0), ("x > 10^{-20}", "x > 10^{-21}", 0),
    ("x=10^{-20}", "x=10^{-21}", 0), ("10^{-20}x", r"\frac{x}{10^{20}}", 1), ("(0,1)", "[0,1]", 0),
    (r"\begin{pmatrix}1&10^{-20}\\0&1\end{pmatrix}", r"\begin{pmatrix}1&\frac{1}{10^{20}}\\0&1\end{pmatrix}", 1),
    (r"\begin{pmatrix}1&10^{-20}\\0&1\end{pmatrix}", r"\begin{pmatrix}1&10^{-21}\\0&1\end{pmatrix}", 0),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer", "worth"), EXACT, ids=[f"{gold} {answer}" for gold, answer, _ in EXACT])
def test_numbers_are_equal_exactly_however_small_or_large(gold, answer, worth):
    assert earned(gold, BOX % answer) == worth


def test_powers_of_two_and_ten_are_compared_as_fractions_are():
    """Fractions are the oracle: all pairs of small exponents, each number written in two ways."""
    pairs = [(b, e, c, f) for b, e, c, f in product((2, 10), (1, 40, 99), (2, 5, 10), (1, 39, 40, 99))]
    items = [said(rf"\frac{{1}}{{{b}^{{{e}}}}}", BOX % rf"{c}^{{-{f}}}") for b, e, c, f in pairs]

    assert mathematics.score(items) == [float(Fraction(b) ** e == Fraction(c) ** f) for b, e, c, f in pairs]


NO_ANSWER = [
    *(BOX % text for text in (
        "4 2", r"4\,2", r"4\ 2", r"4\text{}2", "4\u00a02", r"4\quad 2", "[42,42]", r"\{42,42\}", "(42,42)", "42,42", "42;42",
        "42 or 42", "42 or 43", "42, 43", "x=42=43", "42!", r"42\pm 0", r"\text{not } 42", "not 42", r"\ne 42", r"\neg 42",
        r"42\text{ is wrong}", r"\max(41,42)",
    )),
    "The answer is not 42", "The answer isn't 42.", "The answer isn\u2019t 42.", "The answer is not equal to 42.",
    "It isn't $42$.",
    "42 is not the answer.", "I don't think the answer is 42.", "The answer can't be 42.", "x is \u2260 42", "Anything but 42.",
    r"The answer is not \boxed{42}", r"Answer: not \boxed{42}.", "The answer is anything except 42.", "42 is wrong.",
    "42 is incorrect",
    "The answer is other than 42", "The answer is nowhere near 42", "Neither 41 nor 42.", "The answer is 41, not 42.",
]  # fmt: skip
AN_ANSWER = [
    "The answer is not 41 but 42.", "The number of marbles that are not red is 42.", "So 42 marbles are not red.",
    "x is not 0, so x = 42.", "We can't simplify further, so 42.", "It isn't 41; the answer is 42.",
    "The answer is 42, not 43.",
    "The answer is $42$, not $43$.",
    "Not counting the first, there are 42.", r"It is not 41. \boxed{42}", BOX % r"42\text{ cm}",
]  # fmt: skip


def test_what_is_denied_listed_or_taken_apart_is_no_answer_and_what_is_said_beside_one_takes_nothing_away():
    values = mathematics.score([said("42", text) for text in (*NO_ANSWER, *AN_ANSWER)])
    expected = [0.0] * len(NO_ANSWER) + [1.0] * len(AN_ANSWER)

    assert dict(zip([*NO_ANSWER, *AN_ANSWER], zip(values, expected, strict=True), strict=True)) == {
        text: (value, value) for text, value in zip([*NO_ANSWER, *AN_ANSWER], expected, strict=True)
    }


OBJECTS = [
    ("x>2", r"(2,\infty)"), ("(3,4)", r"x=3 \text{ and } y=4"), (r"1\pm\sqrt{2}", r"1+\sqrt2, 1-\sqrt2"),
    (r"10\,000x", "10000x"),
    (r"1000\pi", r"1\,000\pi"), ("5", "f(2,3)=5"), (r"\text{not possible}", r"\text{not possible}"),
    (r"\{5\}", "5"), ("2x+3", "2 x + 3"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), OBJECTS)
def test_an_answer_may_list_deny_and_space_out_what_the_gold_answer_does(gold, answer):
    assert earned(gold, BOX % answer) == 1.0


LETTERS_AND_BASES = [  # gold, answer in a box, what it earns
    ("R", "r", 0), (r"\pi r^2", r"\pi R^2", 0), (r"\pi R^2", r"R^2\pi", 1), ("A+a", "2a", 0), ("A+a", "a+A", 1),
    ("A-a", "a-A", 0), ("A_1+a_1", "2a_1", 0), ("A_1+a_1", "a_1+A_1", 1), (r"\triangle ABC", r"\triangle abc", 0),
    ("x=5", "X=5", 0), ("5", "X=5", 1), ("live", "evil", 0), ("live", r"\text{Live}", 1), (r"\text{Yes}", "yes", 1),
    (r"\text{(B)}", "(b)", 1), ("xyz", "zyx", 1), (r"\text{even}", "Even", 1), (r"\text{odd}", "even", 0),
    ("10101_2", "10101", 0), ("10101_2", "10101_{2}", 1), ("10101_2", "10101_3", 0), ("10101_2", "21", 0),
    ("10101", "10101_2", 0),
    ("5", r"\phantom{5}", 0), ("5", r"5\phantom{0}", 0), ("5", r"\hphantom{5}", 0),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer", "worth"), LETTERS_AND_BASES)
def test_letters_keep_their_case_words_their_order_and_numbers_their_base(gold, answer, worth):
    assert earned(gold, BOX % answer) == worth


@pytest.mark.parametrize("said_so", [
    "_-5_", "The answer is:\n```\n-5\n```", "The answer is ```text\n-5\n```", "The answer is:\n```\nx = 3\n-5\n```",
])  # fmt: skip
def test_emphasis_and_fences_around_an_answer_are_none_of_it(said_so):
    assert earned("-5", said_so) == 1.0
