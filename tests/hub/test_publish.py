"""What leaves with an adapter, what never does, and that stock PEFT and huggingface_hub read it."""

import importlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from journeyman.configs.errors import BadInput
from journeyman.hub import publish as publish_function
from journeyman.hub.publish import ALLOWED, check_weights, publish
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen3ForCausalLM

HUB = dict(name="Qwen/Qwen3-0.6B", hub_id="Qwen/Qwen3-0.6B", revision="c1899de", build=None)


def listing(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_the_export_holds_the_allow_list_and_our_card(run, tmp_path):
    result = publish(run, export=tmp_path / "out" / "adapter")
    names = {p.name for p in (tmp_path / "out" / "adapter").iterdir()}
    assert names == set(result.files) <= {*ALLOWED, "README.md"}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert result.left_out == ("README.md", "training_args.bin")
    assert (tmp_path / "out" / "adapter" / "README.md").read_text() == result.card
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["adapter"]


def test_no_local_path_leaves(made, run, tmp_path):
    assert str(made.base) in (run / "adapter" / "adapter_config.json").read_text()
    publish(run, export=tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        assert str(made.base.parent).encode() not in content and b"/home/" not in content, path.name
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "nano-arithmetic"


@pytest.mark.parametrize(
    "base, override, name, revision",
    [
        (HUB, None, "Qwen/Qwen3-0.6B", "c1899de"),
        (HUB, "me/mine", "me/mine", None),
        (dict(name="/home/someone/models/mine/", hub_id=None, build=None), None, "mine", None),
        (dict(name="/home/someone/models/mine", hub_id=None, build=None), "me/mine", "me/mine", None),
    ],
)
def test_the_base_has_its_public_name(run, rewrite, tmp_path, base, override, name, revision):
    rewrite(run / "run.json", base=base)
    result = publish(run, export=tmp_path / "out", base_model=override)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (name, revision)
    data = ModelCard(result.card).data
    assert data.base_model == (name if "/" in name else None)
    assert ("not on the Hub" in result.card) == ("/" not in name)


def test_stock_peft_loads_the_export_with_the_same_logits(made, run, tmp_path):
    publish(run, export=tmp_path / "out")
    model = PeftModel.from_pretrained(Qwen3ForCausalLM.from_pretrained(made.base), tmp_path / "out").eval()
    plain = Qwen3ForCausalLM.from_pretrained(made.base).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(made.ids).logits, made.logits)
        assert not torch.allclose(plain(made.ids).logits, made.logits, atol=1e-3)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert "local" not in (tmp_path / "out" / "tokenizer_config.json").read_text()
    assert tokenizer.decode(tokenizer("what is 1 + 2")["input_ids"]) == "what is 1 + 2"
    assert tokenizer.apply_chat_template([{"role": "user", "content": "1"}], tokenize=False) == "1<eos>"


def test_auto_peft_finds_the_base_by_the_name_written(made, run, tmp_path, monkeypatch):
    publish(run, export=tmp_path / "out")
    shutil.copytree(made.base, tmp_path / "nano-arithmetic")
    monkeypatch.chdir(tmp_path)
    with torch.no_grad():
        logits = AutoPeftModelForCausalLM.from_pretrained("out").eval()(made.ids).logits
    torch.testing.assert_close(logits, made.logits)


def test_a_dry_run_writes_nothing(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = listing(tmp_path)
    result = publish(run, "me/adder", dry_run=True, export=tmp_path / "out")
    after = listing(tmp_path)
    assert after == before and result.export is None and result.url is None
    shown = capsys.readouterr().out
    assert "adapter_model.safetensors" in shown and "library_name: peft" in shown and "private" in shown
    assert "adapter folder: README.md, training_args.bin" in shown


def spoil_weights(change):
    def spoil(run):
        path = run / "adapter" / "adapter_model.safetensors"
        save_file({name: change(name, tensor) for name, tensor in load_file(path).items()}, path)

    return spoil


def spoil_text(name, text):
    def spoil(run):
        with (run / "adapter" / name).open("a") as file:
            file.write(text)

    return spoil


def spoil_json(**values):
    return lambda run: (run / "run.json").write_text(
        json.dumps({**json.loads((run / "run.json").read_text()), **values})
    )


def first(tensor, value):
    tensor = tensor.clone()
    tensor.view(-1)[0] = value
    return tensor


def cut_off(run):
    path = run / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


SECRET = "hf_" + "Ab1" * 12
JINJA = "chat_template.jinja"


@pytest.mark.parametrize(
    "spoil, message",
    [
        (spoil_weights(lambda name, t: first(t, float("nan")) if "lora_B" in name else t), "lora_B.*NaN"),
        (spoil_weights(lambda name, t: first(t, float("-inf"))), "infinities"),
        (spoil_weights(lambda name, t: torch.zeros_like(t) if "lora_B" in name else t), "does nothing"),
        (spoil_weights(lambda name, t: t * 0), "all zeros"),
        (spoil_weights(lambda name, t: t * 0 if "q_proj.lora_A" in name else t), "cut off"),
        (cut_off, "can't be read as safetensors"),
        (spoil_text(JINJA, f"{{# {SECRET} #}}"), f"{JINJA}: a Hugging Face token 'hf_Ab1"),
        (spoil_text(JINJA, "{# me@example.org #}"), "an e-mail address 'me@example.org'"),
        (spoil_text(JINJA, "\n\n{# /root/secret #}"), "'/root/secret' in line 3"),
        (spoil_text("vocab.json", '"AKIA' + "A1" * 8 + '"'), "vocab.json: an AWS key"),
        (spoil_text("tokenizer_config.json", "}"), "tokenizer_config.json: can't be read as JSON"),
        (spoil_text("merges.txt", "/tmp/tokenizer"), "merges.txt: a path"),
        (spoil_json(command=f"journeyman train --hub_token {SECRET}"), "README.md: a Hugging Face token"),
        (spoil_json(status="stopped"), "'stopped', not finished"),
        (lambda run: shutil.rmtree(run / "adapter"), "no adapter yet"),
        (lambda run: (run / "run.json").unlink(), "no run.json"),
        (lambda run: (run / "run.json").write_text("{"), "can't be read as JSON"),
        (lambda run: (run / "results.json").write_text('{"heldout": {"n": 5}}'), "'heldout' lacks k, before"),
        (shutil.rmtree, "no such run"),
    ],
)
def test_what_is_refused(run, tmp_path, spoil, message):
    spoil(run)
    with pytest.raises(BadInput, match=message) as refusal:
        publish(run, export=tmp_path / "out")
    assert SECRET not in str(refusal.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "nowhere to publish to"),
        ({"repo": "adder"}, "owner/name, such as your-name/adder"),
        ({"repo": "a/b/c"}, "owner/name"),
        ({"repo": "me/ad der"}, "owner/name"),
        ({"dry_run": True, "base_model": "./models/x/y"}, "not an id on the Hub"),
    ],
)
def test_a_bad_destination(run, options, message):
    with pytest.raises(BadInput, match=message):
        publish(run, **options)


def test_an_export_never_overwrites(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    publish(run, export=out)  # an empty folder is taken
    with pytest.raises(BadInput, match="not an empty folder"):
        publish(run, export=out)


def test_a_layer_trained_whole_counts_even_where_b_is_zero(tmp_path):
    tensors = {"x.lora_A.weight": torch.ones(2, 2), "x.lora_B.weight": torch.zeros(2, 2), "head.weight": torch.ones(2)}
    save_file(tensors, tmp_path / "whole.safetensors")
    check_weights(tmp_path / "whole.safetensors")


class Hub:
    """Stands in for HfApi: what was asked of it, and the files it got."""

    public = False
    calls: list

    def create_repo(self, repo, **options):
        self.calls.append((repo, options))
        return f"https://huggingface.co/{repo}"

    def repo_info(self, repo):
        return SimpleNamespace(private=not self.public)

    def upload_folder(self, *, repo_id, folder_path, **_):
        self.calls.append((repo_id, sorted(p.name for p in Path(folder_path).iterdir())))


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(Hub, "calls", [], raising=False)
    # The package exports the function under the name of its module, so the module is asked for by import_module.
    monkeypatch.setattr(importlib.import_module("journeyman.hub.publish"), "HfApi", Hub)
    return Hub


def test_the_upload_is_private_and_holds_the_files_shown(run, hub):
    result = publish(run, "me/adder")
    (repo, options), (target, names) = hub.calls
    assert (repo, target, options) == ("me/adder", "me/adder", {"private": True, "exist_ok": True})
    assert names == sorted(result.files) and result.url == "https://huggingface.co/me/adder"


def test_nothing_private_goes_to_a_repository_that_is_public(run, hub, monkeypatch):
    monkeypatch.setattr(hub, "public", True)
    with pytest.raises(BadInput, match="is public"):
        publish(run, "me/adder")
    assert len(hub.calls) == 1
    publish(run, "me/adder", private=False)


def test_offline_is_said(run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="HF_HUB_OFFLINE"):
        publish(run, "me/adder")


def test_the_package_exports_publish():
    assert publish_function is publish
