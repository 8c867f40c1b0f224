"""A base model with a published architecture and random weights: for timing a run where no model can be downloaded.

It learns nothing and nearly never ends a completion early, so a run on it shows the most time and memory that the real
model would take. Its tokenizer is byte-level, nano's.

    python -m journeyman.scripts.random_base --like qwen3-0.6b FOLDER
    journeyman train configs/gsm8k/qwen3-0.6b.yaml --model_name_or_path FOLDER --max_steps 5
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LIKE: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 3072},
    "qwen3-1.7b": {"hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 6144},
    "qwen3-4b": {"hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 9728},
}
"""Numbers of each model's config.json; what they have in common is in `COMMON`."""
COMMON: dict[str, Any] = {
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 40960,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}


def make(folder: Path, like: str = "qwen3-0.6b", seed: int = 0, **changed: Any) -> int:
    """Write the model in bfloat16 and its tokenizer to `folder`, and return how many parameters it has.

    Args:
        changed: fields of `Qwen3Config` laid on the architecture.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from ..trainers.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([], [], 300)
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    config = Qwen3Config(**{**COMMON, **LIKE[like], **ends, **changed})
    torch.manual_seed(seed)
    model: Any = Qwen3ForCausalLM(config)
    model = model.to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags, write the folder, say what is in it."""
    parser = argparse.ArgumentParser(
        prog="python -m journeyman.scripts.random_base", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that is not there yet")
    parser.add_argument("--like", choices=LIKE, default="qwen3-0.6b", help="the architecture (default: qwen3-0.6b)")
    parser.add_argument("--layers", type=int, help="fewer layers, for a first look on a small machine")
    parser.add_argument("--hidden", type=int, help="a smaller hidden size, likewise")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: 0)")
    args = parser.parse_args(argv)
    if args.folder.exists():
        print(f"journeyman: {args.folder}: already there; name a new folder", file=sys.stderr)
        raise SystemExit(2)
    changed = {"num_hidden_layers": args.layers, "hidden_size": args.hidden}
    count = make(args.folder, args.like, args.seed, **{k: v for k, v in changed.items() if v is not None})
    print(f"{args.folder}: {count:,} random parameters, like {args.like}")


if __name__ == "__main__":
    main()
