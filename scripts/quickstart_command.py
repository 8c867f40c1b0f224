"""From nothing to a proven adapter: train a small model at arithmetic on this machine and measure it held out.

Builds the embedded base model on first use (at most a minute), trains a LoRA adapter by GRPO (about a minute on two
cores), and prints the held-out difference with its interval. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

HELP = "train a small model at arithmetic and show the held-out difference"
JOB = "arithmetic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("--output", default="runs/quickstart", metavar="FOLDER", help="default: runs/quickstart")


def run(args: argparse.Namespace) -> int:
    """Nano, training, evaluation, and where the adapter is."""
    from ..recipes.evaluate import evaluate
    from ..recipes.launch import launch
    from ..trainers.config import load_config
    from ..trainers.models import base_path

    output = unused(Path(args.output))
    values = {"output_dir": str(output), "seed": 0}
    config = load_config(JOB, values)
    began = time.monotonic()
    print("1. the base model: a small Qwen3 that has seen a tenth of all sums, with their answers")
    base_path(config, config.environment())
    built = time.monotonic()
    print(
        f"   ready in {built - began:.0f} s\n2. GRPO with LoRA on other sums, where only the reward is known",
        flush=True,
    )
    code = launch(config, values)
    if code:
        return code
    trained = time.monotonic()
    print(f"   trained in {trained - built:.0f} s\n3. sums that neither has seen, before and after", flush=True)
    result = evaluate(output)
    print("   " + "\n   ".join(result.lines()))
    print(f"   measured in {time.monotonic() - trained:.0f} s\n\nadapter: {output / 'adapter'}")
    print(f"proof, with a control run: journeyman prove {JOB}")
    return 0


def unused(path: Path) -> Path:
    """`path`, or `path-2` and so on where it is taken: a quickstart never overwrites a run."""
    taken, number = path, 1
    while taken.exists():
        number += 1
        taken = path.with_name(f"{path.name}-{number}")
    return taken
