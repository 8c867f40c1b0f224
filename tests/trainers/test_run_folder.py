import json
import shutil
import subprocess
import sys

import pytest
from journeyman.configs import BadInput
from journeyman.rollouts.record import RecordWriter, read_records
from journeyman.trainers.config import load_config
from journeyman.trainers.run_folder import RunFolder


@pytest.fixture
def config(tiny, trained):
    return load_config(tiny, {"report_to": "none", "output_dir": str(trained)})


def test_a_finished_run_holds_what_is_documented(trained):
    files = {str(p.relative_to(trained)) for p in trained.rglob("*") if p.is_file()}

    assert {"config.yaml", "run.json", "metrics.jsonl", "records/train.parquet", "records/validation.parquet"} <= files
    assert {"adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/chat_template.jinja"} <= files
    assert not [
        name
        for name in files
        if name.endswith((".partial", ".bin", ".jsonl")) and not name.startswith(("checkpoints", "metrics"))
    ]
    assert not (trained / "adapter" / "README.md").exists(), "TRL's card"


def test_its_facts(trained):
    facts = RunFolder(trained).read()

    assert facts["status"] == "finished" and facts["steps"] == 2 and facts["seed"] == 7
    assert facts["processes"] == 1 and facts["base"]["build"] and len(facts["base"]["sha256"]) == 64
    assert facts["update_norm"] > 0 and facts["adapter_step"] in (0, 2)
    assert {"python", "torch", "trl", "peft", "journeyman"} <= facts["versions"].keys()
    exact, close = facts["rewards"]
    assert (exact["name"], exact["weight"], exact["spec"]) == ("exact", 1.0, "journeyman.rewards.match:exact")
    assert (close["name"], close["weight"], close["spec"]) == ("close", 0.5, "tiny.py:close")


def test_its_records_and_metrics(trained):
    rollouts = list(read_records(trained, "train"))
    metrics = RunFolder(trained).read_metrics()

    assert sorted((r.step, r.row) for r in rollouts) == [(s, r) for s in range(2) for r in range(16)]
    assert {r.policy_version for r in rollouts if r.step == 1} == {1}
    assert sorted((r.step, r.row) for r in read_records(trained, "validation")) == [
        (s, r) for s in (0, 2) for r in range(16)
    ]
    for step, row in enumerate(metrics):
        rewards = [r.rewards["exact"] + 0.5 * r.rewards["close"] for r in rollouts if r.step == step]
        assert row["step"] == step + 1 and row["reward"] == pytest.approx(sum(rewards) / 16)
    for r in rollouts:
        assert (
            r.group == r.row // 4
            and r.run.endswith("grpo-seed7")
            and r.split == "train"
            and r.quality == r.rewards["exact"]
        )
        assert len(r.logprobs) == len(r.completion_ids) == len(r.env_mask) == r.tokens_out <= 3
        assert r.messages[-1]["role"] == "assistant" and r.tokens_in == len(r.prompt_ids)


def spoil_nothing(run, config):
    pass


def other_files(run, config):
    shutil.rmtree(run)
    run.mkdir()
    (run / "thesis.tex").write_text("years of work")


def a_file(run, config):
    shutil.rmtree(run)
    run.write_text("")


def under_a_file(run, config):
    shutil.rmtree(run)
    run.parent.joinpath("file").write_text("")
    config.trainer["output_dir"] = str(run.parent / "file" / "run")


def stopped(run, config):
    RunFolder(run).update(status="stopped")


def stopped_and_changed(run, config):
    stopped(run, config)
    config.values["learning_rate"] = 0.5


def broken_facts(run, config):
    (run / "run.json").write_text("{")


def nothing(run, config):
    shutil.rmtree(run)


REFUSED = {
    "a finished run": (spoil_nothing, "auto", "this run is finished"),
    "a stopped run that may not be resumed": (
        stopped,
        "never",
        "holds a run that is stopped; --resume auto goes on with it",
    ),
    "another run": (stopped_and_changed, "auto", "another run (it differs in learning_rate)"),
    "other files": (other_files, "auto", "holds files that are no run's"),
    "a file": (a_file, "auto", "not a writable folder"),
    "a place under a file": (under_a_file, "auto", "can't be made"),
    "broken facts": (broken_facts, "auto", "run.json: not valid JSON"),
    "neither auto nor never": (nothing, "maybe", "--resume is 'maybe'; it should be auto or never"),
}


@pytest.mark.parametrize(("spoil", "resume", "message"), REFUSED.values(), ids=REFUSED)
def test_a_folder_is_never_taken_in_silence(run_copy, tiny, spoil, resume, message):
    config = load_config(tiny, {"report_to": "none", "output_dir": str(run_copy)})
    spoil(run_copy, config)
    before = sorted(p for p in run_copy.parent.rglob("*"))

    with pytest.raises(BadInput, match=r"choose another --output_dir|resume|JSON|another run") as error:
        RunFolder(config.output).check(config, resume)
    assert message in str(error.value)
    assert sorted(p for p in run_copy.parent.rglob("*")) == before


@pytest.mark.parametrize(("spoil", "goes_on"), [(stopped, True), (nothing, False)])
def test_a_stopped_run_goes_on_and_a_new_folder_is_fine(run_copy, tiny, spoil, goes_on):
    config = load_config(tiny, {"report_to": "none", "output_dir": str(run_copy)})
    spoil(run_copy, config)

    assert RunFolder(config.output).check(config) is goes_on


def test_an_empty_folder_is_fine(tiny, tmp_path):
    assert RunFolder(tmp_path).check(load_config(tiny)) is False


def test_a_run_that_a_process_is_at_work_on_is_left_alone(run_copy, tiny):
    config = load_config(tiny, {"report_to": "none", "output_dir": str(run_copy)})
    stopped(run_copy, config)
    holds = (
        "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", holds, str(run_copy / ".lock")], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BadInput, match="a process is at work on this run"):
            RunFolder(config.output).check(config)
    finally:
        other.kill()
        other.wait()
    assert RunFolder(config.output).check(config)


def test_rewinding_drops_what_a_resumed_run_writes_anew(tmp_path):
    from dataclasses import replace

    from journeyman.rollouts.record import Rollout

    folder = RunFolder(tmp_path)
    messages = [{"role": "assistant", "content": "a\u2028b\x85c\x0bd"}]
    one = Rollout("r", 0, "train", "i", 0, 0, 1, 0, messages, [1], [2], [-0.5], [1])
    for stem, steps in (("train", (0, 1, 2, 3)), ("validation", (0, 2, 4))):
        RecordWriter(folder.records, stem).write([replace(one, step=step) for step in steps])
    with (folder.records / "train-00000.jsonl").open("a") as file:
        file.write('{"run": "r", "st')
    for step in (1, 2, 3):
        folder.append_metrics({"step": step})
    folder.rewind(2)

    assert [r.step for r in read_records(folder.records, "train")] == [0, 1]
    assert [r.step for r in read_records(folder.records, "validation")] == [0, 2]
    assert [row["step"] for row in folder.read_metrics()] == [1, 2]
    assert next(iter(read_records(folder.records, "train"))).messages == messages


def test_updates_are_laid_on_what_is_there(tmp_path):
    folder = RunFolder(tmp_path)
    folder.update(status="running", seed=1)
    folder.update(status="stopped")

    assert json.loads(folder.facts.read_text()) == {"status": "stopped", "seed": 1}
    with pytest.raises(BadInput, match="not a run's folder"):
        RunFolder(tmp_path / "else").read()
