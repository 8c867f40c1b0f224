"""Train a job's adapter.

Checks everything first, then starts the recipe under Accelerate's launcher. Every key of the YAML file can be given as
--key value (and --lora.r 8 reaches into a mapping). Ctrl-C or SIGTERM checkpoints at the end of the step (exit code 75);
the same command goes on, as it does after a crash.

    journeyman train arithmetic
    journeyman train arithmetic --recipe ppo
    journeyman train my_job.yaml --max_steps 100 --learning_rate 5e-4 --output_dir runs/mine
    journeyman train configs/gsm8k/qwen3-0.6b.yaml --dry-run
"""

from __future__ import annotations

import argparse

HELP = "train a job's adapter"
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("job", metavar="CONFIG", help="a shipped job's name or the path of a YAML file")
    parser.add_argument(
        "--recipe",
        default=None,
        choices=["grpo", "ppo", "sft"],
        help="how it is learned (default: what the file says, or grpo)",
    )
    parser.add_argument(
        "--resume", default="auto", choices=["auto", "never"],
        help="auto: go on with an unfinished run of the same config in its folder (default); never: refuse it",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="print the resolved config, the first prompts, batch arithmetic and estimates; train nothing",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Check, and launch (or only report)."""
    from ..recipes.command import overrides
    from ..trainers.config import load_config

    values = overrides(args.overrides)
    config = load_config(args.job, values, args.recipe)
    if args.dry_run:
        from ..recipes.dry_run import report

        print(report(config))
        return 0
    from ..recipes.launch import launch

    code = launch(config, values, args.resume)
    if code == 0:
        print(f"adapter: {config.output / 'adapter'}\nnext:    journeyman evaluate {config.output}")
    return code
