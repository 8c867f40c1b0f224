"""One batch ahead of training: what is trained on, which policy sampled it, and that nothing is lost or left behind."""

import asyncio
import copy
import itertools
import json
import os
import signal
import threading
import time
from concurrent.futures import Future

import pytest
from accelerate.data_loader import BatchSamplerShard
from journeyman.configs import BadInput, Stopped
from journeyman.rollouts.adapter_files import adapter_state
from journeyman.rollouts.engine import SyncFailed
from journeyman.rollouts.record import CLOCK_FIELDS, read_records
from journeyman.rollouts.servers import NoServer
from journeyman.rollouts.transformers_engine import TransformersEngine
from journeyman.trainers import ahead as room
from journeyman.trainers import rolling
from journeyman.trainers.ahead import Ahead, Made, Order
from journeyman.trainers.config import load_config
from journeyman.trainers.engines import check_engine
from journeyman.trainers.grpo import Trainer
from journeyman.trainers.models import restore_adapter
from torch.utils.data import BatchSampler
from trl.trainer.utils import RepeatSampler

SERVERS = {"use_vllm": True, "vllm_mode": "server", "vllm_servers": ["http://127.0.0.1:9"]}
AHEAD = {**SERVERS, "async_rollouts": 1, "learning_rate": 0.05, "train_rows": 12, "validation_rows": 4}


class Elsewhere:
    """An engine with weights of its own: a copy of the policy, moved by `sync` alone.

    Args:
        seconds: that every completion takes on top.
        fails: called with the version before each completion.
    """

    in_step = False

    def __init__(self, model, pad_id, ends, seconds=0.0, fails=lambda version: None):
        self.copy, self.seconds, self.fails = copy.deepcopy(model).eval(), seconds, fails
        for module in self.copy.modules():
            module.__dict__.pop("forward", None)  # TRL's fused head would call the trainer's own
        self.inner = TransformersEngine(self.copy, pad_id, ends)
        self.policy_version = self.under_way = 0
        self.closed = False

    async def complete(self, request, sampling):
        self.fails(self.policy_version)
        self.under_way += 1
        try:
            completion = await self.inner.complete(request, sampling)
            await asyncio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        return completion

    async def keep_in_step(self, rollouts):
        pass

    def sync(self, model, version):
        if version != self.policy_version:
            if self.under_way:
                raise SyncFailed(f"{self.under_way} requests are under way")
            restore_adapter(self.copy, adapter_state(model))
        self.policy_version = version

    def close(self):
        self.closed = True


@pytest.fixture
def elsewhere(monkeypatch, tiny_base):
    """Puts `Elsewhere` in the place of servers: the engines that were started, and options for those to come."""
    from transformers import AutoTokenizer

    pad, started, options = AutoTokenizer.from_pretrained(tiny_base).pad_token_id, [], {}

    def start(plan, model, ends, prompts):
        started.append(Elsewhere(model, pad, ends, **options))
        return started[-1], {"engine": "elsewhere", "sync": "adapter"}

    monkeypatch.setattr(rolling, "start", start)
    yield {"engines": started, "options": options}
    assert all(engine.closed for engine in started)
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"], "no thread is left"


@pytest.fixture
def at_step(monkeypatch):
    """Calls what it is given after the update's work of each optimizer step, with the step."""
    real = Trainer.training_step

    def put(call):
        def training_step(self, *args, **kwargs):
            loss = real(self, *args, **kwargs)
            call(self.state.global_step)
            return loss

        monkeypatch.setattr(Trainer, "training_step", training_step)

    return put


def recorded(run, stem="train"):
    return [{k: v for k, v in vars(r).items() if k not in CLOCK_FIELDS} for r in read_records(run, stem)]


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def adapter(run):
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_order_is_trls_epoch_after_epoch_and_wherever_a_run_takes_it_up(shuffle):
    given = dict(
        data_source=range(11), mini_repeat_count=2, batch_size=3, repeat_count=4, shuffle=shuffle, seed=5
    )  # fmt: skip
    trls = RepeatSampler(**given)
    epochs = [list(trls) for _ in range(3)]
    now = [0]
    order = Order(RepeatSampler(**given), lambda: now[0])

    assert order.passes == 12 and len(order) == len(epochs[0])
    for now[0] in (2, 0, 1):
        assert list(order) == epochs[now[0]]
    for number in range(9):
        start = number % 3 * 6 * 4
        assert order.rows(number) == epochs[number // 3][start : start + 6]
    for rank in range(2):
        now[0] = 0
        theirs = list(BatchSamplerShard(BatchSampler(order, 3, drop_last=False), 2, rank))
        assert theirs[::4] == [order.rows(number, rank, 2) for number in range(3)] and len(theirs) == order.passes


STEPS = [
    # repeats, accumulation, steps of the first generation batches; an epoch has three
    (1, 1, [0, 1, 2, 3, 4, 5]),
    (4, 4, [0, 1, 2, 3, 4, 5]),
    (4, 2, [0, 2, 4, 6, 8, 10]),
    (1, 2, [0, 0, 1, 2, 2, 3]),
    (2, 6, [0, 0, 0, 1, 1, 1]),
    (1, 8, [0, 0, 0, 1, 1, 1]),
]


@pytest.mark.parametrize(("repeats", "accumulation", "steps"), STEPS)
def test_the_step_that_trains_on_a_batch_is_known_beforehand(repeats, accumulation, steps):
    order = Order(RepeatSampler(range(9), mini_repeat_count=2, batch_size=3, repeat_count=repeats, seed=1), lambda: 0)

    assert [order.step(number, accumulation) for number in range(6)] == steps


def test_a_batch_is_taken_once_by_its_own_key_and_brings_its_error():
    ahead, made = Ahead(), Made([], [])
    key = (3, 2, (1, 1, 0, 0))

    assert ahead.take(key) is None
    ahead.begin(key, lambda: made)
    assert ahead.state() == (key, made) and ahead.take(key) is made and ahead.take(key) is None
    ahead.begin(key, lambda: made)
    assert ahead.take((3, 2, (1, 1, 2, 2))) is None, "other rows are asked for"
    ahead.begin(key, lambda: 1 / 0)
    assert ahead.state() is None
    with pytest.raises(ZeroDivisionError):
        ahead.take(key)
    ahead.restore((key, made))
    assert ahead.take(key) is made
    ahead.close()


def test_what_is_given_up_ends_at_once_and_what_does_not_end_is_left(monkeypatch):
    ended, hangs = Future(), threading.Event()

    async def long():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set_result(True)

    ahead = Ahead()
    ahead.begin((0, 0, ()), lambda: ahead.run(long()))
    time.sleep(0.05)
    began = time.monotonic()
    ahead.close()
    assert ended.result(0) and time.monotonic() - began < 1

    monkeypatch.setattr(room, "GIVE_UP_SECONDS", 0.1)
    ahead.begin((1, 1, ()), hangs.wait)
    ahead.close()
    left = [thread for thread in threading.enumerate() if thread.name == "ahead"]
    assert all(thread.daemon for thread in left), "the process can exit"
    hangs.set()
    for thread in left:
        thread.join(5)


def test_each_row_is_trained_on_once_a_step_behind_and_corrected(elsewhere, train_here, tmp_path):
    run = train_here(tmp_path / "ahead", **AHEAD, max_steps=7)
    plain = train_here(tmp_path / "plain", **{**AHEAD, "async_rollouts": 0}, max_steps=7)
    rollouts, others = list(read_records(run, "train")), list(read_records(plain, "train"))

    assert [(r.step, r.row, r.item) for r in rollouts] == [(r.step, r.row, r.item) for r in others]
    assert sorted((r.step, r.row) for r in rollouts) == [(s, r) for s in range(7) for r in range(16)]
    assert {(r.step, r.policy_version) for r in rollouts} == {(s, max(s - 1, 0)) for s in range(7)}
    assert {(r.step, r.policy_version) for r in others} == {(s, s) for s in range(7)}
    groups = {}
    for r in rollouts:
        groups.setdefault((r.step, r.group), []).append(r.item)
    assert len(groups) == 28 and all(len(items) == 4 and len(set(items)) == 1 for items in groups.values())
    # By the policy of step 0 both sampled the first batch alike, and each policy samples on its own numbers.
    assert [r.completion_ids for r in rollouts if r.step == 0] == [r.completion_ids for r in others if r.step == 0]

    rows, theirs = metrics(run), metrics(plain)
    assert [row["sampling/updates_behind"] for row in rows] == [0, 1, 1, 1, 1, 1, 1]
    gap, ratio = "sampling/sampling_logp_difference/mean", "sampling/importance_sampling_ratio/mean"
    assert rows[0][gap] < 1e-5 and rows[0][ratio] == pytest.approx(1, abs=1e-4)
    assert all(row[gap] > 1e-3 for row in rows[1:]), "farther than rounding explains: the run goes on"
    assert any(abs(row[ratio] - 1) > 1e-3 for row in rows[1:])
    assert all(row[gap] < 1e-5 for row in theirs)


def test_the_next_batch_is_generated_while_this_one_trains(elsewhere, train_here, at_step, tmp_path):
    elsewhere["options"]["seconds"] = 0.6
    ends = []
    at_step(lambda step: (time.sleep(0.6), ends.append(time.monotonic())))

    def seconds(run, **changes):
        ends.clear()
        train_here(tmp_path / run, **{**AHEAD, "validate_every": 0, "max_steps": 6, **changes})
        return sorted(b - a for a, b in itertools.pairwise(ends))[2]

    beside, after = seconds("ahead"), seconds("plain", async_rollouts=0)
    assert after > 1.2 and beside < after - 0.4, f"{beside:.2f} s a step beside, {after:.2f} s after one another"


SHAPES = {
    # what is changed, and how many updates behind the policy that sampled is
    "a step a batch": ({}, {0, 1}),
    "a batch used for four steps": ({"num_iterations": 2, "steps_per_generation": 2}, {0, 4}),
    "two batches a step, and a short step at the epoch's end": (
        {"steps_per_generation": 1, "gradient_accumulation_steps": 2, "train_rows": 20}, {0, 1},
    ),
    "refilled": ({"dynamic_sampling": True}, {0, 1}),
    "not ahead": ({"async_rollouts": 0}, {0}),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("changes", "behind"), SHAPES.values(), ids=SHAPES)
def test_a_killed_run_goes_on_to_where_the_undisturbed_one_ends(
    elsewhere, train_here, at_step, tmp_path, changes, behind
):
    keys = {**AHEAD, "max_steps": 6, "save_strategy": "steps", "save_steps": 1, **changes}
    whole = train_here(tmp_path / "whole", **keys)
    killed = []

    def dies(step):  # with the records of this step written, and the next batch under way
        if step in (3, 4) and step not in killed:  # the second epoch begins at 3
            killed.append(step)
            raise KeyboardInterrupt

    at_step(dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_here(tmp_path / "run", **keys)
    run = train_here(tmp_path / "run", **keys)

    assert killed == [3, 4]
    assert recorded(run) == recorded(whole) and recorded(run, "validation") == recorded(whole, "validation")
    keyed = [(r["step"], r["row"]) for r in recorded(run)]
    assert len(set(keyed)) == len(keyed)
    assert {r["step"] - r["policy_version"] for r in recorded(run)} == behind
    assert adapter(run) == adapter(whole)
    assert [row["step"] for row in metrics(run)] == [row["step"] for row in metrics(whole)]


@pytest.mark.long
def test_a_signal_stops_at_a_checkpoint_that_holds_the_batch_under_way(elsewhere, train_here, at_step, tmp_path):
    whole = train_here(tmp_path / "whole", **AHEAD, max_steps=6)
    elsewhere["options"]["seconds"] = 0.2
    at_step(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 2 else None)
    with pytest.raises(Stopped, match="the same command goes on"):
        train_here(tmp_path / "run", **AHEAD, max_steps=6)
    assert {r["step"] for r in recorded(tmp_path / "run")} == {0, 1, 2}, "records are written when they are trained on"
    at_step(lambda step: None)
    run = train_here(tmp_path / "run", **AHEAD, max_steps=6)

    assert recorded(run) == recorded(whole) and adapter(run) == adapter(whole)


def test_a_run_out_of_time_gives_up_the_batch_that_nobody_trains_on(elsewhere, train_here, at_step, tmp_path):
    elsewhere["options"]["seconds"] = 5.0
    ends = []
    at_step(lambda step: ends.append(time.monotonic()))
    train_here(tmp_path / "run", **{**AHEAD, "validate_every": 0}, max_steps=6, max_seconds=1.0)

    assert time.monotonic() - ends[-1] < 4.5 and len(ends) == 1
    assert {r["step"] for r in recorded(tmp_path / "run")} == {0}


def test_an_error_beside_the_training_ends_it_with_that_error(elsewhere, train_here, tmp_path):
    def fails(version):
        if version == 2:
            raise ValueError("the engine is broken")

    elsewhere["options"]["fails"] = fails
    with pytest.raises(ValueError, match="the engine is broken"):
        train_here(tmp_path / "run", **{**AHEAD, "validate_every": 0}, max_steps=6)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
    assert {r["step"] for r in recorded(tmp_path / "run")} == {0, 1, 2}, "what was trained on before"


def test_servers_that_are_gone_stop_the_run_so_that_the_same_command_goes_on(elsewhere, train_here, tmp_path):
    keys = {**AHEAD, "validate_every": 0, "max_steps": 5, "save_strategy": "steps", "save_steps": 1}
    whole = train_here(tmp_path / "whole", **keys)

    def fails(version):
        if version == 2:
            raise NoServer("no server was up for 600 s: http://127.0.0.1:9 ConnectError")

    elsewhere["options"]["fails"] = fails
    with pytest.raises(Stopped, match=r"no server was up for 600 s: .*the same command goes on"):
        train_here(tmp_path / "run", **keys)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"
    elsewhere["options"].clear()
    run = train_here(tmp_path / "run", **keys)

    keyed = [(r["step"], r["row"], r["item"]) for r in recorded(run)]
    assert keyed == [(r["step"], r["row"], r["item"]) for r in recorded(whole)]


REFUSED = {
    "shared weights": ({"use_vllm": False, "vllm_mode": "colocate"}, "samples from the trainer's own weights"),
    "shared device": ({"vllm_mode": "colocate", "vllm_servers": []}, "shares the trainer's device"),
    "uncorrected": ({"vllm_importance_sampling_correction": False}, "leaves uncorrected"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED)
def test_only_an_engine_elsewhere_can_be_ahead(tiny, changes, said):
    with pytest.raises(BadInput, match=said) as error:
        check_engine(load_config(tiny, {**SERVERS, "async_rollouts": 1, **changes}))
    assert "async_rollouts" in str(error.value) and "\n" not in str(error.value)
