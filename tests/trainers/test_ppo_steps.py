"""A few real steps of PPO: which rows meet in which, what moves and what does not, and what the critic learns."""

import json

import numpy as np
import pytest
import torch
from journeyman.recipes.ppo import train
from journeyman.trainers.config import load_config
from journeyman.trainers.models import base_checksum
from transformers import TrainerCallback

SMALL = {"per_device_train_batch_size": 8, "steps_per_generation": 4, "num_generations": 1, "num_iterations": 2}


@pytest.fixture
def steps_of(ppo_trainer, tiny):
    """Makes a trainer of the tiny job whose generation batch of 32 rows has minibatches of 8."""
    return lambda **flags: ppo_trainer(tiny, **{**SMALL, **flags})


def state(model, side):
    """A copy of what is trained of the policy or of the critic."""
    return {
        name: p.detach().clone() for name, p in model.named_parameters()
        if p.requires_grad and name.startswith("critic.") == (side == "critic")
    }  # fmt: skip


class Moves(TrainerCallback):
    """Notes after each optimizer step which side has moved since the one before."""

    def __init__(self, model):
        self.model, self.moved = model, {"policy": [], "critic": []}
        self.before = {side: state(model, side) for side in self.moved}

    def on_step_end(self, args, trainer_state, control, **kwargs):
        for side, moved in self.moved.items():
            now = state(self.model, side)
            moved.append(any(not torch.equal(now[name], p) for name, p in self.before[side].items()))
            self.before[side] = now


def moves_of(trainer):
    """(whether the policy moved in each step, whether the critic did); the base never does."""
    base, moves = base_checksum(trainer.model), Moves(trainer.model)
    trainer.add_callback(moves)
    trainer.train()
    assert base_checksum(trainer.model) == base
    return moves.moved["policy"], moves.moved["critic"]


@pytest.mark.parametrize("critic", ["adapter", "head", "model"])
def test_both_learn_and_the_base_stays(steps_of, critic):
    trainer = steps_of(critic=critic, max_steps=4)

    assert moves_of(trainer) == ([True] * 4, [True] * 4)


def test_every_row_is_trained_on_once_an_epoch_and_groups_stay_whole(steps_of):
    trainer = steps_of(num_generations=2, num_iterations=3)
    numbers = next(iter(trainer.get_train_dataloader()))
    assert len(numbers) == 32 and trainer.every == 12
    epochs = []
    for _ in range(3):
        parts = []
        for _ in range(4):
            part = trainer._prepare_inputs(numbers)
            trainer._step += 1
            prompts = [tuple(ids) for ids in part["prompt_ids"].tolist()]
            assert prompts[::2] == prompts[1::2] and len(prompts) == 8, "a group is whole in its minibatch"
            rows = zip(
                prompts, *(part[key].tolist() for key in ("completion_ids", "advantages", "returns")), strict=True
            )
            parts.append([(prompt, *map(tuple, rest)) for prompt, *rest in rows])
        epochs.append(parts)

    rows, groups = ([sorted(r for part in epoch for r in part) for epoch in epochs] for _ in range(2))
    assert rows[0] == rows[1] == rows[2] and len(rows[0]) == 32
    groups = [[frozenset(r[0] for r in part) for part in epoch] for epoch in epochs]
    assert groups[0] != groups[1] != groups[2] != groups[0], "other rows meet in each epoch"
    again = steps_of(num_generations=2, num_iterations=3)
    assert torch.equal(again._prepare_inputs(numbers)["completion_ids"], torch.tensor([r[1] for r in epochs[0][0]]))


@pytest.mark.parametrize("critic", ["adapter", "head", "model"])
def test_while_the_critic_warms_up_the_policy_stays_as_it_is(steps_of, critic):
    trainer = steps_of(critic=critic, critic_warmup_steps=3, max_steps=5)

    assert moves_of(trainer) == ([False] * 3 + [True] * 2, [True] * 5)


def test_where_the_policy_has_gone_too_far_the_rest_of_the_batch_changes_nothing(steps_of):
    trainer = steps_of(target_kl=1e-9, max_steps=16, learning_rate=0.01, weight_decay=0.1)
    # The first step is on-policy; the second finds out how far it went; eight make a batch.
    expected = ([True] * 2 + [False] * 6) * 2
    assert moves_of(trainer) == (expected, expected)

    far = steps_of(target_kl=100.0, max_steps=8)
    assert moves_of(far) == ([True] * 8, [True] * 8)


def test_a_window_of_micro_batches_is_skipped_as_a_whole(steps_of):
    trainer = steps_of(target_kl=1e-9, max_steps=8, gradient_accumulation_steps=2, learning_rate=0.01)
    expected = ([True] * 2 + [False] * 2) * 2
    assert moves_of(trainer) == (expected, expected)


def test_policy_and_critic_have_rates_and_norms_of_their_own(steps_of):
    trainer = steps_of(critic_learning_rate=5e-3, learning_rate=1e-3, max_steps=1)
    trainer.train()
    rates = {id(p): group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in trainer.optimizer.param_groups) == len(rates)
    for name, parameter in trainer.model.named_parameters():
        assert rates.get(id(parameter)) == (
            None if not parameter.requires_grad else 5e-3 if name.startswith("critic.") else 1e-3
        )

    policies = []
    for coefficient in (0.5, 500.0):
        one = steps_of(value_coef=coefficient, max_grad_norm=0.01, optim="sgd", learning_rate=1.0, max_steps=1)
        before = state(one.model, "policy")
        one.train()
        policies.append(torch.cat([(p - before[n]).flatten() for n, p in state(one.model, "policy").items()]))
    assert policies[0].norm() == pytest.approx(0.01, rel=1e-3), "clipped"
    torch.testing.assert_close(policies[0], policies[1], rtol=1e-5, atol=1e-8)


HIGH = """
from journeyman.rewards import reward


@reward(needs_reference=False)
def high(completion: str) -> float:
    return float(completion.strip()[:1] in tuple("56789"))
"""


@pytest.mark.parametrize("critic", ["adapter", "head"])
def test_the_critic_learns(make_job, tiny_base, tmp_path, critic):
    """What the first token decides, it knows from then on; the policy is kept as it is meanwhile."""
    steps = 48
    path = make_job(
        tmp_path, rewards=["high.py:high"], num_generations=1, per_device_train_batch_size=64, train_rows=256, max_steps=steps,
        validate_every=0, save_strategy="no", num_iterations=4, learning_rate=1.0e-2, critic_warmup_steps=steps, critic=critic,
    )  # fmt: skip
    (tmp_path / "high.py").write_text(HIGH)
    run = train(load_config(path, {"report_to": "none", "output_dir": str(tmp_path / "run")}, "ppo"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    explained = [row["critic/explained_variance"] for row in rows if "critic/explained_variance" in row]

    assert abs(explained[0]) < 0.05 and np.mean(explained[-3:]) > 0.15, explained
    assert rows[-1]["critic/loss"] < 0.6 * rows[0]["critic/loss"]
