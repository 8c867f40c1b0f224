"""Plain data over the socket: what goes through, and what a hostile other side can send."""

import collections
import enum
import json
import math
import socket
import struct
import time
from decimal import Decimal
from fractions import Fraction

import pytest
from journeyman.rewards.sandbox import wire
from journeyman.rewards.sandbox.compare import same, same_output

Point = collections.namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    RED = 1


class Liar(str):
    def __str__(self):
        return "another"

    __repr__ = __add__ = __radd__ = __str__


FLATTENED = [
    (True, True), (2**62, 2**62), (-(10**5000), -(10**5000)),
    (-0.0, -0.0), ("\ud800\0", "\ud800\0"), (Fraction(1, 3), Fraction(1, 3)),
    (Decimal("1.50"), Decimal("1.50")), (range(1, 9, 2), range(1, 9, 2)),
    ({1: {2: (3,)}}, {1: {2: (3,)}}), ({"d": 1}, {"d": 1}),
    (Point(1, 2), (1, 2)), (collections.Counter("aab"), {"a": 2, "b": 1}), (Colour.RED, 1), (Liar("text"), "text"),
    ({Liar("k"): {Liar("v")}}, {"k": {"v"}}),
    (collections.OrderedDict(a=1), {"a": 1}), (bytearray(b"\xff"), bytearray(b"\xff")),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "got"), FLATTENED, ids=lambda value: type(value).__name__)
def test_what_arrives_is_of_base_types(sent, got):
    arrived = wire.unpack(json.loads(json.dumps(wire.pack(sent))))

    assert arrived == got and type(arrived) is type(got)
    assert not isinstance(arrived, float) or math.copysign(1, arrived) == math.copysign(1, got)


def test_what_is_not_data_is_kept_or_refused():
    kept = []
    assert wire.unpack(wire.pack([object], lambda thing: kept.append(thing) or 5))[0].number == 5
    assert kept == [object]
    with pytest.raises(wire.WireError, match="not data"):
        wire.pack([object()])


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def test_depth_is_bounded_on_both_sides():
    assert wire.unpack(wire.pack(deep(150))) == deep(150)
    with pytest.raises(wire.WireError, match="deep"):
        wire.pack(deep(300))
    with pytest.raises(wire.WireError, match="deep"):
        wire.unpack(deep(300))


PRIME = 2**61 - 1
MALFORMED = {
    "two tags": {"t": [], "s": []},
    "no tag": {},
    "an unknown tag": {"z": 1},
    "a tag's name in part": {"": []},
    "a set of lists": {"s": [[1]]},
    "a dict of one-item pairs": {"d": [[1]]},
    "bytes beyond a byte": {"b": "\u1234"},
    "a fraction of nothing": {"q": [1, 0]},
    "a decimal that is none": {"m": "x"},
    "a big number that is none": {"i": "xyz"},
    "a range of texts": {"r": ["a"]},
    "a handle of text": {"h": "1"},
    "a list for bytes": {"b": [1]},
    "a complex of texts": {"c": ["a", "b", "c"]},
    "keys that share a hash": {"s": [{"i": hex(k * PRIME)} for k in range(5000)]},
}


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED)
def test_what_pack_never_makes_is_an_error_of_the_wire(value):
    began = time.monotonic()
    with pytest.raises(wire.WireError):
        wire.unpack(value)
    assert time.monotonic() - began < 1


FRAMES = {
    "too long": struct.pack("!I", 5 << 20),
    "not JSON": struct.pack("!I", 3) + b"abc",
    "not text": struct.pack("!I", 2) + b"\xff\xfe",
    "nested": struct.pack("!I", 200_000) + b"[" * 200_000,
    "a number without end": struct.pack("!I", 100_000) + b"9" * 100_000,
}


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_a_frame_that_is_no_message(data):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        theirs.send(data)
        with pytest.raises(wire.WireError):
            wire.receive(ours, time.monotonic() + 5)


def test_a_message_that_does_not_come_and_one_that_stops():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"\0\0\0\x09[1")
        with pytest.raises(TimeoutError):
            wire.receive(ours, time.monotonic() + 0.05)
        theirs.close()
        with pytest.raises(EOFError):
            wire.receive(ours, time.monotonic() + 5)


SAME = [
    (1, 1, True), (True, 1, False), (1, True, False),
    ("1", 1, False), (2, 2.0, True), (2.0, 2, False), (0.1 + 0.2, 0.3, False),
    (float("nan"), float("nan"), True), (10**400, 1.0, False),
    ((1, 2), [1, 2], True), ([1, 2], (1, 2), False), ([1, [True]], [1, [1]], False),
    ({1: "a"}, {"1": "a"}, True), ({"a": 1}, {"a": 1, "b": 2}, False),
    ({1, 2}, {2, 1}, True), (None, None, True), (None, False, False),
    ("", None, False), (deep(500), deep(500), False), (Decimal("sNaN"), Decimal("sNaN"), False),
]  # fmt: skip


@pytest.mark.parametrize(("got", "expected", "equal"), SAME, ids=range(len(SAME)))
def test_same_by_exact_types(got, expected, equal):
    assert same(got, expected) is equal


def test_floats_within_a_tolerance():
    assert same([0.1 + 0.2], [0.3], 1e-9) and not same([0.31], [0.3], 1e-3)


OUTPUTS = [
    ("1 \n2\n\n", "1\n2", True),
    ("1\n\n2", "1\n2", False),
    (" 1", "1", False),
    ("", "\n", True),
    ("1\r\n", "1", True),
    ("1 2", "12", False),
]


@pytest.mark.parametrize(("got", "expected", "equal"), OUTPUTS)
def test_outputs_line_by_line(got, expected, equal):
    assert same_output(got, expected) is equal
