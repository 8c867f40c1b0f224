"""The shipped launch shapes on a CPU: two real processes over gloo."""

import json
import shutil

import pytest
import torch
import yaml
from journeyman.rollouts.record import read_records
from safetensors.torch import load_file


@pytest.mark.long
@pytest.mark.parametrize("shape", ["two-cpu", "two-cpu-fsdp2"])
def test_two_processes_train_one_adapter(cli, make_job, tiny, tiny_base, train_here, tmp_path, shape):
    run = tmp_path / "run"
    tiny = make_job(tmp_path, rewards=[*yaml.safe_load(tiny.read_text())["rewards"], "tiny.py:group_seen"])
    flags = ["--per_device_train_batch_size=8", "--max_steps=3", "--validate_every=3", "--save_steps=3"]
    command = ("train", tiny, f"--accelerate={shape}", f"--output_dir={run}", "--report_to=none", *flags)
    done = cli(*command, timeout=400)
    assert done.code == 0, done.err

    facts = json.loads((run / "run.json").read_text())
    assert (
        facts["status"] == "finished" and facts["processes"] == 2 and facts["steps"] == 3 and facts["update_norm"] > 0
    )
    for rank in range(2):
        mine = list(read_records(run, f"train-rank{rank}"))
        assert sorted((r.step, r.row) for r in mine) == [
            (s, r) for s in range(3) for r in range(8 * rank, 8 * rank + 8)
        ]
        assert len(list(read_records(run, f"validation-rank{rank}"))) == 2 * 8
    every = list(read_records(run, "train"))
    for step in range(3):
        groups = {r.group: r.item for r in every if r.step == step}
        assert len(groups) == 4 and all(groups[r.group] == r.item for r in every if r.step == step)
        for group in groups:
            texts = [r.messages[-1]["content"] for r in every if (r.step, r.group) == (step, group)]
            assert all(
                r.rewards["group_seen"] == 4 and r.extras["group"] == "/".join(texts)
                for r in every
                if (r.step, r.group) == (step, group)
            ), "a group reward sees all four, on whichever rank they are"

    # Stopped after its last step, before its adapter was there: the same command makes no further one.
    ended = load_file(run / "adapter" / "adapter_model.safetensors")
    shutil.rmtree(run / "adapter")
    (run / "run.json").write_text(json.dumps({**facts, "status": "stopped"}))
    again = cli(*command, timeout=400)
    assert again.code == 0, again.err
    assert json.loads((run / "run.json").read_text())["steps"] == 3
    resumed = load_file(run / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in ended.items())

    # One process with the same rows: the same first batch, and after it the same adapter but for sums in another order.
    alone = train_here(tmp_path / "alone", tiny, max_steps=3, validate_every=3, save_strategy="no")
    first = [
        {(r.row, tuple(r.prompt_ids), tuple(r.completion_ids)) for r in read_records(place, "train") if r.step == 0}
        for place in (run, alone)
    ]
    assert first[0] == first[1]
    ours, theirs = (load_file(place / "adapter" / "adapter_model.safetensors") for place in (run, alone))
    assert ours.keys() == theirs.keys()
    a, b = (torch.cat([t.flatten() for _, t in sorted(state.items())]) for state in (ours, theirs))
    assert a.shape == b.shape and (a - b).norm() < 0.05 * b.norm()
