"""A random base: the published parameter counts, and a small one that loads, renders and samples."""

from __future__ import annotations

import json

import pytest
import torch
from journeyman.recipes.random_models import COMMON, LIKE
from journeyman.rollouts.chat import Chat
from journeyman.rollouts.engine import Request, Sampling, complete_all
from journeyman.rollouts.transformers_engine import TransformersEngine
from journeyman.scripts.random_base import main
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

# What each model's weights on the Hub add up to.
PUBLISHED = {"qwen3-0.6b": 596_049_920, "qwen3-1.7b": 1_720_574_976, "qwen3-4b": 4_022_468_096}


@pytest.mark.parametrize("name", LIKE)
def test_the_architectures_have_the_published_size(name):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(Qwen3Config(**COMMON, **LIKE[name]))
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[name]


def test_a_small_one_loads_and_samples(tmp_path, capsys):
    folder = tmp_path / "base"
    main(["--like", "qwen3-0.6b", "--layers", "1", "--hidden", "64", str(folder)])
    assert "10,707,392 random parameters" in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    chat = Chat(AutoTokenizer.from_pretrained(folder), {"enable_thinking": False})
    ids = chat.prompt_ids([{"role": "user", "content": "2+2?"}])
    engine = TransformersEngine(model, chat.tokenizer.pad_token_id, [chat.tokenizer.eos_token_id])
    [completion] = complete_all(engine, [Request(ids, (0, 0, 0))], Sampling(4))
    assert len(completion.ids) == 4
    assert isinstance(chat.answer(completion.ids), str)


def test_a_folder_that_is_there_is_left_alone(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path)])
    assert end.value.code == 2
    assert "already there" in capsys.readouterr().err


def test_rows_in_the_columns_of_gsm8k(tmp_path):
    main(["--layers", "1", "--hidden", "64", "--rows", str(tmp_path / "rows"), str(tmp_path / "base")])
    rows = [json.loads(line) for line in (tmp_path / "rows" / "train.jsonl").read_text().splitlines()]
    assert len({row["question"] for row in rows}) == 512
    assert all(row["answer"].rpartition("#### ")[2].isdigit() for row in rows)
