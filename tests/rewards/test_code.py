"""The reward on the sandbox: what a completion's code earns."""

import json

import pytest
from journeyman.configs import BadInput
from journeyman.rewards.code import CASES, code_of, python_tests
from journeyman.rewards.core import Scored
from journeyman.rewards.executor import score
from journeyman.rewards.sandbox import default


def earns(completion, **row):
    (value,) = python_tests(prompts=["q"], completions=[completion], **{key: [value] for key, value in row.items()})
    return value


def fenced(code):
    return f"Here:\n```python\n{code}\n```\nDone."


@pytest.mark.parametrize("case", CASES["python_tests"], ids=range(len(CASES["python_tests"])))
def test_the_worked_cases(case):
    assert [earns(completion, **case.row) for completion in case.right] == [1.0] * len(case.right)
    assert [earns(completion, **case.row) for completion in case.wrong] == [0.0] * len(case.wrong)


COMPLETIONS = {
    "a fence": ("x\n```python\na\nb\n```\ny", "a\nb\n"),
    "the last of two": ("```\na\n```\nno:\n```py\nb\n```", "b\n"),
    "after the thinking": ("<think>```\na\n```</think>```\nb\n```", "b\n"),
    "none": ("    return 1\n", "    return 1\n"),
    "an open one": ("```python\na", "a\n"),
    "a closed one before an open one": ("```\na\n```\n```\nb", "a\n"),
    "a longer fence around a fence": ("````\n'''\n```\n'''\n````", "'''\n```\n'''\n"),
    "thinking that does not end": ("<think>```\na\n```", ""),
    "indented in a list": ("1.\n   ```python\na\n   ```", "a\n"),
    "indented with its lines": ("1.\n   ```python\n   if a:\n     b\n   ```", "if a:\n  b\n"),
    "tildes": ("~~~python\na\n~~~", "a\n"),
    "what it prints after it": ("```python\na\n```\nIt prints\n```text\n4\n```", "a\n"),
    "a shell after it": ("```py\na\n```\n```bash\npython a.py\n```", "a\n"),
    "another language alone": ("```text\na\n```", "a\n"),
    "a byte-order mark": ("\ufeffa = 1\n", "a = 1\n"),
}


@pytest.mark.parametrize(("completion", "code"), COMPLETIONS.values(), ids=COMPLETIONS)
def test_where_the_code_is(completion, code):
    assert code_of(completion) == code


@pytest.mark.timeout(5)
@pytest.mark.parametrize("text", ["```\n" * 400_000, "`" * 2_000_000, "```a" * 500_000, "<think>" * 300_000])
def test_finding_it_takes_time_in_proportion(text):
    code_of(text)


DOUBLE = {"entry_point": "double", "tests": [{"call": [2], "expect": 4}, {"call": ["a"], "expect": "aa"}]}


def test_tests_may_be_text_and_tables_may_fill_them_up():
    assert earns("def double(x): return 2 * x", **DOUBLE) == 1.0
    assert earns("def double(x): return 2 * x", entry_point="double", tests=json.dumps(DOUBLE["tests"])) == 1.0
    filled = [{"call": [2], "expect": 4, "input": None, "output": None, "after": None, "tolerance": None}]
    assert earns("def double(x): return 2 * x", entry_point="double", tests=filled) == 1.0


def test_none_is_an_answer_and_the_arguments_after_the_call_too():
    assert earns("def f(): pass", entry_point="f", tests=[{"call": [], "expect": None}]) == 1.0
    row = {
        "entry_point": "f",
        "tests": [{"call": [[1, 2]], "after": [[2, 1]]}, {"call": [[3]], "after": [[3]], "expect": 3}],
    }
    assert earns("def f(a):\n    a.reverse()\n    return a[0]", **row) == 1.0
    assert earns("def f(a):\n    return a[::-1]", **row) == 0.0


def test_a_tolerance_is_for_floats():
    tests = [{"call": [3], "expect": 0.333333, "tolerance": 1e-5}]
    assert earns("def f(n): return 1 / n", entry_point="f", tests=tests) == 1.0
    assert earns("def f(n): return 1 / n", entry_point="f", tests=[{**tests[0], "tolerance": 1e-9}]) == 0.0


def test_asserts_about_the_name_and_objects_by_choice():
    row = {"entry_point": "make", "test": "c = make(); assert c.n == 0; c.up(); assert c.n == 1"}
    code = "class C:\n    n = 0\n    def up(self): self.n += 1\nmake = lambda: C()"

    assert earns(code, **row) == 0.0
    assert earns(code, **row, objects=True) == 1.0


def test_a_starter_may_be_a_bare_signature():
    row = {"starter": "import math\ndef f(x):", "test": "assert f(9) == 3", "entry_point": "f"}
    assert earns("    return math.isqrt(x)", **row) == 1.0
    assert earns("    return x", **row) == 0.0


def test_limits_come_with_the_row():
    row = {"tests": [{"input": "", "output": "1"}]}
    assert earns("import time; time.sleep(2); print(1)", **row, time_limit=0.5) == 0.0
    assert earns("x = bytearray(600 << 20); print(1)", **row) == 0.0
    assert earns("x = bytearray(600 << 20); print(1)", **row, memory_limit=1000) == 1.0


def test_the_share_is_a_metric_and_the_reward_all_or_nothing():
    item = Scored(
        {"prompt": "q", **DOUBLE}, [{"role": "assistant", "content": "def double(x): return x + x if x == 2 else 0"}]
    )
    found = score([python_tests], [item])

    assert found.values.tolist() == [[0.0]]
    assert "share_of_tests" in repr(vars(item.notes)) and "0.5" in repr(vars(item.notes))


BAD = {
    "no tests at all": ({}, "'tests'.*'test'"),
    "an empty list": ({"tests": []}, "no tests"),
    "text that is not JSON": ({"tests": "[", "entry_point": "f"}, "not JSON"),
    "two kinds": ({"tests": [{"input": "", "output": ""}, {"call": [], "expect": 1}], "entry_point": "f"}, "each is"),
    "no entry point": ({"tests": [{"call": [], "expect": 1}]}, "entry_point"),
    "no entry point for a test": ({"test": "assert True"}, "entry_point"),
    "a test that asks nothing": ({"test": "def check(candidate): pass", "entry_point": "f"}, "asks nothing"),
    "a test that is not Python": ({"test": "def check(", "entry_point": "f"}, "'test'.*SyntaxError"),
    "a test that needs what is not there": ({"test": "import numpy\nassert f() == 1", "entry_point": "f"}, "numpy"),
    "no time": ({**DOUBLE, "time_limit": 0}, "time_limit is 0; it should be a number above 0"),
    "a time that is none": ({**DOUBLE, "time_limit": float("nan")}, "time_limit is nan"),
    "no memory": ({**DOUBLE, "memory_limit": -5}, "memory_limit is -5"),
    "a misspelt key": ({"tests": [{"call": [1], "expect": 1.0, "tolerence": 0.1}], "entry_point": "f"}, "'tolerance'"),
    "a tolerance of everything": (
        {"tests": [{"call": [1], "expect": 1.0, "tolerance": float("inf")}], "entry_point": "f"}, "tolerance is inf"),
    "a tolerance that is true": (
        {"tests": [{"call": [1], "expect": 1.0, "tolerance": True}], "entry_point": "f"}, "tolerance is True"),
    "arguments that are a text": ({"tests": [{"call": "1", "expect": 1}], "entry_point": "f"}, "test 1: call is '1'"),
    "arguments by name": ({"tests": [{"call": {"n": 1}, "expect": 1}], "entry_point": "f"}, "a list of arguments"),
    "an input that is a list": ({"tests": [{"input": ["1"], "output": "1"}]}, "test 1: input is"),
    "an output that is true": ({"tests": [{"input": "1", "output": True}]}, "output is True"),
    "a test that passes a function": ({"test": "assert f(lambda: 1) == 1", "entry_point": "f"}, "can't be sent"),
}  # fmt: skip


@pytest.mark.parametrize(("row", "says"), BAD.values(), ids=BAD)
def test_a_row_that_tests_nothing_is_bad_input(row, says):
    with pytest.raises(BadInput, match=says):
        earns("def f(*a): return 1", **row)


def test_a_solution_can_not_make_a_row_look_bad():
    """What it answers may not fit what the test does next; that is a fault of its own."""
    row = {"test": "assert f(1)[:1] == [1]\nassert f(f(1)) == 2", "entry_point": "f"}
    assert earns("class C:\n    pass\ndef f(x): return C()", **row) == 0.0


def test_a_hostile_completion_changes_nothing_for_the_next():
    for code in ("import os\nos._exit(0)", "while True: pass", "x = [0] * 10**12", "\0", "\ud800", "(" * 100_000):
        assert earns(fenced(code), **DOUBLE, time_limit=0.5) == 0.0
        assert earns(fenced("def double(x): return 2 * x"), **DOUBLE) == 1.0


def test_where_the_sandbox_fails_the_row_is_unscorable():
    import os
    import signal

    item = Scored({"prompt": "q", **DOUBLE}, [{"role": "assistant", "content": "def double(x): return 2 * x"}])
    os.kill(default().pid, signal.SIGKILL)
    found = score([python_tests], [item])
    if found.errors[0] is None:  # it had not fallen yet
        os.kill(default().pid, signal.SIGKILL)
        found = score([python_tests], [item])

    assert "SandboxFailure" in str(found.errors[0]) and str(found.total[0]) == "nan"
    assert earns("def double(x): return 2 * x", **DOUBLE) == 1.0
