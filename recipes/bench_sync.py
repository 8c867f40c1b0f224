"""`journeyman bench sync`: from a finished optimizer step to the first tokens under the new weights, beside stock TRL's way.

Always true here: each side has a trainer's model and a vLLM in a process of its own, started the same way; they take turns; the
adapter moves before every measurement; what a sync puts off until the first request counts, since what is timed is 8 first
tokens with a sync before them, less the same without. Stock is TRL's own `VLLMGeneration.sync_weights`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs import BadInput
from .bench_side import Side, serve

SHAPES: dict[str, dict[str, Any]] = {
    "3m": {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 512, "vocab_size": 2048},
    "100m": {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2304, "vocab_size": 8192},
    "300m": {"hidden_size": 1024, "num_hidden_layers": 22, "intermediate_size": 3072, "vocab_size": 8192},
    "qwen3-0.6b": {"hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 3072, "vocab_size": 151936},
    "qwen3-1.7b": {"hidden_size": 2048, "num_hidden_layers": 28, "intermediate_size": 6144, "vocab_size": 151936},
}
"""Sizes of a Qwen3; the last two are those of the published models."""
HEADS = {"qwen3-0.6b": (16, 8, 128), "qwen3-1.7b": (16, 8, 128)}
SIDES = ("adapter", "merged", "peer")
PROMPT, FIRST, DECODED = 32, 8, 64
CYCLES = 100
"""Syncs after which a bf16 base is compared with what it was."""


def run(rounds: int = 5, shape: str = "300m") -> dict[str, Any]:
    """Print a table and return the figures.

    Args:
        shape: 3m, 100m, 300m, qwen3-0.6b or qwen3-1.7b; random weights.
    """
    if shape not in SHAPES:
        raise BadInput(f"there is no shape '{shape}' (there are {', '.join(SHAPES)})")
    with tempfile.TemporaryDirectory() as folder:
        save(shape, Path(folder))
        sides = {name: Side("journeyman.recipes.bench_sync", name, folder) for name in SIDES}
        for side in sides.values():
            side.ask(do="sync")  # warms up
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
        for turn in range(rounds):
            for name in SIDES[turn % 3 :] + SIDES[: turn % 3]:
                found[name].append(sides[name].ask(do="sync"))
        decoded = [{name: side.ask(do="decode")["tokens_per_s"] for name, side in sides.items()} for _ in range(3)]
        decode = {name: statistics.median(one[name] for one in decoded) for name in SIDES}
        for side in sides.values():
            side.close()
    with tempfile.TemporaryDirectory() as folder:
        save("3m", Path(folder))  # rounding does not ask for the size
        drift = {name: _drift(name, Path(folder)) for name in ("merged", "peer")}
    seconds = {name: statistics.median(one["seconds"] for one in each) for name, each in found.items()}
    tokens = FIRST * 1024
    auto = min(("adapter", "merged"), key=lambda name: seconds[name] + tokens / decode[name])
    result = {
        "bench": "sync", "shape": shape, "ours_s": seconds[auto], "peer_s": seconds["peer"],
        "ratio": seconds["peer"] / seconds[auto], "auto": auto, "seconds": seconds, "tokens_per_s": decode,
        "bytes": {name: each[0]["bytes"] for name, each in found.items()}, "rounds": rounds, "drift": drift,
        "compared": f"{FIRST} first tokens after a sync, less the same without; auto weighs a step of {tokens} tokens; stock: "
        "TRL's VLLMGeneration.sync_weights, colocated",
    }  # fmt: skip
    print(f"sync of LoRA r=16 on {shape}, medians of {rounds} rounds in turns; auto takes '{auto}'")
    print(f"{'':<12}{'seconds':>9}{'MB':>9}{'tokens/s':>10}")
    for name in SIDES:
        print(f"{name:<12}{seconds[name]:>9.3f}{result['bytes'][name] / 1e6:>9.1f}{decode[name]:>10,.0f}")
    print(
        f"{result['ratio']:.1f} times as fast; a bf16 base after {CYCLES} syncs: ours differs by {drift['merged']:.1e}, stock's "
        f"by {drift['peer']:.1e} (relative L2)"
    )
    return result


def save(shape: str, folder: Path) -> None:
    """A random Qwen3 of the shape, as `from_pretrained` takes it."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    heads, kv_heads, size = HEADS.get(shape, (8, 4, 64))
    torch.manual_seed(0)
    config = Qwen3Config(
        **SHAPES[shape], num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=size,
        tie_word_embeddings=True, max_position_embeddings=2048,
    )  # fmt: skip
    gpu = torch.cuda.is_available()
    with torch.device("cuda" if gpu else "cpu"):
        model: Any = Qwen3ForCausalLM(config)
    model.to(torch.bfloat16 if gpu else torch.float32)
    model.save_pretrained(folder)
    from ..trainers.tokenizer import train_tokenizer

    train_tokenizer([], [], 300).save_pretrained(folder)


def _drift(name: str, folder: Path) -> float:
    side = Side("journeyman.recipes.bench_sync", name, str(folder), "bfloat16")
    found: float = side.ask(do="drift")["drift"]
    side.close()
    return found


class _Trainer:
    """The model that a trainer holds, and its adapter, which moves before every sync."""

    def __init__(self, folder: str, dtype: str | None) -> None:
        import torch

        from .bench_trainers import random_policy

        self.torch, gpu = torch, torch.cuda.is_available()
        self.dtype = dtype or ("bfloat16" if gpu else "float32")
        self.model = random_policy(dtype=getattr(torch, self.dtype), folder=folder).to("cuda" if gpu else "cpu")
        self.moved = 0

    def move(self) -> None:
        """As an optimizer step would."""
        self.moved += 1
        generator = self.torch.Generator().manual_seed(self.moved)
        for name, parameter in sorted(self.model.named_parameters()):
            if "lora_B" in name:
                noise = self.torch.randn(parameter.shape, generator=generator) * 1e-3
                parameter.data += noise.to(parameter)

    def frozen(self) -> Any:
        """All of the base in one vector."""
        return self.torch.cat([p.detach().flatten().float() for p in self.model.parameters() if not p.requires_grad])


def _serve(name: str, folder: str, dtype: str | None) -> None:
    """A side's process."""
    import torch

    trainer = _Trainer(folder, dtype)
    sync, complete = (_stock if name == "peer" else _ours)(name, folder, trainer)
    turn = [0]

    def first(tokens: int) -> float:
        turn[0] += 1
        began = time.perf_counter()
        complete([[(turn[0] * 37 + row * 11 + i * 3) % 250 + 5 for i in range(PROMPT)] for row in range(FIRST)], tokens)
        return time.perf_counter() - began

    def answer(order: Mapping[str, Any]) -> dict[str, Any]:
        if order["do"] == "decode":
            first(DECODED)
            return {"tokens_per_s": FIRST * DECODED / first(DECODED)}
        if order["do"] == "drift":
            before = trainer.frozen()
            for _ in range(CYCLES):
                trainer.move()
                sync()
            return {"drift": float((trainer.frozen() - before).norm() / before.norm())}
        trainer.move()
        first(1)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        began = time.perf_counter()
        size = sync()
        synced = time.perf_counter() - began
        return {"seconds": synced + first(1) - first(1), "bytes": size}

    serve(answer)


def _ours(name: str, folder: str, trainer: _Trainer) -> tuple[Any, Any]:
    from ..rollouts.engine import Request, Sampling, complete_all
    from ..rollouts.vllm_engine import VllmEngine
    from ..rollouts.vllm_sync import AdapterSync, MergedSync

    engine = VllmEngine(
        folder, [1], AdapterSync(16) if name == "adapter" else MergedSync(), dtype=trainer.dtype, rows=64,
        options={"max_model_len": 1024, "gpu_memory_utilization": 0.3},
    )  # fmt: skip
    version = [0]

    def sync() -> int:
        version[0] += 1
        engine.sync(trainer.model, version[0])
        return engine.synced_bytes

    def complete(prompts: list[list[int]], tokens: int) -> None:
        requests = [Request(ids, (0, version[0], row)) for row, ids in enumerate(prompts)]
        complete_all(engine, requests, Sampling(tokens))

    return sync, complete


def _stock(name: str, folder: str, trainer: _Trainer) -> tuple[Any, Any]:
    import torch
    from accelerate import Accelerator
    from transformers import AutoTokenizer
    from trl.generation.vllm_generation import VLLMGeneration

    from .bench_trainers import stock_vllm

    stock_vllm()
    trainer.model.name_or_path = folder
    stock = VLLMGeneration(
        model=trainer.model, accelerator=Accelerator(cpu=not torch.cuda.is_available()),
        processing_class=AutoTokenizer.from_pretrained(folder), mode="colocate", gpu_memory_utilization=0.3,
        max_model_length=1024, max_num_seqs=64, temperature=1.0, max_completion_length=DECODED,
    )  # fmt: skip
    size = sum(p.nbytes for n, p in trainer.model.named_parameters() if "lora_" not in n)

    def sync() -> int:
        stock.sync_weights()
        return size

    def complete(prompts: list[list[int]], tokens: int) -> None:
        stock.max_completion_length = tokens
        stock.generate(prompts=prompts, images=None, num_generations=1)

    return sync, complete


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
