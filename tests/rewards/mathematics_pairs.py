r"""Generated pairs of a gold answer and a completion, each with its label: equal in value and form of object, or a near miss.

Loaded by its path (`runpy`) from the tests beside it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple


class Pair(NamedTuple):
    kind: str
    gold: str
    answer: str
    """What stands in the completion's box or formula."""
    completion: str
    equal: bool


AROUND = [
    r"\boxed{%s}",
    r"We simplify and get $\boxed{%s}$.",
    "Step 1: set it up.\nStep 2: solve.\n\nTherefore the result is \\boxed{%s}.",
    r"The final answer is $%s$.",
    r"<think>It could be 17, or 18.</think>Checking again, we find \boxed{%s}",
    r"Answer: $%s$",
]


def signed(n: int | Fraction) -> str:
    return f"-{tex(-n)}" if n < 0 else tex(n)


def tex(n: int | Fraction) -> str:
    n = Fraction(n)
    return str(n.numerator) if n.denominator == 1 else rf"\frac{{{n.numerator}}}{{{n.denominator}}}"


def integers(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    n = r.choice([r.randint(-20, 20), r.randint(-2000, 2000), r.randint(10**4, 10**7)])
    same = [
        str(n),
        f"{n:,}",
        f"{n}.0",
        f"{n}.00",
        rf"\frac{{{2 * n}}}{{2}}",
        f"x = {n}",
        rf"{n}\text{{ units}}",
        rf"\left({n}\right)",
    ]
    same += [f"{n:,}".replace(",", "{,}"), f"{n} ", rf"{n - 3} + 3", rf"n = {n}"]
    near = [
        str(n + 1),
        str(-n) if n else "1",
        str(10 * n) if n else "10",
        f"{n}.5",
        rf"\frac{{{n}}}{{3}}" if n else "3",
        f"{n}, {n + 1}",
        f"{n}x" if n else "x",
    ]
    for answer in r.sample(same, 3):
        yield str(n), answer, True
    for answer in r.sample(near, 2):
        yield str(n), answer, False


def decimals(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    places = r.randint(1, 4)
    n = Fraction(r.randint(-(10 ** (places + 2)), 10 ** (places + 2)) * 2 + 1, 10**places)
    text = f"{float(n):.{places}f}"
    for answer in r.sample([text, text + "0", tex(n) if n > 0 else signed(n), text + r"\text{ cm}", f"y = {text}"], 3):
        yield text, answer, True
    near = [f"{float(n) + 10**-places:.{places}f}", text[:-1], f"{-float(n):.{places}f}", f"{float(n * 10):.{places}f}"]
    for answer in r.sample(near, 2):
        yield text, answer, False


def fractions(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    n = Fraction(r.randint(-60, 60), r.randint(2, 30))
    if n.denominator == 1:
        n += Fraction(1, 7)
    a, b, k = abs(n.numerator), n.denominator, r.randint(2, 6)
    minus = "-" if n < 0 else ""
    same = [
        rf"{minus}\frac{{{a * k}}}{{{b * k}}}",
        rf"\frac{{{n.numerator}}}{{{b}}}",
        rf"{minus}\dfrac{{{a}}}{{{b}}}",
        f"{minus}{a}/{b}",
    ]
    same += [
        f"{float(n):.8f}",
        rf"\frac{{{-n.numerator}}}{{{-b}}}",
        rf"p = {minus}\tfrac{{{a}}}{{{b}}}",
        rf"{minus}{a} \div {b}",
    ]
    near = [
        rf"{minus}\frac{{{b}}}{{{a + 1}}}",
        rf"\frac{{{n.numerator + 1}}}{{{b}}}",
        f"{float(n):.2f}9",
        signed(-n),
        str(n.numerator),
    ]
    for answer in r.sample(same, 3):
        yield signed(n), answer, True
    for answer in r.sample(near, 2):
        yield signed(n), answer, False


def percentages(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    n = r.randint(1, 199)
    gold = r.choice([rf"{n}\%", rf"{n}\%", tex(Fraction(n, 100)) if n % 100 else rf"{n}\%"])
    for answer in r.sample(
        [rf"{n}\%", f"{n / 100:g}" if n % 100 else rf"{n}\%", tex(Fraction(n, 100)), rf"{n}.0\%", rf"p = {n}\%"], 2
    ):
        yield gold, answer, True
    for answer in r.sample([rf"{n + 1}\%", rf"{n / 1000:g}", rf"{n * 10}\%", rf"\frac{{{n}}}{{1000}}"], 2):
        yield gold, answer, False


def surds(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    a, b, c = r.randint(2, 9), r.choice([2, 3, 5, 6, 7, 10]), r.randint(1, 9)
    gold = rf"{a}\sqrt{{{b}}}"
    yield gold, rf"\sqrt{{{a * a * b}}}", True
    yield gold, rf"{a} \sqrt{{ {b} }}", True
    yield gold, rf"\frac{{{a * b}}}{{\sqrt{{{b}}}}}", True
    yield gold, rf"{a}\sqrt{{{b + 1}}}", False
    yield gold, rf"\sqrt{{{a * b}}}", False
    yield rf"{c}+\sqrt{{{b}}}", rf"\sqrt{{{b}}}+{c}", True
    yield rf"{c}+\sqrt{{{b}}}", rf"{c}-\sqrt{{{b}}}", False
    yield rf"\frac{{\sqrt{{{b}}}}}{{{a}}}", rf"\frac{{{b}}}{{{a}\sqrt{{{b}}}}}", True
    yield rf"{c}\pi", rf"\pi \cdot {c}", True
    yield rf"{c}\pi", f"{c * 3.14:.2f}", False


def polynomials(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    p, q = r.sample([n for n in range(-9, 10) if n], 2)
    x = r.choice("xtn")
    one, two = (f"({x}{-n:+d})" for n in (p, q))
    gold = f"{x}^2{-(p + q):+d}{x}{p * q:+d}" if p + q else f"{x}^2{p * q:+d}"
    yield gold, f"{one}{two}", True
    yield gold, rf"{two} \cdot {one}", True
    yield gold, f"{p * q}{-(p + q):+d}{x}+{x}^{{2}}" if p + q else f"{p * q}+{x}^{{2}}", True
    yield gold, f"f({x}) = {one}{two}", True
    yield gold, f"{one}({x}{q:+d})", False
    yield gold, gold.replace(x, "z"), False
    yield rf"\frac{{{x}}}{{{abs(p) + 1}}}", rf"\frac{{1}}{{{abs(p) + 1}}}{x}", True
    yield f"{abs(p) + 1}{x}^3", f"{abs(p) + 2}{x}^3", False


def intervals(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    a = r.randint(-9, 5)
    b = a + r.randint(1, 9)
    yield f"[{a},{b}]", rf"\left[{a}, {b}\right]", True
    yield f"[{a},{b})", f"[{a}.0,{b})", True
    yield f"[{a},{b}]", f"[{a},{b})", False
    yield f"[{a},{b}]", f"[{a},{b + 1}]", False
    yield rf"(-\infty,{a}]", rf"\left(-\infty, {a}\right]", True
    yield rf"(-\infty,{a}]", rf"(-\infty,{a})", False
    yield rf"(-\infty,{a})\cup({b},\infty)", rf"(-\infty, {a}) \cup ({b}, \infty)", True
    yield rf"(-\infty,{a})\cup({b},\infty)", rf"(-\infty,{a}]\cup({b},\infty)", False
    yield f"x > {b}", f"{b} < x", True
    yield rf"x \ge {b}", rf"x \geq {b}", True
    yield f"x > {b}", f"x < {b}", False


def tuples(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    a, b, c = r.sample(range(-12, 13), 3)
    yield f"({a},{b})", rf"\left({a}, {b}\right)", True
    yield f"({a},{b},{c})", f"({a}, {b}.0, {c})", True
    yield f"({a},{b},{c})", f"({b},{a},{c})", False
    yield f"({a},{b})", f"({a},{b + 1})", False
    yield rf"\{{{a},{b},{c}\}}", rf"\left\{{ {c}, {a}, {b} \right\}}", True
    yield f"{a},{b}", f"{b}, {a}", True
    yield f"{a}, {b}", rf"{a} \text{{ and }} {b}", True
    yield rf"\{{{a},{b},{c}\}}", rf"\{{{a},{b}\}}", False
    yield rf"\pm {abs(a) + 1}", f"{-abs(a) - 1}, {abs(a) + 1}", True
    yield f"x={a}, x={b}", f"x={a}, x={b}", True


def equations(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    n, m = r.randint(-30, 30), r.randint(2, 9)
    yield f"x={n}", f"{n}", True
    yield f"x={n}", f"x = {n}", True
    yield str(n), f"x={n}", True
    yield f"x={n}", f"x={n + 1}", False
    yield f"x={n}", f"y={n}", False
    yield f"y={m}x{n:+d}" if n else f"y={m}x", f"y = {n}+{m}x" if n else f"y = {m}x", True
    yield f"y={m}x{n:+d}" if n else f"y={m}x", f"y = {m + 1}x{n:+d}" if n else f"y={m + 1}x", False
    yield f"y={m}x{n:+d}" if n else f"y={m}x", f"{m}x{n:+d}" if n else f"{m}x", True
    yield str(n), f"{n - 4} + 4 = {n}", True
    yield str(m), rf"\frac{{{3 * m}}}{{3}} = {m}", True
    yield f"{m}^{{2}}", str(m * m), True


def units(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    n = r.randint(2, 400)
    yield str(n), rf"{n} \text{{ cm}}", True
    yield rf"{n}\text{{ cm}}", str(n), True
    yield rf"{n}^\circ", str(n), True
    yield str(n), rf"{n}^{{\circ}}", True
    yield rf"\${n}", str(n), True
    yield str(n), rf"\${n}.00", True
    yield str(n), f"{n} meters", True
    yield rf"{n}\text{{ hours}}", rf"{n + 1}\text{{ hours}}", False
    yield rf"\${n}", rf"\${n}.50", False
    yield rf"{n}\text{{ cm}}^2", rf"{n}", True


def others(r: random.Random) -> Iterator[tuple[str, str, bool]]:
    a, n = r.randint(2, 9), r.randint(3, 6)
    yield rf"\log_{{{a}}} 7", rf"\frac{{\ln 7}}{{\ln {a}}}", True
    yield f"e^{{{a}}}", f"e^{{{a + 1}}}", False
    yield str([0, 1, 2, 6, 24, 120, 720][n]), f"{n}!", True
    yield rf"\binom{{{n + 2}}}{{2}}", str((n + 2) * (n + 1) // 2), True
    yield rf"\frac{{1}}{{{a}}}x^2", rf"\frac{{x^2}}{{{a}}}", True
    yield rf"\sin({a}x)", rf"\sin({a + 1}x)", False
    yield rf"2^{{{a}}}", str(2**a), True
    yield rf"\text{{{r.choice(['even', 'odd', 'east'])}}}", r"\text{west}", False
    yield f"{a}+{n}i", f"{n}i+{a}", True
    yield f"{a}+{n}i", f"{a}-{n}i", False
    m = rf"\begin{{pmatrix}} {a} & 1 \\ 0 & {n} \end{{pmatrix}}"
    yield m, m.replace(" & ", "&"), True
    yield m, m.replace(f"{a} &", f"{a + 1} &"), False


KINDS: list[tuple[Callable[[random.Random], Iterator[tuple[str, str, bool]]], int]] = [
    (integers, 110), (decimals, 66), (fractions, 106), (percentages, 56), (surds, 8), (polynomials, 6), (intervals, 5),
    (tuples, 6), (equations, 12), (units, 18), (others, 4),
]  # fmt: skip


def pairs(seed: int = 0) -> list[Pair]:
    """Over 2,000 distinct pairs."""
    r = random.Random(seed)
    found: dict[tuple[str, str], Pair] = {}
    for make, rounds in KINDS:
        for _ in range(rounds):
            for gold, answer, equal in make(r):
                completion = r.choice(AROUND) % answer
                found.setdefault((gold, answer), Pair(make.__name__, gold, answer, completion, equal))
    return list(found.values())
