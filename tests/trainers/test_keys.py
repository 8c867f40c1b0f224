"""Every key of TRL's, transformers' and PEFT's is applied, ours or refused; nothing is accepted and ignored."""

import dataclasses
import json

import pytest
import torch
from journeyman.configs import BadInput
from journeyman.trainers.adapter import adapted, update_norm
from journeyman.trainers.config import load_config
from journeyman.trainers.effects import defaults_of
from journeyman.trainers.keys import APPLIED, LORA_APPLIED, LORA_REFUSED, NEEDS, OURS, REFUSED, RL_ONLY
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from transformers import Qwen3Config, Qwen3ForCausalLM, TrainingArguments
from trl import GRPOConfig, ModelConfig


def names_of(*classes):
    return {f.name for cls in classes for f in dataclasses.fields(cls)}


def test_every_field_of_trl_and_transformers_is_on_exactly_one_list():
    listed = [*APPLIED, *OURS, *REFUSED]

    assert len(listed) == len(set(listed))
    assert set(listed) == names_of(GRPOConfig, ModelConfig, TrainingArguments)
    assert {key for keys, other, _ in NEEDS for key in [*keys.split(), other]} & (set(REFUSED) | set(OURS)) == set()
    assert RL_ONLY & (set(REFUSED) | set(OURS)) == set()


def test_every_field_of_pefts_is_on_exactly_one_list():
    assert not LORA_APPLIED & LORA_REFUSED.keys()
    assert LORA_APPLIED | LORA_REFUSED.keys() == names_of(LoraConfig)


def another(default, hint):
    """A value of the key's type that is not its default."""
    if "bool" in hint:
        return not default
    for kind, value in (("int", 7), ("float", 0.25), ("dict", {"a": 1}), ("list", ["a"]), ("str", "steps")):
        if kind in hint:
            return value
    return "steps"


@pytest.mark.parametrize("recipe", ["grpo", "ppo", "sft"])
def test_a_refused_key_is_named_with_what_to_use_and_passes_with_its_default(tiny, recipe):
    defaults = defaults_of(GRPOConfig, ModelConfig)
    hints = {f.name: str(f.type) for cls in (ModelConfig, GRPOConfig) for f in dataclasses.fields(cls)}
    for key, instead in [*REFUSED.items(), *((key, why) for key, (_, why) in OURS.items())]:
        wrong = another(OURS.get(key, (defaults[key],))[0], hints[key])
        with pytest.raises(BadInput) as error:
            load_config(tiny, {key: wrong}, recipe)
        assert f"{key}: {instead}" in str(error.value) and "\n" not in str(error.value), key
    same = {key: value for key, value in defaults.items() if key in REFUSED}
    assert "push_to_hub" not in same and vars(load_config(tiny, same).arguments())["output_dir"]


def test_a_refused_field_of_lora_is_named_with_what_to_use(tiny):
    defaults = defaults_of(LoraConfig)
    hints = {f.name: str(f.type) for f in dataclasses.fields(LoraConfig)}
    for key, instead in LORA_REFUSED.items():
        with pytest.raises(BadInput) as error:
            load_config(tiny, {f"lora.{key}": another(defaults[key], hints[key])})
        assert f"lora: {key}: {instead}" in str(error.value), key


# keys given, the recipe, and what the line must say; None where they pass.
TOLD = {
    "a warm-up of a constant schedule": ({"warmup_steps": 5}, "grpo", "warmup_steps does nothing with lr_scheduler_type"),
    "a constant schedule in place of the file's": ({"lr_scheduler_type": "cosine", "warmup_steps": 5}, "grpo", None),
    "Adam's beta for SGD": ({"optim": "sgd", "adam_beta1": 0.5}, "grpo", "adam_beta1: optim: sgd does not read it"),
    "a misspelt setting of the optimizer": ({"optim": "sgd", "optim_args": "momentun=0.9"}, "grpo", "does not read it"),
    "a setting of the optimizer": ({"optim": "sgd", "optim_args": "momentum=0.9"}, "grpo", None),
    "a setting that is no pair": ({"optim": "sgd", "optim_args": "momentum"}, "grpo", "optim_args"),
    "an optimizer whose package is missing": ({"optim": "galore_adamw"}, "grpo", "need to install `galore_torch`"),
    "a schedule without what it needs": ({"lr_scheduler_type": "warmup_stable_decay"}, "grpo", "num_decay_steps"),
    "a misspelt setting of the schedule": (
        {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycle": 2}}, "grpo", "'num_cycle'"),
    "a schedule by TRL's evaluation": ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "grpo", "take linear, cosine"),
    "checkpoints by TRL's evaluation": ({"save_strategy": "best"}, "grpo", "set select: best"),
    "another loss's key": ({"vespo_k_pos": 1.0}, "grpo", "set loss_type to vespo"),
    "its own loss's key": ({"vespo_k_pos": 1.0, "loss_type": "vespo"}, "grpo", None),
    "clipping that this loss has not": ({"delta": 2.0, "loss_type": "cispo"}, "grpo", "delta does nothing with loss_type"),
    "a key of vLLM's without it": ({"vllm_gpu_memory_utilization": 0.5}, "grpo", "set use_vllm to true"),
    "a server's port in this process": ({"use_vllm": True, "vllm_server_port": 9}, "grpo", "set vllm_mode to server"),
    "rounds of no dynamic sampling": ({"dynamic_sampling_rounds": 5}, "grpo", "set dynamic_sampling to true"),
    "a target of no adaptive entropy": ({"entropy_target": 0.5}, "grpo", "set use_adaptive_entropy to true"),
    "steps between no checkpoints": ({"save_strategy": "no", "save_steps": 7}, "grpo", "save_steps does nothing"),
    "4-bit keys without it": ({"bnb_4bit_quant_type": "fp4"}, "grpo", "set load_in_4bit to true"),
    "8 and 4 bits": ({"load_in_8bit": True, "load_in_4bit": True}, "grpo", "8 bit and 4 bit"),
    "a revision of the embedded model": ({"model_revision": "v2"}, "grpo", "nano is no repository"),
    "a temperature for copying": ({"temperature": 0.5}, "sft", "the recipe sft copies right answers"),
    "an optimizer for copying": ({"optim": "sgd"}, "sft", None),
    "weights that begin from data": ({"lora.init_lora_weights": "eva"}, "grpo", "init_lora_weights is 'eva'"),
    "PiSSA": ({"lora.init_lora_weights": "pissa"}, "grpo", None),
    "a key that was read by nothing": ({"quality_floor": 0.5}, "grpo", "quality_floor is read by nothing"),
    "a tracker without its package": ({"report_to": "dvclive"}, "grpo", "pip install dvclive"),
    "one of two trackers without": ({"report_to": ["trackio", "dvclive"]}, "grpo", "pip install dvclive"),
    "a misspelt tracker": ({"report_to": "trakio"}, "grpo", "did you mean 'trackio'"),
    "a tracker and none": ({"report_to": ["trackio", "none"]}, "grpo", "'none': it stands alone"),
    "no tracker, by null": ({"report_to": None}, "grpo", None),
    "no tracker, by an empty list": ({"report_to": []}, "grpo", None),
    "no tracker, by a list": ({"report_to": ["none"]}, "grpo", None),
    "every tracker that is here": ({"report_to": "all"}, "grpo", None),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "recipe", "line"), TOLD.values(), ids=TOLD)
def test_what_would_be_ignored_or_fail_later_is_refused_at_once(tiny, keys, recipe, line):
    def read():
        return load_config(tiny, keys, recipe).arguments()

    if line is None:
        assert read()
        return
    with pytest.raises(BadInput) as error:
        read()
    assert line in str(error.value) and "tiny.yaml: " in str(error.value) and "\n" not in str(error.value)


def test_a_flag_may_switch_off_what_the_files_other_keys_are_about(make_job, tmp_path):
    path = make_job(tmp_path, save_strategy="steps", save_steps=7, lr_scheduler_type="cosine", warmup_steps=3)

    for off in ({"save_strategy": "no"}, {"lr_scheduler_type": "constant"}):
        assert load_config(path, off).arguments()
    with pytest.raises(BadInput, match="save_steps does nothing"):
        load_config(make_job(tmp_path / "other", save_strategy="no", save_steps=7))


def test_a_file_for_copying_is_read_strictly_and_another_recipes_file_is_not(make_job, tmp_path):
    assert load_config(make_job(tmp_path / "rl", temperature=0.5), {}, "sft").arguments()
    with pytest.raises(BadInput, match="temperature: the recipe sft"):
        load_config(make_job(tmp_path / "copy", temperature=0.5, recipe="sft"))


def test_the_config_of_an_older_run_is_still_read_without_what_was_ignored(make_job, tmp_path):
    path = make_job(tmp_path, quality_floor=0.7, repetition_penalty=5.0, lora_r=4, temperature=0.5)
    with pytest.raises(BadInput):
        load_config(path)
    (tmp_path / "run.json").write_text("{}")
    config = load_config(path)

    assert not config.values.keys() & {"quality_floor", "repetition_penalty", "lora_r"}
    assert config.arguments().temperature == 0.5


# -- gradient checkpointing


@pytest.mark.parametrize(
    ("gpu", "keys", "on"),
    [
        (False, {}, False),
        (True, {}, False),
        (False, {"model_name_or_path": "some/model"}, False),
        (True, {"model_name_or_path": "some/model"}, True),
        (True, {"model_name_or_path": "some/model", "use_cpu": True}, False),
        (True, {"model_name_or_path": "some/model", "gradient_checkpointing": False}, False),
        (False, {"gradient_checkpointing": True}, True),
    ],
)
def test_gradient_checkpointing_is_off_where_the_model_is_sure_to_fit(make_job, tmp_path, monkeypatch, gpu, keys, on):
    path = make_job(tmp_path, gradient_checkpointing=None)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)

    assert load_config(path, keys).checkpoints_activations is on


# -- the adapter


def small(**lora):
    torch.manual_seed(0)
    shape = Qwen3Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, tie_word_embeddings=False,
    )  # fmt: skip
    config = LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 6, "target_modules": "all-linear", **lora})
    return Qwen3ForCausalLM(shape), config


BEGUN = {
    "plain": {}, "PiSSA": {"init_lora_weights": "pissa"}, "OLoRA": {"init_lora_weights": "olora"},
    "random": {"init_lora_weights": False}, "orthogonal": {"init_lora_weights": "orthogonal"},
    "rsLoRA, scaled": {"use_rslora": True, "alpha_pattern": {"q_proj": 2}},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]}, "head saved": {"modules_to_save": ["lm_head"]},
}  # fmt: skip


@pytest.mark.parametrize("lora", BEGUN.values(), ids=BEGUN)
def test_the_norm_of_an_update_is_that_of_the_weights_change_from_where_it_began(lora):
    base, config = small(**lora)
    model = get_peft_model(base, config)

    def state():
        found = get_peft_model_state_dict(model, save_embedding_layers=False)
        return {name: tensor.detach().clone() for name, tensor in found.items()}

    def weights():
        copies = {}
        for name, module in model.named_modules():
            if hasattr(module, "get_delta_weight"):
                copies[name] = module.get_delta_weight("default").detach().clone()
            if name.endswith("modules_to_save.default"):
                copies[name] = module.weight.detach().clone()
        return copies

    begin, first = state(), weights()
    assert update_norm(begin, begin, config) == 0
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    last = weights()
    moved = sum(float((last[name] - first[name]).square().sum()) for name in last) ** 0.5

    assert update_norm(state(), begin, config) == pytest.approx(moved, rel=1e-4) and moved > 0.1


ABSENT = {
    "a target": ({"target_modules": ["q_prj"]}, "Target modules {'q_prj'} not found"),
    "a module to save": ({"modules_to_save": ["lmhead"]}, "did you mean 'lm_head'"),
    "a rank's module": ({"rank_pattern": {"qproj": 2}}, "did you mean 'q_proj'"),
    "a scale's module": ({"alpha_pattern": {"q_prj": 2}}, "lora.alpha_pattern: the base has no module 'q_prj'"),
    "an excluded module": ({"exclude_modules": ["vproj"]}, "did you mean 'v_proj'"),
    "a layer": ({"target_modules": ["q_proj"], "layers_to_transform": [9]}, "not found"),
    "a rank": ({"r": 0}, "positive integer"),
    "the head": ({"target_modules": ["q_proj", "lm_head"]}, "would not be trained; leave it out"),
}


@pytest.mark.parametrize(("lora", "line"), ABSENT.values(), ids=ABSENT)
def test_what_lora_names_must_be_there(lora, line):
    with pytest.raises(BadInput) as error:
        adapted(*small(**lora), "job.yaml")

    assert line in str(error.value) and str(error.value).startswith("job.yaml: lora")


LORA_MOVES = {
    "r": 2, "target_modules": ["q_proj"], "exclude_modules": ["q_proj"], "bias": "all", "lora_bias": True,
    "use_dora": True, "modules_to_save": ["lm_head"], "rank_pattern": {"q_proj": 2}, "trainable_token_indices": [3],
    "layers_to_transform": [0], "layers_pattern": "layers", "lora_alpha": 12, "alpha_pattern": {"q_proj": 2},
    "lora_dropout": 0.5, "use_rslora": True, "init_lora_weights": "gaussian", "target_parameters": ["x"],
    "ensure_weight_tying": True,
}  # fmt: skip


def shape_of(lora):
    """What an adapter is: names and values of what is trained, each layer's scale, and how much is dropped out."""
    given = {"target_modules": ["q_proj", "v_proj"], **lora}
    if "layers_pattern" in lora:
        given["layers_to_transform"] = [0]
    base, config = small(**given)
    torch.manual_seed(1)
    model = adapted(base, config, "job.yaml")
    layers = [m for m in model.modules() if hasattr(m, "lora_A")]
    return (
        {name: p.detach().sum().item() for name, p in model.named_parameters() if p.requires_grad},
        [layer.scaling["default"] for layer in layers], [str(layer.lora_dropout) for layer in layers],
    )  # fmt: skip


@pytest.mark.parametrize("key", sorted(LORA_APPLIED))
def test_an_applied_field_of_lora_moves_the_adapter(key):
    value = LORA_MOVES[key]
    if key == "bias":
        pytest.importorskip("peft")
        base, config = small(bias="all")
        torch.nn.Module.register_parameter(base.lm_head, "bias", torch.nn.Parameter(torch.zeros(50)))
        assert any(
            p.requires_grad and n.endswith("lm_head.bias") for n, p in adapted(base, config, "j").named_parameters()
        )
    elif key == "target_parameters":
        with pytest.raises(BadInput, match="lora"):  # it reaches PEFT, which looks for parameters of that name
            shape_of({key: ["self_attn.q_proj.weight"]})
    elif key == "ensure_weight_tying":
        with pytest.warns(UserWarning, match="ensure_weight_tying"):
            shape_of({key: value})
    elif key == "layers_pattern":
        assert shape_of({key: value}) != shape_of({})
        with pytest.raises(BadInput):
            shape_of({key: "blocks"})
    else:
        assert shape_of({key: value}) != shape_of({})


# -- the trackers


def test_the_validation_score_reaches_the_trackers_at_its_own_steps(tiny, train_here, tmp_path, monkeypatch):
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    class Recording(TrainerCallback):
        seen: list = []

        def on_log(self, args, state, control, logs=None, **kwargs):
            self.seen.append((state.global_step, (logs or {}).get("validation"), "reward" in (logs or {})))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "dvclive", Recording)
    monkeypatch.setattr(integration_utils, "is_dvclive_available", lambda: True)
    run = train_here(tmp_path / "run", report_to="dvclive", max_steps=5, validate_every=2, logging_steps=3)
    scores = {step: score for step, score, _ in Recording.seen if score is not None}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    assert sorted(scores) == [0, 2, 4, 5]
    assert {row["step"]: row["validation"] for row in rows if "validation" in row} == {k: scores[k] for k in (2, 4, 5)}
    assert [step for step, _, trained in Recording.seen if trained] == [row["step"] for row in rows] == [2, 3, 4, 5]


def test_trackio_says_nothing_of_a_run_that_fails(train_here, tmp_path, monkeypatch, capfd):
    trackio = pytest.importorskip("trackio")
    monkeypatch.setattr("journeyman.trainers.callbacks.Metrics.on_step_end", lambda *a, **k: 1 / 0, raising=False)
    with pytest.raises(ZeroDivisionError):
        train_here(tmp_path / "run", report_to="trackio", project="keys-test-fails", max_steps=2)
    assert list(trackio.utils.TRACKIO_DIR.glob("keys-test-fails*"))  # it was begun
    trackio._cleanup_current_run()  # as at the process's end
    out, err = capfd.readouterr()

    assert "rackio" not in out + err and "* " not in out + err


def test_trackio_holds_the_score_and_prints_nothing(tiny, train_here, tmp_path, capfd):
    import sqlite3

    trackio = pytest.importorskip("trackio")
    train_here(tmp_path / "run", report_to="trackio", project="keys-test", max_steps=2, validate_every=2)
    out, err = capfd.readouterr()
    place = next(trackio.utils.TRACKIO_DIR.glob("keys-test.db"))
    with sqlite3.connect(place) as base:
        rows = [json.loads(text) for (text,) in base.execute("select metrics from metrics")]

    assert {row["train/global_step"] for row in rows if "train/validation" in row} == {0, 2}
    assert "rackio" not in out + err and "* " not in out + err
