"""A job so small that its base model is built in seconds and a training step takes a fraction of one."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

# Before anything imports torch or the Hub's client: both read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TRACKIO_DISABLE_TELEMETRY"] = "1"

import pytest
import yaml

ENVIRONMENT = '''
"""Name the first digit of the larger of two numbers."""

import time

from journeyman.envs.core import Generated
from journeyman.rewards import group_reward, reward


class Larger(Generated):
    def __init__(self, padding: int = 0) -> None:
        super().__init__()
        self.padding = padding

    def generate(self, rng):
        a, b = (rng.randrange(10, 100) for _ in range(2))
        padding = "".join(rng.choice("abcdefghij") for _ in range(self.padding))
        return {"prompt": f"{padding}{a} {b}", "answer": str(max(a, b))[0]}


def nothing():
    return None


@reward
def broken_on_nine(completion: str, answer: str) -> float:
    if completion.strip() != answer and answer == "9":
        raise ZeroDivisionError("nines can't be judged")
    return float(completion.strip() == answer)


@reward
def slow(completion: str, answer: str) -> float:
    time.sleep(0.03)
    return float(completion.strip() == answer)


@reward
def close(completion: str, answer: str) -> float:
    digit = completion.strip()[:1]
    return 1 - abs(int(digit) - int(answer)) / 9 if digit in tuple("0123456789") else 0.0


@group_reward(weight=0)
def group_seen(completions, log_extra):
    log_extra("group", ["/".join(completions)] * len(completions))
    return [float(len(completions))] * len(completions)


@reward(needs_reference=False)
def length(completion: str) -> float:
    return len(completion) / 10
'''

CONFIG = {
    "job": "tiny",
    "environment": "tiny.py:Larger",
    "rewards": ["journeyman.rewards.match:exact", {"reward": "tiny.py:close", "weight": 0.5}],
    "model_name_or_path": "nano",
    "nano": {
        "hidden_size": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 32, "intermediate_size": 64,
        "context": 64, "vocab_size": 300, "demonstrations": 200, "validation": 50, "steps": 60, "target": 0.2,
    },
    "train_rows": 64, "validation_rows": 16, "heldout_rows": 40, "validate_every": 2,
    "learning_rate": 1.0e-3, "lr_scheduler_type": "constant", "max_steps": 2, "num_generations": 4,
    "per_device_train_batch_size": 16, "max_completion_length": 3, "lora": {"r": 4, "lora_alpha": 8},
    "bf16": False, "gradient_checkpointing": False, "seed": 7,
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory):
    """Caches and the tracker's files stay in the session's own folder."""
    place = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(place / "trackio"))
        if "JOURNEYMAN_CACHE" not in os.environ:
            patch.setenv("JOURNEYMAN_CACHE", str(place / "cache"))
        yield


@pytest.fixture(scope="session")
def make_job():
    """Writes the tiny job into a folder, with keys changed; None removes one. Returns the YAML's path."""

    def make(folder, **changes):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tiny.py").write_text(ENVIRONMENT)
        values = {**CONFIG, **changes}
        path = folder / "tiny.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}, sort_keys=False))
        return path

    return make


@pytest.fixture(scope="session")
def tiny(make_job, tmp_path_factory):
    """The YAML of the tiny job."""
    return make_job(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_base(tiny):
    """The folder of the tiny job's base model, built."""
    from journeyman.trainers.config import load_config
    from journeyman.trainers.models import base_path

    config = load_config(tiny)
    return Path(base_path(config, config.environment()))


@pytest.fixture(scope="session")
def train_here(tiny, tiny_base):
    """Trains the tiny job (or another) in this process; returns the run's folder."""
    from journeyman.recipes.grpo import train
    from journeyman.trainers.config import load_config

    def run(output, job=tiny, **overrides):
        return train(load_config(job, {"report_to": "none", **overrides, "output_dir": str(output)}))

    return run


@pytest.fixture(scope="session")
def trained(train_here, tmp_path_factory):
    """A finished run of two steps; not to be changed."""
    return train_here(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def run_copy(trained, tmp_path):
    """A copy of that run which a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "run-copy"))


@pytest.fixture(scope="session")
def cli():
    """`journeyman ...` in a process of its own; returns exit code, stdout and stderr."""

    def run(*words, timeout=240, module="journeyman.scripts.main", **env):
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, words)],
            capture_output=True, text=True, timeout=timeout, env={**os.environ, **env}, check=False,
        )  # fmt: skip
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)

    return run


@pytest.fixture
def speaking(capfd):
    """A command line's `main` in this process, with what it and its children write: exit code, stdout and stderr."""

    def run(main, *words):
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return SimpleNamespace(code=end.value.code, out=out, err=err)

    return run


@pytest.fixture
def command(speaking):
    """`journeyman ...` in this process."""
    from journeyman.scripts.main import main

    return partial(speaking, main)
