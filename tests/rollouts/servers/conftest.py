"""Servers of rollouts: two stand-ins that misbehave as a test chooses, and the model that real ones serve."""

import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from journeyman.rollouts.server import PROBE
from journeyman.rollouts.servers import ServersEngine
from journeyman.trainers.tokenizer import train_tokenizer
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

EOS = 2


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
def stand_in():
    """Makes one more."""
    return StandIn


@pytest.fixture
def two():
    servers = [StandIn(), StandIn()]
    yield servers
    for server in servers:
        server.may_load.set()
        server.stop()


@pytest.fixture
def engine(two, until):
    engine = ServersEngine([server.url for server in two], [EOS], every=0.05, patience=20)
    until(lambda: all(server.up for server in engine.servers))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def until():
    """Waits until something is true."""

    def until(true, seconds=20.0):
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, "it never came to that"
            time.sleep(0.02)

    return until


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


@pytest.fixture(scope="module")
def model(base):
    """The same, with an adapter."""
    model = Qwen3ForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear"))
    _readapt(model, 0)
    return model.eval()


@pytest.fixture(scope="module")
def readapt(model):
    """Puts another adapter into the model."""

    def readapt(seed):
        _readapt(model, seed)

    return readapt


def _readapt(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
