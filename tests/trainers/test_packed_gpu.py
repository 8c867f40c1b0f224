"""Packed prompts by FlexAttention where it has kernels: the gradient is the plain path's, and no length costs a compilation."""

from __future__ import annotations

import pytest
import torch
from journeyman.recipes.bench_trainers import make_trainer
from journeyman.recipes.workload import Workload, batch_of
from journeyman.trainers import packed
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention's backward pass needs a GPU")
WORK = {
    "several groups": Workload([300, 700, 64], [9, 140, 12, 1, 220, 3, 8, 5] * 3),
    "tools and dead groups": Workload([500, 310, 410, 640], list(range(1, 33)), written=0.6, dead=0.5),
    "one long prompt": Workload([3001], [40] * 8),
}


def small(dtype=torch.float32):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=1024, hidden_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=128,
        intermediate_size=512, max_position_embeddings=8192, tie_word_embeddings=True,
    )  # fmt: skip
    model = get_peft_model(
        Qwen3ForCausalLM(config).to(dtype), LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear")
    )
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def gradient(trainer, work):
    batch = batch_of(work, 1024, "cuda")
    trainer.args.steps_per_generation = trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    trainer.accelerator.backward(trainer._compute_loss(trainer.model, batch))
    return torch.cat([p.grad.flatten() for _, p in sorted(trainer.model.named_parameters()) if p.requires_grad])


def distance(a, b):
    return float((a - b).norm() / b.norm())


def test_in_bfloat16_it_is_as_near_to_the_exact_gradient_as_stock():
    ours, theirs = (make_trainer(side, model=small(torch.bfloat16)) for side in ("ours", "peer"))
    exact = make_trainer("peer", model=small(), bf16=False)
    for name, work in WORK.items():
        a, b, true = (gradient(trainer, work).float() for trainer in (ours, theirs, exact))
        print(f"{name}: {distance(a, true):.1e} from the exact gradient, stock {distance(b, true):.1e}")
        assert ours.limits.share, ours.unshared
        assert distance(a, true) <= 1.5 * distance(b, true), name


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gradient_is_that_of_stock_trl(checkpointing):
    options = {"bf16": False, "gradient_checkpointing": checkpointing}
    ours, theirs = (make_trainer(side, model=small(), **options) for side in ("ours", "peer"))
    for name, work in WORK.items():
        a, b = gradient(ours, work), gradient(theirs, work)
        assert ours.limits.share, ours.unshared
        gap = distance(a, b)
        print(f"{name}, checkpointing {checkpointing}: relative L2 {gap:.1e}")
        assert gap <= 1e-4, name


def test_other_lengths_compile_nothing():
    trainer = make_trainer("ours", model=small(), bf16=False)
    for work in WORK.values():
        gradient(trainer, work)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for length in (129, 512, 777, 2048):
        gradient(trainer, Workload([length] * 2, [length // 3] * 16))
    assert packed._compiled.cache_info().currsize and trainer.limits.share, trainer.unshared
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before
