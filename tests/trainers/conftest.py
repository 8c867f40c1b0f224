"""PPO trainers over a small real policy, and rollouts made by hand: with tools, cut off, paid per turn, without a result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from journeyman.recipes.ppo import critic_base, critic_lora
from journeyman.recipes.preflight import prepare
from journeyman.rollouts.record import Rollout
from journeyman.trainers.config import load_config
from journeyman.trainers.models import load_base
from journeyman.trainers.ppo import PPOTrainer
from peft import get_peft_model
from transformers import AutoModelForCausalLM

PAYING = '''
"""The tiny job with a tool, so that completions may hold what the policy did not write, and a reward per turn."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tiny import Larger


class Paying(Larger):
    def look_up(self, word: str) -> str:
        """Look a word up.

        Args:
            word: the word.
        """
        return word

    def step_reward(self, message):
        return 0.25
'''


def trainer_of(job, folder, noise=0.05, kind=PPOTrainer, **flags):
    """A PPO trainer in training mode, whose policy and critic already do something."""
    config = load_config(job, {"report_to": "none", "save_strategy": "no", "output_dir": str(folder), **flags}, "ppo")
    ready, args = prepare(config), config.arguments()
    model, chat, _ = load_base(config, ready.env)
    torch.manual_seed(11)
    model = get_peft_model(model, config.lora)
    trainer = kind(
        model, args, lora=critic_lora(config, args), critic_base=critic_base(config, args, model, chat), env=ready.env,
        rows=ready.train, executor=ready.executor, quality=ready.quality, chat=chat, run="r", records=folder / "records",
    )  # fmt: skip
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = args.gradient_accumulation_steps  # as its loop would set it
    stir(trainer.model, noise)
    return trainer


@torch.no_grad()
def stir(model, noise, seed=5):
    """Move everything that is trained; the value head so far that values are about 1."""
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad and noise:
            scale = 4 * noise if "critic.head" in name else noise
            parameter.add_(scale * torch.randn(parameter.shape, generator=rng))


def hand_made(n, group=1, seed=0, longest=12, prompt=(4, 20), tools=True):
    """(rollouts, totals): every kind that there is, in groups that share their prompt; NaN where one has no result."""
    rng, rollouts = np.random.default_rng(seed), []
    for row in range(n):
        if row % group == 0:
            ids = rng.integers(10, 290, rng.integers(*prompt)).tolist()
        mask, kind = [], row % 6 if tools else 1
        if kind == 0:  # turns and replies of tools; the last turn is not always asked what it earned
            while len(mask) < longest - 4:
                mask += [1] * rng.integers(1, 4) + [0] * rng.integers(1, 4)
            mask += [1] * rng.integers(0, 3)
        elif kind == 1:
            mask = [1] * rng.integers(2, longest + 1)
        elif kind == 2:
            mask = [1]
        elif kind == 4:
            mask = [1] * longest
        elif kind == 5:
            mask = [1, 1, 0, 0, 0, 1]
        turns = int(np.sum(np.diff([0, *mask]) == 1))
        rollout = Rollout(
            run="r", step=0, split="train", item=f"i{row // group}", group=row // group, row=row, seed=0,
            policy_version=0, messages=[], prompt_ids=ids, completion_ids=rng.integers(10, 290, len(mask)).tolist(),
            logprobs=[0.0] * len(mask), env_mask=mask, stop_reason="length" if row % 4 == 1 else "eos",
            step_rewards=rng.normal(size=max(0, turns - row % 2)).tolist() if tools else [], tokens_out=sum(mask),
        )  # fmt: skip
        rollouts.append(rollout)
    totals = np.array([sum(r.step_rewards) + rng.normal() for r in rollouts])
    if tools:
        totals[7::8] = np.nan
    return rollouts, totals


@pytest.fixture(scope="session")
def paying(make_job, tiny_base, tmp_path_factory):
    """The YAML of a job whose environment has a tool and pays per turn."""
    folder = tmp_path_factory.mktemp("paying")
    path = make_job(
        folder, environment="paying.py:Paying", model_name_or_path=str(tiny_base), nano=None, num_generations=1,
        per_device_train_batch_size=24, max_completion_length=12, num_iterations=2,
    )  # fmt: skip
    (folder / "paying.py").write_text(PAYING)
    return path


@pytest.fixture(scope="session")
def other_base(tiny_base, tmp_path_factory):
    """The folder of another base with the same tokens."""
    folder = tmp_path_factory.mktemp("other")
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def ppo_trainer(paying, other_base, tmp_path_factory):
    """Makes a PPO trainer of that job, with keys changed; `{other}` stands for the other base."""

    def make(job=paying, **flags):
        flags = {key: str(other_base) if value == "{other}" else value for key, value in flags.items()}
        return trainer_of(job, tmp_path_factory.mktemp("run"), **flags)

    return make


@pytest.fixture(scope="session", name="hand_made")
def hand_made_fixture():
    """See the function."""
    return hand_made


@pytest.fixture(scope="session", name="stir")
def stir_fixture():
    """See the function."""
    return stir


@pytest.fixture(scope="session")
def driven():
    """Runs killed.py on a job in a folder; returns what it printed."""

    def run(job, folder, *words):
        script = Path(__file__).with_name("killed.py")
        done = subprocess.run(
            [sys.executable, str(script), str(job), str(folder), *map(str, words)],
            capture_output=True, text=True, timeout=500, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
