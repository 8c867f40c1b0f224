"""Estimates against sums done by hand for Qwen3-0.6B's published shape."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from journeyman.trainers.estimate import (
    DECODE_EFFICIENCY,
    FOUR_BIT,
    TRAIN_EFFICIENCY,
    Batch,
    Critic,
    Precision,
    Shape,
    activations,
    engine,
    memory,
    shape_of,
    work,
)
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

QWEN3: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
SHAPE = Shape(28, 1024, 16, 8, 128, 3072, 151936, 596_049_920, 20_185_088, 440_401_920)
BATCH = Batch(rows=8, accumulation=16, generate=128, group=8, prompt=256, completion=512, tasks=6950, max_steps=200)
HALF = Precision(weights=2, compute=2)


def test_the_shape_of_qwen3_from_its_config():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(Qwen3Config(**QWEN3))
    parameters = sum(p.numel() for p in model.parameters())
    head = model.get_output_embeddings()
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    tuned = get_peft_model(model, LoraConfig(r=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    # A layer: 32 x (q 1024+2048, k and v 1024+1024, o 2048+1024, gate, up and down 1024+3072) = 32 x 22,528.
    adapter = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    assert shape_of(model.config, parameters, adapter, linear) == SHAPE


def test_a_family_that_leaves_numbers_out():
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, num_hidden_layers=2, vocab_size=100)
    shape = shape_of(config, 1, 1)
    assert (shape.kv_heads, shape.head_dim, shape.intermediate) == (4, 16, config.intermediate_size)


LAYER = 6144 * (2 * 26_848 + 4 * 5_120)
"""8 x 768 tokens, each 26,848 numbers in bf16 and 5,120 in fp32."""
TILE, LAST = 4096 * 32768 * 6, 2 * 4 * 6144 * 1024

ACTIVATIONS = [
    ("checkpointed", HALF, True, TILE + LAST + 28 * 6144 * 1024 * 2 + LAYER),
    ("whole", HALF, False, TILE + LAST + 28 * LAYER),
    ("fp32", Precision(), False, 4096 * 32768 * 8 + LAST + 28 * 6144 * (4 * 26_848 + 4 * 5_120)),
]


@pytest.mark.parametrize(("precision", "checkpointing", "expected"), [case[1:] for case in ACTIVATIONS],
                         ids=[case[0] for case in ACTIVATIONS])  # fmt: skip
def test_activations(precision, checkpointing, expected):
    assert activations(SHAPE, BATCH, precision, checkpointing) == expected


# A token's cache in one layer: 2 x 8 heads x 128 x 2 bytes = 4,096; 29 layers' worth while one grows.
ENGINE = [
    ("rollouts", {}, 128 * 768 * 4096 * 29 + 128 * 151936 * 18),
    ("a larger validation", {"measured": 256}, 256 * 768 * 4096 * 29 + 256 * 151936 * 18),
    ("never more than 1,024 rows", {"generate": 4096}, 1024 * 768 * 4096 * 29 + 1024 * 151936 * 18),
    ("a validation shared out", {"measured": 512, "processes": 4}, 128 * 768 * 4096 * 29 + 128 * 151936 * 18),
]


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in ENGINE], ids=[case[0] for case in ENGINE])
def test_engine(change, expected):
    assert engine(SHAPE, dataclasses.replace(BATCH, **change), HALF) == expected


MEMORY = [
    ("bf16", HALF, 1, 1_192_099_840, 80_740_352, 242_221_056),
    ("fp32", Precision(), 1, 2_384_199_680, 80_740_352, 242_221_056),
    ("4 bits", Precision(2, 2, quantized=FOUR_BIT), 1, 155_648_000 * 2 + 247_726_080, 80_740_352, 242_221_056),
    ("two shards", HALF, 2, round(1_192_099_840 * (1 / 2 + 1 / 28)), 40_370_176, 121_110_528),
]  # fmt: skip


@pytest.mark.parametrize(
    ("precision", "shards", "weights", "adapter", "optimizer"),
    [case[1:] for case in MEMORY],
    ids=[m[0] for m in MEMORY],
)
def test_memory(precision, shards, weights, adapter, optimizer):
    need = memory(SHAPE, BATCH, precision, True, shards)
    assert (need.weights, need.adapter, need.optimizer) == (weights, adapter, optimizer)
    assert need.total == round(1.1 * (weights + adapter + optimizer + max(need.activations, need.engine)))


# change -> (rollouts a step, steps, generations, rollouts, steps an epoch)
BATCHES = [
    ("steps given", {}, (128, 200, 200, 25_600, 434)),  # 6950 // 16 prompts = 434
    ("epochs", {"max_steps": -1, "max_epochs": 0.5}, (128, 217, 217, 27_776, 434)),
    ("two processes", {"processes": 2}, (256, 200, 200, 51_200, 217)),
    ("each batch used twice", {"reuse": 2}, (64, 200, 100, 12_800, 868)),
    ("two generations a step", {"generate": 64}, (128, 200, 400, 25_600, 434)),
    ("one generation for two steps", {"generate": 256}, (128, 200, 100, 25_600, 434)),
]


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in BATCHES], ids=[case[0] for case in BATCHES])
def test_batch_arithmetic(change, expected):
    batch = dataclasses.replace(BATCH, **change)
    found = (batch.rollouts_a_step, batch.steps, batch.generations, batch.rollouts, batch.steps_an_epoch)
    assert found == expected
    assert batch.epochs == pytest.approx(batch.steps / expected[-1])


def test_work_by_hand():
    shape = Shape(2, 8, 2, 1, 4, 16, 100, parameters=1000, adapter=100)
    batch = Batch(rows=4, accumulation=2, generate=8, group=4, prompt=10, completion=5, tasks=100, max_steps=3)
    pairs = 2 * 2 * 2 * 4 * 15 * 15
    done = work(shape, batch, checkpointing=False)
    assert done.train_flops == 3 * 8 * (2200 * 15 + pairs) * 2
    assert done.decode_flops == 3 * (8 * (2200 * 5 + pairs) + 2 * 2200 * 10)
    assert work(shape, batch, checkpointing=True).train_flops == 1.5 * done.train_flops
    assert done.calls == 2 * 80 * (3 * 6 + 3 * 2 * 3)
    by_hand = (
        done.decode_flops / DECODE_EFFICIENCY / 1e6 + done.train_flops / TRAIN_EFFICIENCY / 1e6 + done.calls * 8e-6
    )
    assert done.seconds(1e6) == pytest.approx(by_hand)
    watched = work(shape, dataclasses.replace(batch, measured=6, validations=2), checkpointing=False)
    assert watched.decode_flops - done.decode_flops == 12 * (2200 * 15 + pairs)


def test_what_a_critic_adds_by_hand():
    shape = Shape(2, 8, 2, 1, 4, 16, 100, parameters=1000, adapter=100)
    batch = Batch(
        rows=4, accumulation=2, generate=16, group=1, prompt=10, completion=5, reuse=3, tasks=100, max_steps=6
    )
    assert (batch.minibatches, batch.generations) == (2, 1)
    alone, pairs = work(shape, batch, checkpointing=False), 2 * 2 * 2 * 4 * 15 * 15
    head = work(shape, batch, False, Critic(trained=9, passes=2))
    assert head.train_flops - alone.train_flops == 16 * 2 * (2200 * 15 + pairs)
    own = work(shape, batch, False, Critic(trained=109, backbone=shape))
    # 48 rows there and back, and 16 for their values; 200 of its parameters less the embedding's 800.
    assert own.train_flops - alone.train_flops == (48 * 2 + 16) * (2 * (200 + 109) * 15 + pairs)
    asked = work(shape, batch, False, Critic(trained=109, backbone=shape, opinion=True))
    assert asked.train_flops - own.train_flops == 16 * (2000 * 15 + pairs)
    assert head.decode_flops == own.decode_flops == alone.decode_flops

    need = {
        name: memory(shape, batch, HALF, True, critic=critic)
        for name, critic in (
            ("none", None), ("head", Critic(9)), ("adapter", Critic(109, shape)), ("model", Critic(109, shape, separate=True)),
        )
    }  # fmt: skip
    assert [need[name].critic for name in need] == [0, 9 * 16, 109 * 16, 109 * 16 + 2 * 1000]
    assert need["head"].activations == need["none"].activations
    tile = 4 * 5 * 100 * 6
    assert need["adapter"].activations == need["model"].activations == 2 * need["none"].activations - tile
    stays = need["model"].weights + need["model"].adapter + need["model"].optimizer + need["model"].critic
    assert need["model"].total == round(1.1 * (stays + max(need["model"].activations, need["model"].engine)))
