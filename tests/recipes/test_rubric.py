from pathlib import Path

import pytest
import yaml
from journeyman.configs import BadInput
from journeyman.configs.read import find_job, load_attribute, read_yaml
from journeyman.rewards.text import after_thinking
from journeyman.rollouts.record import read_records

SERVER = Path(__file__).parents[1] / "rewards" / "judge_server.py"
JudgeServer = load_attribute(f"{SERVER}:JudgeServer")

SMALL = {
    "nano": {
        "hidden_size": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 32, "intermediate_size": 64, "vocab_size": 512,
        "demonstrations": 200, "validation": 20, "across_words": True, "steps": 20, "check_every": 20, "batch": 32,
    },
    "train_rows": 32, "validation_rows": 8, "heldout_rows": 8, "max_steps": 2, "validate_every": 0, "num_generations": 4,
    "per_device_train_batch_size": 16, "lora": {"r": 4, "lora_alpha": 8}, "use_cpu": True, "report_to": "none",
}  # fmt: skip


def job_at(folder, server, **changes):
    """The shipped job with another judge's address, and small."""
    shipped = find_job("rubric")
    rewards = read_yaml(shipped)["rewards"]
    rewards[0]["kwargs"] |= {"endpoint": server.endpoint, "retries": 0, "timeout": 5, **changes}
    path = folder / "rubric.yaml"
    path.write_text(yaml.safe_dump({"extends": str(shipped), "rewards": rewards, **SMALL}))
    return path


@pytest.mark.long
def test_judge_and_length_train_end_to_end(tmp_path, cli):
    with JudgeServer() as server:
        done = cli("train", job_at(tmp_path, server), "--output_dir", tmp_path / "run")
        assert done.code == 0, done.err

    rollouts = list(read_records(tmp_path / "run", "train"))
    assert len(rollouts) == 2 * 16 and all(set(r.rewards) == {"judge", "length"} for r in rollouts)
    assert all(r.error is None and r.advantage is not None for r in rollouts)
    # What the server's own logic says of each text: half the marks for each of two words.
    texts = [after_thinking(r.messages[-1]["content"]).lower() for r in rollouts]
    expected = [sum(word in text for word in ("sorry", "thank")) / 2 for text in texts]
    assert [r.rewards["judge"] for r in rollouts] == expected and len(set(expected)) > 1
    assert all(r.rewards["length"] == -min(1, max(0, len(r.completion_ids) - 40) / 24) for r in rollouts)
    assert list((tmp_path / "run").rglob("adapter_model.safetensors"))


def test_a_job_whose_judge_is_away_does_not_begin(tmp_path):
    from journeyman.recipes.preflight import prepare
    from journeyman.trainers.config import load_config

    with JudgeServer((500, {})) as server, pytest.raises(BadInput, match=r"'judge' fails on a right answer.*HTTP 500"):
        prepare(load_config(job_at(tmp_path, server)))
