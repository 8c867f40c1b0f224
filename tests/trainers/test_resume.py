"""A run that is told to stop, and goes on."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from journeyman.rollouts.record import read_records
from journeyman.trainers.checkpoints import last_whole

STEPS = 16


@pytest.fixture(scope="module")
def slow_job(make_job, tmp_path_factory):
    """The tiny job with a reward that takes its time, so that a signal comes in the middle."""
    rewards = ["tiny.py:slow", {"reward": "tiny.py:close", "weight": 0.5}]
    folder = tmp_path_factory.mktemp("slow")
    return make_job(folder, rewards=rewards, max_steps=STEPS, validate_every=3, save_steps=4)


def start(job, run, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "journeyman.scripts.main", "train", str(job), f"--output_dir={run}", "--report_to=none", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip


def until(condition, process, seconds=180):
    ends = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends, "nothing happened"
        time.sleep(0.05)


def lines(run):
    path = run / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def left_over(run):
    """Processes that still work on `run`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(run) in word for word in process.info["cmdline"] or ()) and process.pid != os.getpid():
            found.append(process.info["cmdline"])
    return found


def values(run, stem):
    clocks = ("first_token_s", "latency_s")
    return [{k: v for k, v in vars(r).items() if k not in clocks} for r in read_records(run, stem)]


@pytest.mark.long
def test_a_stopped_run_goes_on_and_ends_where_the_undisturbed_one_ends(slow_job, tiny_base, train_here, tmp_path):
    run = tmp_path / "run"
    process = start(slow_job, run)
    until(lambda: lines(run) >= 2, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 75, err
    assert (
        err.strip().splitlines()[-1].startswith("journeyman: ")
        and "the same command goes on" in err
        and "Traceback" not in err
    )
    assert json.loads((run / "run.json").read_text())["status"] == "stopped"
    assert not (run / "adapter").exists() and lines(run) < STEPS
    assert left_over(run) == []

    again = start(slow_job, run)
    _, err = again.communicate(timeout=180)
    assert again.returncode == 0, err
    assert sorted((r.step, r.row) for r in read_records(run, "train")) == [
        (s, r) for s in range(STEPS) for r in range(16)
    ]
    assert [row["step"] for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())] == list(
        range(1, STEPS + 1)
    )
    assert json.loads((run / "run.json").read_text())["status"] == "finished"

    undisturbed = train_here(tmp_path / "undisturbed", slow_job)
    assert values(run, "train") == values(undisturbed, "train")
    assert values(run, "validation") == values(undisturbed, "validation")
    weights = [(r / "adapter" / "adapter_model.safetensors").read_bytes() for r in (run, undisturbed)]
    assert weights[0] == weights[1]


@pytest.mark.long
def test_ctrl_c_stops_at_a_checkpoint_within_seconds(slow_job, tiny_base, tmp_path):
    run = tmp_path / "run"
    process = start(slow_job, run)
    until(lambda: lines(run) >= 1, process)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 75 and time.monotonic() - began < 20, err
    newest, step = last_whole(run / "checkpoints")
    assert newest is not None and step == lines(run) < STEPS
    assert not (run / "adapter").exists() and left_over(run) == []


@pytest.mark.long
def test_a_killed_run_goes_on_from_its_last_checkpoint(slow_job, tiny_base, tmp_path):
    run = tmp_path / "run"
    process = start(slow_job, run)
    until(lambda: lines(run) >= 6, process)
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have died of the others' end
            child.kill()
    process.communicate(timeout=60)
    assert process.returncode == 1 and left_over(run) == []

    again = start(slow_job, run)
    _, err = again.communicate(timeout=180)
    assert again.returncode == 0, err
    assert sorted((r.step, r.row) for r in read_records(run, "train")) == [
        (s, r) for s in range(STEPS) for r in range(16)
    ]
    steps = sorted({r.step for r in read_records(run, "validation")})
    assert sorted((r.step, r.row) for r in read_records(run, "validation")) == [
        (s, r) for s in steps for r in range(16)
    ]
