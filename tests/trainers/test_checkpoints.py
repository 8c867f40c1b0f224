"""A checkpoint under its name is whole; a run that was killed at any moment ends where the undisturbed one ends."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from journeyman.configs import BadInput
from journeyman.rollouts.record import compact, read_records, uncompact
from journeyman.trainers.checkpoints import MANIFEST, check_room, damage, finish, last_whole, rotate, seal, steps_of

FILES = ("adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", "journeyman-0.pt")


def written(folder, step):
    partial = folder / ".partial" / f"checkpoint-{step}"
    partial.mkdir(parents=True)
    for name in FILES:
        (partial / name).write_bytes(bytes(range(256)) * 16)
    seal(partial)
    finish(partial, folder / f"checkpoint-{step}")
    return folder / f"checkpoint-{step}"


def missing(name):
    return lambda folder: (folder / name).unlink()


def half_zero(folder):
    path = folder / "adapter_model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def truncated(folder):
    path = folder / "trainer_state.json"
    path.write_bytes(path.read_bytes()[:100])


def other_manifest(folder):
    (folder / MANIFEST).write_text("{")


SPOILT = {
    "no optimizer": (missing("optimizer.pt"), "optimizer.pt is missing"),
    "no random state": (missing("rng_state.pth"), "rng_state.pth is missing"),
    "an adapter that is half zeros": (half_zero, "adapter_model.safetensors is not what was written"),
    "a state cut short": (truncated, "trainer_state.json has 100 bytes, not 4,096"),
    "no manifest": (missing(MANIFEST), "manifest.json is missing"),
    "a manifest cut short": (other_manifest, "manifest.json can't be read"),
}


@pytest.mark.parametrize(("spoil", "reason"), SPOILT.values(), ids=SPOILT)
def test_a_damaged_checkpoint_is_named_and_set_aside(tmp_path, capsys, spoil, reason):
    good, bad = written(tmp_path, 4), written(tmp_path, 8)
    assert damage(bad) is None and last_whole(tmp_path) == (bad, 8)
    spoil(bad)

    assert last_whole(tmp_path) == (good, 4)
    assert f"checkpoint-8: {reason}" in capsys.readouterr().err
    assert (tmp_path / "damaged-checkpoint-8").is_dir() and not bad.exists()


def test_the_last_ones_are_kept_and_what_was_half_written_is_none(tmp_path):
    for step in (2, 10, 9):
        written(tmp_path, step)
    (tmp_path / ".partial" / "checkpoint-12").mkdir(parents=True)
    (tmp_path / "checkpoint-x").mkdir()

    assert [step for step, _ in steps_of(tmp_path)] == [2, 9, 10]
    rotate(tmp_path, 2)
    assert [step for step, _ in steps_of(tmp_path)] == [9, 10] and last_whole(tmp_path)[1] == 10
    assert not (tmp_path / ".partial").exists()
    assert last_whole(tmp_path / "nothing") == (None, 0)


def test_too_little_room_is_said_before_a_run(tmp_path):
    check_room(tmp_path / "not" / "yet", 1)
    with pytest.raises(BadInput, match="MiB are free and a checkpoint takes about"):
        check_room(tmp_path, 2**60)


def test_compacting_that_was_cut_off_is_taken_back(trained, tmp_path):
    rollouts = list(read_records(trained, "train"))
    (source,) = (trained / "records").glob("train.parquet")
    (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "train-00000.jsonl").write_text("left over from before")
    uncompact(tmp_path / source.name)

    assert [p.name for p in tmp_path.iterdir()] == ["train-00000.jsonl"]
    assert list(read_records(tmp_path)) == rollouts
    compact(tmp_path, "train")
    assert list(read_records(tmp_path)) == rollouts


STEPS = 12


@pytest.fixture(scope="module")
def job(make_job, tmp_path_factory):
    rewards = ["journeyman.rewards.match:exact", {"reward": "tiny.py:close", "weight": 0.5}]
    return make_job(
        tmp_path_factory.mktemp("killed"), rewards=rewards, max_steps=STEPS, validate_every=3, save_steps=2,
        num_iterations=2, steps_per_generation=2, gradient_accumulation_steps=1, per_device_train_batch_size=8,
    )  # fmt: skip


def same_end(run, undisturbed):
    run, undisturbed = Path(run), Path(undisturbed)
    weights = [(place / "adapter" / "adapter_model.safetensors").read_bytes() for place in (run, undisturbed)]
    assert weights[0] == weights[1], run
    keys = [[(r.step, r.row) for r in read_records(place, "train")] for place in (run, undisturbed)]
    assert sorted(keys[0]) == sorted(keys[1]) and len(set(keys[0])) == len(keys[0])
    keys = [[(r.step, r.row) for r in read_records(place, "validation")] for place in (run, undisturbed)]
    assert sorted(keys[0]) == sorted(keys[1])
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))


@pytest.mark.long
def test_killed_at_random_moments_it_ends_where_the_undisturbed_run_ends(driven, job, tiny_base, tmp_path):
    found = driven(job, tmp_path, "kills", 0, 20)

    assert found["kills"] == 20
    for run in found["runs"]:
        same_end(run, found["undisturbed"])


@pytest.mark.long
def test_killed_between_write_and_rename_it_goes_on_from_the_one_before(driven, job, tiny_base, train_here, tmp_path):
    found = driven(job, tmp_path, "rename", 6)

    assert found["code"] == -9 and found["again"] == 0, found["text"]
    assert ".partial" in found["left"] and "checkpoint-6" not in found["left"] and "checkpoint-4" in found["left"]
    same_end(tmp_path / "run", train_here(tmp_path / "undisturbed", job))


def test_stopped_after_its_last_step_it_only_finishes(job, tiny_base, train_here, tmp_path):
    run = train_here(tmp_path / "run", job)
    (tmp_path / "undisturbed").mkdir()
    shutil.copytree(run, tmp_path / "undisturbed", dirs_exist_ok=True)
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    shutil.rmtree(run / "adapter")
    train_here(run, job)

    same_end(run, tmp_path / "undisturbed")
    assert json.loads((run / "run.json").read_text())["steps"] == STEPS


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_leaves_the_checkpoint_before_and_can_be_mended(driven, job, tiny_base, train_here, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this root may not mount a disk")
    try:
        found = driven(job, disk, "full")
        assert found["code"] == 1 and found["whole"] == {"2": None}, found["text"]
        last = found["text"].strip().splitlines()[-1]
        assert last.startswith("journeyman: ") and "no room left" in last and "the same command goes on" in last
        assert found["again"] == 0, found["later"]
        same_end(disk / "run", train_here(tmp_path / "undisturbed", job))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
