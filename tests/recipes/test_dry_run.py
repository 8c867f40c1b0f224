"""The dry run: what it prints, that it writes nothing, and that it refuses what a run would refuse."""

from __future__ import annotations

import pytest
import torch
import yaml
from journeyman.configs import BadInput
from journeyman.recipes.dry_run import report, size_text
from journeyman.recipes.floors import matmul_speed
from journeyman.scripts.random_base import make
from journeyman.trainers.config import load_config


def part(text: str, title: str) -> str:
    return text.split(f"== {title}")[1].split(" ==\n", 1)[1].split("\n\n==")[0]


def test_it_reports_everything_and_writes_nothing(tiny, tiny_base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = report(load_config(tiny, {"max_steps": 6}))
    assert not list(tmp_path.iterdir())
    assert yaml.safe_load(part(text, "config"))["max_steps"] == 6
    assert part(text, "prompt 1").startswith("<|im_start|>user\n") and part(text, "prompt 2").endswith("assistant")
    batch = dict(line.split("  ", 1) for line in part(text, "batch").splitlines())
    assert batch["rollouts an optimizer step"].split() == ["16", "=", "4", "prompts", "x", "4"]
    assert batch["rollouts in total"].strip() == "96"
    assert "64, each drawn 0.38 times" in batch["training tasks"]  # 6 of the 16 steps of an epoch
    assert batch["validation"].strip() == "4 x 16 rollouts"
    for name in ("weights", "adapter", "optimizer and gradients", "activations", "engine", "peak"):
        assert f"\n{name}" in "\n" + part(text, "memory"), name
    assert "fits" in part(text, "memory")
    assert part(text, "time").startswith("at most ")


def test_the_printed_config_is_one_that_train_takes(tiny, tiny_base, tmp_path, monkeypatch):
    config = load_config(tiny)
    again = tiny.with_name("again.yaml")
    again.write_text(part(report(config), "config"))
    assert load_config(again).values == config.values


def test_a_run_for_a_gpu_can_be_planned_without_one(tiny, tmp_path):
    make(tmp_path / "base", num_hidden_layers=1, hidden_size=64)
    changed = {"model_name_or_path": str(tmp_path / "base"), "bf16": True, "use_cpu": False, "dtype": "bfloat16"}
    text = report(load_config(tiny, changed))
    assert "10,707,392 parameters" in text
    if not torch.cuda.is_available():
        assert "bf16 needs one" in text


BAD = [
    ({"accelerate": "tow-cpu"}, "did you mean 'two-cpu'"),
    ({"num_generations": 5}, "divi"),
    ({"per_device_train_batch_size": 512}, "64 training tasks"),
    ({"max_completion_length": 60}, "context of 64"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_it_refuses_what_a_run_would(tiny, tiny_base, change, message):
    with pytest.raises(BadInput, match=message):
        report(load_config(tiny, change))


@pytest.mark.parametrize(
    ("count", "text"), [(512, "0.5 KiB"), (3 * 2**20, "3.0 MiB"), (1023 * 2**20, "1023.0 MiB"), (2**40, "1024.0 GiB")]
)
def test_sizes(count, text):
    assert size_text(count) == text


def test_the_matrix_product_is_measured():
    assert 1e8 < matmul_speed(4, 0.02) < 1e16
