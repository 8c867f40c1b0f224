"""Prove that a recipe teaches a job: train it, train its control, and compare both on the held-out split.

The control is the same run with its rewards permuted within each group (PPO: within each batch): what is left of the gain
there was not learned from the reward. A reference row shows supervised fine-tuning on right answers for the same seconds.
Passes (exit code 0) only where the real run's 95% paired interval lies above 0, the control's does not, and their difference
does.

    journeyman prove arithmetic
    journeyman prove triage --seed 1
    journeyman prove arithmetic --recipe ppo
"""

from __future__ import annotations

import argparse

HELP = "train, train the control, and compare on held-out work"
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("job", metavar="JOB", help="a shipped job's name or the path of a YAML file")
    parser.add_argument(
        "--recipe",
        default=None,
        choices=["grpo", "ppo"],
        help="how it is learned (default: what the file says, or grpo)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all three runs (default: 0)")
    parser.add_argument("--output", default=None, metavar="FOLDER", help="default: runs/prove-JOB-RECIPE-seedN")
    parser.add_argument("--resume", action="store_true", help="keep what a stopped proof in this folder has finished")


def run(args: argparse.Namespace) -> int:
    """Run the proof and print its table."""
    from ..recipes.command import overrides
    from ..recipes.prove import prove

    proof = prove(
        args.job, args.recipe, args.seed, output=args.output, resume=args.resume, **overrides(args.overrides)
    )  # fmt: skip
    print("\n".join(proof.lines()))
    return 0 if proof.passed else 1
