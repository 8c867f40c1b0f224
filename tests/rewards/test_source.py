"""A reward whose file has been edited is the edited one, in the process that had read it before as in a new one."""

import os
import pickle
import subprocess
import sys

import pytest
from journeyman.configs import BadInput
from journeyman.configs.files import code_beside, holds, look_up, manifest, placed
from journeyman.configs.read import load_attribute
from journeyman.rewards import as_reward, reward
from journeyman.rewards.call import Scored
from journeyman.rewards.executor import Executor
from journeyman.rewards.source import source_hash

FILE = """
from journeyman.rewards import reward

@reward{options}
def pays(completion):
    return {value}
"""
WITH_HELPER = """
import sys
sys.path.insert(0, {folder!r})
from journeyman.rewards import reward

@reward
def pays(completion):
    {line}
    return float(paid())
"""
ITEM = Scored({"prompt": [{"role": "user", "content": "q"}]}, [{"role": "assistant", "content": "a"}])


def pays(path):
    return load_attribute(f"{path}:pays")


def value(made):
    return made.run([ITEM])[0]


def same_time(path, text):
    """`text` written to `path`, of the same length and with the same time, as a checkout or a quick script leaves it."""
    before = path.stat()
    assert len(text) == before.st_size
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("write", [lambda path, text: path.write_text(text), same_time], ids=["written", "same time"])
def test_an_edited_file_is_read_again_and_has_another_hash(tmp_path, write):
    path = tmp_path / "rew.py"
    path.write_text(FILE.format(options="", value=0.25))
    first = pays(path)
    assert pays(path) is first and value(first) == 0.25
    write(path, FILE.format(options="", value=0.75))
    second = pays(path)

    assert (value(first), value(second)) == (0.25, 0.75) and first.source_hash != second.source_hash
    assert pays(path) is second and value(pickle.loads(pickle.dumps(second))) == 0.75
    path.write_text(FILE.format(options="", value=0.25))
    assert pays(path).source_hash == first.source_hash


def test_a_new_process_runs_the_text_that_it_hashes(tmp_path):
    """Python's compiled copies go by length and second."""
    path = tmp_path / "rew.py"
    path.write_text(FILE.format(options="", value=0.25))
    code = (
        "import sys; from journeyman.configs.read import load_attribute; r = load_attribute(sys.argv[1] + ':pays'); "
        "print(r.function('x'), r.source_hash)"
    )
    seen = []
    for text in (None, FILE.format(options="", value=0.75)):
        if text:
            same_time(path, text)
        seen.append(
            subprocess.run(
                [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
            ).stdout.split()
        )

    assert [paid for paid, _ in seen] == ["0.25", "0.75"] and seen[0][1] != seen[1][1]


@pytest.mark.parametrize("line", ["from paid_helper import paid", "import paid_helper; paid = paid_helper.paid"])
def test_a_helper_counts_wherever_it_is_imported(tmp_path, line):
    path, helper = tmp_path / "rew.py", tmp_path / "paid_helper.py"
    helper.write_text("def paid():\n    return 0.25\n")
    path.write_text(WITH_HELPER.format(folder=str(tmp_path), line=line))
    sys.modules.pop("paid_helper", None)
    first = pays(path)
    assert value(first) == 0.25 and code_beside(path) == [helper]
    same_time(helper, "def paid():\n    return 0.75\n")
    second = pays(path)

    assert value(second) == 0.75 and first.source_hash != second.source_hash
    sys.modules.pop("paid_helper", None)


def test_a_module_of_the_users_is_read_again_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "module_of_rewards.py").write_text(FILE.format(options="", value=0.25))
    first = load_attribute("module_of_rewards:pays")
    same_time(tmp_path / "module_of_rewards.py", FILE.format(options="", value=0.75))
    second = load_attribute("module_of_rewards:pays")

    assert (value(first), value(second)) == (0.25, 0.75) and first.source_hash != second.source_hash


def test_a_name_that_was_taken_out_is_gone(tmp_path):
    path = tmp_path / "rew.py"
    path.write_text(FILE.format(options="", value=0.25))
    pays(path)
    path.write_text("def other(completion):\n    return 1.0\n")
    with pytest.raises(BadInput, match="has no 'pays'"):
        pays(path)


def test_workers_score_by_the_text_that_was_meant(tmp_path):
    path = tmp_path / "rew.py"
    path.write_text(FILE.format(options="(isolated=True, timeout=20.0)", value=0.25))
    first = pays(path)
    with Executor([first]) as executor:
        assert executor.score([ITEM]).values.tolist() == [[0.25]]
    path.write_text(FILE.format(options="(isolated=True, timeout=20.0)", value=0.75))
    with Executor([pays(path)]) as executor:
        assert executor.score([ITEM]).values.tolist() == [[0.75]]
    path.write_text(FILE.format(options="(isolated=True, timeout=20.0)", value=0.5))
    lost = pickle.dumps(pays(path))
    path.write_text(FILE.format(options="(isolated=True, timeout=20.0)", value=0.125))
    with pytest.raises(BadInput, match="has changed since it was loaded"):
        pickle.loads(lost), pays(path), pickle.loads(lost)


def test_shipped_rewards_keep_their_hashes():
    """What they import is Journeyman's version, not theirs."""
    from journeyman.rewards.match import exact

    assert exact.source_hash == source_hash(exact.function)
    assert manifest({"rewards": ["journeyman.rewards.match:exact", "json:loads"]}, None) == {}


READS = """
WORDS = open("words.txt").read().split()

def log(text):
    with open("seen.txt", "a") as file:
        file.write(text)
"""


def test_a_file_that_a_reward_reads_belongs_to_it_and_one_that_it_writes_does_not(tmp_path):
    (tmp_path / "rew.py").write_text(READS)
    for name in ("words.txt", "seen.txt", "unrelated.txt"):
        (tmp_path / name).write_text(name)

    assert set(holds(tmp_path / "rew.py")) == {"rew.py", "words.txt"}


def test_names_in_a_config_that_are_files(tmp_path):
    for name in ("data.csv", "rew.py", "docs/x.txt", "base/a.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    values = {
        "environment": "journeyman.envs.table:Table", "prompt": "data.csv",
        "environment_kwargs": {"path": "base", "paths": {"train": "data.csv"}, "labels": ["docs", "a"], "prompt": "{q}"},
        "rewards": [{"reward": "rew.py:f", "kwargs": {"words": "docs/x.txt"}}, "rew.py:g"],
    }  # fmt: skip
    known = manifest(values, tmp_path)

    assert set(known) == {"base", "data.csv", "rew.py", "docs/x.txt"}
    places, wrong = look_up(known, tmp_path)
    assert not wrong and placed(values["rewards"], places) == [
        {"reward": f"{tmp_path}/rew.py:f", "kwargs": {"words": f"{tmp_path}/docs/x.txt"}}, f"{tmp_path}/rew.py:g",
    ]  # fmt: skip
    assert placed(values["environment_kwargs"], places)["labels"] == ["docs", "a"]


def test_a_project_that_moved_is_found_by_what_its_files_hold(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "data.csv").write_text("a,b\n1,2\n")
    known = manifest({"environment_kwargs": {"path": "data.csv"}}, old)
    old.rename(new)

    assert look_up(known, new) == ({"data.csv": f"{new}/data.csv"}, {})
    assert look_up(known, tmp_path)[1] == {"data.csv": f"data.csv is gone (it was {old}/data.csv)"}
    (new / "data.csv").write_text("a,b\n1,3\n")
    assert look_up(known, new)[1] == {"data.csv": "data.csv has changed"}


def test_a_folder_counts_by_its_files_and_not_by_runs_that_lie_in_it(tmp_path):
    (tmp_path / "a.csv").write_text("a")
    known = manifest({"environment_kwargs": {"path": str(tmp_path)}}, tmp_path)
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "run.json").write_text("{}")
    assert look_up(known, tmp_path)[1] == {}
    (tmp_path / "b.csv").write_text("b")
    assert look_up(known, tmp_path)[1] == {str(tmp_path): f"{tmp_path} has changed"}


def test_a_function_of_no_file_is_hashed_as_before():
    space = {}
    exec("def f(completion):\n    return 1.0", space)

    assert len(as_reward(space["f"]).source_hash) == 16 == len(reward(lambda completion: 1.0).source_hash)
