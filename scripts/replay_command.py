"""Score a run's recorded rollouts anew, with no model: by the rewards of the run, or by changed ones.

Without --reward the run's own rewards must give what was recorded, to the last digit. With --reward the table says who
gains and who loses, which completions of a group change places, and whose advantage changes its sign. A reward that has the
name of one of the run's takes its place, with its weight; another is added.

    journeyman replay runs/quickstart
    journeyman replay runs/quickstart --reward my_rewards.py:stricter --replaces exact
"""

from __future__ import annotations

import argparse

HELP = "score recorded rollouts by other rewards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--reward",
        action="append",
        default=[],
        metavar="PATH.py:NAME",
        help="a reward, or module:name; may be repeated",
    )
    parser.add_argument("--replaces", default=None, metavar="NAME", help="the run's reward that it takes the place of")
    parser.add_argument("--split", default="train", help="whose rollouts: train (default), validation or heldout")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Score and print; 1 where the run's own rewards no longer give what was recorded."""
    import json

    from ..recipes.replay import replay

    result = replay(args.run_folder, args.reward or None, split=args.split, replaces=args.replaces)
    if args.json and result.changed is not None:
        print(json.dumps(result.changed.as_dict()))
    elif args.json and result.reproduced is not None:
        print(json.dumps({"values": result.reproduced.values, "differing": len(result.reproduced.differing)}))
    else:
        print("\n".join(result.lines()))
    return 0 if result.reproduced is None or result.reproduced.exact else 1
