"""Look at a job before any training: a few rollouts of the base model, and what each reward says of them.

journeyman try arithmetic -n 4
journeyman try my_job.yaml -n 2 --model_name_or_path Qwen/Qwen3-0.6B
"""

from __future__ import annotations

import argparse

HELP = "a few rollouts with each reward's score, before any training"
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("job", metavar="JOB", help="a shipped job's name or the path of a YAML file")
    parser.add_argument("-n", type=int, default=4, help="rollouts (default: 4)")
    parser.add_argument("--split", default="train", choices=["train", "validation", "demonstrations"])


def run(args: argparse.Namespace) -> int:
    """Roll out, score, print."""
    from ..recipes.command import overrides
    from ..recipes.trial import try_job

    for trial in try_job(args.job, args.n, args.split, **overrides(args.overrides)):
        print(trial.text(), end="\n\n")
    return 0
