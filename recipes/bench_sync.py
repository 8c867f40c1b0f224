"""`journeyman bench sync`: from a finished optimizer step to the first tokens under the new weights, beside stock TRL's way.

Always true here: each side has a trainer's model and a vLLM in a process of its own, started the same way and in the same dtype;
they take turns; the adapter moves before every measurement; what a sync puts off until the first request counts, since what is
timed is a sync and 8 first tokens, less 8 first tokens without one (the mean of those before and after); nothing stops early.
Stock is TRL's own `VLLMGeneration.sync_weights`.
"""

from __future__ import annotations

import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs import BadInput
from ..rollouts.vllm_start import TRIAL_ROWS, Speed
from .bench_side import Side, serve

SHAPES: dict[str, dict[str, Any]] = {
    "3m": {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 512, "vocab_size": 2048},
    "100m": {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2304, "vocab_size": 8192},
    "300m": {"hidden_size": 1024, "num_hidden_layers": 22, "intermediate_size": 3072, "vocab_size": 8192},
    "qwen3-0.6b": {"hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 3072, "vocab_size": 151936},
    "qwen3-1.7b": {"hidden_size": 2048, "num_hidden_layers": 28, "intermediate_size": 6144, "vocab_size": 151936},
}
"""Sizes of a Qwen3; the last two are those of the published models."""
DTYPES = ("float32", "bfloat16")
HEADS = {"qwen3-0.6b": (16, 8, 128), "qwen3-1.7b": (16, 8, 128)}
SIDES = ("adapter", "merged", "peer")
PROMPT, FIRST = 8, 8
"""Tokens of a prompt, and first tokens that are waited for: a short read, so that what a sync adds stands out of it."""
DECODED = 16
"""Tokens of each of `TRIAL_ROWS` rows by which decoding is timed."""
STEP_TOKENS = 8192
"""Of a step, for `auto`."""
CYCLES = 100
"""Syncs after which a bf16 base is compared with what it was."""


def run(rounds: int = 5, shape: str = "300m", dtype: str | None = None) -> dict[str, Any]:
    """Print a table and return the figures.

    Args:
        shape: 3m, 100m, 300m, qwen3-0.6b or qwen3-1.7b; random weights.
        dtype: of trainer and engine on every side: float32 (on a CPU, unless told otherwise) or bfloat16 (on a GPU).
    """
    if shape not in SHAPES:
        raise BadInput(f"there is no shape '{shape}' (there are {', '.join(SHAPES)})")
    dtype = dtype or _usual()
    if dtype not in DTYPES:
        raise BadInput(f"there is no dtype '{dtype}' here (there are {', '.join(DTYPES)})")
    with tempfile.TemporaryDirectory() as folder:
        save(shape, Path(folder), dtype)
        sides = {name: Side("journeyman.recipes.bench_sync", name, folder, dtype) for name in SIDES}
        for side in sides.values():
            side.ask(do="sync")  # warms up
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
        for turn in range(rounds):
            for name in SIDES[turn % 3 :] + SIDES[: turn % 3]:
                found[name].append(sides[name].ask(do="sync"))
                found[name][-1].update(sides[name].ask(do="decode"))
        for side in sides.values():
            side.close()
    with tempfile.TemporaryDirectory() as folder:
        save("3m", Path(folder), "bfloat16")  # rounding does not ask for the size
        drift = {name: _drift(name, Path(folder)) for name in ("merged", "peer")}
    seconds, decode = (
        {name: statistics.median(one[key] for one in each) for name, each in found.items()} for key in ("seconds", "tokens_per_s")
    )  # fmt: skip
    auto = min(("adapter", "merged"), key=lambda name: Speed(seconds[name], decode[name], 0).step(STEP_TOKENS))
    ranges = {
        name: [min(one["seconds"] for one in each), max(one["seconds"] for one in each)] for name, each in found.items()
    }
    result = {
        "bench": "sync", "shape": shape, "dtype": dtype, "ours_s": seconds[auto], "peer_s": seconds["peer"],
        "ratio": seconds["peer"] / seconds[auto], "auto": auto, "seconds": seconds, "ranges": ranges, "tokens_per_s": decode,
        "bytes": {name: each[0]["bytes"] for name, each in found.items()}, "rounds": rounds, "drift": drift,
        "compared": f"{FIRST} first tokens after a sync, less the same without; auto weighs a step of {STEP_TOKENS} tokens, "
        f"decoded {TRIAL_ROWS} rows at once; stock: TRL's VLLMGeneration.sync_weights, colocated",
    }  # fmt: skip
    print(f"sync of LoRA r=16 on {shape} in {dtype}, medians of {rounds} rounds in turns; auto takes '{auto}'")
    print(f"{'':<12}{'seconds':>9}{'(from - to)':>17}{'MB':>9}{'tokens/s':>10}")
    for name in SIDES:
        low, high = ranges[name]
        spread = f"({low:.3f} - {high:.3f})"
        print(f"{name:<12}{seconds[name]:>9.3f}{spread:>17}{result['bytes'][name] / 1e6:>9.1f}{decode[name]:>10,.0f}")
    print(
        f"{result['ratio']:.1f} times as fast; a bf16 base after {CYCLES} syncs: ours differs by {drift['merged']:.1e}, stock's "
        f"by {drift['peer']:.1e} (relative L2)"
    )
    return result


def _usual() -> str:
    import torch

    return "bfloat16" if torch.cuda.is_available() else "float32"


def save(shape: str, folder: Path, dtype: str) -> None:
    """A random Qwen3 of the shape, as `from_pretrained` takes it."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    heads, kv_heads, size = HEADS.get(shape, (8, 4, 64))
    torch.manual_seed(0)
    config = Qwen3Config(
        **SHAPES[shape], num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=size,
        tie_word_embeddings=True, max_position_embeddings=2048,
    )  # fmt: skip
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model: Any = Qwen3ForCausalLM(config)
    model.to(getattr(torch, dtype))
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

    def __init__(self, folder: str, dtype: str) -> None:
        import torch

        from .bench_trainers import random_policy

        self.torch, self.dtype, gpu = torch, dtype, torch.cuda.is_available()
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


def _serve(name: str, folder: str, dtype: str) -> None:
    """A side's process."""
    import torch

    trainer = _Trainer(folder, dtype)
    sync, complete = (_stock if name == "peer" else _ours)(name, folder, trainer)
    turn = [0]

    def timed(rows: int, tokens: int) -> float:
        turn[0] += 1
        prompts = [[(turn[0] * 37 + row * 11 + i * 3) % 250 + 5 for i in range(PROMPT)] for row in range(rows)]
        began = time.perf_counter()
        made = complete(prompts, tokens)
        seconds = time.perf_counter() - began
        assert [len(ids) for ids in made] == [tokens] * rows, "a side stopped early: it would seem faster than it is"
        return seconds

    def answer(order: Mapping[str, Any]) -> dict[str, Any]:
        if order["do"] == "decode":
            return {"tokens_per_s": TRIAL_ROWS * DECODED / timed(TRIAL_ROWS, DECODED)}
        if order["do"] == "drift":
            before = trainer.frozen()
            for _ in range(CYCLES):
                trainer.move()
                sync()
            return {"drift": float((trainer.frozen() - before).norm() / before.norm())}
        trainer.move()
        before_s = timed(FIRST, 1)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        began = time.perf_counter()
        size = sync()
        synced = time.perf_counter() - began
        with_s, after_s = timed(FIRST, 1), timed(FIRST, 1)
        return {"seconds": synced + with_s - (before_s + after_s) / 2, "call_s": synced, "bytes": size}

    serve(answer)


def _ours(name: str, folder: str, trainer: _Trainer) -> tuple[Any, Any]:
    from ..rollouts.engine import Request, Sampling, complete_all
    from ..rollouts.vllm_engine import VllmEngine
    from ..rollouts.vllm_sync import AdapterSync, MergedSync

    engine = VllmEngine(
        folder, [], AdapterSync(16) if name == "adapter" else MergedSync(), dtype=trainer.dtype, rows=64,
        options={"max_model_len": 1024, "gpu_memory_utilization": 0.3},
    )  # fmt: skip
    version = [0]

    def sync() -> int:
        version[0] += 1
        engine.sync(trainer.model, version[0])
        return engine.synced_bytes

    def complete(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        requests = [Request(ids, (0, version[0], row)) for row, ids in enumerate(prompts)]
        return [made.ids for made in complete_all(engine, requests, Sampling(tokens))]

    return sync, complete


def _stock(name: str, folder: str, trainer: _Trainer) -> tuple[Any, Any]:
    import torch
    from accelerate import Accelerator
    from transformers import AutoTokenizer
    from trl.generation import vllm_generation

    from .bench_trainers import stock_vllm

    stock_vllm()
    # Left alone it takes "auto", by which vLLM runs a float32 model in bfloat16: half the bytes, another policy.
    there: Any = vllm_generation
    there.LLM = functools.partial(there.LLM, dtype=trainer.dtype)
    trainer.model.name_or_path = folder
    stock = vllm_generation.VLLMGeneration(
        model=trainer.model, accelerator=Accelerator(cpu=not torch.cuda.is_available()),
        processing_class=AutoTokenizer.from_pretrained(folder), mode="colocate", gpu_memory_utilization=0.3,
        max_model_length=1024, max_num_seqs=64, temperature=1.0, max_completion_length=DECODED,
        generation_kwargs={"ignore_eos": True},
    )  # fmt: skip
    size = sum(p.nbytes for n, p in trainer.model.named_parameters() if "lora_" not in n)

    def sync() -> int:
        stock.sync_weights()
        return size

    def complete(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        stock.max_completion_length = tokens
        made: list[list[int]] = stock.generate(prompts=prompts, images=None, num_generations=1)[1]
        return made

    return sync, complete


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], sys.argv[3])
