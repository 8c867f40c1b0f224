"""What the sandbox answers, and what happens when it fails itself."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from journeyman.configs import BadInput
from journeyman.rewards import sandbox
from journeyman.rewards.sandbox import Sandbox, SandboxFailure, wire
from journeyman.rewards.sandbox.client import Zygote
from journeyman.rewards.sandbox.levels import lacks
from journeyman.rewards.sandbox.session import Ended, Session

LEVELS = [level for level in ("ns", "lite") if not lacks(level)]


@pytest.fixture(scope="module", params=LEVELS)
def box(request):
    with Sandbox(request.param) as made:
        yield made


def test_this_machine_has_a_sandbox():
    assert LEVELS, "these tests need Linux 5.13 or newer with Landlock"
    with Sandbox() as box:
        assert box.level == LEVELS[0]


VALUES = [
    None, True, 7, -(10**40), 1.5, float("inf"), "a\0\ud800", b"\0\xff", [1, [2]], (1, "a"), {"a": 1, 2: (3,)}, {1, 2},
    frozenset([3]), 1 + 2j, range(3), bytearray(b"x"),
]  # fmt: skip


def test_values_go_there_and_come_back_as_they_were(box):
    replies = box.calls("def same(value): return value", "same", [[value] for value in VALUES])

    assert [reply.value for reply in replies] == VALUES
    assert [type(reply.value) for reply in replies] == [type(value) for value in VALUES]


FAILING = {
    "raises": ("def f(): return {}['a']", "KeyError: 'a'"),
    "is not Python": ("def f(:", "SyntaxError"),
    "has a null byte": ("def f(): return '\0'", "null byte"),
    "is not there": ("def g(): pass", "NameError: the code defines no f"),
    "exits": ("def f(): raise SystemExit(0)", "SystemExit"),
    "leaves": ("import os\ndef f(): os._exit(0)", "gone"),
    "crashes": ("import ctypes\ndef f(): ctypes.string_at(0)", "gone"),
    "sleeps": ("import time\ndef f(): time.sleep(99)", "time"),
    "eats memory": ("def f(): return len(bytearray(1 << 30))", "MemoryError"),
    "speaks out of turn": ("import os\ndef f(): os.write(3, b'\\0\\0\\0\\2[]')", "protocol"),
    "answers too much": ("def f(): return 'x' * (5 << 20)", "over 4 MB"),
    "opens a file": (f"def f(): open({__file__!r})", "Error"),
}


@pytest.mark.parametrize(("code", "why"), FAILING.values(), ids=FAILING)
def test_why_a_call_has_no_value(box, code, why):
    (reply,) = box.calls(code, "f", [[]], seconds=1 if why == "time" else 10)

    assert reply.value is None and why in reply.why
    assert box.calls("def f(): return 1", "f", [[]])[0].value == 1


def test_calls_that_went_well_before_a_failure_stay(box):
    replies = box.calls(
        "def f(n): return 6 // n if n < 3 else exit_now()\nfrom os import abort as exit_now", "f", [[1], [0], [3], [2]]
    )

    assert replies[0].value == 6
    assert replies[1].why.startswith("ZeroDivisionError")
    assert [reply.why for reply in replies[2:]] == ["gone", "gone"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_server_that_is_going_down_is_known_to_be_gone_after_a_failure(level):
    server = Zygote(level)
    server.check()
    assert not server.broken
    os.kill(server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    server.check()  # it may still take orders
    assert server.broken
    server.close()


def test_answers_that_came_before_the_solver_went_are_still_there():
    ours, theirs = socket.socketpair()
    with ours:
        session = Session(ours, 10)
        asked = session.question("global", "f", [1])
        session.put(asked.frame * 2)
        wire.receive(theirs)
        wire.send(theirs, [asked.nonce, "value", wire.pack(6)])
        theirs.close()  # the second question is unread
        session.put(b"")

        assert session.take(asked) == 6
        with pytest.raises(Ended, match="gone"):
            session.take(asked)


def test_an_answer_that_lies_ready_is_too_late_too():
    """Else a solver that always has another byte ready, or a judge that always has another question, has no deadline."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session = Session(ours, 0)
        asked = session.question("global", "f", [1])
        wire.send(theirs, [asked.nonce, "value", wire.pack(6)])

        with pytest.raises(Ended, match="time"):
            session.take(asked)


def test_a_function_in_place_and_large_arguments(box):
    numbers = list(range(50_000))
    (reply,) = box.calls("def f(items): items.reverse()", "f", [[numbers]], in_place=True)

    assert reply.value == (None, [numbers[::-1]])


def test_an_argument_that_is_not_data_is_bad_input(box):
    with pytest.raises(BadInput, match=r"tests.*not data"):
        box.calls("def f(x): pass", "f", [[object()]])


PROGRAMS = {
    "adds": ("print(sum(map(int, input().split())))", "1 2", "3\n", ""),
    "knows that it is the main program": ("if __name__ == '__main__': print('yes')", "", "yes\n", ""),
    "reads bytes": ("import sys; print(len(sys.stdin.buffer.read()))", "é" * 100_000, "200000\n", ""),
    "exits with a code": ("print(1); raise SystemExit(3)", "", "1\n", "exit code 3"),
    "exits well": ("print(1); raise SystemExit", "", "1\n", ""),
    "raises": ("print(1); 1 / 0", "", "1\n", "exit code 1"),
    "dies of a signal": ("import ctypes; ctypes.string_at(0)", "", "", "exit code -11"),
    "prints what is not text": ("import os; os.write(1, b'a\\xff')", "", "a\N{REPLACEMENT CHARACTER}", ""),
    "waits for its threads": (
        "import threading, time\ndef late(): time.sleep(0.1); print('late')\nthreading.Thread(target=late).start()",
        "", "late\n", "",
    ),
    "hangs": ("print(1, flush=True)\nwhile True: pass", "", "1\n", "time"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "stdin", "stdout", "why"), PROGRAMS.values(), ids=PROGRAMS)
def test_what_a_program_prints(box, code, stdin, stdout, why):
    out = box.program(code, stdin, seconds=1 if why == "time" else 10)

    assert (out.stdout, out.why) == (stdout, why)


def test_a_program_that_prints_without_end_is_cut_short(box):
    out = box.program("while True: print('x' * 10**6)", seconds=10)

    assert "over 4 MB" in out.why and len(out.stdout) == 4 << 20


def test_scratch_files_are_there_at_ns_alone_and_do_not_last():
    code = "import os\ndef f():\n    seen = os.listdir('.')\n    open('a', 'w').write('a')\n    return [seen, os.listdir('.')]"
    for level in LEVELS:
        with Sandbox(level) as box:
            values = [box.calls(code, "f", [[]])[0].value for _ in range(2)]
        assert values == ([[[], ["a"]]] * 2 if level == "ns" else [None, None])


def test_many_at_once_do_not_mix(box):
    def one(n):
        return box.calls("import time\ndef f(n):\n    time.sleep(0.01)\n    return n", "f", [[n], [n + 1]], seconds=30)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(60)))

    assert [[reply.value for reply in replies] for replies in answers] == [[n, n + 1] for n in range(60)]


def test_the_server_falls_and_no_code_is_blamed_for_it(box):
    began = time.monotonic()
    threading.Timer(0.3, os.kill, [box.pid, signal.SIGKILL]).start()
    with pytest.raises(SandboxFailure):
        box.calls("import time\ndef f(): time.sleep(20)", "f", [[]], seconds=30)

    assert time.monotonic() - began < 10
    assert box.calls("def f(): return 1", "f", [[]])[0].value == 1


def killed(pid):
    """Kill a process, and return once it is dead: on a busy machine it may get to answer one more call."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.005)


def test_a_sandbox_that_keeps_failing_switches_itself_off():
    with Sandbox() as box:
        for _ in range(5):
            killed(box.pid)
            with pytest.raises(SandboxFailure):
                box.calls("def f(): return 1", "f", [[]])
        with pytest.raises(SandboxFailure, match="switched itself off: it failed 5 of the last 5"):
            box.calls("def f(): return 1", "f", [[]])
        box.close()
        assert box.calls("def f(): return 1", "f", [[]])[0].value == 1


def test_wrong_and_hostile_code_does_not_count_as_failing():
    with Sandbox() as box:
        for _ in range(8):
            assert box.calls("import os\nos.abort()", "f", [[]])[0].why == "gone"
        assert box.calls("def f(): return 1", "f", [[]])[0].value == 1


def test_the_server_is_small_and_ends_with_its_owner():
    code = (
        "import os, signal, sys\nfrom journeyman.rewards.sandbox import warm\n"
        "print(warm().pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            break
        time.sleep(0.05)

    assert not os.path.exists(f"/proc/{pid}")
    with Sandbox() as box, open(f"/proc/{box.pid}/status") as status:
        size = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert size < 40_000  # kB


def test_a_level_that_there_is_not():
    with pytest.raises(BadInput, match=r"'light'.*'lite'"):
        Sandbox("light")


def test_limits_alone_must_be_asked_for_by_name(caplog):
    with Sandbox("unsafe") as box:
        assert box.level == "unsafe"
        assert box.calls("def f(): return 1", "f", [[]])[0].value == 1
    assert "limits alone" in caplog.text


def test_what_was_installed_beside_the_standard_library_is_out_of_reach(box):
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    installed = [path for path in (library / "site-packages").rglob("*") if path.is_file()][:20]
    code = "def f(paths):\n    seen = []\n    for path in paths:\n        try: seen.append(open(path, 'rb').read(1))\n"
    code += "        except OSError: pass\n    return len(seen)"

    assert box.calls(code, "f", [[[str(path) for path in installed]]])[0].value == 0
    assert box.calls(code, "f", [[[str(library / "os.py")]]])[0].value == 1


def test_another_system_is_told_so(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxFailure, match=r"64-bit Linux.*darwin"):
        Sandbox()


def test_the_process_has_one_of_its_own():
    assert sandbox.warm() is sandbox.default() is sandbox.warm(sandbox.default().level)
