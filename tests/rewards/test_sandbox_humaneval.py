"""Suites in HumanEval's form, judged from outside: problems of our own, with right, wrong and cheating solutions."""

import json
from pathlib import Path

import pytest
from journeyman.rewards.sandbox import default

PROBLEMS = [json.loads(line) for line in Path(__file__).with_suffix(".jsonl").read_text().splitlines()]
"""HumanEval's columns, and `wrong`: bodies that fail; `objects` where the entry point gives an object under test."""

EQUALS = "class Any:\n    def __eq__(self, other): return True\n    __ne__ = lambda self, other: False\n    __hash__ = None\n"
CHEATS = {
    "leaves": "import os\nos._exit(0)\n",
    "exits": "def {name}(*a): raise SystemExit(0)\n",
    "equals anything": EQUALS + "def {name}(*a): return Any()\n",
    "a class that equals anything": EQUALS + "class {name}(Any):\n    def __init__(self, *a): pass\n",
    "arithmetic that comes out": (
        "class Zero(float):\n    __sub__ = __rsub__ = __abs__ = lambda self, *a: self\n    __lt__ = lambda self, other: True\n"
        "def {name}(*a): return Zero()\n"
    ),
    "ends the loop": "def {name}(*a): raise StopIteration\n",
    "patches the comparison": (
        "import builtins, sys\nbuiltins.all = lambda *a: True\nbuiltins.AssertionError = SystemExit\n"
        "def {name}(*a):\n    frame = sys._getframe()\n    while frame:\n        frame.f_globals.clear()\n"
        "        frame = frame.f_back\n"
    ),
    "looks for the test": (
        "import gc, sys\ndef {name}(*a):\n    for thing in gc.get_objects():\n"
        "        if callable(thing) and getattr(thing, '__name__', '') == 'check': return thing.__code__.co_consts[1]\n"
    ),
}  # fmt: skip


@pytest.fixture(params=PROBLEMS, ids=lambda problem: problem["entry_point"])
def problem(request):
    return request.param


def check(problem, code):
    return default().check(
        code,
        problem["test"],
        problem["entry_point"],
        starter=problem["prompt"],
        objects=problem.get("objects"),
        seconds=20,
    )


def test_the_right_solution_passes(problem):
    verdict = check(problem, problem["prompt"] + problem["canonical_solution"])

    assert verdict.passed, verdict.why


def test_the_suite_is_one_that_the_right_solution_passes_from_inside_too(problem):
    """The outside oracle: the way that HumanEval itself runs it. One solution empties its arguments; only from outside
    does the test's own list stay whole."""
    program = f"{problem['prompt']}{problem['canonical_solution']}\n{problem['test']}\ncheck({problem['entry_point']})"
    if problem["entry_point"] == "interleave":
        with pytest.raises(AssertionError):
            exec(program, {})
    else:
        exec(program, {})


def test_wrong_solutions_do_not_pass(problem):
    verdicts = [check(problem, problem["prompt"] + body) for body in problem["wrong"]]

    assert [verdict.passed for verdict in verdicts] == [False] * len(problem["wrong"])
    assert all(verdict.why for verdict in verdicts)


def test_cheats_do_not_pass(problem):
    codes = {how: code.replace("{name}", problem["entry_point"]) for how, code in CHEATS.items()}

    assert [how for how, code in codes.items() if check(problem, code).passed] == []


def test_there_are_fifteen_or_more():
    assert len({problem["entry_point"] for problem in PROBLEMS}) >= 15
