"""Answers that no honest server gives: packed, endless, deep, or with headers that mean nothing."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
from journeyman.configs.read import load_attribute
from journeyman.rewards.core import Failure, Scored
from journeyman.rewards.judge import judge

JudgeServer = load_attribute(f"{Path(__file__).with_name('judge_server.py')}:JudgeServer")


def ask(server, retries):
    """What one answer earns from a judge at `server`."""
    made = judge(server.endpoint, "a-judge", rubric="Ten points.", timeout=5, retries=retries)
    return made.score([Scored({"prompt": "q"}, [{"role": "assistant", "content": "an answer"}])])


def packed(*times):
    """Twenty megabytes of spaces, or a verdict that would be taken, packed once for each name."""
    body = b" " * 20_000_000
    for _ in times:
        body = gzip.compress(body)
    return (200, {"Content-Encoding": ", ".join(times), "Content-Type": "application/json"}, body)


ENCODED = {
    "gzip": packed("gzip"),
    "gzip twice": packed("gzip", "gzip"),
    "gzip of an error": (503, *packed("gzip", "gzip")[1:]),
    "an encoding that nobody knows": (200, {"Content-Encoding": "x-mine"}, b"{}"),
    "gzip that is none": (200, {"Content-Encoding": "gzip"}, b"{}"),
}


@pytest.mark.parametrize("mode", ENCODED.values(), ids=ENCODED)
def test_a_packed_answer_is_not_asked_for_and_not_unpacked(mode):
    with JudgeServer(mode) as server:
        tracemalloc.start()
        (value,) = ask(server, retries=3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert isinstance(value, Failure) and "encoded as" in value.reason and len(server.requests) == 1
        assert server.requests[0][1]["Accept-Encoding"] == "identity"
    assert peak < 10_000_000


ODD = {
    "endless": ("endless", "more than 1000000 bytes"),
    "headers without end": ((200, {"X-Long": "x" * 300_000}, b"{}"), "RemoteProtocolError"),
    "deep": ((200, {}, b"[" * 900_000), "no chat completion"),
    "a giant number": ((200, {}, b'{"choices": ' + b"9" * 100_000 + b"}"), "no chat completion"),
    "a wait in raised digits": ((503, {"Retry-After": "\u00b2"}), "HTTP 503"),
    "a wait before all dates": ((503, {"Retry-After": "Mon, 01 Jan 0001 00:00:00 +2359"}), "HTTP 503"),
    "a wait without end": ((503, {"Retry-After": "9" * 400}), "HTTP 503"),
}


@pytest.mark.parametrize(("mode", "reason"), ODD.values(), ids=ODD)
def test_what_no_server_should_say_is_refused_in_one_line(mode, reason):
    with JudgeServer(mode) as server:
        (value,) = ask(server, retries=0)

        assert isinstance(value, Failure) and reason in value.reason and value.reason.startswith("Unreachable:"), value
