import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from journeyman.configs import BadInput
from journeyman.recipes import prove as module
from journeyman.recipes import sft
from journeyman.recipes.prove import CONTROL, REAL, REFERENCE, as_dict, prove, verdict
from journeyman.rollouts.record import read_records
from journeyman.trainers.config import load_config

FLAGS = {"max_steps": 12, "learning_rate": 3e-3, "heldout_rows": 60, "validate_every": 6, "report_to": "none"}

pytestmark = pytest.mark.xdist_group("proof")  # one proof serves them all


@pytest.fixture(scope="module")
def proven(tiny, tiny_base, tmp_path_factory):
    """A whole proof of the tiny job."""
    folder = tmp_path_factory.mktemp("proof") / "proof"
    return folder, prove(str(tiny), seed=3, output=folder, **FLAGS)


@pytest.mark.long
def test_the_verdict_follows_from_the_records_alone(proven, monkeypatch):
    folder, proof = proven

    def must_not(*args, **kwargs):
        raise AssertionError("nothing is to be run")

    monkeypatch.setattr(subprocess, "Popen", must_not)
    monkeypatch.setattr(module, "load_base", must_not)
    again = verdict(folder)

    assert replace(again, baselines={}) == replace(proof, baselines={})
    written = json.loads((folder / "proof.json").read_text())
    assert written == json.loads(json.dumps(as_dict(proof))) and written["passed"] == proof.passed


@pytest.mark.long
def test_every_arm_is_measured_on_the_same_rows(proven):
    folder, proof = proven
    before = {r.item: r.quality for r in read_records(folder / REAL, "heldout-before")}

    assert len(before) == 60 and set(proof.arms) == {REAL, CONTROL, REFERENCE}
    for name, arm in proof.arms.items():
        after = {r.item: r.quality for r in read_records(folder / name, "heldout-after")}
        assert list(after) == list(before)
        assert arm.difference.n == 60
        assert arm.difference.mean_before == pytest.approx(np.mean(list(before.values())))
        assert arm.difference.mean_after == pytest.approx(np.mean(list(after.values())))
    gained = [proof.arms[name].difference.difference for name in (REAL, CONTROL)]
    assert proof.beyond_control.difference == pytest.approx(gained[0] - gained[1])


@pytest.mark.long
def test_the_control_differs_in_its_rewards_order_and_in_nothing_else(proven):
    folder, proof = proven
    real, control = (load_config(folder / name / "config.yaml").values for name in (REAL, CONTROL))

    assert {key for key in {*real, *control} if real.get(key) != control.get(key)} == {"shuffle_rewards", "output_dir"}
    first = [
        [
            (r.item, r.prompt_ids, r.completion_ids, r.rewards)
            for r in read_records(folder / name, "train")
            if r.step == 0
        ]
        for name in (REAL, CONTROL)
    ]
    assert first[0] == first[1]
    for name in (REAL, CONTROL):
        assert proof.arms[name].steps == 12 and proof.arms[name].update_norm > 0 and proof.arms[name].reward > 0
    assert proof.arms[REFERENCE].reward is None
    assert proof.arms[REFERENCE].seconds == pytest.approx(proof.arms[REAL].seconds, rel=0.5, abs=1.5)


@pytest.mark.long
def test_the_table_says_what_the_proof_holds(proven):
    _, proof = proven
    text = "\n".join(proof.lines())

    assert "n = 60 items" in text and "seed 3" in text
    for name in (REAL, CONTROL, REFERENCE, "real - control"):
        assert f"  {name}" in text
    assert ("  proved" in text) == proof.passed and ("not proved" in text) != proof.passed


def test_a_ppo_file_has_its_reference_row(make_job, tiny_base, tmp_path):
    """SFT reads the same file, and cares for nothing that is said there of groups and critics."""
    ppo = {"recipe": "ppo", "num_generations": 1, "per_device_train_batch_size": 9, "critic": "model", "gamma": 0.9}
    job = make_job(tmp_path / "job", **ppo, max_steps=2, validate_every=0, report_to="none")
    config = load_config(job, {"output_dir": str(tmp_path / "run")}, "sft")
    folder = sft.train(config)

    assert json.loads((folder / "run.json").read_text())["steps"] == 2 and (folder / "adapter").is_dir()


@pytest.mark.long
def test_a_folder_that_holds_a_proof_is_not_overwritten(proven, tiny):
    folder, _ = proven
    with pytest.raises(BadInput, match="holds a proof already; go on with it by --resume"):
        prove(str(tiny), seed=3, output=folder, **FLAGS)


@pytest.mark.long
def test_a_proof_goes_on_by_the_config_that_it_began_with(proven, tiny):
    folder, _ = proven
    with pytest.raises(BadInput, match=r"the proof of another config \(it differs in learning_rate\)"):
        prove(str(tiny), seed=3, output=folder, resume=True, **{**FLAGS, "learning_rate": 1e-3})


@pytest.mark.long
def test_resuming_a_finished_proof_trains_nothing(proven, tiny, monkeypatch):
    folder, proof = proven
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("nothing is left to train"))

    assert prove(str(tiny), seed=3, output=folder, resume=True, **FLAGS) == proof


@pytest.mark.long
@pytest.mark.parametrize(
    ("real", "control", "beyond", "passed"),
    [
        (0.1, -0.1, 0.1, True),
        (-0.1, -0.1, 0.1, False),
        (0.1, 0.1, 0.1, False),
        (0.1, -0.1, -0.1, False),
        (0.0, 0.0, 0.1, False),
    ],
)
def test_all_three_conditions_must_hold(proven, real, control, beyond, passed):
    """By the lower ends of the intervals."""
    _, proof = proven
    arms = dict(proof.arms)
    arms[REAL] = replace(arms[REAL], difference=replace(arms[REAL].difference, low=real))
    arms[CONTROL] = replace(arms[CONTROL], difference=replace(arms[CONTROL].difference, low=control))

    assert replace(proof, arms=arms, beyond_control=replace(proof.beyond_control, low=beyond)).passed is passed
