"""A base model with a published architecture and random weights: for timing a run where no model can be downloaded.

It learns nothing and nearly never ends a completion early, so a run on it shows the most time and memory that the real
model would take. Its tokenizer is byte-level, nano's.

    python -m journeyman.scripts.random_base --like qwen3-0.6b FOLDER
    journeyman train configs/gsm8k/qwen3-0.6b.yaml --model_name_or_path FOLDER --max_steps 5 \\
        --rewards '["journeyman.recipes.random_models:drawn"]'

Such a model earns nothing, and what earns the same in all of a group is not trained on: hence that reward. With `--rows` it also
writes a table in GSM8K's columns, for `--environment_kwargs.path` where the Hub can't be reached.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..recipes.random_models import LIKE, random_model

THINGS = ("apples", "marbles", "stamps", "tickets", "pencils", "shells")


def make(folder: Path, like: str = "qwen3-0.6b", seed: int = 0, **changed: Any) -> int:
    """Write the model in bfloat16 and its tokenizer to `folder`, and return how many parameters it has.

    Args:
        changed: fields of `Qwen3Config` laid on the architecture.
    """
    from ..trainers.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([], [], 300)
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    model = random_model(like, seed=seed, **ends, **changed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def write_rows(folder: Path, n: int = 512) -> None:
    """Write `train.jsonl` and `test.jsonl` of `n` generated problems each: GSM8K's columns, and about its lengths."""
    folder.mkdir(parents=True)
    rng = random.Random(0)
    for start, split in enumerate(("train", "test")):
        lines = []
        for number in range(start * n, (start + 1) * n):  # so that no problem stands in both
            thing, a, b, c = rng.choice(THINGS), rng.randrange(20, 500), rng.randrange(2, 20), rng.randrange(2, 20)
            question = (
                f"Mara has {a} {thing} in box {number}. Each of her {b} friends brings {c} more {thing} on Monday, and on "
                f"Tuesday she gives {b} of them to her brother, who had none before. How many {thing} are in that box now?"
            )
            gold = a + b * c - b
            answer = f"Her friends bring {b} * {c} = {b * c}, and {a} + {b * c} - {b} = {gold}.\n#### {gold}"
            lines.append(json.dumps({"question": question, "answer": answer}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


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
    parser.add_argument("--rows", type=Path, metavar="FOLDER", help="also a folder of generated rows like GSM8K's")
    args = parser.parse_args(argv)
    for folder in filter(None, (args.folder, args.rows)):
        if folder.exists():
            print(f"journeyman: {folder}: already there; name a new folder", file=sys.stderr)
            raise SystemExit(2)
    if args.rows:
        write_rows(args.rows)
    changed = {"num_hidden_layers": args.layers, "hidden_size": args.hidden}
    count = make(args.folder, args.like, args.seed, **{k: v for k, v in changed.items() if v is not None})
    print(f"{args.folder}: {count:,} random parameters, like {args.like}")


if __name__ == "__main__":
    main()
