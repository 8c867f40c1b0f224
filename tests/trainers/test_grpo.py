"""Our trainer beside stock TRL's on the same completions, and what it alone does: errors, records, repetition."""

import inspect
import json
from collections import defaultdict
from dataclasses import asdict

import numpy as np
import pytest
import torch
import trl.models.utils
import trl.trainer.utils
from datasets import Dataset
from journeyman.recipes.preflight import prepare
from journeyman.rewards.executor import RewardsFailed
from journeyman.rollouts.record import CLOCK_FIELDS, read_records
from journeyman.trainers.advantages import advantages
from journeyman.trainers.config import load_config
from journeyman.trainers.grpo import Trainer
from journeyman.trainers.models import load_base
from peft import get_peft_model
from trl import GRPOTrainer

SIGNATURES = {
    "GRPOTrainer._generate_and_score_completions": (GRPOTrainer._generate_and_score_completions, "(self, inputs)"),
    "GRPOTrainer._prepare_inputs": (GRPOTrainer._prepare_inputs, "(self, generation_batch)"),
    "GRPOTrainer._log_metric": (GRPOTrainer._log_metric, "(self, name, value)"),
    "GRPOTrainer._get_per_token_logps_and_entropies": (
        GRPOTrainer._get_per_token_logps_and_entropies,
        "(self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, "
        "compute_aux_loss=False, pixel_values=None, image_grid_thw=None, num_images=None, pixel_attention_mask=None, "
        "spatial_shapes=None, num_tiles=None, image_sizes=None, token_type_ids=None, mm_token_type_ids=None, "
        "image_position_ids=None)",
    ),
    "split_tensor_dict": (trl.trainer.utils.split_tensor_dict, "(tensor_dict, num_chunks)"),
    "pad": (
        trl.trainer.utils.pad, "(tensors, padding_value=0, padding_side='right', pad_to_multiple_of=None)",
    ),
    "use_adapter": (trl.trainer.utils.use_adapter, "(model, adapter_name)"),
    "disable_gradient_checkpointing": (
        trl.models.utils.disable_gradient_checkpointing, "(model, gradient_checkpointing_kwargs=None)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "expected"), SIGNATURES.values(), ids=SIGNATURES)
def test_trls_private_parts_are_as_we_use_them(function, expected):
    signature = inspect.signature(inspect.unwrap(function))
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]

    assert str(signature.replace(parameters=parameters, return_annotation=signature.empty)) == expected


def policy(config, job):
    """The base with an adapter that already does something, the same one each time."""
    model, chat, _ = load_base(config, job.env)
    torch.manual_seed(11)
    model = get_peft_model(model, config.lora)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model, chat


def adapter_of(model):
    return torch.cat(
        [p.detach().flatten() for n, p in sorted(model.named_parameters()) if "lora_" in n and ".ref." not in n]
    )


def step_of_ours(config, job, folder):
    model, chat = policy(config, job)
    before = adapter_of(model)
    args = config.arguments()
    trainer = Trainer(
        model, args, env=job.env, rows=job.train, executor=job.executor, quality=job.quality, chat=chat, run="r",
        records=folder / "records",
    )  # fmt: skip
    trainer.train()
    return before, adapter_of(model)


def step_of_stock(config, job, rollouts):
    model, chat = policy(config, job)
    args = config.arguments()
    args.reward_weights = [reward.weight for reward in job.executor.rewards]
    columns = {key: [row[key] for row in job.train] for key in ("prompt", "answer")}
    waiting = defaultdict(list)
    for rollout in rollouts:
        waiting[json.dumps(rollout.messages[:-1])].append(rollout)

    def same_completions(prompts, trainer):
        drawn = [waiting[json.dumps(prompt)].pop(0) for prompt in prompts]
        return {
            "prompt_ids": [r.prompt_ids for r in drawn], "completion_ids": [r.completion_ids for r in drawn],
            "logprobs": [r.logprobs for r in drawn],
        }  # fmt: skip

    trainer = GRPOTrainer(
        model=model, args=args, reward_funcs=list(job.executor.rewards), train_dataset=Dataset.from_dict(columns),
        processing_class=chat.tokenizer, rollout_func=same_completions,
    )  # fmt: skip
    trainer.train()
    assert not any(waiting.values()), "stock TRL asked for the same prompts"
    return adapter_of(model)


SAME = {
    "dapo": {"loss_type": "dapo"},
    "dapo, KL to the base": {"loss_type": "dapo", "beta": 0.04},
    "grpo": {"loss_type": "grpo"},
    "grpo, KL to the base": {"loss_type": "grpo", "beta": 0.04},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "dr_grpo, KL to the base": {"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0.04},
    "spread over the batch": {"scale_rewards": "batch"},
    "each reward normalised": {"multi_objective_aggregation": "normalize_then_sum"},
    "cut-off completions masked": {
        "mask_truncated_completions": True,
        "max_completion_length": 8,
        "per_device_train_batch_size": 32,
    },
    "another temperature": {"temperature": 0.7},
    "whole texts": {"importance_sampling_level": "sequence", "loss_type": "grpo"},
    "a batch used twice": {"num_iterations": 2, "max_steps": 2},
    "entropy's top tokens": {"top_entropy_quantile": 0.5},
    "two micro-batches": {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
    },
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_a_step_moves_the_adapter_as_stock_trl_does(tiny, tiny_base, tmp_path, changes, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    flags = {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0, "max_steps": 1, "save_strategy": "no"}
    config = load_config(tiny, {**flags, "report_to": "none", "output_dir": str(tmp_path), **changes})
    job = prepare(config)
    before, ours = step_of_ours(config, job, tmp_path)
    rollouts = list(read_records(tmp_path / "records"))
    assert len({tuple(r.completion_ids) for r in rollouts}) > 4 and any(r.advantage for r in rollouts)
    theirs = step_of_stock(config, job, rollouts)

    assert (theirs - before).norm() > 1e-4
    assert (ours - theirs).norm() < 1e-5 * (theirs - before).norm()


def recorded(run, stem):
    return [{k: v for k, v in asdict(r).items() if k not in CLOCK_FIELDS} for r in read_records(run, stem)]


def test_the_same_seed_gives_the_same_run_to_the_byte(trained, train_here, tmp_path):
    again = train_here(tmp_path / "again")
    other = train_here(tmp_path / "other", seed=8)

    for stem in ("train", "validation"):
        assert recorded(again, stem) == recorded(trained, stem) != recorded(other, stem)
    weights = [(run / "adapter" / "adapter_model.safetensors").read_bytes() for run in (trained, again, other)]
    assert weights[0] == weights[1] != weights[2]


def test_rows_whose_reward_fails_are_recorded_and_teach_nothing(make_job, train_here, tmp_path):
    job = make_job(tmp_path / "job", rewards=["tiny.py:broken_on_nine", "tiny.py:close"])
    run = train_here(tmp_path / "run", job, max_error_rate=1.0, max_steps=3)
    rollouts = list(read_records(run, "train"))
    failed = [r for r in rollouts if r.error]

    assert 0 < len(failed) < len(rollouts)
    for r in failed:
        assert r.error.startswith("broken_on_nine: ZeroDivisionError: nines") and r.advantage == 0
        assert r.rewards["broken_on_nine"] is None and r.quality is None and r.rewards["close"] is not None
    assert any(r.advantage for r in rollouts if not r.error)
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["unscorable"] == pytest.approx(
        np.mean([bool(r.error) for r in rollouts if r.step == 0])
    )


def test_too_many_failures_stop_the_run_with_the_rewards_own_traceback(make_job, train_here, tmp_path):
    job = make_job(tmp_path / "job", rewards=["tiny.py:broken_on_nine"], max_error_rate=0.01)
    with pytest.raises(RewardsFailed) as error:
        train_here(tmp_path / "run", job, max_steps=5)

    assert "max_error_rate 0.01" in str(error.value) and "reward 'broken_on_nine' failed on" in str(error.value)
    assert 'tiny.py", line' in str(error.value) and "nines can't be judged" in str(error.value)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
    assert any(r.error for r in read_records(tmp_path / "run", "train")), "the rows that failed can be looked up"


def test_the_control_learns_from_permuted_rewards_and_records_the_true_ones(tiny, trained, train_here, tmp_path):
    control = train_here(tmp_path / "control", shuffle_rewards=True)
    config = load_config(tiny)
    answers = {row["item"]: row["answer"] for row in config.environment().tasks("train", config.seed, 64)}
    rollouts = list(read_records(control, "train"))

    moved = 0
    for start in range(0, len(rollouts), 4):
        group = rollouts[start : start + 4]
        for r in group:
            assert r.rewards["exact"] == float(r.messages[-1]["content"].strip() == answers[r.item])
        values = np.array([[r.rewards["exact"], r.rewards["close"]] for r in group])
        true, _ = advantages(values, values @ [1, 0.5], np.array([1, 0.5]), 4)
        given = [r.advantage for r in group]
        np.testing.assert_allclose(sorted(given), sorted(true), atol=1e-6)
        moved += not np.allclose(given, true, atol=1e-6)
    assert moved
    first = [(r.prompt_ids, r.completion_ids, r.rewards) for r in read_records(trained, "train") if r.step == 0]
    assert [(r.prompt_ids, r.completion_ids, r.rewards) for r in rollouts if r.step == 0] == first, "all else the same"
