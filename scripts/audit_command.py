"""Attack a reward function: what does it pay for that it should not, and what does it leave unpaid?

Prints one line an attack, the false-positive and false-negative rates with their counts, for each defect the completions that
show it, and what was not tried, with the reason. In a job with tools whole episodes are played. Exit code 0 where there is no
defect, 1 where there is one, 2 where nothing can be audited.

    journeyman audit my_rewards.py:exact --env journeyman.envs.arithmetic:Arithmetic
    journeyman audit --env triage                # a job: its environment under its own rewards
    journeyman audit --env lookup                # a job with tools: whole episodes, and answers after them
    journeyman audit my_rewards.py:exact         # the worked cases of its module (CASES)
    journeyman audit --all                       # every reward and environment that ships
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evals.audit_all import Entry

MOST_SECONDS = 3600
"""Of one call: beyond that an audit has no end."""

HELP = "attack a reward function and show what it pays for"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("reward", metavar="REWARD", nargs="?", help="module:function or path.py:function")
    parser.add_argument(
        "--env",
        help="where tasks come from: a job, or 'module:Class', 'module:Class {level: 2}' (default: worked cases)",
    )
    parser.add_argument("--attack", metavar="NAME[,NAME]", help="only these attacks or properties (default: all)")
    parser.add_argument("--rows", type=int, default=50, help="tasks to try (default: 50)")
    parser.add_argument("--seconds", type=float, default=5.0, help="what a call may take at most (default: 5)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the search over mutations; the same seed tries the same (default: 0)"
    )
    parser.add_argument("--all", action="store_true", help="every reward and environment that ships")
    parser.add_argument(
        "--variants", action="store_true", help="every variant of --env, such as each reasoning-gym task"
    )
    parser.add_argument("--brief", action="store_true", help="one line each, with --all and --variants")
    parser.add_argument("--json", action="store_true", help="the whole report as JSON")


def run(args: argparse.Namespace) -> int:
    """Audit and print; 1 where there is a defect."""
    import json

    from ..configs.errors import BadInput
    from ..evals.audit import audit
    from ..evals.audit_all import Sweep, audit_all
    from ..evals.audit_report import Audit
    from ..evals.audit_sources import load_environment, rewards_of
    from ..evals.audit_variants import audit_variants

    if args.rows < 1 or not 0 < args.seconds <= MOST_SECONDS:
        raise BadInput(
            f"--rows {args.rows} and --seconds {args.seconds:g} should be above 0, and seconds at most {MOST_SECONDS}"
        )
    if args.all and (args.reward or args.env or args.attack or args.variants):
        raise BadInput("--all audits everything that ships; leave the other names out")
    attacks = args.attack.split(",") if args.attack is not None else None
    reports: list[Audit | Sweep]
    if args.all:
        reports = [audit_all(args.rows, args.seconds, seed=args.seed, progress=_progress())]
    elif args.variants:
        if not args.env or args.reward or attacks is not None:
            raise BadInput(
                "--variants goes with --env alone, whose class says what variants there are; all attacks are made"
            )
        reports = [audit_variants(args.env, args.rows, args.seconds, seed=args.seed, progress=_progress())]
    elif args.env:
        job = load_environment(args.env)
        rewards = [args.reward] if args.reward else rewards_of(job)
        if not rewards:
            raise BadInput(f"--env {args.env}: no reward goes with this class; name one before --env")
        options = {"attacks": attacks, "rows": args.rows, "seconds": args.seconds, "seed": args.seed}
        reports = [audit(reward, job.env, **options) for reward in rewards]
    elif args.reward:
        reports = [audit(args.reward, attacks=attacks, rows=args.rows, seconds=args.seconds, seed=args.seed)]
    else:
        raise BadInput("nothing to audit: name a reward (path.py:my_reward), --env, or --all")
    if sys.stderr.isatty() and (args.all or args.variants):
        print("\r\033[K", end="", file=sys.stderr)
    if args.json:
        print(json.dumps([report.as_dict() for report in reports], indent=1, default=str))
    else:
        texts = [report.brief() if args.brief and isinstance(report, Sweep) else report.lines() for report in reports]
        print("\n\n".join("\n".join(text) for text in texts))
    return 1 if any(report.defects for report in reports) else 0


def _progress() -> Callable[[Entry], None]:
    """Says on the terminal what has been audited so far; nothing where the output goes to a file."""
    done = 0

    def show(entry: Entry) -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            print(f"\r\033[K{done} audited, {entry.name[:70]}", end="", file=sys.stderr, flush=True)

    return show
