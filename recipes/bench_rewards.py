"""`journeyman bench rewards`: what a trivial reward costs beside TRL's own loop, and what misbehaving ones do to each.

Always true here: both sides call the same function on the same completions, in turns, and medians are compared; TRL's side
is the loop of its own trainer, on a tiny model that is never run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from ..configs.lifeline import tied
from ..rewards import Scored, reward
from ..rewards.executor import Executor

N, GROUP = 4096, 8
MISBEHAVING_TIMEOUT = 2.0
"""Seconds that a misbehaving reward may take; TRL, which has no such limit, is watched for five times as long."""
MEMORY = 8 * 2**30
"""Address space that TRL's process gets for the function that eats memory: it stands for the machine's."""


def exact(completion: str, answer: str) -> float:
    """The trivial function."""
    return float(completion == answer)


trivial = reward(exact)


def of_batch(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """The same function, as TRL wants it."""
    return [exact(completion[0]["content"], a) for completion, a in zip(completions, answer, strict=True)]


@reward(isolated=True, timeout=MISBEHAVING_TIMEOUT)
def hangs(completion: str) -> float:
    """Never returns."""
    while True:
        time.sleep(1)


@reward(isolated=True, timeout=MISBEHAVING_TIMEOUT)
def aborts(completion: str) -> float:
    """Takes its process down."""
    os.abort()


@reward(isolated=True, timeout=MISBEHAVING_TIMEOUT, memory_mb=512)
def eats_memory(completion: str) -> float:
    """Asks for more and more."""
    held = []
    while True:
        held.append(bytearray(2**28))


@reward(isolated=True, timeout=MISBEHAVING_TIMEOUT)
def raises(completion: str) -> float:
    """Raises."""
    raise ZeroDivisionError("this completion can't be judged")


MISBEHAVING = (hangs, aborts, eats_memory, raises)


def run(rounds: int = 7) -> dict[str, Any]:
    """Print both tables; the returned object is the overhead's: seconds for 4,096 completions."""
    ours, peer = [], []
    theirs = _trl_loop(of_batch)
    rows = [{"prompt": [{"role": "user", "content": f"{i}"}], "answer": str(i % 10)} for i in range(N)]
    messages = [[{"role": "assistant", "content": str(i % 7)}] for i in range(N)]
    with Executor([trivial]) as executor:
        for _ in range(rounds):
            began = time.perf_counter()
            executor.score([Scored(row, message, [1]) for row, message in zip(rows, messages, strict=True)], GROUP)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            theirs(rows, [row["prompt"] for row in rows], messages, [[1]] * N)
            peer.append(time.perf_counter() - began)
    a, b = statistics.median(ours), statistics.median(peer)
    print(f"a trivial reward over {N:,} completions, medians of {rounds} rounds in turns")
    print(f"  journeyman  {1e6 * a / N:6.1f} us a completion, records, groups and failures included")
    print(f"  TRL's loop  {1e6 * b / N:6.1f} us a completion")
    _misbehaviour()
    return {
        "bench": "rewards", "shape": f"trivial reward x {N}", "ours_s": a, "peer_s": b, "ratio": b / a,
        "compared": "Executor.score against GRPOTrainer._calculate_rewards", "us_per_completion": 1e6 * a / N,
    }  # fmt: skip


def _trl_loop(function: Callable[..., Any], folder: str = "bench-rewards") -> Callable[..., Any]:
    """`_calculate_rewards` of a TRL trainer with one reward function."""
    import tempfile

    from datasets import Dataset
    from transformers import Qwen3Config, Qwen3ForCausalLM
    from trl import GRPOConfig

    from ..trainers.tokenizer import train_tokenizer
    from ..trainers.trl_trainer import GRPOTrainer

    tokenizer = train_tokenizer([], [], 300)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
        head_dim=32, intermediate_size=32,
    )  # fmt: skip
    args = GRPOConfig(
        os.path.join(tempfile.gettempdir(), folder), use_cpu=True, bf16=False, report_to="none",
        per_device_train_batch_size=GROUP,
    )  # fmt: skip
    trainer = GRPOTrainer(
        Qwen3ForCausalLM(config),
        function,
        args,
        Dataset.from_dict({"prompt": ["a"] * GROUP}),
        processing_class=tokenizer,
    )
    loop: Callable[..., Any] = trainer._calculate_rewards
    return loop


def _misbehaviour() -> None:
    print(f"\na reward that misbehaves on one of {GROUP} completions ({MISBEHAVING_TIMEOUT:g} s allowed)")
    items = [Scored({}, [{"role": "assistant", "content": "a"}]) for _ in range(GROUP)]
    logging.disable(logging.WARNING)
    with Executor(MISBEHAVING) as executor:
        executor.score(items[:0])  # the workers' server
    for function in MISBEHAVING:
        with Executor([function, trivial.weighing(0).binding(answer="a")]) as executor:
            began = time.perf_counter()
            scores = executor.score(items[:1])
            seconds = time.perf_counter() - began
        print(f"  {function.name:<12} journeyman  stopped after {seconds:.1f} s, the run goes on: {scores.errors[0]}")
        print(f"  {'':<12} TRL         {_what_trl_does(function.name)}")
    logging.disable(logging.NOTSET)


def _what_trl_does(name: str) -> str:
    patience = 5 * MISBEHAVING_TIMEOUT
    process = subprocess.Popen(
        tied([sys.executable, "-m", "journeyman.recipes.bench_rewards", name]), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()  # the trainer is there; the function is called next
    began = time.perf_counter()
    try:
        _, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"still waiting after {patience:g} s; killed from outside"
    seconds = time.perf_counter() - began
    if process.returncode < 0:
        return f"the training process is gone after {seconds:.1f} s ({signal.Signals(-process.returncode).name})"
    last = (err.strip().splitlines() or [""])[-1]
    return f"the run ends after {seconds:.1f} s: {last}"


def _alone(name: str) -> None:
    """TRL's loop with one misbehaving function, in this process."""
    function = next(reward for reward in MISBEHAVING if reward.name == name).function

    def batch(completions: list[Any], **_: Any) -> list[float]:
        return [function(completion[0]["content"]) for completion in completions]

    loop = _trl_loop(batch)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    print("ready", flush=True)
    prompts = [[{"role": "user", "content": "q"}]]
    loop([{"prompt": prompts[0]}], prompts, [[{"role": "assistant", "content": "a"}]], [[1]])


if __name__ == "__main__":
    _alone(sys.argv[1])
