"""A number out of range is refused in one line, whatever TRL, transformers or torch would make of it."""

import dataclasses

import pytest
from journeyman.configs import BadInput
from journeyman.configs.schema import JobConfig
from journeyman.trainers.config import load_config
from journeyman.trainers.keys import APPLIED
from journeyman.trainers.ppo_config import PPOConfig
from journeyman.trainers.ranges import RANGES

OPEN = {
    "neftune_noise_alpha", "torch_empty_cache_steps", "ddp_bucket_cap_mb", "ddp_timeout", "router_aux_loss_coef",
    "vllm_server_port", "vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg", "entropy_coef",
    "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target", "vllm_importance_sampling_clip_max",
    "vllm_importance_sampling_clip_min",
}  # fmt: skip
"""Numbers that may be anything, or that their library checks by name."""


@pytest.mark.parametrize("recipe", ["grpo", "ppo"])
def test_a_number_below_its_range_is_refused_by_name(tiny, recipe):
    ours = {f.name for f in dataclasses.fields(PPOConfig)} - {f.name for f in dataclasses.fields(PPOConfig.__base__)}
    for key, (_, words) in RANGES.items():
        if recipe == "grpo" and key.partition(".")[0] in ours:
            continue
        with pytest.raises(BadInput) as error:
            load_config(tiny, {key: -7}, recipe)
        assert f"{key} is -7" in str(error.value) and words in str(error.value), key


@pytest.mark.parametrize(
    ("key", "value"),
    [("temperature", 0), ("top_p", 1.1), ("max_steps", 0), ("learning_rate", float("nan")), ("evaluation.k", 0),
     ("lora.lora_dropout", 1.0), ("max_grad_norm", float("inf")), ("seed", 2**32)],
)  # fmt: skip
def test_the_edge_of_a_range_is_known(tiny, key, value):
    with pytest.raises(BadInput, match=f"{key} is"):
        load_config(tiny, {key: value})


def test_evaluation_takes_numbers_of_the_right_kind(tiny):
    with pytest.raises(BadInput, match=r"evaluation\.k is 2\.5"):
        load_config(tiny, {"evaluation.k": 2.5})
    assert load_config(tiny, {"evaluation.temperature": "1e-1"}).evaluation["temperature"] == 0.1


def test_every_number_that_is_applied_has_a_range_or_is_open():
    fields = [f for cls in (PPOConfig, JobConfig) for f in dataclasses.fields(cls)]
    numbers = {f.name for f in fields if any(kind in str(f.type) for kind in ("int", "float"))}
    applied = {name for name in numbers if name in APPLIED or name in {f.name for f in dataclasses.fields(JobConfig)}}
    loose = {"report_to", "async_rollouts"}
    assert applied - set(RANGES) - OPEN - loose == set()
