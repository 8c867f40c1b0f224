import pytest
import yaml
from journeyman.configs import BadInput
from journeyman.configs.read import CONFIGS
from journeyman.recipes.command import overrides
from journeyman.trainers.config import load_config, nested

SHIPPED = sorted(p for p in CONFIGS.glob("*/*.yaml") if (p.parent / "job.yaml").exists() and p.stem != "job")
GIVEN = [
    ("--learning_rate 1e-3", {"learning_rate": 1e-3}),
    ("--learning_rate=5", {"learning_rate": 5.0}),
    ("--max-steps 7", {"max_steps": 7}),
    ("--bf16", {"bf16": True}),
    ("--bf16 false --max_steps -1", {"bf16": False, "max_steps": -1}),
    ("--model_name_or_path some/model", {"model_name_or_path": "some/model"}),
    ("--lora.r 8 --lora.lora_alpha 16", {"lora": {"r": 8, "lora_alpha": 16}}),
    ("--evaluation.k 4 --evaluation.temperature 1", {"evaluation": {"k": 4, "temperature": 1}}),
    ("--environment_kwargs {padding: 2}", {"environment_kwargs": {"padding": 2}}),
    ("--heldout_rows null", {"heldout_rows": None}),
    ("--save_strategy no", {"save_strategy": "no"}),
]


@pytest.mark.parametrize(("words", "expected"), GIVEN, ids=[words for words, _ in GIVEN])
def test_flags_are_laid_on_the_file(tiny, words, expected):
    config = load_config(tiny, overrides(words.split(" ", 3) if "{" not in words else words.split(" ", 1)))

    for key, value in expected.items():
        got = config.values[key]
        if isinstance(value, dict):
            assert value.items() <= got.items()
        else:
            assert got == value and type(got) is type(value)


def test_a_mapping_keeps_what_a_flag_does_not_name(tiny):
    config = load_config(tiny, {"lora.r": 8})

    assert (config.lora.r, config.lora.lora_alpha, config.lora.task_type) == (8, 8, "CAUSAL_LM")
    assert nested({"a.b.c": 1, "a.b.d": 2, "e": 3}) == {"a": {"b": {"c": 1, "d": 2}}, "e": 3}


def test_without_a_lora_mapping_it_is_rank_32_on_all_linear_layers(make_job, tmp_path):
    lora = load_config(make_job(tmp_path, lora=None)).lora

    assert (lora.r, lora.lora_alpha, lora.target_modules) == (32, 64, "all-linear")


def test_a_file_extends_another_and_its_own_keys_win(make_job, tmp_path):
    make_job(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "middle.yaml").write_text("extends: tiny.yaml\nmax_steps: 9\nlora: {r: 2}\n")
    child = tmp_path / "sub" / "child.yaml"
    child.write_text("extends: ../middle.yaml\nlora: {lora_dropout: 0.5}\nenvironment: ../tiny.py:Larger\n")
    config = load_config(child)

    assert config.values["max_steps"] == 9
    assert (config.lora.r, config.lora.lora_alpha, config.lora.lora_dropout) == (2, 8, 0.5)
    assert config.environment().tasks("train", 0, 2)


def test_numbers_that_yaml_takes_for_texts_are_numbers(make_job, tmp_path):
    path = make_job(tmp_path)
    path.write_text(path.read_text().replace("learning_rate: 0.001", "learning_rate: 1e-3"))
    assert isinstance(yaml.safe_load(path.read_text())["learning_rate"], str)

    assert load_config(path).arguments().learning_rate == 1e-3


def test_what_was_resolved_is_a_config_that_gives_the_same(tiny, tmp_path):
    first = load_config(tiny, {"max_steps": 9, "lora.r": 2})
    (tmp_path / "tiny.py").write_text((tiny.parent / "tiny.py").read_text())
    (tmp_path / "config.yaml").write_text(first.dump())
    again = load_config(tmp_path / "config.yaml")

    assert again.values == first.values and again.name == first.name


def test_weights_and_quality(make_job, tmp_path):
    rewards = [
        {"reward": "tiny.py:length", "weight": 0},
        {"reward": "journeyman.rewards.match:exact", "weight": "5e-1"},
    ]
    config = load_config(make_job(tmp_path, rewards=rewards, quality="exact"))

    assert [(r.name, r.weight) for r in config.rewards()] == [("length", 0.0), ("exact", 0.5)]
    assert config.quality() == "exact"
    assert load_config(make_job(tmp_path, rewards=rewards)).quality() == "length"


def test_names_say_job_recipe_seed_and_control(tiny):
    assert load_config(tiny, {"job": "j", "seed": 3}).name == "j-nano-grpo-seed3"
    assert load_config(tiny, {"job": "j", "shuffle_rewards": True}, "sft").name == "j-nano-sft-seed7-control"
    assert load_config(tiny, {"model_name_or_path": "Qwen/Qwen3-0.6B"}).name == "tiny-qwen3-0.6b-grpo-seed7"
    assert str(load_config(tiny, {"job": "j"}).output) == "runs/j-nano-grpo-seed7"


@pytest.mark.parametrize("path", SHIPPED, ids=[f"{path.parent.name}-{path.stem}" for path in SHIPPED])
def test_every_shipped_run_is_read(path):
    config = load_config(path, {"bf16": False})  # a CPU's TRL refuses it

    assert config.job.job == path.parent.name
    assert config.arguments().generation_batch_size % config.arguments().num_generations == 0
    assert config.quality() in [reward.name for reward in config.rewards()]


WRONG = {
    "an unknown key": ({"max_step": 3}, "there is no key 'max_step'; did you mean 'max_steps'?"),
    "a text for a number": ({"max_steps": "many"}, "max_steps is 'many' (str); it should be a whole number"),
    "a fraction for a whole number": ({"max_steps": 1.5}, "max_steps is 1.5"),
    "true for a number": ({"learning_rate": True}, "learning_rate is True"),
    "a number for a flag": ({"bf16": 1}, "bf16 is 1 (int); it should be true or false"),
    "full fine-tuning": ({"use_peft": False}, "only adapters are trained"),
    "a text for a mapping": ({"lora": "big"}, "lora is 'big' (str); it should be a mapping"),
    "another choice": ({"select": "worst"}, "it should be one of best, last"),
    "an unknown lora key": ({"lora.rank": 3}, "lora: there is no key 'rank'"),
    "an unknown evaluation key": ({"evaluation.temprature": 1}, "did you mean 'temperature'"),
    "an unknown loss": ({"loss_type": "grpoo"}, "loss_type is 'grpoo'; it should be one of dapo, grpo"),
    "an unknown scaling": ({"scale_rewards": "grup"}, "scale_rewards is 'grup'"),
    "an unknown aggregation": ({"multi_objective_aggregation": "sum"}, "multi_objective_aggregation is 'sum'"),
    "a group of one": ({"num_generations": 1}, "at least 2 generations"),
    "a quality that is no reward": ({"quality": "exat"}, "did you mean 'exact'"),
    "only metrics": ({"rewards": [{"reward": "tiny.py:length", "weight": 0}]}, "nothing would be learned"),
    "a reward twice": ({"rewards": ["tiny.py:length", "tiny.py:length"]}, "the same name"),
    "a reward that is no text": ({"rewards": [3]}, "3 should be module:function"),
    "a reward with another key": ({"rewards": [{"reward": "tiny.py:length", "wieght": 2}]}, "did you mean 'weight'"),
    "no environment": ({"environment": ""}, "the key 'environment' is missing"),
    "no environment's class": ({"environment": "tiny.py:nothing"}, "is no environment"),
    "no rewards": ({"rewards": []}, "the key 'rewards' is missing"),
    "no model": ({"model_name_or_path": None}, "the key 'model_name_or_path' is missing"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_bad_values_are_named_with_what_would_do(tiny, changes, message):
    with pytest.raises(BadInput) as error:
        config = load_config(tiny, changes)
        config.arguments(), config.rewards(), config.quality(), config.environment()

    assert message in str(error.value) and "tiny" in str(error.value)
