"""Every shipped reward on texts that are made to take long or to raise; the package is walked, so a new reward is tried too."""

import importlib
import pkgutil
import time
import unicodedata
from itertools import product

import journeyman.rewards
import pytest
from journeyman.rewards.core import Failure, Reward, Scored
from journeyman.rewards.text import EXTRACTORS

UNITS = [
    " ", "\u00a0", " \n", "\n", "\t", "1", "1 ", "1,", "1.", "1,234", "1/", "1:", "1e", "1-", "1_", "-", "½", "\u0664",
    "\u0301\u0323", "a", "a ", "as ", "not ", "the ", ".", "(", ")", "[", "]", "{", "}", "<", '"', "'", "\\", "$", "#", "#### ",
    "_", "*", "^", "=", "\\(", "\\boxed{", "\\boxed{}", "\\text{", "\\frac{", "<think>", "</think>", "<answer>", "answer is ",
    "Answer: B as ", "A) ", "\0", "\u200b", "\ud800", "\U0001f600", '{"a":', "[[1],", "```\n", "1 OR 2 ",
]  # fmt: skip
AROUND = [("", ""), ("Answer: x", "y"), ('"', "!"), ("\\boxed{", "}"), ("[", "x]"), ("so 4", "2 it is")]
SIZE = 20_000
"""Characters; with the cubic search for a letter that `choice` once had, the first thousand take 10 s."""
FLOOR = 0.03
"""Seconds in which nothing is slow, however they grow."""


def shipped():
    """(name, reward, a row of its worked cases) of each reward function in the package."""
    found = {}
    for info in pkgutil.walk_packages(journeyman.rewards.__path__, "journeyman.rewards."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if (
                isinstance(value, Reward)
                and value.function.__module__ == info.name
                and value.name in getattr(module, "CASES", {})
            ):
                found[value.name] = (value, [case.row for case in module.CASES[value.name]])
    return found


SHIPPED = shipped()
SANDBOXED = {"python_tests"}
"""Judged in processes of its own, whose time and failures have tests of their own."""
INLINE = {
    n: rows[-1] for n, (judge, rows) in SHIPPED.items() if n not in SANDBOXED and (judge.fast or not judge.isolated)
}


def inline(name, text, row=None):
    """What runs in the trainer's own process: the whole function, or the `fast` one before an isolated function."""
    judge, items = SHIPPED[name][0], [Scored(row or INLINE[name], [{"role": "assistant", "content": text}])]
    return judge.quickly(items) if judge.isolated else judge.run(items)


def seconds(call):
    began = time.process_time()
    call()
    return time.process_time() - began


def test_the_walk_finds_the_library():
    assert {
        "choice",
        "number",
        "numeric",
        "label",
        "f1",
        "json_schema",
        "mathematics",
        "quotes",
        "tags",
        "ndcg",
    } <= set(INLINE)
    assert len(SHIPPED) >= 17 and {"regex", "python_tests"} <= set(SHIPPED)


@pytest.mark.parametrize("name", INLINE)
def test_twice_the_text_takes_about_twice_the_time_and_no_text_fails(name):
    for unit, (before, behind) in product(UNITS, AROUND):
        short, long = (f"{before}{unit * (size // len(unit))}{behind}" for size in (SIZE, 2 * SIZE))
        tail = f"{before}{unit * (1900 // len(unit))}{behind}"  # what is looked at in texts that are cut
        assert seconds(lambda: inline(name, tail)) < 0.3, (unit, before)  # noqa: B023
        values = []
        took = seconds(lambda: values.extend(inline(name, long) or []))  # noqa: B023
        assert not [v.reason for v in values if isinstance(v, Failure)], (unit, before)
        if took > FLOOR:
            assert min(seconds(lambda: inline(name, long)) for _ in range(3)) <= 3 * max(  # noqa: B023
                FLOOR / 3, min(seconds(lambda: inline(name, short)) for _ in range(3))  # noqa: B023
            ), (unit, before)  # fmt: skip


HOSTILE = {
    "an integer of 5000 digits": "9" * 5000, "of 401 digits": "1" + "0" * 400, "a negative one": "-" + "9" * 5000,
    "a list of one": f"[{'9' * 5000}]", "an object of one": f'{{"a": {"9" * 401}}}', "a boxed one": rf"\boxed{{{'9' * 5000}}}",
    "a decimal": "0." + "3" * 5000, "an exponent": "1e999999999", "a negative exponent": "1e-999999999",
    "in JSON": '{"a": 1e400}',
    "underflow in JSON": '{"a": 1e-999999}', "a boxed exponent": r"\boxed{10^{999999999}}", "NaN": "NaN", "Infinity": "-Infinity",
    "JSON's NaN": '{"a": NaN}', "a lone surrogate": "\ud800", "a surrogate in JSON": '"\\ud800"', "a raw one": '{"a": "\ud800"}',
    "NUL": "\0", "NULs in JSON": '"\\u0000"', "empty": "", "blank": " \n\t\u00a0\u3000", "deep lists": "[" * 90 + "]" * 90,
    "deeper lists": "[" * 50_000 + "]" * 50_000, "deep objects": '{"a":' * 90 + "1" + "}" * 90,
    "deep braces": "{" * 5000 + "}" * 5000,
    "division by zero": "1/0", "a fraction of nothing": r"\boxed{\frac{0}{0}}", "vulgar": "\u215f", "raised": "4\u00b2",
    "accents": "e" + "\u0301\u0323" * 60_000, "right to left": "\u202e24", "digits of two scripts": "\u0664\u0968",
    "a time": "#### 12:30", "a byte-order mark": "\ufeff", "a giant step": '{"a": 1e308}', "controls": "\x1b[2J\x7f",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_makes_a_reward_fail(text):
    for name, row in [(n, row) for n in INLINE for row in SHIPPED[n][1]]:
        values = inline(name, text, row) or []
        assert not [value.reason for value in values if isinstance(value, Failure)], (name, row)
    for extract in EXTRACTORS.values():
        assert isinstance(extract(text), str | None)


def test_accents_are_not_sorted_without_end():
    text = "e" + "\u0301\u0323" * 10_000

    assert seconds(lambda: unicodedata.normalize("NFC", text)) > 5 * seconds(lambda: inline("label", text))
