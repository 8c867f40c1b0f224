"""How fast mathematical answers are judged: ours beside math-verify, on the same completions, in turns.

Always true here: both read a gold answer once a group and judge every completion; math-verify runs on the main thread, with its
timeouts on or off, whichever a trial finds faster; what is reported are medians of the rounds, and both must agree.
"""

from __future__ import annotations

import logging
import random
import statistics
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from ..rewards.core import Scored
from ..rewards.mathematics import mathematics

GROUPS, GROUP = 64, 8
WORK = (
    "Let the unknown be called x. From the first sentence we get one equation, from the second another; adding both removes "
    "one unknown, and putting the result back gives the other. Step {step} checks the sum.\n\n"
)


def mix(seed: int = 0) -> list[tuple[str, list[str]]]:
    """(gold, `GROUP` completions) for `GROUPS` groups: integers, fractions, decimals and percentages, half of them right."""
    r = random.Random(seed)
    groups = []
    for g in range(GROUPS):
        n = Fraction(r.randint(-9999, 9999), [1, r.randint(3, 40), 100, 100][g % 4])
        write = [_integer, _fraction, _decimal, _percentage][g % 4]
        answers = [write(n if r.random() < 0.5 else n + r.randint(1, 9), r) for _ in range(GROUP)]
        groups.append(
            (write(n, r), [WORK.format(step=r.randint(2, 999)) + f"The result is $\\boxed{{{a}}}$." for a in answers])
        )
    return groups


def _integer(n: Fraction, r: random.Random) -> str:
    return r.choice([f"{int(n)}", f"{int(n):,}"])


def _fraction(n: Fraction, r: random.Random) -> str:
    above, below = n.numerator, n.denominator
    return r.choice([rf"\frac{{{above}}}{{{below}}}", rf"\frac{{{2 * above}}}{{{2 * below}}}", f"{above}/{below}"])


def _decimal(n: Fraction, r: random.Random) -> str:
    return r.choice([f"{float(n):.2f}", f"{float(n):.3f}"])


def _percentage(n: Fraction, r: random.Random) -> str:
    return rf"{float(n):.2f}\%"


def run(rounds: int = 5) -> dict[str, Any]:
    """Measure, print a table and return `bench`, `shape`, `ours_s`, `peer_s` (seconds a round) and `ratio` (peer / ours).

    Raises:
        RuntimeError: the two judged a completion differently.
    """
    groups = mix()
    items = [
        Scored({"answer": gold}, [{"role": "assistant", "content": text}]) for gold, texts in groups for text in texts
    ]
    limits: list[int | None] = [5, None]
    limit = min(limits, key=lambda seconds: _timed(lambda: peer(groups[:8], seconds))[0])
    _timed(lambda: mathematics.score(items))
    times: dict[str, list[float]] = {"ours": [], "math-verify": []}
    for _ in range(rounds):
        _forget()
        fresh = mathematics.binding()  # has read no gold answer yet
        seconds, ours = _timed(lambda: fresh.score(items))  # noqa: B023
        times["ours"].append(seconds)
        seconds, theirs = _timed(lambda: peer(groups, limit))
        times["math-verify"].append(seconds)
        if ours != theirs:
            which = next(i for i, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
            raise RuntimeError(f"ours says {ours[which]}, math-verify {theirs[which]}: {items[which]}")
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["math-verify"] / medians["ours"]
    shape = f"{len(items)} completions of {GROUPS} groups, {len(items[0].completion)} characters, rounds {rounds}"
    print(f"mathematics: {shape}; math-verify's timeouts {'off' if limit is None else f'{limit} s'}")
    for name, seconds in medians.items():
        print(f"  {name:12} {seconds:8.4f} s  {len(items) / seconds:10,.0f} /s")
    print(f"  {'ratio':12} {ratio:8.1f}")
    return {
        "bench": "mathematics",
        "shape": shape,
        "ours_s": medians["ours"],
        "peer_s": medians["math-verify"],
        "ratio": ratio,
        "compared": "the reward's whole path against math-verify, the gold parsed once a group for both",
    }


def peer(groups: Sequence[tuple[str, Sequence[str]]], limit: int | None) -> list[float]:
    """What math-verify says of every completion; `limit` are its seconds a parse and a comparison, None for none."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    verdicts = []
    for gold, texts in groups:
        expected = parse(f"${gold}$", parsing_timeout=limit)
        verdicts += [float(verify(expected, parse(t, parsing_timeout=limit), timeout_seconds=limit)) for t in texts]
    return verdicts


def _forget() -> None:
    """math-verify may not remember what it parsed in the round before."""
    from math_verify import parser

    for cache in (parser.extract_latex, parser.parse_latex_cached, parser.parse_expr_cached):
        cache.cache_clear()


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    value = call()
    return time.perf_counter() - began, value


if __name__ == "__main__":
    run()
