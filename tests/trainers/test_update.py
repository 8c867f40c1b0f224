"""The update against stock TRL's: the same gradient for every loss and option, whatever is left out or shared."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from journeyman.recipes.bench_trainers import make_trainer, random_policy
from journeyman.recipes.launch import SHAPES
from journeyman.recipes.workload import Workload, batch_of, formula
from journeyman.trainers import update
from journeyman.trainers.packed import packed_logps
from journeyman.trainers.prefix import CacheDropped, full_logits_head, shared_prefix_logps
from journeyman.trainers.update import techniques
from trl import GRPOConfig
from trl.trainer.utils import split_tensor_dict

WORK = {
    "long prompts": Workload([60, 72], [9, 4, 12, 1, 12, 3, 8, 5, 7, 7, 2, 12, 10, 1, 4, 6]),
    "tools and dead groups": Workload([50, 30, 41, 64], list(range(1, 33)), written=0.6, dead=0.5),
    "short prompts": Workload([3, 5], [40, 4, 12, 1, 12, 3, 8, 5, 7, 7, 2, 12, 10, 1, 4, 30]),
    "nothing to learn": Workload([40, 40], [5] * 16, dead=1.0),
}
OPTIONS = {
    "dapo": {}, "grpo": {"loss_type": "grpo"}, "dr_grpo": {"loss_type": "dr_grpo"}, "bnpo": {"loss_type": "bnpo"},
    "cispo": {"loss_type": "cispo"}, "sapo": {"loss_type": "sapo"}, "vespo": {"loss_type": "vespo"},
    "luspo": {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    "sequence level": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "KL": {"beta": 0.04}, "KL, bias corrected": {"beta": 0.04, "use_bias_correction_kl": True},
    "entropy bonus": {"entropy_coef": 0.01}, "entropy quantile": {"top_entropy_quantile": 0.4},
    "off-policy mask": {"off_policy_mask_threshold": 0.05}, "two-sided clipping": {"delta": 1.5},
    "temperature": {"temperature": 0.6},
}  # fmt: skip


def small(lora=True, **given):
    model = random_policy(lora, hidden=64, layers=2, **given)
    model.get_input_embeddings().weight.data.mul_(10)  # entropies far enough apart to be ranked
    return model


def trainer_of(side, options=None, lora=True):
    return make_trainer(side, model=small(lora), **(options or {}))


def gradient(trainer, work, steps=1, old=False):
    batch = batch_of(work, trainer.model.config.vocab_size, "cpu")
    shape = batch["completion_mask"].shape
    noise = torch.Generator().manual_seed(5)
    if trainer.beta:
        batch["ref_per_token_logps"] = torch.randn(shape, generator=noise) - 7.5
    if old:
        batch["old_per_token_logps"] = torch.randn(shape, generator=noise) * 0.2 - 7.6
    trainer.args.steps_per_generation = trainer.current_gradient_accumulation_steps = steps
    trainer.model.zero_grad()
    for part in split_tensor_dict(batch, steps):
        trainer.accelerator.backward(trainer._compute_loss(trainer.model, part))
    return torch.cat([p.grad.flatten() for _, p in sorted(trainer.model.named_parameters()) if p.requires_grad])


def relative(a, b):
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_gradient_is_that_of_stock_trl(options):
    ours, theirs = (trainer_of(side, options) for side in ("ours", "peer"))
    for name, work in WORK.items():
        for old in (False, True):
            a, b = (gradient(trainer, work, old=old) for trainer in (ours, theirs))
            if work.dead == 1.0 and not options.keys() & {"beta", "entropy_coef"}:
                assert a.abs().max() == 0 and b.abs().max() < 1e-9
            else:
                assert relative(a, b) <= 1e-4, (name, old)
    assert ours.limits.share, "prompts were shared"


@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo", "bnpo", "cispo"])
def test_accumulation(loss):
    ours, theirs = (trainer_of(side, {"loss_type": loss}) for side in ("ours", "peer"))
    work = WORK["tools and dead groups"]
    whole = gradient(ours, work)
    for steps in (2, 8):
        a, b = (gradient(trainer, work, steps) for trainer in (ours, theirs))
        assert relative(a, b) <= 1e-4
        if loss != "bnpo":  # which normalises by micro-batch
            assert relative(a, whole) <= 1e-4


def test_full_fine_tuning():
    ours, theirs = (trainer_of(side, lora=False) for side in ("ours", "peer"))
    for name in ("long prompts", "short prompts"):
        assert relative(gradient(ours, WORK[name]), gradient(theirs, WORK[name])) <= 1e-4


def test_the_shared_prefix_is_exact_in_double_precision():
    model = small(lora=False, dtype=torch.float64)
    _in_double(model)
    rng = torch.Generator().manual_seed(3)
    G, P, C = 4, 37, 11
    prompts = torch.randint(10, 2048, (2, P), generator=rng)
    prompt_mask = torch.ones_like(prompts)
    prompt_mask[1, :9] = 0
    of = torch.tensor([0] * G + [1] * G)
    completions, mask = torch.randint(10, 2048, (2 * G, C), generator=rng), torch.ones(2 * G, C, dtype=torch.long)
    for row in range(2 * G):
        mask[row, C - row :] = 0
    weights = torch.randn(2 * G, C, generator=rng, dtype=torch.float64) * mask
    found = {}
    head = full_logits_head(1.0)
    for way in ("shared", "plain"):
        model.zero_grad()
        if way == "shared":
            logps, entropies = shared_prefix_logps(model, prompts, prompt_mask, of, completions, mask, head)
        else:
            ids, every = torch.cat([prompts[of], completions], 1), torch.cat([prompt_mask[of], mask], 1)
            inputs = {"input_ids": ids, "attention_mask": every, "position_ids": (every.cumsum(1) - 1).clamp(min=0)}
            labels = ids[:, -C - 1 :].masked_fill(every[:, -C - 1 :] == 0, -100)
            logps, entropies = head(model, inputs, labels)
        ((logps + 0.1 * entropies) * weights).sum().backward()
        found[way] = (logps.detach() * mask, torch.cat([p.grad.flatten() for p in model.parameters()]))

    assert (found["shared"][0] - found["plain"][0]).abs().max() < 1e-9
    assert relative(found["shared"][1], found["plain"][1]) <= 1e-9


def _in_double(model):
    """Qwen3's norms round to single precision; torch's own do not."""
    for name, module in list(model.named_modules()):
        if type(module).__name__ == "Qwen3RMSNorm":
            double = torch.nn.RMSNorm(module.weight.shape, module.variance_epsilon, dtype=torch.float64)
            double.load_state_dict(module.state_dict())
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, double)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_packing_is_the_same_update_too(checkpointing):
    ours, theirs = trainer_of("ours", {"gradient_checkpointing": checkpointing}), trainer_of("peer")
    ours.pack_on_cpu = True
    for name in ("long prompts", "tools and dead groups"):
        assert relative(gradient(ours, WORK[name]), gradient(theirs, WORK[name])) <= 1e-4, name
    assert ours.limits.share and not ours.techniques()["shared prefix"]
    work = Workload([60, 60], [8] * 16)
    ours.forwarded = 0
    gradient(ours, work)
    assert ours.forwarded == formula(work)


def test_flex_attention_scores_as_the_cache_does():
    model = small()
    batch = batch_of(WORK["long prompts"], 2048, "cpu")
    of = torch.tensor([0] * 8 + [1] * 8)
    prompts = [batch[key][[0, 8]] for key in ("prompt_ids", "prompt_mask")]
    completions = [batch[key] for key in ("completion_ids", "completion_mask")]
    with torch.no_grad():
        packed = packed_logps(model, *prompts, of, *completions, 1.0)
        cached = shared_prefix_logps(model, *prompts, of, *completions, full_logits_head(1.0))

    for a, b in zip(packed, cached, strict=True):
        assert ((a - b).abs() * batch["completion_mask"]).max() < 1e-4


def test_no_token_is_forwarded_that_need_not_be():
    work = Workload([60, 60], [8] * 16)
    trainer = trainer_of("ours")
    gradient(trainer, work)
    trainer.forwarded = 0  # the first update checked both ways
    gradient(trainer, work)

    assert trainer.forwarded == formula(work)


def test_a_model_that_drops_its_cache_is_found_out_and_scored_in_full(caplog):
    work = WORK["long prompts"]
    model = small()
    model.get_base_model().forward = _without_cache(model.get_base_model().forward)
    trainer = make_trainer("ours", model=model)
    batch = batch_of(work, 2048, "cpu")
    trainer._compute_loss(trainer.model, batch).backward()

    assert not trainer.limits.share and "prompts are not shared in this run" in caplog.text
    with pytest.raises(CacheDropped, match="kept 0 of 59 prompt tokens"):
        ids, mask = batch["completion_ids"][:1], batch["completion_mask"][:1]
        shared_prefix_logps(
            model, batch["prompt_ids"][:1, 12:], batch["prompt_mask"][:1, 12:], torch.tensor([0]), ids, mask,
            full_logits_head(1.0),
        )  # fmt: skip


def _without_cache(forward):
    def dropping(*args, past_key_values=None, **kwargs):
        return forward(*args, **{**kwargs, "use_cache": False})

    return dropping


def test_a_cache_that_is_wrong_is_found_out(caplog, monkeypatch):
    monkeypatch.setattr(update, "shared_prefix_logps", lambda *args: (torch.zeros(8, 12), torch.zeros(8, 12)))
    trainer = make_trainer("ours", model=small())
    trainer._compute_loss(trainer.model, batch_of(WORK["long prompts"], 2048, "cpu")).backward()

    assert not trainer.limits.share and "differ from the plain path's by" in caplog.text


def test_gradient_checkpointing_scores_every_prompt_in_full():
    work = WORK["long prompts"]
    trainer = trainer_of("ours", {"gradient_checkpointing": True})
    ours, theirs = gradient(trainer, work), gradient(trainer_of("peer"), work)

    assert relative(ours, theirs) <= 1e-4 and trainer.forwarded > formula(work)
    assert "drops the cache" in trainer.techniques()["shared prefix"]


TABLE = {
    "plain": ({}, {"prune": "", "trim": "", "shared prefix": "", "balance": ""}),
    "KL": ({"beta": 0.1}, {"prune": "KL to the reference moves every row (beta above 0)"}),
    "bonus": ({"entropy_coef": 0.1}, {"prune": "an entropy bonus moves every row"}),
    "quantile": ({"top_entropy_quantile": 0.5}, {
        "prune": "the entropy threshold is taken over every row (top_entropy_quantile)",
    }),
    "checkpointing": ({"checkpointing": True}, {
        "prune": "", "shared prefix": "gradient checkpointing drops the cache of the prompt",
    }),
    "bnpo": ({"loss_type": "bnpo"}, {"prune": "", "balance": "bnpo divides by the tokens of each micro-batch"}),
    "experts": ({"aux_loss": True}, {"trim": "the router loss counts every token"}),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), TABLE.values(), ids=TABLE)
def test_what_applies_to_a_run_and_why_the_rest_does_not(given, expected, tmp_path):
    flags = {key: given.pop(key) for key in ("checkpointing", "aux_loss") if key in (given := copy.copy(given))}
    args = GRPOConfig(str(tmp_path), use_cpu=True, bf16=False, **given)
    found = techniques(args, checkpointing=flags.pop("checkpointing", False), **flags)

    assert {key: found[key] for key in expected} == expected


@pytest.mark.long
def test_two_ranks_of_which_one_has_nothing_to_learn_from(tmp_path):
    cases = {"dapo": ({}, 1), "grpo": ({"loss_type": "grpo"}, 2), "dr_grpo": ({"loss_type": "dr_grpo"}, 1)}
    script = Path(__file__).with_name("two_ranks.py")
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(SHAPES / "two-cpu.yaml")]
    found = {}
    for name, launcher in (("two", launch), ("one", [])):
        words = [sys.executable, *launcher, str(script), str(tmp_path / name), json.dumps(cases)]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
        )
        assert done.returncode == 0, done.stderr
        found[name] = torch.load(tmp_path / name)
    for case in cases:
        two, one = found["two"][case], found["one"][case]
        assert (two["world"], one["world"]) == (2, 1)
        assert relative(two["ours"], two["peer"]) <= 1e-4, case
        assert relative(two["ours"], one["ours"]) <= 1e-4, case
