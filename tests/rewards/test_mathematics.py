import logging
import re
import runpy
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from journeyman.configs import BadInput
from journeyman.recipes.bench_mathematics import run
from journeyman.rewards import symbolic
from journeyman.rewards.core import UNDECIDED, Failure, Scored
from journeyman.rewards.mathematics import CASES, decide, mathematics, read_gold
from journeyman.rewards.rational import read
from journeyman.rewards.text import final_answer

HERE = Path(__file__).parent
HOSTILE = runpy.run_path(str(HERE / "hostile_answers.py"))
BOMBS, TRICKS = HOSTILE["BOMBS"], HOSTILE["TRICKS"]


def said(gold, completion):
    return Scored({"answer": gold}, [{"role": "assistant", "content": completion}])


def earned(gold, completion):
    (value,) = mathematics.score([said(gold, completion)])
    return value


def math_verify_says(gold, completion):
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    expected = parse(f"${gold}$", parsing_timeout=None)
    return float(verify(expected, parse(completion, parsing_timeout=None), timeout_seconds=None))


def seconds(call):
    """Wall time, the better of two: the machine may be busy with something else."""
    times = []
    for _ in range(2):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
        if times[-1] < 0.5:
            break
    return min(times)


@pytest.fixture(scope="module", autouse=True)
def warm():
    """The workers' server is up before anything is timed."""
    assert mathematics.score([said("42", r"\boxed{40+2}")] * 4) == [1.0] * 4


@pytest.mark.parametrize("case", CASES["mathematics"], ids=lambda case: case.row["answer"])
def test_the_cases_of_the_audit(case):
    items = [said(case.row["answer"], text) for text in (*case.right, *case.wrong)]

    expected = [1.0] * len(case.right) + [0.0] * len(case.wrong)
    assert dict(zip([i.completion for i in items], mathematics.score(items), strict=True)) == dict(
        zip([i.completion for i in items], expected, strict=True)
    )


NUMBERS = {
    "42": 42, "-7": -7, "+7": 7, "1,234,567.50": Fraction(2469135, 2), "1{,}234": 1234, r"1\,000": 1000,
    ".5": Fraction(1, 2), "1.": 1,
    r"\$5.00": 5, "$5$": 5, r"5\%": Fraction(1, 20), r"12.5\text{ percent}": Fraction(1, 8), r"33\frac{1}{3}\%": Fraction(1, 3),
    r"3\frac12": Fraction(7, 2), "3 1/2": Fraction(7, 2), r"-\frac{1}{-2}": Fraction(1, 2), r"\dfrac{10}{4}": Fraction(5, 2),
    r"\frac1{2}": Fraction(1, 2), "-1 / 2": Fraction(-1, 2), r"0.\overline{3}": Fraction(1, 3),
    r"0.1\overline{6}": Fraction(1, 6),
    "1e3": 1000, r"1.5\times10^{-3}": Fraction(3, 2000), "x = 5": 5, r"f(2)=\frac12": Fraction(1, 2),
    "90^{\\circ}": 90, "90°": 90,
    "5 cm": 5, r"5\text{ cm}^2": 5, "20 square units": 20, "5 million": 5_000_000, r"\left(3\right)": 3, "９": 9,
    "−5": -5, "−\u00a05": -5, "٤٢": 42,
    "½": Fraction(1, 2), "3½": Fraction(7, 2), "\U0001d7d2\U0001d7d0": 42, "{42}": 42,
    "4²": None, "²": None, "٤२": None, "4\u200b2": None, "1/0": None, r"\frac{0}{0}": None, "10^3": None, "5x": None, "10t": None,
    "12 in base 3": None, "12_3": None, "5 or 6": None, "1,2": None, "1, 234": None, "(1,234)": None, "": None, "nan": None,
    "inf": None, "1e999999": None,
    "9" * 3000: None, r"2\frac{3}{2}": None, r"\pm 5": None, "--5": None, "0x10": None, "1_000": None, "True": None,
    ".": None, "%": None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), NUMBERS.items(), ids=[text[:20] for text in NUMBERS])
def test_numbers_are_read_exactly_or_not_at_all(text, value):
    number = read(text)

    assert (number and number.value) == value


FINAL = {
    r"\boxed{1} so \boxed{2}": "2",
    r"\boxed {2}": "2",
    r"\fbox{2}": "2",
    r"\boxed{\left\{1, 2\right.}": r"\left\{1, 2\right.",
    r"\boxed{1} then \boxed{2": None,
    r"<think>\boxed{1}": None,
    "The answer is 42.": "42",
    "**Answer:** $\\frac{1}{2}$": r"\frac{1}{2}",
    "6 * 7 = 42\n#### 42": "42",
    "Answer: 3.\n\nNo, the answer is 4.": "4",
    "So there are 12 apples left in 3 bowls.": "3",
    "We get \\(x = 5\\).": "x = 5",
    "It costs $5.": "$5",
    "half of it, 50%, is lost": "50%",
    "(1, 2)": "(1, 2)",
    "x = 5": "x = 5",
    "": None,
}


@pytest.mark.parametrize(("text", "answer"), FINAL.items())
def test_one_answer_is_taken_from_a_completion(text, answer):
    assert final_answer(text) == answer


LONG = {
    "a box": "x" * 130_000 + r"\boxed{42}",
    "a long box": r"\boxed{" + "4" * 130_000 + "}",
    "braces in a box": r"\boxed{" + "{}" * 65_000,
    "backslashes in a box": r"\boxed{" + "\\" * 130_000,
    "many boxes": r"\boxed{42}" * 13_000,
    "many open boxes": r"\boxed{" * 18_500,
    "no box": "so 42 is it. " * 10_000,
    "thoughts": "<think>" * 10_000 + "</think>" * 7_000 + "42",
    "answers": "the answer is 42\n" * 7_600,
    "dollars": "$" * 130_000,
    "one line": "a " * 65_000,
    "parentheses": r"\(" * 65_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_extraction_from_130_kb_takes_under_10_ms(text):
    def measured():
        began = time.process_time()
        final_answer(text)
        return time.process_time() - began

    assert len(text) > 125_000 and min(measured() for _ in range(5)) < 0.01


HONEST = [
    (r"\{1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233\}", r"\left\{233, 144, 89, 55, 34, 21, 13, 8, 5, 3, 2, 1\right\}"),
    (r"\begin{pmatrix} 1 & \frac{1}{2} & 0 \\ 0 & 1 & 4 \\ 7 & 0 & 1 \end{pmatrix}",
    r"\begin{pmatrix}1&0.5&0\\0&1&4\\7&0&1\end{pmatrix}"),
    ("x^{10}-10x^9+45x^8-120x^7+210x^6-252x^5+210x^4-120x^3+45x^2-10x+1", "(x-1)^{10}"),
    (r"(-\infty,-3)\cup(-3,-1)\cup(-1,2)\cup(2,5]\cup[7,\infty)",
    r"(-\infty,-3) \cup (-3,-1) \cup (-1,2) \cup (2,5] \cup [7, \infty)"),
    (r"\sqrt{2+\sqrt{2+\sqrt{2}}}", r"\sqrt{\sqrt{\sqrt{2} + 2} + 2}"),
    (r"\frac{43}{30}", r"1+\cfrac{1}{2+\cfrac{1}{3+\cfrac{1}{4}}}"),
    ("2^{2024}-1", "-1 + 4^{1012}"),
    (r"\left(\frac{5}{6}\right)^{2023}", r"\frac{5^{2023}}{6^{2023}}"),
    (r"\binom{100}{50}", r"\frac{100!}{50! \cdot 50!}"),
    ("50400", r"\frac{10!}{3! \, 3! \, 2!}"),
    (str(2**600), str(2**600)),
    (f"{10**30:,}", "10^{30}"),
    (r"\frac{-b+\sqrt{b^2-4ac}}{2a}", r"\frac{\sqrt{b^{2}-4ac}-b}{2a}"),
    (r"\frac{1}{x-1}-\frac{2}{(x-1)^2}+\frac{3x+1}{x^2+1}", r"\frac{3x+1}{x^{2}+1}+\frac{1}{x-1}-\frac{2}{(x-1)^{2}}"),
    (r"6.02 \times 10^{23}", "602000000000000000000000"),
    ("113", "m+n = 113"),
    (r"\frac{3}{5}", r"\sin A = \frac{3}{5}"),
    ("25", "a^2+b^2 = 16+9 = 25"),
    ("12", "|AB| = 12"),
    ("2^{2^{5}}", "4294967296"),
    ("(3, -1, 2)", "(x,y,z) = (3,-1,2)"),
    (r"e^{x}(\sin x+\cos x)+C", r"e^x \cos x+e^x\sin x+C"),
    ("x=3, y=-2", r"x = 3 \text{ and } y = -2"),
    (r"\text{Monday}", "Monday"),
    (r"y = -\frac{2}{3}x + 5", "2x + 3y = 15"),
    ("52_8", "52_{8}"),
    (r"\sum_{i=1}^{n} i^2", r"\sum_{i=1}^n i^2"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), HONEST, ids=[answer[:30] for _, answer in HONEST])
def test_the_bounds_refuse_no_honest_answer(gold, answer):
    assert earned(gold, rf"\boxed{{{answer}}}") == 1.0


JUDGED = [  # gold, completion, what ours and math-verify say, why ours is right
    ("42", r"\boxed{1=2=42}", 0, 1, "the sides of a chain are not equal"),
    ("5", r"\boxed{|x|=5}", 0, 1, "an equation that is left to be solved"),
    ("5", r"\boxed{x+1=5}", 0, 1, "an equation that is left to be solved"),
    ("12", r"\boxed{12_3}", 0, 1, "12 in base 3 is 5"),
    ("3", r"\boxed{\sum_{i=1}^{2} i}", 0, 1, "a sum that is left to be worked out"),
    ("6", r"\boxed{\prod_{i=1}^{3} i}", 0, 1, "a product that is left to be worked out"),
    ("3", r"\boxed{\int_0^3 1 dx}", 0, 1, "an integral that is left to be worked out"),
    ("42", r"<think>\boxed{42}", 0, 1, "the thought never ended"),
    (r"\frac{1}{3}", r"\boxed{0.\overline{3}}", 1, 0, "a repeating decimal is exact"),
    ("42", "\\boxed{\uff14\uff12}", 1, 0, "full-width digits are digits"),
    ("16", "\\boxed{4\u00b2}", 1, 0, "a raised 2 is a power"),
    ("42", r"First I got \boxed{41}, but that is wrong: \boxed{42}", 1, 0, "the last box is the answer; boxes are not merged"),
    ("7", r"<think>maybe \boxed{6}, or 5</think>Checking again, it is \boxed{7}", 1, 0, "a box in a thought is no answer"),
    (r"\pi r^2 h", r"\boxed{\pi r^2}", 0, 1, "a factor of the volume, not an hour"),
    (r"\frac{d}{2} + e", r"\boxed{e + \frac{d}{2}}", 1, 1, "a variable called d is no derivative (both right)"),
    ("10t", r"\boxed{10}", 0, 1, "a letter after a number is a variable, not a unit"),
    (r"5\text{ cm}", r"\boxed{5\text{ m}}", 0, 1, "known units differ"),
    ("5", r"\boxed{5cm^2}", 1, 0, "a unit, not a product of letters"),
    ("1", r"\boxed{1.}", 1, 0, "a full stop"),
    ("1000", r"\boxed{1e3}", 1, 0, "scientific notation"),
    ("1000", r"\boxed{1\,000}", 1, 0, "a thin space between thousands"),
    (r"33\frac{1}{3}\%", r"\boxed{\frac{1}{3}}", 1, 0, "a mixed percentage"),
    (r"\$6 \text{ million}", r"\boxed{6,000,000}", 1, 0, "a million is a number"),
    ("0.0000002", r"\boxed{0.0}", 0, 1, "nothing is not a small number"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("gold", "completion", "ours", "theirs", "why"), JUDGED, ids=[f"{j[0]} {j[4]}" for j in JUDGED]
)
def test_where_math_verify_is_mistaken_the_label_decides(gold, completion, ours, theirs, why):
    assert (earned(gold, completion), math_verify_says(gold, completion)) == (ours, theirs), why


GENERATED = [  # kind, gold, answer, why ours is right: every disagreement on the generated pairs is one of these
    ("polynomials", r"\\frac\{t\}\{\d+\}", r"\\frac\{1\}\{\d+\}t", "math-verify takes a last t for a unit"),
]


@pytest.mark.long
def test_verdicts_are_math_verifys_on_two_thousand_pairs():
    pairs = runpy.run_path(str(HERE / "mathematics_pairs.py"))["pairs"]()
    ours = mathematics.score([said(pair.gold, pair.completion) for pair in pairs])
    theirs = [math_verify_says(pair.gold, pair.completion) for pair in pairs]
    labels = [float(pair.equal) for pair in pairs]
    differing = [pair for pair, one, two in zip(pairs, ours, theirs, strict=True) if one != two]
    unjudged = [
        pair
        for pair in differing
        if not any(
            k == pair.kind and re.fullmatch(g, pair.gold) and re.fullmatch(a, pair.answer) for k, g, a, _ in GENERATED
        )
    ]

    assert len(pairs) >= 2000 and {pair.equal for pair in pairs} == {True, False}
    assert [pair for pair, one, label in zip(pairs, ours, labels, strict=True) if one != label] == []
    assert unjudged == [] and len(differing) < 20


def test_most_numbers_are_decided_without_sympy():
    code = (
        "import sys; from journeyman.rewards.mathematics import decide, read_gold;"
        r"got = [decide(c, read_gold(g)) for g, c in [('42', r'\boxed{42}'), ('0.5', r'\boxed{\frac{1}{2}}'), ('5%', '6%')]];"
        "assert got == [1.0, 1.0, 0.0], got; assert not {'sympy', 'math_verify', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("gold", ["42", "x^2+1"])
@pytest.mark.parametrize("answer", BOMBS.values(), ids=BOMBS)
def test_no_bomb_is_paid_or_takes_a_second(answer, gold):
    values = []

    assert seconds(lambda: values.append(earned(gold, rf"so \boxed{{{answer}}}"))) < 1.0
    assert set(values) == {0.0}


@pytest.mark.parametrize(("gold", "completion"), TRICKS, ids=[f"{i} {c[:30]!r}" for i, (_, c) in enumerate(TRICKS)])
def test_no_trick_is_paid_or_takes_a_second(gold, completion):
    values = []

    assert seconds(lambda: values.append(earned(gold, completion))) < 1.0
    assert set(values) == {0.0}


@pytest.mark.parametrize("gold", ["42", "x^2+1"])
def test_64_bombed_completions_take_under_5_seconds(gold):
    items = [said(gold, rf"\boxed{{{answer}}}") for answer in (list(BOMBS.values())[:64])]

    assert len(BOMBS) + len(TRICKS) >= 40
    assert seconds(lambda: mathematics.score(items, group_size=8)) < 5.0


BAD_GOLD = {
    "empty": "",
    "an empty box": r"\boxed{}",
    "a giant power": "9^{9^{9}}",
    "too long": "x+" * 2000 + "1",
    "a giant factorial": "9999999!",
}


@pytest.mark.parametrize("gold", BAD_GOLD.values(), ids=BAD_GOLD)
def test_a_gold_answer_that_cannot_be_used_is_bad_input(gold):
    with pytest.raises(BadInput, match="the column 'answer' holds"):
        mathematics.score([said(gold, r"\boxed{42}")])


def test_a_gold_answer_that_takes_too_long_is_an_error_and_a_completion_that_does_earns_nothing(monkeypatch):
    monkeypatch.setattr(symbolic, "SECONDS", 1e-4)
    slow = "x^{7}+x^{6}y+x^{5}y^{2}+y^{8}"
    with pytest.raises(symbolic.GoldTooHard, match="takes over"):
        mathematics.function(r"\boxed{x}", read_gold(slow))
    monkeypatch.setattr(symbolic, "SECONDS", 60.0)
    gold = read_gold("x+1")
    assert mathematics.function(r"\boxed{1+x}", gold) == 1.0
    monkeypatch.setattr(symbolic, "SECONDS", 1e-4)
    assert mathematics.function(rf"\boxed{{{slow}}}", gold) == 0.0


GOLDS = {
    "dollars": "$42$",
    "a box": r"Thus \boxed{42}.",
    "a worked solution": "6 * 7 = 42\n#### 42",
    "a number": 42,
    "a name": "x = 42",
}


@pytest.mark.parametrize("gold", GOLDS.values(), ids=GOLDS)
def test_gold_answers_are_read_as_data_sets_write_them(gold):
    assert mathematics.score([said(gold, r"\boxed{42}"), said(gold, r"\boxed{43}")]) == [1.0, 0.0]


def test_a_worker_that_dies_on_a_completion_costs_the_next_one_nothing():
    values = mathematics.score([said("42", rf"\boxed{{{BOMBS['python lambda']}}}"), said("42", r"\boxed{40+2}")] * 3)

    assert values == [0.0, 1.0] * 3 and not any(isinstance(value, Failure) for value in values)


def test_what_fast_leaves_is_what_plain_reading_cannot_decide():
    assert decide(r"\boxed{\sqrt{1764}}", read_gold("42")) is UNDECIDED and earned("42", r"\boxed{\sqrt{1764}}") == 1.0
    assert decide(r"\boxed{\frac{84}{2}}", read_gold("42")) == 1.0


def test_at_least_twenty_times_math_verifys_throughput(capsys):
    report = run(rounds=3)

    assert report["bench"] == "mathematics" and report["ratio"] == report["peer_s"] / report["ours_s"] >= 20
    assert "ratio" in capsys.readouterr().out
