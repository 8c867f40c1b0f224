"""Build the embedded base model of a job (or find it in the cache) and say where it is.

journeyman nano arithmetic
"""

from __future__ import annotations

import argparse

HELP = "build the embedded base model of a job and say where it is"
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("job", metavar="JOB", help="a shipped job's name or the path of a YAML file")


def run(args: argparse.Namespace) -> int:
    """Build and print the folder."""
    from ..recipes.command import overrides
    from ..trainers.config import load_config
    from ..trainers.models import base_path

    config = load_config(args.job, overrides(args.overrides))
    print(base_path(config, config.environment()))
    return 0
