"""OpenEnv servers as environments, ours as an OpenEnv server, and both against the protocol's own package."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from http import HTTPStatus

import httpx
import pytest

pytest.importorskip("websockets")
import contextlib

from journeyman.configs.errors import BadInput
from journeyman.envs.core import SPLITS, EnvironmentFailed, Generated, Limits, check_disjoint, tools_of
from journeyman.envs.openenv import OpenEnv
from journeyman.envs.schema_tools import tool
from journeyman.envs.serve import Offer, serve
from journeyman.rewards import reward
from websockets.asyncio.server import serve as listen
from websockets.sync.client import connect


class Adding(Generated):
    """Add two numbers."""

    limits = Limits(turns=3)

    def generate(self, rng):
        a, b = rng.randrange(100), rng.randrange(100)
        return {"prompt": f"{a} {b}", "answer": str(a + b)}

    def add(self, a: int, b: int) -> int:
        """Add.

        Args:
            a: One.
            b: The other.
        """
        if a > 1000:
            raise ValueError("too large")
        return a + b


@reward
def exact(completion: str, answer: str) -> float:
    if completion == "boom":
        raise ZeroDivisionError("this can't be judged")
    return float(completion == answer)


def in_thread(start):
    """Run `start(ready)`, which serves, in a thread of its own; returns the address and what ends it."""
    loop, up, port = asyncio.new_event_loop(), threading.Event(), []

    def ready(number):
        port.append(number)
        up.set()

    task = loop.create_task(start(ready))

    def run():
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(20)

    def end():
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)

    return f"http://127.0.0.1:{port[0]}", end


def offer(env, sessions=64):
    return Offer(env, env.tasks("train", 0, 50), [exact], env.limits, "adding", sessions)


@pytest.fixture
def server():
    """Our own server with an environment that has a tool."""
    url, end = in_thread(lambda ready: serve(offer(Adding()), port=0, ready=ready))
    yield url
    end()


def scripted(*replies):
    """A server that answers each message of a session by the next of `replies`: data, ('error', code), 'close' or 'hang'."""
    schema = {"action": {"properties": {"move": {"type": "string", "description": "Where."}}, "required": ["move"]}}
    heard = []

    async def session(socket):
        coming = iter(replies)
        async for raw in socket:
            heard.append(json.loads(raw))
            reply = next(coming)
            if reply == "close":
                return
            if reply == "hang":
                await asyncio.sleep(2)
            if isinstance(reply, tuple):
                await socket.send(json.dumps({"type": "error", "data": {"code": reply[1], "message": "no such move"}}))
            else:
                await socket.send(json.dumps({"type": "observation", "data": reply}))

    def page(connection, request):
        return None if request.path == "/ws" else connection.respond(HTTPStatus.OK, json.dumps(schema))

    async def start(ready):
        async with await listen(session, "127.0.0.1", 0, process_request=page) as server:
            ready(next(iter(server.sockets)).getsockname()[1])
            await server.serve_forever()

    return (*in_thread(start), heard)


@pytest.fixture
def playing():
    """An environment over a scripted server, reset; and what the server hears."""
    ends = []

    def play(*replies, **options):
        url, end, heard = scripted({"observation": {"text": "a room"}}, *replies)
        ends.append(end)
        env = OpenEnv(url, **options).another()
        row = env.tasks("train", 0, 1)[0]
        assert env.reset(**row) == '\n\n{"text": "a room"}'
        return env, row, heard

    yield play
    for end in ends:
        end()


def step(env, **arguments):
    return asyncio.run(env.step(**arguments))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"type": "string"}, {"type": "string"}),
        ({"type": "integer", "minimum": 0, "maximum": 8}, {"type": "integer"}),
        ({"type": "array", "items": {"type": "number"}}, {"type": "array", "items": {"type": "number"}}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "string", "nullable": True}),
        ({"type": ["string", "integer"]}, {"type": ["integer", "string"]}),
        ({"enum": ["up", "down"], "type": "string"}, {"type": "string", "enum": ["up", "down"]}),
        ({"$ref": "#/$defs/Side"}, {"type": "string", "enum": ["left", "right"]}),
        ({"type": "object", "additionalProperties": True}, {"type": "object"}),
        ({}, {}),
    ],
)
def test_a_tool_has_the_types_of_its_schema(field, expected):
    from transformers.utils import get_json_schema

    async def call(env, arguments):
        return arguments

    defs = {"Side": {"enum": ["left", "right"], "type": "string"}}
    properties = {
        "kind": {"const": "move"},
        "move": {**field, "description": "Where to."},
        "metadata": {"type": "object"},
    }
    schema = {"properties": properties, "required": ["kind", "move"], "$defs": defs}
    method = tool("step", "Go.", schema, call, left_out=("metadata",))
    made = get_json_schema(method)["function"]

    assert made["name"] == "step" and made["description"] == "Go." and made["parameters"]["required"] == ["move"]
    (told,) = made["parameters"]["properties"].values()
    assert told.pop("description").startswith("Where to.") and told == expected
    assert asyncio.run(method(None, move="x")) == str({"kind": "move", "move": "x"})


def test_an_argument_that_is_left_out_is_not_sent():
    async def call(env, arguments):
        return arguments

    schema = {"properties": {"from": {"type": "string"}, "a": {"type": "string", "default": "x"}}, "required": ["from"]}
    method = tool("step", "Go.", schema, call)

    assert asyncio.run(method(None, from_="b")) == str({"from": "b"})
    with pytest.raises(TypeError, match="from_"):
        asyncio.run(method(None, a="b"))


def test_a_seed_belongs_to_one_split(server):
    env = OpenEnv(server, seeds=200)
    rows_of = {split: [*env.tasks(split, 0), *env.tasks(split, 1)] for split in SPLITS}

    check_disjoint(rows_of)
    assert sorted({row["seed"] for rows in rows_of.values() for row in rows}) == list(range(200))
    assert not rows_of["demonstrations"] and [row["seed"] for row in env.tasks("train", 0)] != sorted(
        row["seed"] for row in env.tasks("train", 0)
    )
    with pytest.raises(BadInput, match="raise seeds"):
        env.tasks("heldout", 0, 201)


def test_episodes_of_our_own_server(server):
    env = OpenEnv(server, prompt="Work it out.", observation="text")
    assert [t.__name__ for t in tools_of(env)] == ["step"]
    one, other = env.another(), env.another()
    rows = env.tasks("train", 0, 2)
    shown = [e.reset(**row) for e, row in zip((one, other), rows, strict=True)]
    right = [sum(map(int, text.split())) for text in shown]

    assert step(one, arguments={"a": 3, "b": 4}) == "7" and not one.done
    assert "too large" in step(one, arguments={"a": 2000, "b": 4})
    step(one, answer=str(right[0]))
    step(other, answer="none")
    assert (one.done, one.get_reward(), other.done, other.get_reward()) == (True, 1.0, True, 0.0)
    with pytest.raises(ValueError, match="over"):
        step(one, answer="again")
    assert one.reset(**rows[0]) == shown[0] and one.get_reward() == 0.0
    one.close()
    other.close()


def test_the_last_turn_of_our_server_is_paid_and_runs_no_tool(server):
    env = OpenEnv(server).another()
    env.reset(**env.tasks("train", 0, 1)[0])
    for _ in range(3):
        assert not env.done
        step(env, arguments={"a": 1, "b": 1})
    assert env.done and env.get_reward() == 0.0
    env.close()


def test_an_episode_that_cant_be_scored_is_no_zero(server):
    env = OpenEnv(server).another()
    env.reset(**env.tasks("train", 0, 1)[0])
    with pytest.raises(EnvironmentFailed, match="can't be judged"):
        step(env, answer="boom")


def test_an_action_that_our_server_refuses_can_be_mended(server):
    with connect(server.replace("http", "ws") + "/ws") as socket:

        def ask(kind, **data):
            socket.send(json.dumps({"type": kind, "data": data}))
            return json.loads(socket.recv(timeout=20))

        assert "reset first" in ask("step", answer="1")["data"]["message"]
        begun = ask("reset", seed=7)["data"]
        assert begun["observation"]["tools"][0]["signature"] == {"a": "int", "b": "int"} and begun["done"] is False
        for wrong in ({"tool": "sub"}, {"answr": "1"}, {"answer": 3}, {"tool": "add", "arguments": [1]}, {}):
            assert ask("step", **wrong)["data"]["code"] == "VALIDATION_ERROR", wrong
        assert ask("sing")["data"]["code"] == "UNKNOWN_TYPE"
        assert ask("step", tool="add", arguments={"a": 1, "b": 2})["data"]["observation"]["text"] == "3"
        assert ask("state")["data"]["step_count"] == 1
        assert ask("reset", seed=7)["data"]["observation"] == begun["observation"]
        socket.send(json.dumps({"type": "close"}))


def test_a_page_of_a_browser_is_turned_away(server):
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus, match="403"):
        connect(server.replace("http", "ws") + "/ws", origin="https://example.com")


def test_a_server_without_room_is_said_to_have_none():
    url, end = in_thread(lambda ready: serve(offer(Adding(), sessions=1), port=0, ready=ready))
    first = OpenEnv(url)
    row = first.tasks("train", 0, 1)[0]
    first.reset(**row)
    with pytest.raises(BadInput, match="allows 1 sessions at once"):
        first.another().reset(**row)
    first.close()
    end()


@pytest.mark.parametrize(("how", "paid"), [("sum", 0.75), ("last", 0.5)])
def test_rewards_are_added_up_or_the_last_one_counts(playing, how, paid):
    env, _, heard = playing(
        {"observation": {}, "reward": 0.25}, {"observation": {}, "reward": 0.5, "done": True}, reward=how
    )
    step(env, move="north")
    step(env, move="south")
    assert env.get_reward() == paid and env.done
    assert [m["type"] for m in heard] == ["reset", "step", "step"] and heard[1]["data"] == {"move": "north"}


def test_an_error_about_an_action_is_for_the_model(playing):
    env, *_ = playing(
        ("error", "EXECUTION_ERROR"), {"observation": {"text": "ok", "metadata": {"secret": 1}}, "reward": 1}
    )
    with pytest.raises(ValueError, match="no such move"):
        step(env, move="up")
    assert step(env, move="north") == '{"text": "ok"}' and env.get_reward() == 1.0


@pytest.mark.parametrize("end", ["close", "hang", ("error", "SESSION_ERROR")])
def test_a_session_lost_in_an_episode_is_no_result_and_the_next_reset_has_a_new_one(playing, end):
    env, row, _ = playing(end, timeout=1.5)
    with pytest.raises(EnvironmentFailed):
        step(env, move="north")
    with pytest.raises(EnvironmentFailed, match="lost"):
        step(env, move="north")
    assert env.reset(**row) == '\n\n{"text": "a room"}'


def test_a_session_that_the_server_ended_between_episodes_is_opened_anew(playing):
    env, row, _ = playing("close")
    assert env.reset(**row) == '\n\n{"text": "a room"}'


def test_a_tool_call_that_is_cancelled_leaves_no_reply_behind(playing):
    env, row, _ = playing("hang")

    async def impatient():
        async with asyncio.timeout(0.2):
            await env.step(move="north")

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    assert env.reset(**row) == '\n\n{"text": "a room"}'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "http://127.0.0.1:9"}, "start the server"),
        ({"url": "ftp://host"}, "http://host:port"),
        ({"url": "http://127.0.0.1:9", "reward": "mean"}, "sum or last"),
        ({"url": "http://127.0.0.1:9", "seeds": 0}, "at least 1"),
    ],
)
def test_what_is_wrong_is_said(options, message):
    with pytest.raises(BadInput, match=message):
        OpenEnv(**options)


def test_the_command_serves_a_job_until_it_is_ended(tiny):
    words = [sys.executable, "-m", "journeyman.scripts.main", "env", "serve", str(tiny), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().split()[0]
        assert httpx.get(f"{url}/health").json() == {"status": "healthy"}
        assert httpx.get(f"{url}/nowhere").status_code == 404
        env = OpenEnv(url).another()
        env.reset(**env.tasks("train", 0, 1)[0])
        step(env, answer="1")
        assert env.done
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 130


ECHO = """
import json
from journeyman.envs.openenv import OpenEnv


class Echo(OpenEnv):
    def oracle(self, row):
        return "ok"

    def oracle_turn(self, row, messages):
        if messages[-1]["role"] == "tool":
            return "ok"
        call = {"name": "step", "arguments": {"message": "abcdefgh"[: 1 + row["seed"] % 8]}}
        return "<tool_call>\\n" + json.dumps(call) + "\\n</tool_call>"
"""

THEIRS = """
import sys, uvicorn
sys.path.insert(0, "my_env")
from openenv.core.env_server.http_server import create_app
from models import MyAction, MyObservation
from server.my_env_environment import MyEnvironment
app = create_app(MyEnvironment, MyAction, MyObservation, max_concurrent_envs=512)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
"""
"""The environment of `openenv init` as it is, with room for a batch."""

CLIENT = """
import sys
from openenv.core.generic_client import GenericEnvClient
with GenericEnvClient(base_url=sys.argv[1]).sync() as client:
    a, b = client.reset(seed=3).observation["text"].split()
    print(client.step({"tool": "add", "arguments": {"a": int(a), "b": int(b)}}).observation["text"])
    done = client.step({"answer": str(int(a) + int(b))})
    print(done.reward, done.done, client.state()["step_count"])
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A virtual environment with OpenEnv from PyPI, and its template environment."""
    place = tmp_path_factory.mktemp("openenv")
    python = installed(place, "openenv==0.10.0")
    subprocess.run([str(python.with_name("openenv")), "init", "my_env"], cwd=place, check=True, capture_output=True)
    return python


def installed(place, *packages):
    """The interpreter of a new virtual environment with `packages`; skips where they can't be had."""
    subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
    python = place / "venv" / "bin" / "python"
    words = [str(python), "-m", "pip", "install", "-q", "--retries", "0", "--timeout", "10", *packages]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(packages)} can't be installed from PyPI: {done.stderr.strip().splitlines()[-1:]}")
    return python


@pytest.mark.long
@pytest.mark.xdist_group("openenv")
def test_their_client_works_with_our_server(theirs, server):
    done = subprocess.run([str(theirs), "-c", CLIENT, server], capture_output=True, text=True, timeout=120, check=False)
    total, paid = done.stdout.splitlines()
    assert total.isdigit() and paid == "1.0 True 2", done.stderr


@pytest.mark.long
@pytest.mark.xdist_group("openenv")
def test_their_server_trains_unchanged(theirs, make_job, train_here, tmp_path):
    from journeyman.rollouts.record import read_records

    url = f"http://127.0.0.1:{free_port()}"
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    words = [str(theirs), "-c", THEIRS, url.rpartition(":")[2]]
    process = subprocess.Popen(words, cwd=theirs.parents[2], env=clean)
    try:
        httpx.Client(transport=httpx.HTTPTransport(retries=8)).get(f"{url}/health", timeout=60)
        job = make_job(
            tmp_path / "echo", job="echo", environment="echo.py:Echo", rewards=["environment"], limits={"turns": 3},
            environment_kwargs={
                "url": url, "prompt": "Send.", "observation": "echoed_message", "seeds": 400,
                "shares": {"demonstrations": 0.4, "train": 0.4, "validation": 0.1, "heldout": 0.1},
            },
            nano={
                "hidden_size": 64, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 32, "intermediate_size": 128,
                "context": 512, "vocab_size": 512, "steps": 120, "validation": 20, "target": 0.9,
            },
            max_completion_length=96, max_steps=5, validate_every=5,
        )  # fmt: skip
        (tmp_path / "echo" / "echo.py").write_text(ECHO)
        run = train_here(tmp_path / "run", job=job)
    finally:
        process.terminate()
        process.wait(20)
    rollouts = [r for r in read_records(run / "records") if r.split == "train"]
    assert {r.step for r in rollouts} == {0, 1, 2, 3, 4} and not any(r.error for r in rollouts)
    assert any(r.tool_calls and r.rewards["environment"] > 0 for r in rollouts)


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
