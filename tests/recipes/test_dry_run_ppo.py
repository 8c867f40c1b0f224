"""The dry run of PPO: minibatches, what the critic adds, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from journeyman.configs import BadInput
from journeyman.recipes.dry_run import report
from journeyman.scripts.random_base import make, write_rows
from journeyman.trainers.config import load_config

SHIPPED = Path(__file__).parents[2] / "configs" / "gsm8k" / "qwen3-0.6b-ppo.yaml"
PPO = {"num_generations": 1, "per_device_train_batch_size": 4}


def lines(text, title):
    part = text.split(f"== {title}")[1].split(" ==\n", 1)[1].split("\n\n==")[0]
    return {line[:28].strip(): line[28:].strip() for line in part.splitlines()}


MINIBATCHES = {
    "four of them, two epochs": (
        {"steps_per_generation": 8, "gradient_accumulation_steps": 2, "num_iterations": 2},
        "4 of 8 rollouts, 2 epochs over them: 8 optimizer steps a generation batch",
    ),
    "one": (
        {"gradient_accumulation_steps": 4, "num_iterations": 1},
        "1 of 16 rollouts, 1 epoch over them: 1 optimizer step a generation batch",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), MINIBATCHES.values(), ids=MINIBATCHES)
def test_minibatches(tiny, tiny_base, changes, expected):
    assert lines(report(load_config(tiny, {**PPO, **changes}, "ppo")), "batch")["minibatches"] == expected


def test_what_each_critic_adds(tiny, tiny_base):
    grpo = lines(report(load_config(tiny)), "memory")
    found = {
        kind: lines(report(load_config(tiny, {"critic": kind}, "ppo")), "memory")
        for kind in ("head", "adapter", "model")
    }

    assert "critic" not in grpo and found["head"]["critic"].split("  ")[1].startswith(
        "33 trained"
    )  # 32 wide, and a bias
    assert found["head"]["activations"] == grpo["activations"]
    adapter, model = (found[kind]["critic"] for kind in ("adapter", "model"))
    assert "a base of" in model and "a base of" not in adapter
    assert found["adapter"]["activations"].endswith("of policy and critic") and adapter != model
    text = lines(report(load_config(tiny, {"critic_reads_logprobs": False}, "ppo")), "memory")["critic"]
    with_odds, without = (int(line.split("  ")[1].split()[0].replace(",", "")) for line in (adapter, text))
    assert with_odds - without == 3 * 32, "a row for each number that is told"
    second = lines(report(load_config(tiny, {"critic": "model", "critic_nano": {"layers": 2}}, "ppo")), "memory")
    one, two = (int(line.split("a base of ")[1].replace(",", "")) for line in (model, second["critic"]))
    assert two > 1.1 * one


def test_the_shipped_config_on_a_random_base(tmp_path):
    make(tmp_path / "base", num_hidden_layers=1, hidden_size=64)
    write_rows(tmp_path / "rows", 600)
    changed = {
        "model_name_or_path": str(tmp_path / "base"),
        "environment_kwargs": {"path": str(tmp_path / "rows"), "name": None},
    }
    batch = lines(report(load_config(SHIPPED, changed)), "batch")

    assert batch["rows generated together"].startswith("256 ") and batch["rollouts in total"] == "51,200"
    assert batch["minibatches"].startswith("4 of 64 rollouts, 1 epoch")


def test_it_refuses_what_a_run_would(tiny, tiny_base, tmp_path):
    make(tmp_path / "other", num_hidden_layers=1, hidden_size=64)
    with pytest.raises(BadInput, match="a vocabulary of 151,936"):
        report(load_config(tiny, {"critic": "model", "critic_model_name_or_path": str(tmp_path / "other")}, "ppo"))
    with pytest.raises(BadInput, match="data-parallel processes"):
        report(load_config(tiny, {"accelerate": "two-cpu-fsdp2"}, "ppo"))
