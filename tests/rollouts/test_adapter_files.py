import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from journeyman.rollouts.adapter_files import AdapterFiles, at_scale_one
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM


def base():
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, head_dim=32,
        )
    )  # fmt: skip


def adapted(**lora):
    model = get_peft_model(
        base(), LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "target_modules": "all-linear", **lora})
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


SCALES = [
    {},
    {"lora_alpha": 64},
    {"use_rslora": True},
    {"alpha_pattern": {"q_proj": 32}},
    {"rank_pattern": {"o_proj": 2}},
]


@pytest.mark.parametrize("lora", SCALES, ids=str)
def test_what_is_written_is_the_same_adapter_to_plain_peft(tmp_path, lora):
    model, files = adapted(**lora), AdapterFiles(tmp_path)
    folder, size = files.write(model, 1)
    ids = torch.arange(5, 20)[None]
    with torch.no_grad():
        ours, theirs = model(ids).logits, PeftModel.from_pretrained(base(), str(folder)).eval()(ids).logits

    torch.testing.assert_close(ours, theirs)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["lora_alpha"] == config["r"] and not config["use_rslora"], "engines that read no more get it right"
    assert size == sum(t.nbytes for t in at_scale_one(model)[1].values())
    files.close()
    assert not list(tmp_path.iterdir())


def test_the_last_two_versions_are_kept(tmp_path):
    model, files = adapted(), AdapterFiles(tmp_path)
    folders = [files.write(model, version)[0] for version in (8, 9, 10, 11)]

    assert [folder.exists() for folder in folders] == [False, False, True, True]
    files.close()


def test_what_a_killed_process_left_in_shared_memory_goes_with_the_next(tmp_path, monkeypatch):
    script = (
        "import os, signal, sys, pathlib; sys.path.insert(0, sys.argv[2])\n"
        "from journeyman.rollouts import adapter_files\n"
        "import test_adapter_files as t\n"
        "adapter_files.SHARED_MEMORY = pathlib.Path(sys.argv[1])\n"
        "adapter_files.AdapterFiles().write(t.adapted(), 1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path), here], check=False)
    assert done.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("journeyman.rollouts.adapter_files.SHARED_MEMORY", tmp_path)
    first, second = AdapterFiles(), AdapterFiles()
    kept = [files.write(adapted(), 1)[0].parent for files in (first, second)]

    assert sorted(tmp_path.iterdir()) == sorted(kept), "and nothing of a process that lives"
    first.close()
    second.close()
