"""PPO that is killed, stopped, and spread over processes: the same policy and the same critic to the byte."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from journeyman.recipes.launch import SHAPES
from journeyman.recipes.ppo import train
from journeyman.rollouts.record import read_records
from journeyman.trainers.config import load_config
from safetensors.torch import load_file

STEPS = 18
PPO = {
    "recipe": "ppo", "num_generations": 1, "per_device_train_batch_size": 8, "steps_per_generation": 4, "num_iterations": 2,
    "max_steps": STEPS, "save_steps": 3, "validate_every": 9, "critic_warmup_steps": 2, "kl_coef": 0.05, "kl_target": 0.01,
    "kl_horizon": 100, "target_kl": 0.003, "entropy_coef": 0.001, "gradient_accumulation_steps": 1, "learning_rate": 3.0e-3,
}  # fmt: skip
"""A batch lasts 8 steps, 4 an epoch: every third step is in the middle of one."""


@pytest.fixture(scope="module")
def job(make_job, tmp_path_factory):
    """Makes the tiny job for PPO, with keys changed."""
    return lambda **changes: make_job(tmp_path_factory.mktemp("job"), **{**PPO, **changes})


def same_end(run, undisturbed):
    for name in ("adapter/adapter_model.safetensors", "critic.safetensors"):
        assert (run / name).read_bytes() == (undisturbed / name).read_bytes(), name
    rows = [
        sorted((r.step, r.row, *r.completion_ids) for r in read_records(place, "train")) for place in (run, undisturbed)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 3 * 32
    metrics = [
        [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
        for place in (run, undisturbed)
    ]
    assert [row["step"] for row in metrics[0]] == list(range(1, STEPS + 1))
    for key in ("critic/explained_variance", "kl_coef", "policy/skipped", "critic/loss"):
        assert [row.get(key) for row in metrics[0]] == [row.get(key) for row in metrics[1]], key
    assert {row.get("policy/skipped") for row in metrics[0]} == {0.0, 1.0} and "kl_coef" in metrics[0][0]


@pytest.mark.long
@pytest.mark.parametrize(("critic", "steps"), [("adapter", (15,)), ("head", (9,))])
def test_killed_in_the_middle_of_an_epoch_it_ends_where_the_undisturbed_run_ends(
    driven, job, tiny_base, tmp_path, critic, steps
):
    found = driven(job(critic=critic), tmp_path, "after", *steps)

    assert (found["codes"], found["again"], found["undisturbed"]) == ([-9] * len(steps), 0, 0), found["text"]
    same_end(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.long
def test_killed_at_random_moments_too(driven, job, tiny_base, tmp_path):
    found = driven(job(), tmp_path, "kills", 1, 1)

    assert found["kills"] == 1
    for run in found["runs"]:
        same_end(Path(run), Path(found["undisturbed"]))


def test_stopped_after_its_last_step_it_only_finishes(job, tiny_base, tmp_path):
    run, path = tmp_path / "run", job(critic="model")
    flags = {"output_dir": str(run), "report_to": "none"}
    train(load_config(path, flags))
    shutil.copytree(run, tmp_path / "undisturbed")
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    shutil.rmtree(run / "adapter")
    (run / "critic.safetensors").unlink()
    train(load_config(path, flags))

    same_end(run, tmp_path / "undisturbed")
    names = {name for place in (run / "adapter", run / "checkpoints" / f"checkpoint-{STEPS}")
             for name in load_file(place / "adapter_model.safetensors")}  # fmt: skip
    assert names and not [name for name in names if "critic" in name]
    assert "head.weight" in load_file(run / "critic.safetensors")


def relative(a, b):
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


@pytest.mark.long
def test_two_ranks_make_one_update(paying, tmp_path):
    script = Path(__file__).with_name("two_ranks_ppo.py")
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(SHAPES / "two-cpu.yaml")]
    found = {}
    for name, launcher in (("two", launch), ("one", [])):
        words = [sys.executable, *launcher, str(script), str(paying), str(tmp_path / name)]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
        )
        assert done.returncode == 0, done.stderr
        found[name] = torch.load(tmp_path / f"{name}.pt")
    two, one = found["two"], found["one"]
    assert (two["world"], one["world"]) == (2, 1)
    for key in ("advantages", "returns", "old_values", "policy", "critic"):
        assert one[key].norm() > 1e-3 and relative(two[key], one[key]) <= 1e-5, key
    assert two["metrics"].keys() == one["metrics"].keys()
    for key, value in one["metrics"].items():
        assert two["metrics"][key] == pytest.approx(value, rel=1e-5, abs=1e-6), key
    assert two["trained"].shape[0] == 2 and torch.equal(*two["trained"]), "both ranks hold the same weights"


@pytest.mark.long
def test_two_processes_train_are_killed_and_resume(cli, job, tiny_base, tmp_path):
    path = job(per_device_train_batch_size=4, gradient_accumulation_steps=1, critic="model", critic_nano={"steps": 41})
    command = ("train", path, "--accelerate=two-cpu", "--report_to=none")
    done = cli(*command, f"--output_dir={tmp_path / 'undisturbed'}", timeout=400)
    assert done.code == 0, done.err
    facts = json.loads((tmp_path / "undisturbed" / "run.json").read_text())
    assert (facts["status"], facts["processes"], facts["steps"]) == ("finished", 2, STEPS)

    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "journeyman.scripts.main", *map(str, command), f"--output_dir={run}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    while not (run / "checkpoints" / "checkpoint-6").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have died of the others' end
            child.kill()
    process.communicate(timeout=60)
    assert process.returncode == 1 and not (run / "adapter").exists()
    again = cli(*command, f"--output_dir={run}", timeout=400)
    assert again.code == 0, again.err
    same_end(run, tmp_path / "undisturbed")
