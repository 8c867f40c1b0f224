"""Publish a run's adapter: plain PEFT files and a model card that states what was measured.

journeyman publish runs/arithmetic-nano-grpo-seed42 --export my-adapter
journeyman publish runs/arithmetic-nano-grpo-seed42 --repo you/name --dry-run
"""

from __future__ import annotations

import argparse

HELP = "write or upload the adapter with its model card"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--repo", metavar="OWNER/NAME", help="the Hub repository to upload to")
    parser.add_argument("--export", metavar="FOLDER", help="write the files into a new folder instead")
    parser.add_argument("--dry-run", action="store_true", help="show files and card, upload and write nothing")
    parser.add_argument("--public", action="store_true", help="make a new repository public (default: private)")
    parser.add_argument("--base-model", metavar="HUB_ID", help="the base model's Hub id, where the run doesn't know it")
    parser.add_argument("--license", default="apache-2.0", help="of the adapter (default: apache-2.0)")
    parser.add_argument("--examples", type=int, default=3, help="failures shown in the card; 0 for private data")


def run(args: argparse.Namespace) -> int:
    """Publish and say where."""
    from ..hub import publish

    result = publish(
        args.run_folder, args.repo, dry_run=args.dry_run, export=args.export, private=not args.public,
        base_model=args.base_model, license=args.license, examples=args.examples,
    )  # fmt: skip
    if result.export is not None:
        print(f"exported to {result.export}")
    if result.url is not None:
        print(f"uploaded to {result.url}")
    return 0
