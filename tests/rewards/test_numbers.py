r"""One table of written numbers, and everything that reads numbers held to it."""

import random
import sys
from fractions import Fraction

import numpy as np
import pytest
from journeyman.envs.table import Table
from journeyman.rewards.core import Failure, Scored
from journeyman.rewards.match import exact, number, numeric
from journeyman.rewards.mathematics import mathematics
from journeyman.rewards.numbers import last
from journeyman.rewards.rational import read
from journeyman.rewards.text import last_number

HALF = Fraction(1, 2)
READ = {  # written -> the value, for everybody
    "42": 42, "+42": 42, "-42": -42, "042": 42, "42.": 42, "42.0": 42, ".5": HALF, "0.50": HALF, "-0": 0,
    "\u221242": -42, "\u201242": -42, "\u201342": -42, "\uff0d42": -42, "\ufe6342": -42, "\u22120": 0, "\u2212\u00a05": -5,
    "1,234": 1234, "-1,234,567.89": Fraction(-123456789, 100), "1'234": 1234, "1\u00a0234": 1234, "1\u202f234\u202f567": 1234567,
    "1e5": 10**5, "1.5E-3": Fraction(3, 2000), "1e\u22125": Fraction(1, 10**5), "1e+5": 10**5, "1e-999": Fraction(1, 10**999),
    "1.5 × 10^3": 1500, r"1.5 \times 10^{-3}": Fraction(3, 2000), "6·10⁵": 600_000, "6 · 10⁻⁵": Fraction(6, 10**5),
    "1/2": HALF, "-3/4": Fraction(-3, 4), "-3 / 4": Fraction(-3, 4), "½": HALF, "-½": -HALF, "1\u20442": HALF,
    r"\frac{1}{2}": HALF, r"-\frac{1}{2}": -HALF, r"\dfrac{10}{4}": Fraction(5, 2), "3 1/2": Fraction(7, 2), "3½": Fraction(7, 2),
    "-3 1/2": Fraction(-7, 2), "$5": 5, "-$5": -5, "$-5": -5, r"\$5.00": 5, "€5": 5, "5 €": 5, "5kg": 5, "5 kg": 5, "5%": 5,
    "\uff14\uff12": 42, "\U0001d7d2\U0001d7d0": 42, "\u0664\u0662": 42, "\u096a\u0968": 42, "\u0663\u066b\u0665": Fraction(7, 2),
    "1{,}234": 1234, r"1\,234{,}567": 1234567, r"\frac12": HALF, r"-\tfrac 3 4": Fraction(-3, 4), "$-$5": -5, r"\text{-}5": -5,
    "9007199254740993": 2**53 + 1, "9" * 400: 10**400 - 1,
}  # fmt: skip
NOT_READ = [  # what is no number, or none that is worked out: it earns nothing, whatever the row's answer
    "", "none", "nan", "inf", "12:30", "3:2", "2024-03-06", "3/6/2024", "06-03-2024", "1.2.3", "192.168.0.1", "1.234.567", "12_3",
    "1_000", "0x1F", "x2", "x_5", "H2O", "m^2", "4\u00b2", "2^3", "2**3", "1/0", "1e9999",
    "1e999999999", "1e-999999999", "1.5e1000",
    "\u0664\u0968", "\u06642", "4\u200b2", "\u00b2", "\u2463", "#### forty-two", "5 or 1e999999999",
]  # fmt: skip
LAST = {  # of a sentence, the last number counts
    "range 3-5": 5, "3\u20135": 5, "5%-10%": 10, "$3-$5": 5, "3 - 5": 5, "3 -5": -5, "x-5": 5, "(3)-5": 5, "--5": 5,
    "a \u20145": 5, "=-5": -5, "(\u22125)": -5, "2*-5": -5, "12,34": 34, "1,2,3": 3, "1,23,456": 456, "3,14": 14,
    "1,234,56": 56, "in 2023,100": 100, "41 42": 42, "1 234": 234, "1.5.": Fraction(3, 2), "3rd": 3, "...5": 5,
    "No.5": 5, "**5**": 5, "_5_": 5, "_-5_": -5, "答案是42": 42, "20 cm^2": 20, "20 m2": 20, "20 m²": 20, "42 on 2024-03-06": 42,
    "42 at 12:30": 42, "42 in v1.2.3": 42, "\\approx5": 5, "USD50": 50, "of 10/2 = 5": 5, "5 10/2": 5,
    "24/7": Fraction(24, 7), "so 6 * 7 = 42": 42, "is $-1,234.50.": Fraction(-2469, 2),
}  # fmt: skip


def earned(judge, completion, answer, **row):
    (value,) = judge.score([Scored({"answer": answer, **row}, [{"role": "assistant", "content": completion}])])
    return value


def plain(value):
    return (
        str(value) if Fraction(value).denominator == 1 else f"{Fraction(value).numerator}/{Fraction(value).denominator}"
    )


@pytest.mark.parametrize(("written", "value"), {**READ, **LAST}.items(), ids=[repr(t[:20]) for t in (*READ, *LAST)])
def test_number_numeric_and_gsm8ks_answers_read_it_alike(written, value):
    gold, other = plain(value), plain(2 * value + 1)

    for judge, completion in [(number, written), (numeric, written), (number, f"It is so.\n#### {written}\n")]:
        assert [earned(judge, completion, answer) for answer in (gold, other)] == [1.0, 0.0], (judge, completion)
    assert (
        earned(numeric, gold, written, unit="", rtol=0) == 1.0 == earned(number, gold, written)
    )  # as the row's answer, too
    assert last(last_number(written)).value == value


@pytest.mark.parametrize(("written", "value"), READ.items(), ids=[repr(t[:20]) for t in READ])
def test_mathematics_reads_it_alike(written, value):
    percent = "%" in written  # of which mathematics also takes the number before the sign
    completions = [rf"\boxed{{{written}}}", f"So the result of it is {written}"]

    for completion in completions[: 2 if len(written) < 100 else 1]:
        assert earned(mathematics, completion, plain(value)) == 1.0, completion
        assert earned(mathematics, completion, plain(2 * value + 1)) == 0.0, completion
    fast = read(written)
    assert fast is None or fast.value == (Fraction(value, 100) if percent else value)


@pytest.mark.parametrize("written", NOT_READ)
def test_what_is_no_number_earns_nothing_and_is_no_gold_answer(written):
    parts = {*"0123456789", "12", "30", "34", "42", "56", "1000", "2024", "168"}

    assert {earned(judge, written, part) for judge in (number, numeric) for part in parts} == {0.0}
    assert all(isinstance(earned(judge, "42", written), Failure) for judge in (number, numeric))


def test_random_numbers_are_read_as_python_wrote_them():
    """Python's own formatting is the oracle."""
    r = random.Random(0)
    for _ in range(2000):
        value = r.choice([r.uniform(-1e6, 1e6), r.uniform(-1, 1), r.gauss(0, 1) * 10 ** r.randint(-30, 30)])
        digits = r.randint(0, 8)
        text = r.choice(
            [f"{value:.{digits}f}", f"{value:,.{digits}f}", f"{value:.{digits}e}", f"{value:+,.{digits}f}", repr(value)]
        )
        expected = Fraction(text.replace(",", ""))
        around = r.choice(["{}", "It is {}.", "from 3 to {} km", "({})", "= {}\n", "**{}**", "${}$", "1, 2 and {}"])
        assert last(around.format(text)).value == expected, (text, around)
        assert last(around.format(text.replace("-", "\u2212"))).value == expected, (text, around)


def test_numbers_that_differ_behind_the_digits_of_a_float_differ():
    for one, other in [
        ("12345678901234567", "12345678901234568"),
        ("9" * 400, "8" * 400),
        ("0.1", "0.10000000000000000555"),
    ]:
        assert float(one) == float(other) and earned(number, one, other) == 0.0 == earned(numeric, one, other, rtol=0)
        assert earned(number, one, one) == 1.0 == earned(numeric, one, one, rtol=0)


@pytest.mark.parametrize(
    ("line", "read_out"),
    {
        "\u22123": "-3", "-$1,234.": "-1234", "12,34": "12,34", "$ 5": "5", "Paris, Texas": "Paris, Texas", "1, 2, 3": "1, 2, 3",
        "10%": "10%", "3 apples": "3 apples", "1\u202f000": "1000",
    }.items(),
)  # fmt: skip
def test_a_table_reads_what_follows_the_hashes(tmp_path, line, read_out):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"q": "how many?", "a": "so it is\\n#### {line}"}}\n', encoding="utf-8")
    table = Table(str(path), prompt="{q}", answer="a", extraction="hash_answer", answer_extraction="hash_answer")
    (row,) = table.rows()

    assert row["answer"] == read_out and earned(exact, f"#### {line}", read_out, extraction="hash_answer") == 1.0


def test_exponents_are_never_built():
    before = sys.getsizeof(last("1e999").value.numerator)

    assert last("1e999999999") == (None, "1e999999999", "") and before < 1000
    assert earned(numeric, "1e999999999", "1e999") == 0.0


def test_units_are_found_behind_any_number():
    for answer, right, wrong in [
        ("20 m²", "It is 20 m².", "20 m"),
        ("5 km", "5 km/h? No: 5 km", "5 m"),
        ("-$5", "\u2212$5", "$5"),
    ]:
        assert (earned(numeric, right, answer), earned(numeric, wrong, answer)) == (1.0, 0.0), answer
    assert np.isclose(1.0, earned(numeric, "3½ cups", "3.5 cups"))
