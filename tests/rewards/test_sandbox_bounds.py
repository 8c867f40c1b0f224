"""What a completion can't do to its row, to the process that trains, and to the completions that run beside it."""

import datetime
import json
import math
import os
import threading
import time
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from journeyman.configs import BadInput
from journeyman.rewards.code import python_tests
from journeyman.rewards.sandbox import Sandbox, SandboxFailure, wire
from journeyman.rewards.sandbox.client import NotStarted
from journeyman.rewards.sandbox.compare import same
from journeyman.rewards.sandbox.levels import lacks

LEVELS = [level for level in ("ns", "lite") if not lacks(level)]


def earns(completion, **row):
    (value,) = python_tests(prompts=["q"], completions=[completion], **{key: [value] for key, value in row.items()})
    return value


NOT_A_FUNCTION = [
    "solve = 5", "solve = 'text'", "solve = None", "solve = [1, 2]", "solve = {}", "solve = 1.5", "solve = b''",
    "import math as solve", "class C: pass\nsolve = C()", "class solve: pass", "solve = property(len)",
    "async def solve(*a): return 2", "def solve(*a): yield 2", "x = 1", "import datetime\nsolve = datetime.date(1, 1, 1)",
    "class Meta(type):\n    def __call__(cls): raise SystemExit\nclass solve(metaclass=Meta): pass",
]  # fmt: skip
TESTS = {
    "check": "def check(candidate):\n    assert candidate(1) == 2",
    "asserts": "assert solve(1) == 2",
    "swallows": "try:\n    got = solve(1)\nexcept TypeError:\n    got = 2\nassert got == 3",
    "a raise is right": "try:\n    solve(1)\nexcept TypeError:\n    pass",
}


@pytest.mark.parametrize("test", TESTS.values(), ids=TESTS)
def test_an_entry_point_that_is_no_function_earns_nothing(test):
    codes = NOT_A_FUNCTION if "pass" not in test else NOT_A_FUNCTION[:7]

    assert [earns(code, test=test, entry_point="solve") for code in codes] == [0.0] * len(codes)


@pytest.mark.parametrize("code", ["solve = 5", "def solve(x): return 2"])
@pytest.mark.parametrize("test", ["def check(candidate): pass", "assert no_such_name", "assert solve(lambda: 1) == 1"])
def test_whether_a_test_is_bad_does_not_depend_on_the_completion(code, test):
    with pytest.raises(BadInput, match="column 'test'"):
        earns(code, test=test, entry_point="solve")


P = 2**61 - 1
GIANT = {
    "a fraction with an exponent": {"q": ["1e30000000"]},
    "a fraction of giant parts": {"q": [{"i": hex(3**2_500_000)}, {"i": hex(7**1_400_000)}]},
    "many large fractions": [{"q": [{"i": hex(3**100_000)}, {"i": hex(7**60_000)}]}] * 40,
    "a range of giant steps": {"r": [0, {"i": hex(3**4_000_000)}, {"i": hex(3**2_000_000)}]},
    "a giant key beside a Decimal": {"s": [{"m": "5"}, {"i": hex(5 + P * (1 << 8_000_000))}]},
    "long keys of one hash": {"s": [{"t": [10**6 + i for i in range(400)] + [n * P]} for n in range(990)]},
    "more values than are read": [[{"t": []}] * 400_000, [{"t": []}] * 400_000],
    "a Decimal out of parts": {"m": [0, [1, 2], 3]},
    "a complex out of text": {"c": ["1" * 100, "2"]},
    "a date beyond all": {"a": [10**6, 1, 1]},
    "a time that lasts for ever": {"l": [10**12, 0, 0]},
    "a zone out of text": {"z": "UTC"},
    "a deque of giant room": {"e": [[], 10**30]},
}


@pytest.mark.parametrize("value", GIANT.values(), ids=GIANT)
def test_what_would_cost_the_trainer_seconds_is_refused_before_it_is_built(value):
    began = time.process_time()
    with pytest.raises(wire.WireError):
        wire.unpack(value)

    assert time.process_time() - began < 3


def test_digits_are_bounded_where_python_does_not_bound_them():
    import socket
    import sys

    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    ours, theirs = socket.socketpair()
    try:
        with ours, theirs:
            data = b"1" * 1_500_000
            feeder = threading.Thread(target=theirs.sendall, args=[len(data).to_bytes(4, "big") + data])
            feeder.start()
            began = time.process_time()
            with pytest.raises(wire.WireError):
                wire.receive(ours, time.monotonic() + 30)
            feeder.join()
        assert time.process_time() - began < 1
    finally:
        sys.set_int_max_str_digits(before)


BY_TYPE = [
    ({1: 7, "1": 5}, {"1": 5}, False), ({1: 5}, {"1": 5}, True), ({0.5: 5}, {"0.5": 5}, True),
    ({True: 5}, {"True": 5}, False), ({True: 5}, {1: 5}, False), ({1.0: 5}, {1: 5}, False), ({1: 5}, {1.0: 5}, True),
    ({True, 2}, {1, 2}, False), ({1.0}, {1}, False), (frozenset([True]), frozenset([1]), False),
    ({(1, True): 5}, {(1, 1): 5}, False), ({1, 2}, [1, 2], False), (b"a", "a", False), ([1.0], [1], False),
    (deque([1]), [1], False), (deque([1]), deque([1]), True), (deque([True]), deque([1]), False),
    (Decimal(1), 1, False), (datetime.date(2024, 3, 6), "2024-03-06", False), (-0.0, 0.0, True),
    (math.nan, math.nan, True), ({}, {"a": 1}, False),
]  # fmt: skip


@pytest.mark.parametrize(("got", "expected", "equal"), BY_TYPE, ids=range(len(BY_TYPE)))
def test_keys_and_members_are_compared_by_type_too(got, expected, equal):
    assert same(got, expected) is equal


def test_a_tolerance_lets_a_float_pass_for_an_int():
    assert same(math.sqrt(16), 4, 1e-9) and not same(math.sqrt(16), 4) and not same(4.1, 4, 1e-9)
    assert not same(True, 1, 1e-9) and not same("4", 4, 1e-9)


STANDARD = {
    "date": "datetime.date(2024, 3, 6)",
    "datetime": "datetime.datetime(2024, 3, 6, 1, 2, 3, 4)",
    "aware": "datetime.datetime(2024, 3, 6, tzinfo=datetime.timezone(datetime.timedelta(hours=5)))",
    "time": "datetime.time(23, 59, fold=1)",
    "timedelta": "datetime.timedelta(days=-3, microseconds=7)",
    "timezone": "datetime.timezone.utc",
    "deque": "collections.deque([1, (2, 3)], maxlen=5)",
    "keys": "{'b': 1, 'a': 2}.keys()",
    "items": "{'b': 1, 'a': [2]}.items()",
    "float for int": "math.sqrt(16)",
    "Fraction": "fractions.Fraction(-3, 7)",
    "Decimal": "decimal.Decimal('-1.50E+9')",
    "complex": "complex(3, -2)",
    "Counter": "collections.Counter('aab')",
    "range": "range(9, 1, -2)",
}
IMPORTS = "import collections, datetime, decimal, fractions, math\n"


@pytest.mark.parametrize("text", STANDARD.values(), ids=STANDARD)
def test_values_of_the_standard_library_go_both_ways_under_a_test(text):
    row = {"test": f"{IMPORTS}assert f({text}) == {text}\nassert f(1) == 2", "entry_point": "f"}

    assert earns(f"{IMPORTS}def f(x):\n    return 2 if x == 1 else {text} if x == {text} else x", **row) == 1.0
    assert earns("def f(x): return 2 if x == 1 else None", **row) == 0.0


def test_dates_keep_their_parts():
    moment = datetime.datetime(2024, 3, 6, 1, 2, 3, 4, tzinfo=datetime.UTC, fold=1)
    arrived = wire.unpack(json.loads(json.dumps(wire.pack([moment, OrderedDict(a=1).keys()]))))

    assert arrived[0] == moment and (arrived[0].fold, arrived[0].tzinfo) == (1, datetime.UTC)
    assert list(arrived[1]) == ["a"]


PEEK = """
import socket, time

end = socket.socket(fileno=3)

def f(n):
    time.sleep(0.05)
    try:
        return len(end.recv(1 << 16, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return 0
"""


def test_the_next_arguments_are_not_there_before_the_answer():
    with Sandbox() as box:
        replies = box.calls(PEEK, "f", [[n] for n in range(3)])

    assert [reply.value for reply in replies] == [0, 0, 0]


BOMB = """
import _thread, threading, time

def f(most):
    threading.stack_size(32768)
    made = 0
    try:
        while made < most:
            _thread.start_new_thread(time.sleep, (60,))
            made += 1
    except (RuntimeError, MemoryError):
        pass
    return made
"""
ONE_BY_ONE = """
import threading

def f(n):
    done = []
    for i in range(n):
        thread = threading.Thread(target=done.append, args=[i])
        thread.start()
        thread.join()
    return len(done)
"""


@pytest.mark.parametrize("level", LEVELS)
def test_threads_are_bounded_at_a_time_and_not_in_all(level):
    with Sandbox(level) as box:
        (bomb,) = box.calls(BOMB, "f", [[3000]], seconds=20)
        (honest,) = box.calls(ONE_BY_ONE, "f", [[300]], seconds=30)

    assert bomb.value < 200 and honest.value == 300


def test_programs_end_at_the_first_failure():
    tests = [{"input": "", "output": "1"}] * 8
    began = time.monotonic()

    assert earns("import time; time.sleep(60)", tests=tests, time_limit=0.5) == 0.0
    assert time.monotonic() - began < 3


def test_a_sandbox_that_switched_itself_off_comes_back(monkeypatch):
    monkeypatch.setattr("journeyman.rewards.sandbox.breaker.PAUSE", 0.3)
    monkeypatch.setattr("journeyman.rewards.sandbox.box._PAUSES", (0.0,))
    with Sandbox() as box, monkeypatch.context() as broken:

        def fails(*_):
            raise NotStarted("no room")

        broken.setattr("journeyman.rewards.sandbox.box.greet", fails)
        for _ in range(5):
            with pytest.raises(SandboxFailure, match="no room"):
                box.calls("def f(): return 1", "f", [[]])
        with pytest.raises(SandboxFailure, match="switched itself off: it failed 5 of the last 5"):
            box.calls("def f(): return 1", "f", [[]])
        time.sleep(0.4)
        with pytest.raises(SandboxFailure, match="no room"):  # tried, in vain
            box.calls("def f(): return 1", "f", [[]])
        broken.undo()
        with pytest.raises(SandboxFailure, match="switched itself off"):
            box.calls("def f(): return 1", "f", [[]])
        time.sleep(0.4)
        assert [box.calls("def f(): return 1", "f", [[]])[0].value for _ in range(3)] == [1, 1, 1]


def test_a_completion_that_found_no_process_is_tried_again(monkeypatch):
    from journeyman.rewards.sandbox import box as room

    left, real = [2], room.greet

    def once_more(end):
        real(end)
        if left[0]:
            left[0] -= 1
            raise NotStarted("could not fork")

    monkeypatch.setattr(room, "greet", once_more)
    with Sandbox() as box:
        assert box.calls("def f(): return 1", "f", [[]])[0].value == 1


CROWD = """
import hashlib, threading

def f(n):
    def work():
        while True:
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", 200_000)
    threading.stack_size(65536)
    for _ in range(100):
        threading.Thread(target=work, daemon=True).start()
    threading.Event().wait()
"""
HONEST = """
import time

def f(n):
    while time.process_time() < 0.3:
        n += 1
    return True
"""


@pytest.mark.long
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor is shared by turns")
def test_a_crowd_of_threads_leaves_the_neighbour_its_time():
    with Sandbox(workers=2) as box, ThreadPoolExecutor(2) as pool:
        crowd = pool.submit(box.calls, CROWD, "f", [[0]], seconds=12)
        time.sleep(0.5)
        honest = box.calls(HONEST, "f", [[0]], seconds=10)

        assert honest[0].value is True, honest
        assert crowd.result()[0].why in ("time", "gone")


def test_links_of_the_host_can_not_be_read():
    for level in LEVELS:
        with Sandbox(level) as box:
            code = "import os\ndef f(path): return os.readlink(path)"
            assert box.calls(code, "f", [[f"/proc/{os.getpid()}/exe"]])[0].value is None
