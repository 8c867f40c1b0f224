"""A real run folder: a random base model of one layer, and an adapter of it as PEFT and transformers save them."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from journeyman.configs.files import content_hash
from journeyman.evals.measurement import adapter_files
from journeyman.rollouts.record import RecordWriter, Rollout, compact, record_files
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

HELDOUT = {
    "n": 200,
    "k": 1,
    "metric": "exact",
    "before": 0.31,
    "after": 0.524,
    "difference": 0.214,
    "low": 0.192,
    "high": 0.236,
    "smallest_detectable": 0.03,
    "sampling": {"temperature": 0, "max_tokens": 32},
    "binary": True,
}
RUN = {
    "run": "arithmetic-0",
    "recipe": "grpo",
    "command": "journeyman train /home/someone/jobs/arithmetic.yaml --seed 0",
    "created": "2026-01-02T03:04:05Z",
    "finished": "2026-01-02T03:14:05Z",
    "status": "finished",
    "seed": 0,
    "steps": 50,
    "train_seconds": 600.5,
    "base": {
        "name": "nano",
        "revision": None,
        "sha256": "ab" * 32,
        "hub_id": None,
        "build": "journeyman nano arithmetic",
    },
    "environment": {"name": "journeyman.envs.arithmetic:Arithmetic", "version": "1", "kwargs": {"digits": 2}},
    "rewards": [
        {"name": "exact", "weight": 1.0, "hash": "0123456789abcdef", "spec": "/home/someone/rewards.py:exact"},
        {"name": "length", "weight": 0.0, "hash": "fedcba9876543210", "spec": "journeyman.rewards.text:length"},
    ],
    "versions": {"python": "3.11.9", "torch": "2.13.0+cpu"},
    "git": {"commit": "c0ffee", "dirty": True},
    "device": "cpu",
    "processes": 1,
}


def rollout(row, quality, answer, task="What is 17 + 25?"):
    messages = [{"role": "user", "content": task}, {"role": "assistant", "content": answer}]
    where = dict(run="arithmetic-0", step=50, split="heldout", item=f"item{row}", group=row, row=row, seed=0)
    tokens = dict(prompt_ids=[1], completion_ids=[2], logprobs=[-0.5], env_mask=[1])
    return Rollout(**where, **tokens, policy_version=50, messages=messages, quality=quality)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One run of a random base model, with an adapter that changes its logits, as PEFT and transformers save them."""
    place = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate(["<unk>", "<eos>", "what", "is", "1", "2", "+", "@", "mail.com"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>")
    fast.chat_template = "{% for m in messages %}{{ m['content'] }}<eos>{% endfor %}"
    shape = dict(vocab_size=9, hidden_size=32, intermediate_size=32, num_hidden_layers=1, head_dim=32)
    base = Qwen3ForCausalLM(Qwen3Config(**shape, num_attention_heads=1, num_key_value_heads=1))
    base.save_pretrained(place / "base")
    fast.save_pretrained(place / "base")
    model = get_peft_model(
        Qwen3ForCausalLM.from_pretrained(place / "base"),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    run = place / "run"
    model.save_pretrained(run / "adapter")
    AutoTokenizer.from_pretrained(place / "base").save_pretrained(run / "adapter")
    torch.save({"hub_token": "hf_" + "s" * 34}, run / "adapter" / "training_args.bin")
    (run / "adapter" / "README.md").write_text("a fine-tuned version of None\n")
    (run / "checkpoints").mkdir()
    (run / "config.yaml").write_text("seed: 0\nlearning_rate: 1.0e-5\nlora: {r: 4}\n")
    writer = RecordWriter(run / "records", "heldout-after")
    writer.write([rollout(0, 1.0, "42")])
    writer.write([rollout(1, 0.0, "```\n41\n```"), rollout(2, None, "broken"), rollout(3, 0.1, "see /home/someone/x")])
    writer.write([rollout(4, 0.25, "43"), rollout(5, 0.3, "44", task="short | task"), rollout(6, 0.9, "45")])
    writer.close()
    compact(run / "records", "heldout-after")
    ids = torch.tensor([[2, 3, 4, 6, 5]])
    with torch.no_grad():
        return SimpleNamespace(run=run, base=place / "base", ids=ids, logits=model.eval()(ids).logits)


@pytest.fixture
def run(made, tmp_path):
    """A copy of that run that a test may spoil."""
    folder = tmp_path / "run"
    shutil.copytree(made.run, folder)
    (folder / "run.json").write_text(json.dumps(RUN))
    (folder / "results.json").write_text(json.dumps({"heldout": HELDOUT}))
    evaluated(folder)
    return folder


def evaluated(run):
    """Writes beside the held-out figure what it measured: the run as it lies there."""
    facts, results = json.loads((run / "run.json").read_text()), json.loads((run / "results.json").read_text())
    measure = {
        "metric": "exact", "environment": facts["environment"], "files": {}, "items": {"n": 200, "hash": "0" * 16}, "k": 1,
        "rewards": {r["name"]: {"hash": r["hash"], "weight": r["weight"]} for r in facts["rewards"]}, "seed": 0, "limits": {},
        "sampling": HELDOUT["sampling"],
    }  # fmt: skip
    before = {
        "base": {"sha256": facts["base"]["sha256"]},
        "adapter": None,
        "template": {"hash": "0" * 16, "kwargs": {}, "raw_prompt": False},
    }
    after = {**before, "adapter": adapter_files(run / "adapter")}
    records = {file.name: content_hash(file) for file in record_files(run / "records", "heldout-after")}
    results["heldout"] |= {"measure": measure, "candidates": {"before": before, "after": after}, "records": records}
    (run / "results.json").write_text(json.dumps(results))


@pytest.fixture
def rewrite():
    """Changes keys of a JSON file; a mapping is merged into the one that is there. The figure is of the run as changed."""

    def change(path, **values):
        content = json.loads(path.read_text())
        for key, value in values.items():
            content[key] = {**content[key], **value} if isinstance(value, dict) else value
        path.write_text(json.dumps(content))
        if path.name == "run.json" and (path.parent / "results.json").is_file():
            evaluated(path.parent)

    return change
