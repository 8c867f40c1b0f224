"""What a held-out figure depends on: changed on one side alone, it is measured anew or refused, and never subtracted."""

import json
import shutil

import pytest
import yaml
from journeyman.configs import BadInput
from journeyman.evals.comparison import compare
from journeyman.evals.measurement import read_side
from journeyman.hub.publish import publish
from journeyman.recipes.evaluate import AFTER, BEFORE, evaluate
from journeyman.recipes.prove import begun_alike, verdict
from journeyman.recipes.replay import replay
from journeyman.rollouts.record import read_records
from journeyman.trainers.config import load_config
from journeyman.trainers.origin import origin
from journeyman.trainers.run_folder import RunFolder

N = 12
"""Held-out items of each case."""
TABLE = {"path": "data.csv", "prompt": "{question}", "answer": "answer"}
RIGHT = """
from helper import same

def right(completions, answer, **columns):
    return [SCALE * same(c[-1]["content"], a) for c, a in zip(completions, answer)]

SCALE = 1.0
"""
SAME = "def same(text, answer):\n    return float(text.strip() == answer)\n"


@pytest.fixture(scope="module")
def project(tiny_base, make_job, tmp_path_factory):
    """A project with a table, a reward, a helper that the reward imports, and a base model in a folder."""
    folder = tmp_path_factory.mktemp("project")
    base = shutil.copytree(tiny_base, folder / "base")
    rows = [row for split in ("train", "validation", "heldout")
            for row in load_config(make_job(folder / "tiny")).environment().tasks(split, 0, 60)]  # fmt: skip
    lines = [f"{row['prompt'][0]['content']},{row['answer']}" for row in rows]
    (folder / "data.csv").write_text("\n".join(["question,answer", *lines]) + "\n")
    (folder / "rew.py").write_text(RIGHT)
    (folder / "helper.py").write_text(SAME)
    make_job(
        folder, environment="journeyman.envs.table:Table", environment_kwargs=TABLE, rewards=["rew.py:right"],
        model_name_or_path=str(base), nano=None, train_rows=None, heldout_rows=N, validate_every=0, max_steps=2,
        learning_rate=0.02, per_device_train_batch_size=8,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def original(project, train_here):
    """A run of that project, evaluated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(project)
        patch.chdir(project)
        run = train_here(project / "runs" / "a", project / "tiny.yaml")
        evaluate(run, quiet=True)
        yield run


@pytest.fixture
def here(project, original, tmp_path, monkeypatch):
    """A copy of run and project that a test may spoil, and the current folder; the run is where its own files are."""
    monkeypatch.chdir(project)
    kept = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and "runs" not in path.parts}
    run = shutil.copytree(original, tmp_path / "run")
    yield run
    for path, content in kept.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def rewritten(name, old, new):
    """A file of the project with one text in place of another."""

    def spoil(project, run):
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new))

    return spoil


def answers(project, run):
    lines = (project / "data.csv").read_text().splitlines()
    shifted = [line[:-1] + str((int(line[-1]) + 1) % 10) for line in lines[1:]]
    (project / "data.csv").write_text("\n".join([lines[0], *shifted]) + "\n")


def gone(project, run):
    (project / "data.csv").unlink()


def weights(project, run):
    from safetensors.torch import load_file, save_file

    path = project / "base" / "model.safetensors"
    save_file({k: v * 1.5 for k, v in load_file(path).items()}, path, metadata={"format": "pt"})


def asked(**values):
    """Keys of the run's config.yaml changed."""

    def spoil(project, run):
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**config, **values}))

    return spoil


REFUSED = {
    "the reward's file": (rewritten("rew.py", "SCALE = 1.0", "SCALE = 0.5"), "rew.py has changed"),
    "a helper of the reward": (
        rewritten("helper.py", "float(", "0.5 * float("),
        "helper.py, which rew.py uses, has changed",
    ),
    "the table's answers": (answers, "data.csv has changed"),
    "the table is gone": (gone, "data.csv is gone"),
    "the base's weights": (weights, "the base's weights (sha256) has changed"),
    "the base's template": (rewritten("base/chat_template.jinja", "user", "human"), "chat template has changed"),
    "the environment's arguments": (
        asked(environment_kwargs={**TABLE, "system_prompt": "Say:"}),
        "arguments have changed",
    ),
    "a reward's weight": (
        asked(rewards=[{"reward": "rew.py:right", "weight": 2.0}]),
        "the weight of the reward 'right'",
    ),
    "other rewards": (asked(rewards=["journeyman.rewards.match:exact"]), "the reward 'right' is gone"),
}


@pytest.mark.parametrize(("spoil", "says"), REFUSED.values(), ids=REFUSED)
def test_a_run_is_not_measured_by_what_it_was_not_trained_with(project, here, spoil, says):
    kept = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    spoil(project, here)
    changed = {here / "config.yaml"}
    with pytest.raises(BadInput, match="is the run of something else") as error:
        evaluate(here, quiet=True)

    assert says in str(error.value) and "\n" not in str(error.value)
    assert {p for p, content in kept.items() if not p.exists() or p.read_bytes() != content} <= changed


ANEW = {
    "temperature": (asked(evaluation={"temperature": 1.0}), "sampling.temperature (0.0, now 1.0)"),
    "several rollouts": (asked(evaluation={"temperature": 1.0, "k": 2}), "k (1, now 2)"),
    "tokens of a completion": (asked(max_completion_length=1), "sampling.max_tokens (3, now 1)"),
    "limits": (asked(limits={"tokens": 1}), "limits.tokens (None, now 1)"),
    "arguments of the template": (asked(chat_template_kwargs={"enable_thinking": False}), "template.kwargs"),
    "precision": (asked(dtype="bfloat16"), "precision.dtype"),
    "seed": (asked(seed=8), "seed (7, now 8)"),
}


@pytest.mark.parametrize(("spoil", "says"), ANEW.values(), ids=ANEW)
def test_what_is_asked_anew_is_measured_on_both_sides(project, here, spoil, says):
    spoil(project, here)
    result = evaluate(here, quiet=True)
    before, after = (read_side(here / "records", stem) for stem in (BEFORE, AFTER))

    assert says in result.notes[0] and result.lines()[0] == result.notes[0]
    assert before.measure == after.measure
    assert {**before.candidate, "adapter": after.candidate["adapter"]} == after.candidate
    assert before.candidate["adapter"] is None and after.candidate["adapter"]


def cut(run):
    import pyarrow.parquet as pq

    path = run / "records" / f"{BEFORE}.parquet"
    pq.write_table(pq.read_table(path).slice(0, 5), path)


def without(run):
    (run / "records" / f"{BEFORE}.json").unlink()


def swapped(run):
    shutil.copy(run / "records" / f"{AFTER}.parquet", run / "records" / f"{BEFORE}.parquet")


def added(run):
    shutil.copy(next((run / "records").glob("train*")), run / "records" / f"{BEFORE}-00000.parquet")


@pytest.mark.parametrize("spoil", [cut, without, swapped, added])
def test_records_that_are_not_as_they_were_written_are_measured_anew(here, spoil):
    whole = {r.item: r.quality for r in read_records(here, BEFORE)}
    spoil(here)
    with pytest.raises(BadInput, match=r"as they were written|nothing says what"):
        compare(RunFolder(here).records, BEFORE, AFTER)
    result = evaluate(here, quiet=True)

    assert {r.item: r.quality for r in read_records(here, BEFORE)} == whole and result.difference.n == N
    assert "was measured anew" in result.notes[0]


def test_a_run_measures_its_own_files_from_wherever_it_is_evaluated(project, here, tmp_path, monkeypatch):
    """The current folder holds others of the same names; so does a link to it. The project may have moved, too."""
    known = read_side(here / "records", AFTER).measure
    other = tmp_path / "other"
    other.mkdir()
    (other / "data.csv").write_text("question,answer\n" + "".join(f"q{i},{i % 10}\n" for i in range(90)))
    (other / "rew.py").write_text("def right(completions, **columns):\n    return [0.25 for _ in completions]\n")
    (tmp_path / "link").symlink_to(other)
    for folder in (other, tmp_path / "link"):
        monkeypatch.chdir(folder)
        result = evaluate(here, quiet=True)
        assert result.after.measure == known and not result.notes
        assert replay(here, quiet=True).reproduced.exact


def test_a_config_that_says_where_its_files_lie_means_those(project, here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text("question,answer\na,1\n")
    config = load_config(here / "config.yaml")

    assert len(config.environment().rows()) > 100


def test_replay_refuses_other_answers_and_takes_other_rewards(project, here):
    rewritten("rew.py", "SCALE = 1.0", "SCALE = 0.5")(project, here)
    assert replay(here, quiet=True).reproduced.changed == ["right"]
    answers(project, here)
    with pytest.raises(BadInput, match=r"data\.csv has changed since the run"):
        replay(here, ["journeyman.rewards.match:exact"], quiet=True)


def another_adapter(run):
    from safetensors.torch import load_file, save_file

    path = run / "adapter" / "adapter_model.safetensors"
    save_file({k: v * 2 for k, v in load_file(path).items()}, path, metadata={"format": "pt"})


def another_scale(run):
    path = run / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": 64}))


def other_results(run):
    path = run / "results.json"
    heldout = json.loads(path.read_text())["heldout"]
    heldout["candidates"]["after"]["adapter"]["adapter_model.safetensors"] = "0" * 16
    path.write_text(json.dumps({"heldout": heldout}))


def no_measure(run):
    path = run / "results.json"
    heldout = json.loads(path.read_text())["heldout"]
    path.write_text(json.dumps({"heldout": {k: v for k, v in heldout.items() if k not in ("measure", "candidates")}}))


def other_reward(run):
    facts = json.loads((run / "run.json").read_text())
    facts["rewards"][0]["hash"] = "0" * 16
    (run / "run.json").write_text(json.dumps(facts))


def written_in(run):
    path = run / "results.json"
    heldout = json.loads(path.read_text())["heldout"]
    path.write_text(json.dumps({"heldout": {**heldout, "difference": 0.9}}))


NOT_STATED = {
    "a number written in by hand": (written_in, "difference"),
    "another adapter": (another_adapter, "adapter.adapter_model.safetensors"),
    "another scale of the adapter": (another_scale, "adapter.adapter_config.json"),
    "results of another run": (other_results, "adapter.adapter_model.safetensors"),
    "results that don't say what they measure": (no_measure, "it does not say what it measured"),
    "another reward": (other_reward, "rewards.right.hash"),
    "other sampling": (lambda run: asked(evaluation={"temperature": 1.0})(None, run), "sampling.temperature"),
    "another metric": (lambda run: asked(quality="exact")(None, run), "metric"),
    "records cut short": (cut, "records"),
}


@pytest.mark.parametrize(("spoil", "says"), NOT_STATED.values(), ids=NOT_STATED)
def test_a_card_states_no_figure_that_is_not_of_the_run(here, tmp_path, spoil, says):
    assert "with this adapter" in publish(here, dry_run=True).card
    spoil(here)
    with pytest.raises(BadInput, match="the held-out figure is not of this run as it is now") as error:
        publish(here, export=tmp_path / "out")

    assert says in str(error.value) and not (tmp_path / "out").exists()


def test_two_evaluations_at_once_do_not_write_into_one_another(here):
    with RunFolder(here).at_work(), pytest.raises(BadInput, match="another process is at work on this run"):
        evaluate(here, quiet=True)


STOPPED = {
    "reward": (
        rewritten("rew.py", "SCALE = 1.0", "SCALE = 0.5"),
        "the source of the reward 'right' has changed|rew.py has",
    ),
    "helper": (rewritten("helper.py", "float(", "0.5 * float("), "helper.py, which rew.py uses, has changed"),
    "data": (answers, "data.csv has changed"),
    "base": (weights, "the base's weights"),
    "tokenizer": (
        rewritten("base/tokenizer_config.json", "{", '{"model_input_names": ["input_ids"],'),
        "chat template has",
    ),
}


@pytest.mark.parametrize(("spoil", "says"), STOPPED.values(), ids=STOPPED)
def test_a_stopped_run_does_not_go_on_with_other_parts(project, here, train_here, spoil, says):
    RunFolder(here).update(status="stopped")
    spoil(project, here)
    records = {path: path.read_bytes() for path in (here / "records").iterdir()}
    with pytest.raises(BadInput, match=says):
        train_here(here, project / "tiny.yaml")

    assert {path: path.read_bytes() for path in (here / "records").iterdir()} == records
    assert RunFolder(here).read()["status"] == "stopped"


@pytest.fixture
def proof(here, tmp_path):
    """The folder of a proof whose three arms are that run."""
    for arm in ("real", "control", "sft"):
        shutil.copytree(here, tmp_path / "proof" / arm)
    return tmp_path / "proof"


def test_a_verdict_needs_one_measure_for_all_arms(project, proof):
    assert verdict(proof).beyond_control.difference == 0
    asked(evaluation={"temperature": 1.0})(project, proof / "control")
    evaluate(proof / "control", quiet=True)
    with pytest.raises(BadInput, match=r"the two sides differ in sampling.temperature \(0\.0, now 1\.0\)"):
        verdict(proof)


@pytest.mark.parametrize("arm", ["real", "control", "sft"])
def test_a_proof_does_not_go_on_with_an_arm_of_something_else(project, proof, arm):
    """The config of the command, and of each arm: the same data and rewards, and the same keys."""
    config = load_config(proof / "real" / "config.yaml")
    now = origin(config, config.environment(), config.rewards())
    asked(shuffle_rewards=True)(project, proof / "control")
    asked(max_seconds=1.0)(project, proof / "sft")
    arms = dict.fromkeys(("real", "control", "sft"), config)
    begun_alike(proof, arms, now)
    facts = json.loads((proof / arm / "run.json").read_text())
    facts["files"]["data.csv"]["holds"]["data.csv"] = "0" * 16
    (proof / arm / "run.json").write_text(json.dumps(facts))
    with pytest.raises(BadInput, match=rf"{arm}: is the run of something else: data\.csv has changed"):
        begun_alike(proof, arms, now)
    asked(learning_rate=0.5)(project, proof / arm)
    with pytest.raises(BadInput, match=r"proof of another config \(it differs in learning_rate\)"):
        begun_alike(proof, arms, now)


def test_trained_twice_in_one_process_a_reward_is_what_its_file_says(project, here, train_here, tmp_path):
    """As in a notebook: train, edit, train."""
    seen = []
    for value in (0.25, 0.75):
        (project / "rew.py").write_text(
            f"def right(completions, **columns):\n    return [{value} for _ in completions]\n"
        )
        run = train_here(tmp_path / str(value), project / "tiny.yaml", max_steps=1)
        (reward,) = RunFolder(run).read()["rewards"]
        seen.append(({r.rewards["right"] for r in read_records(run, "train")}, reward["hash"]))

    assert [paid for paid, _ in seen] == [{0.25}, {0.75}] and seen[0][1] != seen[1][1]
