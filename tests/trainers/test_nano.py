import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from journeyman.configs import BadInput
from journeyman.trainers import nano
from journeyman.trainers.config import load_config
from journeyman.trainers.models import base_path, load_base
from journeyman.trainers.tokenizer import END, MARKS, PAD, START, train_tokenizer
from transformers import AutoTokenizer

LABELS = ["numpy", "scikit-learn", "a label", "email.mime"]
TEXTS = ["<|im_start|>user\nwhat is 12 + 3?<|im_end|>\n<|im_start|>assistant\n15<|im_end|>\n"] * 20 + LABELS * 5


@pytest.fixture(scope="module", params=[True, False], ids=["across words", "within words"])
def tokenizer(request):
    return train_tokenizer(TEXTS, LABELS, 400, request.param)


def texts(seed, n=300):
    """Random text of every kind: all of Unicode but surrogates, controls, digits, marks, labels, white space."""
    rng = random.Random(seed)
    pieces = [
        *LABELS,
        *MARKS,
        START,
        END,
        PAD,
        " ",
        "\n",
        "\t",
        "\r\n",
        "0",
        "42",
        "e\u0301",
        "\U0001f468\u200d\U0001f469",
        "\x00",
    ]
    for _ in range(n):
        parts = []
        for _ in range(rng.randrange(12)):
            point = rng.choice([rng.randrange(128), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])
            parts.append(rng.choice([rng.choice(pieces), chr(point)]))
        yield "".join(parts)


def test_any_text_comes_back_unchanged(tokenizer):
    for text in texts(0):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_digits_stand_alone(tokenizer):
    for text in ("12", "what is 12 + 3?", "007", "1.5e10"):
        pieces = [tokenizer.decode([i]) for i in tokenizer(text)["input_ids"]]
        assert [p for p in pieces if any(c.isdigit() for c in p)] == [c for c in text if c.isdigit()]


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_one_token_alone_and_as_an_answer(tokenizer, label):
    (alone,) = tokenizer(label)["input_ids"]

    assert tokenizer(f"{START}assistant\n{label}{END}")["input_ids"][-2:] == [alone, tokenizer.eos_token_id]
    assert tokenizer.decode([alone], skip_special_tokens=True) == label


def test_the_chats_marks_are_one_token_each(tokenizer):
    for mark in (*MARKS, START, END, PAD):
        assert len(tokenizer(mark)["input_ids"]) == 1


def test_training_it_again_gives_the_same_file(tmp_path):
    for name in ("a", "b"):
        train_tokenizer(TEXTS, LABELS, 400).save_pretrained(tmp_path / name)

    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (tmp_path / "b" / "tokenizer.json").read_bytes()


def test_saving_and_loading_keeps_it(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)

    for text in texts(1, 50):
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.chat_template == tokenizer.chat_template
    assert (loaded.eos_token, loaded.pad_token) == (END, PAD)


def test_what_is_built_is_a_plain_qwen3_that_says_how_it_was_made(tiny, tiny_base):
    config = load_config(tiny)
    model, chat, base = load_base(config, config.environment())

    assert model.config.model_type == "qwen3" and model.config.head_dim == 32
    assert base.name == "nano-tiny" and base.build == "journeyman nano tiny"
    assert {p.name for p in tiny_base.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "nano.json", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja",
    }  # fmt: skip
    assert "tool_call" in chat.tokenizer.chat_template


def test_every_option_is_part_of_the_cache_key(tiny, tiny_base, tmp_path, monkeypatch):
    """In a cache of its own: nothing is in these models."""
    config = load_config(tiny)
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path))
    monkeypatch.setattr(
        nano, "build", lambda env, job, options, rows, validation, folder: (folder / "config.json").touch()
    )
    folders = {tiny_base.name}
    for changes in (
        {"nano.steps": 41},
        {"nano.demonstrations": 150},
        {"nano.hidden_size": 64},
        {"environment_kwargs.padding": 1},
    ):
        other = load_config(tiny, changes)
        folders.add(Path(base_path(other, other.environment())).name)

    assert len(folders) == 5 and Path(base_path(config, config.environment())) == tmp_path / tiny_base.name


def test_a_critic_may_stand_on_a_nano_of_its_own_with_the_same_tokens(make_job, tiny_base, tmp_path, monkeypatch):
    """Asked for by a rank of several, which leaves the building to a process of its own."""
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    own = {"layers": 2, "steps": 41}
    config = load_config(make_job(tmp_path / "job"), {"critic": "model", "critic_nano": own}, "ppo")
    other = Path(base_path(config, config.environment(), config.trainer["critic_nano"]))
    facts = json.loads((other / "nano.json").read_text())

    assert {key: facts["options"][key] for key in own} == own and [
        p for p in (tmp_path / "cache").iterdir() if p.is_dir()
    ] == [other]
    assert (other / "tokenizer.json").read_bytes() == (tiny_base / "tokenizer.json").read_bytes()


def test_two_processes_that_build_at_once_share_one_model(tiny, tiny_base, tmp_path):
    """And it is, byte for byte, the one that this process built."""
    words = [sys.executable, "-m", "journeyman.scripts.main", "nano", str(tiny)]
    env = {**os.environ, "JOURNEYMAN_CACHE": str(tmp_path / "cache")}
    both = [subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    said = [process.communicate(timeout=300) for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    folders = [Path(out.strip()) for out, _ in said]
    assert folders[0] == folders[1] and folders[0].name == tiny_base.name
    assert [p for p in (tmp_path / "cache").iterdir() if p.is_dir()] == [folders[0]]
    assert sum("building nano" in err for _, err in said) == 1
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"):
        assert (folders[0] / name).read_bytes() == (tiny_base / name).read_bytes()


@pytest.mark.parametrize("failure", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_a_build_that_fails_leaves_nothing_and_the_next_one_works(tiny, tmp_path, monkeypatch, failure):
    config = load_config(tiny)
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path))

    def breaks(env, job, options, rows, validation, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise failure

    monkeypatch.setattr(nano, "build", breaks)
    with pytest.raises(type(failure)):
        base_path(config, config.environment())
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == []
    monkeypatch.setattr(nano, "build", lambda *args: (args[-1] / "config.json").touch())
    assert Path(base_path(config, config.environment()), "config.json").exists()


def test_without_demonstrations_there_is_no_nano(make_job, tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))
    config = load_config(make_job(tmp_path))
    env = config.environment()
    env.shares = {"demonstrations": 0.0, "train": 0.5, "validation": 0.25, "heldout": 0.25}
    monkeypatch.setattr(type(env), "tasks", lambda self, split, seed, n=None: [])

    with pytest.raises(BadInput, match="no demonstrations to build nano from"):
        base_path(config, env)


def test_a_cache_that_cannot_be_written_is_bad_input(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "file" / "cache"))
    config = load_config(tiny)

    with pytest.raises(BadInput, match="set JOURNEYMAN_CACHE"):
        base_path(config, config.environment())
