"""What a run will need, from its shape alone: rollouts, bytes, floating-point operations. Pure: numbers in and out.

Always true here: an estimate is for the worst case, every completion running to its limit; what a formula leaves out
(the allocator's slack, the CUDA context, a data loader) is in `SLACK`. Sources stand beside each formula.

    shape = shape_of(model.config, parameters=596_049_920, adapter=20_185_088)
    memory(shape, batch, Precision(weights=2, compute=2), checkpointing=True).total
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

ENGINE_ROWS = 1024
"""Rows that the transformers engine decodes at once; its `max_rows`."""
TILE_TOKENS, TILE_VOCAB = 4096, 32768
"""TRL scores log-probs in tiles of so many tokens and entries of the vocabulary, never the whole logits."""
SLACK = 1.1
"""What the allocator holds beyond the tensors themselves."""
FOUR_BIT, EIGHT_BIT = 0.5625, 1.0
"""Bytes a quantized parameter: NF4 with a 4-byte scale for each block of 64 (Dettmers et al. 2023), and int8."""

TRAIN_EFFICIENCY, DECODE_EFFICIENCY = 0.4, 0.05
"""Share of a large matrix product's speed that a training pass reaches, and a decoding step, which reads every weight for
one token a row. Rules of thumb: Chowdhery et al. 2022 (PaLM, section 4.1) report 0.46 for training at its best."""
CALLS_PER_LAYER, CALL_SECONDS = 80, 8e-6
"""Operations of a layer with LoRA, and the time that launching one takes: what short steps of small models are made of."""
GPU_CALL_SECONDS = 8e-5
"""The same under autocast on a GPU's host, PEFT's own Python in it. Measured with Qwen3-0.6B on the host of an H100: 180 ms for a
token of the transformers engine; a training pass takes half as long a call, and other hosts other times."""


@dataclass(frozen=True)
class Shape:
    """A causal language model by its numbers. `adapter` counts the trainable parameters, `linear` those of the layers
    that quantization shrinks (all linear layers but the head)."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    parameters: int
    adapter: int
    linear: int = 0
    rank: int = 32


@dataclass(frozen=True)
class Batch:
    """How rows are cut: a micro-batch of `rows` on each of `processes`, `accumulation` of them to an optimizer step.

    `generate` rows are rolled out together on each process, `group` for a prompt, and trained on `reuse` times. `prompt`
    and `completion` are the most tokens of each; `tasks` is how many training prompts there are.
    """

    rows: int
    accumulation: int
    generate: int
    group: int
    prompt: int
    completion: int
    processes: int = 1
    reuse: int = 1
    tasks: int = 0
    max_steps: int = -1
    max_epochs: float = 3.0
    measured: int = 0
    """Rollouts of one validation, over all processes."""
    validations: int = 0

    @property
    def rollouts_a_step(self) -> float:
        """New rollouts for each optimizer step, over all processes."""
        return self.rows * self.accumulation * self.processes / self.reuse

    @property
    def steps_an_epoch(self) -> float:
        """Optimizer steps in which every task has been drawn once, as TRL's sampler and transformers' Trainer count."""
        batches = self.tasks // (self.generate * self.processes // self.group) * self.reuse * self.generate // self.rows
        return max(1, math.ceil(batches / self.accumulation))

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        return self.max_steps if self.max_steps > 0 else math.ceil(self.max_epochs * self.steps_an_epoch)

    @property
    def epochs(self) -> float:
        """How often each task is drawn."""
        return self.steps / self.steps_an_epoch

    @property
    def generations(self) -> int:
        """Generation batches of the run."""
        return math.ceil(self.steps * self.accumulation * self.rows / (self.generate * self.reuse))

    @property
    def minibatches(self) -> float:
        """Optimizer steps in which a generation batch is trained on once."""
        return self.generate / (self.rows * self.accumulation)

    @property
    def rollouts(self) -> int:
        """Training rollouts of the run, over all processes."""
        return self.generations * self.generate * self.processes


@dataclass(frozen=True)
class Critic:
    """What PPO adds to a run, by its numbers."""

    trained: int
    """Its adapter's parameters and its head's."""
    backbone: Shape | None = None
    """Of a forward pass of its own; None where it reads the policy's."""
    separate: bool = False
    """Whether the backbone's weights are its own, and not the policy's base."""
    passes: int = 0
    """Of the policy over each generation batch, without a gradient: for its own log-probs, and for the reference's."""
    opinion: bool = False
    """Whether its own base scores each generation batch too."""


@dataclass(frozen=True)
class Precision:
    """Bytes of a number: of a frozen weight, in a linear layer's computation, of a trainable weight."""

    weights: int = 4
    compute: int = 4
    adapter: int = 4
    quantized: float | None = None
    """Bytes of a linear layer's parameter, where the base is loaded in 4 or 8 bits."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by part."""

    weights: int
    adapter: int
    optimizer: int
    activations: int
    engine: int
    critic: int = 0
    """Its weights, adapter and optimizer; its activations are among those above."""

    @property
    def total(self) -> int:
        """The peak: rollouts and updates take turns, the rest stays."""
        stays = self.weights + self.adapter + self.optimizer + self.critic
        return round(SLACK * (stays + max(self.activations, self.engine)))


@dataclass(frozen=True)
class Work:
    """Floating-point operations and launched operations of one process, for the whole run."""

    decode_flops: float
    train_flops: float
    calls: float

    def seconds(self, flops_per_second: float, call_seconds: float = CALL_SECONDS) -> float:
        """How long it takes on a device whose large matrix products run at `flops_per_second`."""
        decode = self.decode_flops / DECODE_EFFICIENCY
        train = self.train_flops / TRAIN_EFFICIENCY
        return (decode + train) / flops_per_second + self.calls * call_seconds


def shape_of(config: Any, parameters: int, adapter: int, linear: int = 0, rank: int = 32) -> Shape:
    """The shape that a transformers configuration describes; names that a family lacks get their usual values."""
    text = config.get_text_config()
    heads, hidden = int(text.num_attention_heads), int(text.hidden_size)
    return Shape(
        layers=int(text.num_hidden_layers),
        hidden=hidden,
        heads=heads,
        kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(text, "head_dim", None) or hidden // heads),
        intermediate=int(getattr(text, "intermediate_size", None) or 4 * hidden),
        vocab=int(text.vocab_size),
        parameters=parameters,
        adapter=adapter,
        linear=linear,
        rank=rank,
    )


def memory(
    shape: Shape, batch: Batch, precision: Precision, checkpointing: bool, shards: int = 1, critic: Critic | None = None
) -> Memory:  # fmt: skip
    """Bytes by part on one device; `shards` is over how many devices weights, adapter and optimizer are spread.

    - weights: parameters times their bytes; with a 4-bit base only the linear layers shrink.
    - optimizer: 12 bytes a trainable parameter, two moments of Adam (Kingma and Ba 2015) and the gradient, in fp32.
    - activations and engine: see `activations` and `engine`; a critic's forward is kept beside the policy's, for one backward.
    """
    weights, kept, own = _weights(shape, precision), activations(shape, batch, precision, checkpointing), 0.0
    if critic is not None:
        own = critic.trained * (precision.adapter + 12.0)
    if critic is not None and critic.backbone is not None:
        kept += activations(critic.backbone, batch, precision, checkpointing, scored=False)
        own += _weights(critic.backbone, precision) if critic.separate else 0.0
    gathered = weights / shape.layers if shards > 1 else 0.0
    return Memory(
        weights=round(weights / shards + gathered),
        adapter=round(shape.adapter * precision.adapter / shards),
        optimizer=round(shape.adapter * 12 / shards),
        activations=kept,
        engine=engine(shape, batch, precision),
        critic=round(own),
    )


def _weights(shape: Shape, precision: Precision) -> float:
    quantized = shape.linear if precision.quantized is not None else 0
    return (shape.parameters - quantized) * precision.weights + quantized * (precision.quantized or 0.0)


def activations(
    shape: Shape, batch: Batch, precision: Precision, checkpointing: bool, scored: bool = True
) -> int:  # fmt: skip
    """What one micro-batch keeps for its backward pass, in bytes.

    Counted as Korthikanti et al. 2022 ("Reducing Activation Recomputation in Large Transformer Models", section 4.1) do:
    what each operation of a layer needs again. Here the layer has a gated MLP (gate, up, their activation and product),
    attention that stores no scores (FlashAttention, Dao et al. 2022) over keys and values repeated for its heads, norms
    that work in fp32 and a LoRA branch beside each of seven linear layers. With checkpointing (Chen et al. 2016) every
    layer keeps its input alone, and one layer at a time is whole. Log-probs are scored in tiles; a critic scores none.
    """
    tokens = batch.rows * (batch.prompt + batch.completion)
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    linear = 2 * shape.hidden + 2 * (query + key) + 3 * query + 4 * shape.intermediate + 7 * shape.rank
    norms = 2 * shape.hidden + query + key
    layer = tokens * (precision.compute * linear + 4 * norms)
    kept = tokens * shape.hidden * precision.weights
    tile = min(TILE_TOKENS, batch.rows * batch.completion) * min(TILE_VOCAB, shape.vocab) * (precision.compute + 4)
    last = 2 * 4 * tokens * shape.hidden
    return tile * scored + last + (shape.layers * kept + layer if checkpointing else shape.layers * layer)


def engine(shape: Shape, batch: Batch, precision: Precision) -> int:
    """What decoding holds beside the weights it shares with the trainer, in bytes.

    That is the key-value cache of every row decoded at once (2 x layers x kv heads x head size a token), one layer's
    copy while it grows, and the logits of a step (as computed, in fp32, their log-probs, probabilities, running sum).
    """
    rows = min(ENGINE_ROWS, max(batch.generate, math.ceil(batch.measured / batch.processes)))
    one_layer = 2 * rows * (batch.prompt + batch.completion) * shape.kv_heads * shape.head_dim * precision.compute
    logits = rows * shape.vocab * (precision.compute + 4 * 4)
    return one_layer * (shape.layers + 1) + logits


def work(shape: Shape, batch: Batch, checkpointing: bool, critic: Critic | None = None) -> Work:
    """The run's operations on one process: every rollout generated, every row trained on, validations included.

    A forward pass takes 2 operations a parameter and token, a backward pass through a frozen base 2 more (the inputs'
    gradients, not the weights'), a recomputed forward another 2 (Kaplan et al. 2020, section 2.1); the scores of
    attention take 4 x heads x head size a layer for each pair of tokens, half of which are masked. A prompt is read once
    for its group. A critic with a backbone of its own reads every row once more, and before that each rollout once; its
    base once more where its opinion is asked.
    """
    length = batch.prompt + batch.completion
    matrices = 2 * (shape.parameters + shape.adapter)
    pairs = 2 * shape.layers * shape.heads * shape.head_dim * length * length
    trained, times = batch.steps * batch.accumulation * batch.rows, 3 if checkpointing else 2
    train = float(trained * (matrices * length + pairs) * times)
    generated = batch.generations * batch.generate
    measured = batch.validations * math.ceil(batch.measured / batch.processes)
    prompts = (generated / batch.group + measured) * matrices * batch.prompt
    completions = (generated + measured) * (matrices * batch.completion + pairs)
    lots = batch.generations * math.ceil(batch.generate / ENGINE_ROWS) + batch.validations
    # A backward pass launches about two operations for each of the forward's.
    steps = batch.steps * batch.accumulation * (4 if checkpointing else 3)
    layers = float((lots * (1 + batch.completion) + steps) * shape.layers)
    if critic is not None:
        chunks = batch.generations * math.ceil(batch.generate / batch.rows)
        train += generated * critic.passes * (matrices * length + pairs)
        layers += chunks * critic.passes * shape.layers
        if (form := critic.backbone) is not None:
            attended = 2 * form.layers * form.heads * form.head_dim * length * length
            read = (
                2 * (form.parameters - form.vocab * form.hidden + critic.trained) * length
            )  # no head over the vocabulary
            train += (trained * times + generated) * (read + attended)
            train += generated * critic.opinion * (2 * form.parameters * length + attended)
            layers += (steps + chunks * (1 + critic.opinion)) * form.layers
    return Work(prompts + completions, train, layers * CALLS_PER_LAYER)
