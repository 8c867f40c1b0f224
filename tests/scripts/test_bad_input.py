"""What a user can get wrong: exit code 2, one line on stderr that names the culprit and the mend, nothing half-written."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial

import pytest
from journeyman.rollouts.chat import PLAIN_TEMPLATE
from transformers import AutoModelForCausalLM, AutoTokenizer

BROKEN = """
import a_package_that_is_not_there
"""

MORE = '''
from journeyman.configs import BadInput
from journeyman.rewards import reward
from tiny import Larger


@reward
def graded(completion: str, rubric: str) -> float:
    return 1.0


@reward
def texts(completion: str) -> float:
    return "good"


def short(completions, **kwargs):
    return [1.0]


@reward
def raising(completion: str, answer: str) -> float:
    raise ZeroDivisionError("always")


@reward(needs_reference=False)
def refusing(completion: str, limit: int) -> float:
    if limit <= 0:
        raise BadInput(f"limit is {limit}; it should be above 0")
    return 1.0


class Caller(Larger):
    def look_up(self, word: str) -> str:
        """Look a word up.

        Args:
            word: the word.
        """
        return word
'''

TABLE = {"environment": "journeyman.envs.table:Table", "nano": None, "model_name_or_path": "some/model"}


def table(**kwargs):
    return {**TABLE, "environment_kwargs": {"prompt": "{question}", "answer": "answer", **kwargs}}


# What is wrong with the job's file -> keys changed, flags, and what the line must say: the culprit, and the mend.
CONFIGS = {
    "unknown key": ({"learnin_rate": 1}, [], ["there is no key 'learnin_rate'", "did you mean 'learning_rate'"]),
    "unknown key in a flag": ({}, ["--max_step", "3"], ["'max_step'", "did you mean 'max_steps'"]),
    "wrong type": ({"max_steps": "many"}, [], ["max_steps is 'many'", "should be a whole number"]),
    "a word without a flag": ({}, ["100"], ["'100' belongs to no flag", "--key value"]),
    "reward that doesn't import": (
        {"rewards": ["broken.py:judge"]}, [], ["broken.py", "does not import", "a_package_that_is_not_there"]),
    "reward file missing": ({"rewards": ["nowhere.py:judge"]}, [], ["'nowhere.py': no such file", "looked for"]),
    "reward attribute missing": ({"rewards": ["tiny.py:clos"]}, [], ["has no 'clos'", "did you mean 'close'"]),
    "reward spelled wrongly": ({"rewards": ["exact"]}, [], ["'exact' should read module:attribute"]),
    "reward asks for a column": (
        {"rewards": ["more.py:graded"]}, [], ["reward 'graded' asks for the column 'rubric'", "they have"]),
    "reward returns the wrong length": (
        {"rewards": ["more.py:short"]}, [], ["reward 'short' returned 1 values for 4 completions"]),
    "reward returns a text": ({"rewards": ["more.py:texts"]}, [], ["reward 'texts' returned 'good'", "should return"]),
    "reward raises on right answers": (
        {"rewards": ["more.py:raising"]}, [], ["reward 'raising' fails on a right answer", "always"]),
    "a reward's argument that it refuses itself": (
        {"rewards": [{"reward": "more.py:refusing", "kwargs": {"limit": 0}}]}, [],
        ["tiny.yaml: reward 'refusing', train row 0 (item ", "limit is 0; it should be above 0"]),
    "groups straddle ranks": (
        {"num_generations": 5}, [], ["num_generations 5 does not divide", "per_device_train_batch_size 16"]),
    "unknown environment": ({"environment": "tiny.py:Lager"}, [], ["has no 'Lager'", "did you mean 'Larger'"]),
    "unknown environment argument": (
        {"environment_kwargs": {"paddin": 3}}, [], ["no key 'paddin'", "did you mean 'padding'"]),
    "unknown lora key": ({"lora": {"rank": 8}}, [], ["lora: there is no key 'rank'"]),
    "unknown nano option": ({"nano": {"hidden": 8}}, [], ["nano: there is no key 'hidden'", "hidden_size"]),
    "unknown launch shape": ({}, ["--accelerate", "two-cpus"], ["'two-cpus'", "did you mean 'two-cpu'"]),
    "accelerate config that is no YAML": (
        {"accelerate": "{folder}/garbage.yaml"}, [],
        ["garbage.yaml", "Accelerate config"],
    ),
    "accelerate config with an unknown key": (
        {"accelerate": "{folder}/odd.yaml"}, [], ["odd.yaml", "Accelerate config", "colour"]),
    "empty dataset": (table(path="empty.csv"), [], ["empty.csv", "no rows", "give one that has"]),
    "dataset without a column": (
        table(path="ten.csv", prompt="{body}"), [],
        ["ten.csv", "no column 'body'", "question"],
    ),
    "dataset that is missing": (table(path="eleven.csv"), [], ["eleven.csv: no such file"]),
    "splits that overlap": (
        table(paths={"train": "ten.csv", "heldout": "five.csv"}), [], ["the splits overlap", "remove it from one"]),
    "held-out rows that aren't there": (
        {**table(path="ten.csv"), "heldout_rows": 500, "train_rows": None, "validation_rows": 1}, [],
        ["500 were asked for"],
    ),
    "extends in a circle": ({"extends": "tiny.yaml"}, [], ["'extends' goes round in a circle"]),
}  # fmt: skip

# The same for PPO, without flags.
PPO = {
    "beta": ({"beta": 0.04}, ["beta is a key of GRPO's", "set kl_coef"]),
    "scale_rewards": ({"scale_rewards": "batch"}, ["scale_rewards is a key of GRPO's", "set whiten_advantages"]),
    "dynamic sampling": ({"dynamic_sampling": True}, ["dynamic_sampling", "remove it"]),
    "rollouts ahead": ({"async_rollouts": 1}, ["async_rollouts", "set it to 0"]),
    "a target for a penalty that is not paid": ({"kl_target": 0.1}, ["kl_target is set and kl_coef is 0", "0.05"]),
    "gamma above 1": ({"gamma": 1.5}, ["gamma is 1.5", "1 at most"]),
    "gamma that is no number": ({"gamma": float("nan")}, ["gamma is nan", "1 at most"]),
    "lambda below 0": ({"critic_lam": -0.1}, ["critic_lam is -0.1", "0 or more"]),
    "a clip of 0": ({"cliprange_value": 0}, ["cliprange_value is 0", "or null"]),
    "no epoch": ({"num_iterations": 0}, ["num_iterations is 0", "1 or more"]),
    "groups of none": ({"num_generations": 0}, ["num_generations is 0", "1 or more"]),
    "a batch of one": ({"per_device_train_batch_size": 1, "num_generations": 1}, ["one rollout", "raise"]),
    "minibatches over two batches": (
        {"steps_per_generation": 3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
        ["gradient_accumulation_steps 2 does not divide steps_per_generation 3"],
    ),
    "another critic": ({"critic": "heads"}, ["critic is 'heads'", "adapter, head, model"]),
    "an unknown key of its adapter": ({"critic_lora": {"rank": 8}}, ["critic_lora: there is no key 'rank'"]),
    "an adapter for a head": ({"critic": "head", "critic_lora": {"r": 8}}, ["critic_lora is set and critic is head"]),
    "log-probs for a head": ({"critic": "head", "critic_reads_logprobs": True}, ["critic_reads_logprobs is set", "adapter"]),
    "a critic that trains the base": ({"critic_lora": {"bias": "all"}}, ["critic_lora: bias", "remove it"]),
    "a policy that trains the base": (
        {"lora": {"r": 4, "modules_to_save": ["lm_head"]}}, ["lora.modules_to_save", "set critic: head or model"]),
    "a model that is not asked for": (
        {"critic_model_name_or_path": "some/model"}, ["critic_model_name_or_path is set", "set critic: model"]),
    "an embedded model that is not asked for": (
        {"critic_nano": {"steps": 9}}, ["critic_nano", "set critic: model", "remove it"]),
    "an embedded model of other tokens": (
        {"critic": "model", "critic_nano": {"vocab_size": 9}}, ["critic_nano: vocab_size", "set nano.vocab_size"]),
    "an unknown key of its embedded model": (
        {"critic": "model", "critic_nano": {"step": 9}}, ["critic_nano: there is no key 'step'", "did you mean 'steps'"]),
    "an adapter that rewrites the base": (
        {"critic_lora": {"init_lora_weights": "pissa"}}, ["critic_lora: init_lora_weights is 'pissa'", "gaussian"]),
    "an embedded model beside another policy": (
        {"critic": "model", "critic_nano": {"steps": 9}, "model_name_or_path": "some/model", "nano": None},
        ["critic_nano: the policy is some/model", "set critic_model_name_or_path"]),
    "a loss over whole texts": ({"loss_type": "luspo"}, ["loss_type is luspo", "dapo, bnpo"]),
    "a ratio of whole texts": ({"importance_sampling_level": "sequence"}, ["importance_sampling_level is sequence"]),
    "skipped steps in half precision": ({"fp16": True, "target_kl": 0.1}, ["target_kl", "bf16: true"]),
    "shared-out weights": ({"accelerate": "two-cpu-fsdp2"}, ["accelerate:", "use another launch shape"]),
    "a key of nobody's": ({"critic_lamda": 1}, ["'critic_lamda'", "did you mean 'critic_lam'"]),
    "GRPO given one of its keys": ({"recipe": "grpo", "gamma": 0.9}, ["gamma is a key of the recipe ppo", "--recipe ppo"]),
}  # fmt: skip


@pytest.fixture
def job(make_job, tmp_path):
    """Makes the tiny job's folder with everything in it that the table names; returns the YAML's path."""

    def make(**changes):
        folder = tmp_path / "job"
        changes = {k: v.replace("{folder}", str(folder)) if isinstance(v, str) else v for k, v in changes.items()}
        path = make_job(folder, **changes)
        (folder / "broken.py").write_text(BROKEN)
        (folder / "more.py").write_text(
            MORE.replace("from tiny", f"import sys; sys.path.insert(0, {str(folder)!r})\nfrom tiny")
        )
        (folder / "garbage.yaml").write_text("{: not yaml")
        (folder / "odd.yaml").write_text(
            "compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nnum_processes: 1\ncolour: red\n"
        )
        rows = [f"question {i},{i}\n" for i in range(10)]
        (folder / "ten.csv").write_text("question,answer\n" + "".join(rows))
        (folder / "five.csv").write_text("question,answer\n" + "".join(rows[5:]))
        (folder / "empty.csv").write_text("question,answer\n")
        return path

    return make


def is_one_line(done, *parts):
    assert done.code == 2, done.err
    (line,) = done.err.splitlines()
    assert line.startswith("journeyman: ")
    for part in parts:
        assert part in line


@pytest.mark.parametrize(("changes", "flags", "parts"), CONFIGS.values(), ids=CONFIGS)
def test_a_job_that_can_not_be_run(command, job, tmp_path, changes, flags, parts):
    path, run = job(**changes), tmp_path / "out" / "run"

    is_one_line(command("train", path, "--output_dir", run, *flags), *parts)
    assert not run.parent.exists()


@pytest.mark.parametrize(("changes", "parts"), PPO.values(), ids=PPO)
def test_a_job_that_ppo_can_not_run(command, job, tmp_path, changes, parts):
    path, run = job(**{"recipe": "ppo", **changes}), tmp_path / "out" / "run"

    is_one_line(command("train", path, "--output_dir", run), "tiny.yaml: ", *parts)
    assert not run.parent.exists()


CRITICS = {
    "isn't there": ("nobody/nothing", ["critic_model_name_or_path: 'nobody/nothing' can't be loaded"]),
    "has other tokens of the same number": (
        "{shuffled}",
        ["critic_model_name_or_path", "has other tokens", "same family"],
    ),
    "has other words": (
        "other",
        ["critic_model_name_or_path", "a vocabulary of 310 and the policy one of", "same family"],
    ),
}


@pytest.mark.parametrize(("path", "parts"), CRITICS.values(), ids=CRITICS)
def test_a_critic_that_does_not_fit(speaking, job, tiny_base, tmp_path, path, parts):
    from journeyman.recipes.ppo import main

    if path == "other":
        path = tmp_path / "other"
        model = AutoModelForCausalLM.from_pretrained(tiny_base)
        model.resize_token_embeddings(310)
        model.save_pretrained(path)
    if path == "{shuffled}":
        path = tmp_path / "shuffled"
        shutil.copytree(tiny_base, path)
        tokenizer = json.loads((path / "tokenizer.json").read_text())
        vocab = tokenizer["model"]["vocab"]
        vocab["0"], vocab["1"] = vocab["1"], vocab["0"]
        (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = job(critic="model", critic_model_name_or_path=str(path))

    done = speaking(main, "--config", config, f"--output_dir={tmp_path / 'run'}", "--report_to=none")
    is_one_line(done, "tiny.yaml: ", *parts)
    assert not (tmp_path / "run").exists()


FILES = {
    "missing": (None, ["no such file"]),
    "empty": ("", ["the key 'environment' is missing"]),
    "not YAML": ("a: [", ["not valid YAML"]),
    "a list": ("- a\n", ["a config is a mapping", "list"]),
    "a key twice": ("seed: 1\nbf16: false\nseed: 2\n", ["config.yaml:3", "'seed' is written twice", "keep one"]),
    "not text": (b"\xff\xfe\x00", ["not valid YAML"]),
}


@pytest.mark.parametrize(("text", "parts"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("words", [["train"], ["try", "-n", "1"], ["prove"], ["nano"]], ids=lambda words: words[0])
def test_a_file_that_is_no_job(command, tmp_path, monkeypatch, words, text, parts):
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    is_one_line(command(words[0], path, *words[1:]), "config.yaml", *parts)
    assert list((tmp_path / "here").iterdir()) == []


def test_an_unknown_job_names_the_nearest(command):
    is_one_line(command("train", "arithmetics"), "no job 'arithmetics'", "did you mean 'arithmetic'", "triage")


def foreign(place):
    place.mkdir()
    (place / "thesis.tex").write_text("years of work")


def under_a_file(place):
    place.parent.rmdir()
    place.parent.write_text("")


OUTPUTS = {
    "foreign files": (foreign, ["holds files that are no run's", "choose another --output_dir"]),
    "under a file": (under_a_file, ["can't be made", "choose another --output_dir"]),
    "a file": (lambda place: place.write_text("x"), ["not a writable folder", "choose another --output_dir"]),
}


@pytest.mark.parametrize(("spoil", "parts"), OUTPUTS.values(), ids=OUTPUTS)
def test_an_output_folder_that_can_not_be_used(command, tiny, tmp_path, spoil, parts):
    place = tmp_path / "out" / "run"
    place.parent.mkdir()
    spoil(place)
    before = {p: p.read_text() if p.is_file() else None for p in tmp_path.rglob("*")}

    is_one_line(command("train", tiny, f"--output_dir={place}"), str(place), *parts)
    assert {p: p.read_text() if p.is_file() else None for p in tmp_path.rglob("*")} == before


def test_the_output_folder_of_another_run(command, tiny, run_copy):
    is_one_line(
        command("train", tiny, f"--output_dir={run_copy}"),
        str(run_copy),
        "is the folder of another run",
        "choose another",
    )
    is_one_line(
        command("train", tiny, f"--output_dir={run_copy}", "--report_to=none"),
        str(run_copy),
        "finished",
        "choose another",
    )
    flags = [f"--output_dir={run_copy}", "--report_to=none", "--learning_rate=0.5"]
    is_one_line(command("train", tiny, *flags), str(run_copy), "another run", "learning_rate")


# What only the model can tell is found by the process that loads it, still before the run folder is made.


@pytest.fixture
def base_that_can_not_call_tools(tiny_base, tmp_path):
    place = shutil.copytree(tiny_base, tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.chat_template = PLAIN_TEMPLATE
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def recipe(speaking):
    """The recipe as the launcher runs it, in this process."""
    from journeyman.recipes.grpo import main

    return partial(speaking, main)


def test_a_tool_using_job_and_a_template_that_can_not_call_tools(recipe, job, base_that_can_not_call_tools, tmp_path):
    path = job(environment="more.py:Caller", model_name_or_path=str(base_that_can_not_call_tools), nano=None)

    done = recipe("--config", path, f"--output_dir={tmp_path / 'run'}", "--report_to=none")
    is_one_line(done, "has tools (look_up)", "can't call tools", "use a model whose template can")
    assert not (tmp_path / "run").exists()


MODELS = {
    "can't be found offline": (
        {"model_name_or_path": "nobody/nothing", "nano": None},
        ["'nobody/nothing' can't be loaded", "HF_HUB_OFFLINE"],
    ),
    "is no name": ({"model_name_or_path": "a b//c", "nano": None}, ["'a b//c' can't be loaded"]),
    "is a folder without a model": ({"model_name_or_path": "{folder}", "nano": None}, ["can't be loaded"]),
    "4 bits without CUDA": (
        {"model_name_or_path": "nobody/nothing", "nano": None, "load_in_4bit": True}, ["load_in_4bit needs"]),
    "fewer tasks than a step draws": ({"train_rows": 3}, ["a step draws 4 prompts and there are 3", "lower"]),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "parts"), MODELS.values(), ids=MODELS)
def test_a_model_that_does_not_fit(recipe, job, tiny_base, tmp_path, changes, parts):
    path = job(**changes)

    is_one_line(recipe("--config", path, f"--output_dir={tmp_path / 'run'}", "--report_to=none"), *parts)
    assert not (tmp_path / "run").exists()


def test_prompts_longer_than_the_models_context(recipe, job, tmp_path):
    from journeyman.trainers.config import load_config
    from journeyman.trainers.models import base_path

    path = job(environment_kwargs={"padding": 100}, nano={"steps": 1, "demonstrations": 20, "context": 64})
    config = load_config(path)
    base_path(config, config.environment())  # built now: the line of its progress is no complaint

    done = recipe("--config", path, f"--output_dir={tmp_path / 'run'}", "--report_to=none")
    is_one_line(done, "train row", "the prompt has", "context of 64", "shorten one")
    assert not (tmp_path / "run").exists()


def test_fewer_processes_than_asked(recipe, tiny, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_PROCESSES", "2")

    done = recipe("--config", tiny, f"--output_dir={tmp_path / 'run'}", "--report_to=none")
    is_one_line(done, "2 processes were asked for and 1 started", "configs/accelerate")
    assert not (tmp_path / "run").exists()


def unfinished(run):
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "stopped"}))
    shutil.rmtree(run / "adapter")


def greedy_k(run):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text + "evaluation: {k: 4, temperature: 0}\n")


RUNS = {
    "evaluate, no run": (
        lambda run: shutil.rmtree(run) or run.mkdir(), ["evaluate", "RUN"],
        ["not a run's folder", "run.json"],
    ),
    "evaluate, no folder": (shutil.rmtree, ["evaluate", "RUN"], ["not a run's folder"]),
    "evaluate, unfinished": (unfinished, ["evaluate", "RUN"], ["the run is stopped", "finish it first"]),
    "evaluate, more rows than there are": (
        lambda run: None, ["evaluate", "RUN", "-n", "9000"],
        ["9000 were asked for"],
    ),
    "evaluate, k rollouts that are all the same": (
        greedy_k, ["evaluate", "RUN"],
        ["k is 4 and the temperature 0", "raise the temperature"],
    ),
    "publish, no run": (shutil.rmtree, ["publish", "RUN", "--export", "EXPORT"], ["run"]),
    "publish, unfinished": (unfinished, ["publish", "RUN", "--export", "EXPORT"], ["stopped"]),
    "publish, nowhere": (lambda run: None, ["publish", "RUN"], ["nowhere to publish to", "export"]),
    "try, more rows than there are": (lambda run: None, ["try", "JOB", "-n", "9000"], ["9000 were asked for"]),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "words", "parts"), RUNS.values(), ids=RUNS)
def test_a_run_that_can_not_be_used(command, tiny, run_copy, tmp_path, spoil, words, parts):
    spoil(run_copy)
    before = sorted(p for p in tmp_path.rglob("*"))
    names = {"RUN": run_copy, "EXPORT": tmp_path / "export", "JOB": tiny}

    is_one_line(command(*[names.get(word, word) for word in words]), *parts)
    assert sorted(p for p in tmp_path.rglob("*")) == before


WORDS = {
    "an unknown command": (["trian", "arithmetic"], ["trian"]),
    "an unknown flag": (["evaluate", "somewhere", "--quick"], ["--quick"]),
    "a number that is none": (["try", "arithmetic", "-n", "few"], ["few"]),
    "no job": (["train"], ["CONFIG"]),
    "an unknown recipe": (["train", "arithmetic", "--recipe", "dpo"], ["dpo", "grpo"]),
}


@pytest.mark.parametrize(("words", "parts"), WORDS.values(), ids=WORDS)
def test_a_command_line_that_can_not_be_read(command, words, parts):
    is_one_line(command(*words), *parts)


@pytest.mark.long
def test_the_launchers_children_speak_as_plainly(cli, job, tmp_path):
    """Through `journeyman train` and Accelerate's launcher, in processes of their own."""
    path = job(model_name_or_path="nobody/nothing", nano=None)

    is_one_line(
        cli("train", path, f"--output_dir={tmp_path / 'run'}", "--report_to=none"), "'nobody/nothing' can't be loaded"
    )
    assert not (tmp_path / "run").exists()


def test_a_process_of_its_own_says_the_same(cli, job, tmp_path):
    path = job(max_steps="many")

    is_one_line(cli("train", path, f"--output_dir={tmp_path / 'run'}"), "max_steps is 'many'")


def test_stdout_closed_early_is_no_error_to_complain_about():
    process = subprocess.Popen(
        [sys.executable, "-m", "journeyman.scripts.main", "--help"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    process.stdout.close()
    err = process.stderr.read()

    assert process.wait(60) in (0, 1, 120) and b"Traceback" not in err
