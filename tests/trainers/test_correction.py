"""The correction between engine and trainer, against stock TRL: the same update, and no pass more."""

import pytest
import torch
from datasets import Dataset
from journeyman.recipes.bench_trainers import Lean, random_policy
from journeyman.rollouts.engine import SyncFailed
from journeyman.trainers.correction import importance_ratio
from journeyman.trainers.tokenizer import train_tokenizer
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_tensor_dict

G, P, C = 4, 6, 10
MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


def rollouts(prompts, trainer):
    """Fixed tokens, tools among them, and log-probs as an engine with other kernels would have them."""
    generator = torch.Generator().manual_seed(5)
    n = len(prompts)
    ids = torch.randint(10, 290, (n // G, P), generator=generator).repeat_interleave(G, 0)
    completions = [torch.randint(10, 290, (4 + i % (C - 3),), generator=generator).tolist() for i in range(n)]
    masks = [[0 if 1 < t < 4 and i % 3 == 0 else 1 for t in range(len(c))] for i, c in enumerate(completions)]
    logprobs = [(torch.randn(len(c), generator=generator) * 0.6 - 7.5).tolist() for c in completions]
    return {"prompt_ids": ids.tolist(), "completion_ids": completions, "logprobs": logprobs, "env_mask": masks}


def trainer_of(kind, model, **fields):
    trainer = kind(
        model, lambda completions, **_: [float(i % G == 0) + (i // G) * (i % 2) for i in range(len(completions))],
        GRPOConfig(**{
            "use_cpu": True, "bf16": False, "report_to": "none", "per_device_train_batch_size": 16, "num_generations": G,
            "max_completion_length": C, "output_dir": "unused", "gradient_checkpointing": False, **fields,
        }),
        Dataset.from_dict({"prompt": ["a"] * 16}), processing_class=train_tokenizer([], [], 300), rollout_func=rollouts,
    )  # fmt: skip
    trainer.use_vllm, trainer._last_loaded_step = True, 0  # as after a sync; its constructor would start a vLLM
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    return trainer


def gradient(trainer, batch):
    trainer.model.zero_grad(set_to_none=True)
    for part in split_tensor_dict(batch, trainer.args.steps_per_generation):
        trainer.accelerator.backward(trainer._compute_loss(trainer.model, part))
    return torch.cat([p.grad.flatten() for _, p in sorted(trainer.model.named_parameters()) if p.grad is not None])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", ["dapo", "grpo", "cispo", "vespo"])
def test_one_pass_gives_stocks_update(mode, loss, monkeypatch):
    if loss == "vespo" and mode.startswith("sequence"):
        pytest.skip("TRL refuses it")
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    fields = {
        "vllm_importance_sampling_mode": mode, "loss_type": loss, "vllm_importance_sampling_clip_max": 2.0,
        "gradient_accumulation_steps": 2, "per_device_train_batch_size": 8,
    }  # fmt: skip
    stock, ours = (trainer_of(kind, random_policy(hidden=64, layers=2), **fields) for kind in (GRPOTrainer, Lean))
    batch = stock._generate_and_score_completions([{"prompt": "a"}] * 16)
    ratio = batch["importance_sampling_ratio"]
    assert ratio.std() > 0.1, "the case must correct something"
    theirs = gradient(stock, dict(batch))
    # The same rollouts without what stock's extra pass found.
    bare = {
        key: value for key, value in batch.items() if key not in ("importance_sampling_ratio", "old_per_token_logps")
    }
    bare["sampling_per_token_logps"] = batch["sampling_per_token_logps"]
    mine = gradient(ours, bare)

    assert float((mine - theirs).norm() / theirs.norm()) < 1e-4
    assert ours.forwarded <= bare["prompt_ids"].numel() + bare["completion_ids"].numel(), "no pass more over the batch"


def test_a_gap_beyond_rounding_ends_the_run():
    trainer = trainer_of(Lean, random_policy(hidden=64, layers=2), gradient_accumulation_steps=1)
    trainer.sampling_bound = 2e-3
    batch = trainer._generate_and_score_completions([{"prompt": "a"}] * 16)
    batch.pop("old_per_token_logps")
    with pytest.raises(SyncFailed, match="no longer samples from the policy"):
        gradient(trainer, batch)


def test_an_unknown_log_prob_is_no_difference():
    old, sampling = torch.tensor([[-1.0, -2.0]]), torch.tensor([[float("nan"), -2.5]])
    ratio = importance_ratio(old, sampling, torch.ones(1, 2), "token_truncate", None, 3.0)
    torch.testing.assert_close(
        ratio, torch.tensor([[1.0, 0.5]]).exp() / torch.tensor([[1.0, 1.0]]).exp() ** torch.tensor([[1.0, 0.0]])
    )
