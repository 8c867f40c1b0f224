"""Code that passes its tests, run in the sandbox.

Invariants: the model's code runs in a process that holds no test and no expected value; what fails on the code's side
earns 0, what fails on the sandbox's side is an exception, which makes the row unscorable; a row whose tests can't be used is
BadInput whatever the completion, and no completion makes a good row look bad.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..configs.errors import BadInput, nearest
from .cases import Case
from .core import reward
from .sandbox import Sandbox, default
from .sandbox import warm as start_sandbox
from .sandbox.compare import same, same_output
from .text import after_thinking

SECONDS, MEMORY_MB = 5.0, 512
KEYS = ("input", "output", "call", "expect", "after", "tolerance")
"""Of a test."""


def warm() -> dict[str, str]:
    """Start the sandbox, before a model is loaded; what goes into a run's record."""
    return {"sandbox": start_sandbox().level}


def code_of(completion: str) -> str:
    """The code of an answer: its last closed fenced block after the thinking, or else the last open one, or else all of it.

    Blocks that are marked as another language (`bash`, `text`) don't count where one is marked as Python or not at all. A
    block in a list item loses the item's indentation.
    """
    blocks: list[_Block] = []
    open_block: _Block | None = None
    text = after_thinking(completion).removeprefix("\ufeff")
    for line in text.split("\n"):
        bare = line.strip()
        if open_block is not None:
            if bare == open_block.fence:
                open_block.closed, open_block = True, None
            else:
                open_block.lines.append(line)
        elif bare.startswith(("```", "~~~")):
            length = len(bare) - len(bare.lstrip(bare[0]))
            open_block = _Block(bare[0] * length, bare[length:].strip().lower(), line[: len(line) - len(line.lstrip())])
            blocks.append(open_block)
    if not blocks:
        return text
    python = [block for block in blocks if _is_python(block.language)] or blocks
    last = ([block for block in python if block.closed] or python)[-1]
    return "\n".join(line.removeprefix(last.indent) for line in last.lines) + "\n"


def _is_python(language: str) -> bool:
    """Whether what follows a fence says Python, or nothing; `pycon` is a dialogue with the interpreter."""
    return not language or (language.startswith("py") and not language.startswith("pycon"))


@dataclass
class _Block:
    """A fenced block: its fence, what follows the fence on its line, and the white space before it."""

    fence: str
    language: str
    indent: str
    closed: bool = False
    lines: list[str] = field(default_factory=list)


@reward(concurrent=True)
def python_tests(
    completion: str,
    tests: str | Sequence[Mapping[str, Any]] | None = None,
    test: str | None = None,
    entry_point: str | None = None,
    starter: str = "",
    objects: bool | None = None,
    time_limit: float = SECONDS,
    memory_limit: int = MEMORY_MB,
    log_metric: Callable[[str, float], None] | None = None,
) -> float:
    """1 where the completion's code passes every test of its row, else 0; the share passed is logged as a metric (of
    programs the share before the first that failed: the others are not run).

    Columns: either `tests`, a list (or its JSON text) of `{"input", "output"}` for programs (standard input and output,
    compared line by line, trailing white space ignored) or of `{"call", "expect"}` for the function `entry_point` (an
    argument list, and the value by exact types; `{"call", "after"}` compares the argument list as the call left it;
    `"tolerance"` lets floats differ, and a float pass for an int); or `test`, code that defines `check(candidate)` as
    HumanEval has it or asserts about `entry_point` as MBPP has it. `starter` goes before the completion: imports,
    helpers, or the signature that it continues. `objects`: whether `entry_point` gives objects whose attributes the test
    uses; by default where its name begins with a capital. `time_limit`: seconds for all calls of a row together, or for
    each program. `memory_limit`: MiB.

    Source: HumanEval (arXiv 2107.03374), MBPP (2108.07732), APPS (2105.09938) for the forms; the judge outside the
    solver's process is ours.

    Known ways of being gamed: code that is right on the tests alone; tests that are public can be learned by heart, so
    keep those of held-out rows out of prompts. A test that compares two of the solver's own objects asks the solver.

    Raises:
        BadInput: the row has no tests, or tests that can't be run from outside.
        SandboxFailure: the sandbox failed, not the code.
    """
    code = f"{starter}\n{code_of(completion)}" if starter else code_of(completion)
    limits: dict[str, Any] = {
        "seconds": _above_0("time_limit", time_limit),
        "memory_mb": int(_above_0("memory_limit", memory_limit)),
    }
    box = default()
    if test is not None:
        if not entry_point:
            raise BadInput("column 'test' needs a column 'entry_point': the name of the function or class under test")
        passed = [box.check(code, test, entry_point, starter=starter, objects=objects, **limits).passed]
    else:
        passed = _judge(box, code, _read(tests), entry_point, limits)
    if log_metric is not None:
        log_metric("share_of_tests", sum(passed) / len(passed))
    return float(all(passed))


def _read(tests: Any) -> list[Mapping[str, Any]]:
    try:
        read = json.loads(tests) if isinstance(tests, str) else tests
    except ValueError as error:
        raise BadInput(f"column 'tests' is text that is not JSON: {error}") from None
    if not isinstance(read, Sequence) or not read or not all(isinstance(test, Mapping) for test in read):
        raise BadInput(
            "the row has no tests: give a column 'tests' with a list of {'input', 'output'} or {'call', 'expect'}, or a "
            "column 'test' with code that defines check(candidate)"
        )
    # A table fills the keys that a row lacks with None.
    kept: list[Mapping[str, Any]] = [
        {key: value for key, value in test.items() if value is not None or key == "expect"} for test in read
    ]
    for number, test in enumerate(kept, 1):
        _check(test, f"column 'tests', test {number}")
    return kept


def _check(test: Mapping[str, Any], where: str) -> None:
    """Raise BadInput where one test's keys or values make no sense."""
    for key in test:
        if key not in KEYS and (meant := nearest(str(key), KEYS)):
            raise BadInput(f"{where}: there is no key '{key}'{meant}")
    for key in ("input", "output"):
        if isinstance(test.get(key, ""), bool | list | tuple | Mapping):
            raise BadInput(
                f"{where}: {key} is {test[key]!r:.60}; it should be a text, as the program reads and writes it"
            )
    if isinstance(test.get("call", ()), str) or not isinstance(test.get("call", ()), Sequence):
        raise BadInput(f"{where}: call is {test['call']!r:.60}; it should be a list of arguments")
    tolerance = test.get("tolerance", 0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise BadInput(f"{where}: tolerance is {tolerance!r}; it should be a number, 0 or more")


def _above_0(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise BadInput(f"{key} is {value!r}; it should be a number above 0")
    return float(value)


def _judge(box: Sandbox, code: str, tests: list[Mapping[str, Any]], entry_point: str | None,
           limits: dict[str, Any]) -> list[bool]:  # fmt: skip
    kinds = {"input" if "output" in test else "call" if "call" in test else "" for test in tests}
    if kinds == {"input"}:
        passed = [False] * len(tests)
        for i, test in enumerate(tests):
            out = box.program(code, str(test.get("input", "")), **limits)
            passed[i] = not out.why and same_output(out.stdout, str(test["output"]))
            if not passed[i]:  # nothing can be earned any more, and each of the others may take its whole time
                break
        return passed
    if kinds != {"call"} or not all("expect" in test or "after" in test for test in tests):
        raise BadInput(
            "column 'tests': each is {'input', 'output'}, or each is {'call', 'expect'} or {'call', 'after'}"
        )
    if not entry_point:
        raise BadInput("column 'tests' with calls needs a column 'entry_point': the name of the function under test")
    in_place = any("after" in test for test in tests)
    replies = box.calls(code, entry_point, [test["call"] for test in tests], in_place=in_place, **limits)
    return [_right(test, reply.value, reply.why, in_place) for test, reply in zip(tests, replies, strict=True)]


def _right(test: Mapping[str, Any], value: Any, why: str, in_place: bool) -> bool:
    if why:
        return False
    after = None
    if in_place:
        if type(value) is not tuple or len(value) != 2:
            return False
        value, after = value
    tolerance = float(test.get("tolerance", 0.0))
    expected = test.get("expect")
    right = ("after" in test and expected is None) or same(value, expected, tolerance)
    return right and ("after" not in test or same(after, test["after"], tolerance))


def _fenced(code: str) -> str:
    return f"So:\n```python\n{code}\n```\n"


_DOUBLE = {"tests": [{"call": [2], "expect": 4}, {"call": [-3], "expect": -6}], "entry_point": "double"}
_SUM = {"tests": [{"input": "1 2\n", "output": "3"}, {"input": "5 -7\n", "output": "-2\n"}]}
_LAST = {
    "starter": 'def last(items):\n    """The last item, or None."""\n',
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 2\n    assert candidate([]) is None\n",
    "entry_point": "last",
}
_HOSTILE = [
    "",
    _fenced("class Same(int):\n    def __eq__(self, other): return True\ndef double(n): return Same(0)\nlast = double"),
    _fenced("import os\nos._exit(0)"),
    _fenced("raise SystemExit(0)"),
    _fenced("def double(n):\n    import sys\n    return sys._getframe(1).f_locals\nlast = double"),
]

CASES = {
    "python_tests": [
        Case(
            _DOUBLE,
            right=[_fenced("def double(n):\n    return 2 * n"), "def double(n): return n + n"],
            wrong=[_fenced("def double(n): return 4"), _fenced("def double(n): return 2.0 * n"), *_HOSTILE],
        ),
        Case(
            _SUM,
            right=[_fenced("print(sum(map(int, input().split())))")],
            wrong=[_fenced("print(3)"), _fenced("print('3 -2')"), *_HOSTILE],
        ),
        Case(
            _LAST,
            right=["    return items[-1] if items else None\n", _fenced("def last(a): return a[-1] if a else None")],
            wrong=["    return items[-1]\n", _fenced("def last(a): return 2"), *_HOSTILE],
        ),
    ]
}
