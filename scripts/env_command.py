"""Offer a job's environment to other trainers: `journeyman env serve` speaks OpenEnv's WebSocket protocol.

    journeyman env serve arithmetic --port 8000
    journeyman env serve my_job.yaml --split validation --host 0.0.0.0

Needs the extra `openenv`. Whoever can reach the port can run the environment's tools: it is this machine alone by default.
"""

from __future__ import annotations

import argparse

HELP = "offer a job's environment over OpenEnv's protocol"
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("what", metavar="WHAT", choices=["serve"], help="serve")
    parser.add_argument("job", metavar="JOB", help="a shipped job's name or the path of a YAML file")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free (default: 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument(
        "--split", default="train", choices=["train", "validation"], help="whose tasks (default: train)"
    )
    parser.add_argument("--sessions", type=int, default=256, help="how many at once (default: 256)")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    import asyncio
    from pathlib import Path

    from ..envs.serve import Offer, serve
    from ..recipes.command import overrides
    from ..trainers.config import load_config

    # No model is used: a job without one can be served too.
    config = load_config(args.job, {"model_name_or_path": "nano", **overrides(args.overrides)})
    name = config.job.job or Path(args.job).stem
    env = config.environment()
    rows = env.tasks(args.split, config.seed)
    offer = Offer(env, rows, config.rewards(), config.limits(env), name, args.sessions)

    def ready(port: int) -> None:
        print(f"http://{args.host}:{port}  {name}: {len(rows):,} {args.split} tasks; Ctrl-C ends it", flush=True)

    asyncio.run(serve(offer, args.host, args.port, ready))
    return 0
