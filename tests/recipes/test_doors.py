"""What training would refuse of a model's tokenizer and a job's prompts, `--dry-run` and `try` refuse in the same words."""

import json
import shutil
from functools import partial

import pytest

TABLE = {"environment": "journeyman.envs.table:Table", "rewards": ["journeyman.rewards.match:exact"], "nano": None}


def without_end_token(base):
    path = base / "tokenizer_config.json"
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "eos_token"})
    )
    (base / "special_tokens_map.json").unlink(missing_ok=True)


def with_a_template(text, base):
    (base / "chat_template.jinja").write_text(text)


def nothing(base):
    pass


LONG = "7 " * 80
SHORTENS = "{% for m in messages %}{{ m.role }}: {{ m.content[:3] }}\n{% endfor %}"
# What is wrong -> what is done to the base's folder, the long question of a split, other keys, what the line says.
CASES = {
    "no end token": (without_end_token, None, {}, ["the tokenizer of", "has no end token", "set eos_token"]),
    "a long prompt in training": (nothing, "train", {}, ["train row", "tokens", "context of 64", "shorten one"]),
    "a long prompt in validation": (nothing, "validation", {}, ["validation row", "tokens", "context of 64"]),
    "a long held-out prompt": (nothing, "heldout", {}, ["heldout row", "tokens", "context of 64", "shorten one"]),
    "a long completion": (nothing, None, {"max_completion_length": 62}, ["train row", "62 for the completion"]),
    "vLLM's own context": (
        nothing, None, {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": 9},
        ["train row", "context of 9", "shorten one"]),
    "a misspelt argument of the template": (
        nothing, None, {"chat_template_kwargs": {"enable_thinkin": False}},
        ["never looks at 'enable_thinkin'; did you mean 'enable_thinking'?"]),
    "an argument of another template": (
        nothing, None, {"chat_template_kwargs": {"zeal": 1}}, ["never looks at 'zeal'", "remove it"]),
    "an argument in quotes": (
        partial(with_a_template, "{% if thinks %}-{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"), None,
        {"chat_template_kwargs": {"thinks": "false"}}, ["thinks is the text 'false'", "without quotes"]),
    "a template that shortens a text": (
        partial(with_a_template, SHORTENS), None, {}, ["train row", "chat template", "role user"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def job(make_job, tiny_base, tmp_path_factory):
    """Writes a job over a folder of tables, one for each split, and a base of its own."""

    def make(spoil, long, **changes):
        folder = tmp_path_factory.mktemp("doors")
        base = shutil.copytree(tiny_base, folder / "base")
        (base / "nano.json").unlink(missing_ok=True)
        spoil(base)
        for part, (split, count) in enumerate({"train": 24, "validation": 4, "heldout": 4}.items()):
            rows = [(f"{part}{number}+1=", str(number)) for number in range(count)]
            if split == long:
                rows[-1] = (LONG, "7")
            text = "question,answer\n" + "".join(f"{question},{answer}\n" for question, answer in rows)
            (folder / "rows").mkdir(exist_ok=True)
            (folder / "rows" / f"{split}.csv").write_text(text)
        paths = {split: str(folder / "rows" / f"{split}.csv") for split in ("train", "validation", "heldout")}
        table = {"paths": paths, "prompt": "{question}", "answer": "answer", "shares": {"train": 1.0}}
        sizes = {"train_rows": 24, "validation_rows": 4, "heldout_rows": 4}
        return make_job(
            folder, **TABLE, environment_kwargs=table, model_name_or_path=str(base), **{**sizes, **changes}
        )  # fmt: skip

    return make


@pytest.mark.parametrize("case", CASES)
def test_each_door_refuses_in_the_same_line_and_writes_nothing(job, speaking, command, tmp_path, case):
    from journeyman.recipes.grpo import main

    spoil, long, changes, words = CASES[case]
    path = job(spoil, long, **changes)
    output = f"--output_dir={tmp_path / 'run'}"
    doors = {
        "train": speaking(main, "--config", path, output, "--report_to=none"),
        "--dry-run": command("train", path, "--dry-run", output, "--report_to=none"),
        "try": command("try", path, "-n", "1", output, "--report_to=none"),
    }

    lines = {door: done.err.strip() for door, done in doors.items()}
    assert {done.code for done in doors.values()} == {2}, lines
    assert len(set(lines.values())) == 1, lines
    (line,) = set(lines.values())
    assert "\n" not in line and all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


def test_a_job_without_such_faults_passes_each_door(job, command, tmp_path):
    path = job(nothing, None)
    output = f"--output_dir={tmp_path / 'run'}"
    assert command("train", path, "--dry-run", output, "--report_to=none").code == 0
    assert command("try", path, "-n", "1", output, "--report_to=none").code == 0
    assert not (tmp_path / "run").exists()
