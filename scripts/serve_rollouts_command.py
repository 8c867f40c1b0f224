"""Start a vLLM server that rollouts can be asked from, with the flags that they rely on.

    journeyman serve-rollouts Qwen/Qwen3-0.6B --port 8000
    journeyman serve-rollouts Qwen/Qwen3-0.6B --host 0.0.0.0 --max-lora-rank 64 --gpu-memory-utilization 0.8

MODEL comes first; flags that are not listed here go to vLLM as they are. It ends with Ctrl-C or SIGTERM. Whoever can reach the
port can load adapters: give 0.0.0.0 only where the network is your own, and set VLLM_API_KEY on both sides.
"""

from __future__ import annotations

import argparse

HELP = "start a vLLM server for rollouts"
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("model", metavar="MODEL", help="the base: a folder or a Hub id")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    from ..rollouts.serve import serve_rollouts

    return serve_rollouts(args.model, args.port, args.host, args.overrides)
