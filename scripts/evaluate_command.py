"""Measure a finished run's adapter against its base model on the held-out split.

Prints the job's metric before and after (with Wilson intervals where an answer is right or wrong), the paired difference
with its 95% bootstrap interval, the smallest difference the sample could have shown, and pass@k where several rollouts an
item were drawn. The rollouts go into the run's records/, the figures into its results.json. Both sides answer the same
items under the run's own rewards, data and sampling; a run whose own files have changed since it began is refused.

    journeyman evaluate runs/arithmetic-nano-grpo-seed42
"""

from __future__ import annotations

import argparse

HELP = "measure a run against its base, held out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a finished run")
    parser.add_argument("-n", type=int, default=None, help="held-out items (default: what the run's config says)")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from ..recipes.evaluate import evaluate

    print("\n".join(evaluate(args.run_folder, args.n).lines()))
    return 0
