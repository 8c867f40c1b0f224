"""`journeyman bench rollout`: how long rollouts take where the policy costs nothing, and what a slow reward adds to them.

Always true here: both sides play the same scripted policy over the same tokenizer and the same tools, in turns, and medians are
compared. Shapes: `tools` (dialogues beside stock TRL's loop, then single turns beside verifiers) and `overlap` (a reward of
50 ms a completion beside rewards that wait for generation to end).
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..configs.errors import BadInput
from ..configs.lifeline import tied
from ..envs.core import Generated, Limits, Row
from ..rewards import reward
from ..rewards.executor import Executor
from ..rollouts.chat import Chat
from ..rollouts.collect import Batch, OnFinished, collect
from ..rollouts.engine import Sampling
from ..rollouts.pool import Pool
from ..rollouts.record import RecordWriter, Rollout
from ..rollouts.scoring import scored_rollouts
from ..rollouts.scripted import ScriptedEngine
from ..trainers.tokenizer import train_tokenizer
from .bench_side import Side

GROUP, TURNS, TOOL_S = 8, 5, 0.1
SINGLE = 8
"""Single-turn batches are so many times as large."""


async def look(key: str) -> str:
    """Look something up; it takes 0.1 s.

    Args:
        key: what.
    """
    await asyncio.sleep(TOOL_S)
    return f"{key} is here"


class Sums(Generated):
    """One turn, no tools."""

    def generate(self, rng: Any) -> Row:
        """Two numbers to add."""
        a, b = rng.randrange(10**4), rng.randrange(10**4)
        return {"prompt": f"What is {a} + {b}?", "answer": str(a + b)}


class Lookups(Sums):
    """The same with a tool."""

    limits = Limits(turns=TURNS + 1)

    async def look(self, key: str) -> str:
        """Look something up; it takes 0.1 s.

        Args:
            key: what.
        """
        return await look(key)


def turn_of(turn: int) -> str:
    """What the policy writes: a call in each of five turns, then an end."""
    if turn >= TURNS:
        return "done"
    return f'<tool_call>\n{{"name": "look", "arguments": {{"key": "key {turn}"}}}}\n</tool_call>'


@reward
def exact(completion: str, answer: str) -> float:
    """The trivial function."""
    return float(completion == answer)


def run(rounds: int = 5, shape: str = "tools", groups: int = 8, verifiers: str | None = None) -> dict[str, Any]:
    """Print the tables of one shape; the returned object is that of its first table."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    chat = Chat(train_tokenizer([], [], 300))
    chat.learn_to_parse()
    if shape == "overlap":
        from .rollout_overlap import overlap

        return overlap(chat, rounds, groups)
    if shape != "tools":
        raise BadInput(f"bench rollout has no shape '{shape}' (shapes: tools, overlap)")
    if verifiers is not None and shutil.which(verifiers) is None:
        raise BadInput(f"--verifiers {verifiers}: there is no such interpreter")
    return {**_tools(chat, rounds, groups), "single_turn": _single(chat, rounds, groups, verifiers)}


def _tools(chat: Chat, rounds: int, groups: int) -> dict[str, Any]:
    env, n = Lookups(), GROUP * groups
    rows = [row for row in env.tasks("train", 0, groups) for _ in range(GROUP)]
    engine, pool = ScriptedEngine(lambda request: turn_of(request.turn), chat), Pool(env)
    theirs = _stock(chat, rows)

    def ours() -> list[Rollout]:
        return collect(engine, chat, pool, rows, Sampling(4096), Batch("bench", 0, "train", 0, GROUP))

    mine, stock = ours(), None
    ours_s, peer_s = [], []
    for _ in range(rounds):
        seconds, mine = timed(ours)
        ours_s.append(seconds)
        seconds, stock = timed(theirs)
        peer_s.append(seconds)
    assert stock is not None and all(rollout.tool_calls == TURNS for rollout in mine)
    same = all(
        rollout.completion_ids == ids and rollout.env_mask == mask
        for rollout, ids, mask in zip(mine, stock[1], stock[2], strict=True)
    )
    a, b, least = statistics.median(ours_s), statistics.median(peer_s), TURNS * TOOL_S
    print(
        f"{n} rollouts x {TURNS} turns, an async tool of {1000 * TOOL_S:.0f} ms each; medians of {rounds} rounds in turns"
    )
    print(f"  critical path  {least:7.2f} s")
    print(f"  journeyman     {a:7.2f} s  {a / least:6.2f} x the critical path")
    print(f"  TRL's loop     {b:7.2f} s  {b / least:6.2f} x the critical path, {b / a:.0f} x ours")
    print(f"  the same token ids and masks on both sides: {'yes' if same else 'NO'}")
    return {
        "bench": "rollout", "shape": f"{n} rollouts x {TURNS} turns, one tool of {TOOL_S:g} s a turn", "ours_s": a,
        "peer_s": b, "ratio": b / a, "compared": "collect against GRPOTrainer._generate, its generation scripted",
        "critical_s": least, "of_critical": a / least, "same_ids": same,
    }  # fmt: skip


def _stock(chat: Chat, rows: list[Row]) -> Callable[[], Any]:
    """`_generate` of a TRL trainer (prompts, tool loop, parsing), with only its generation scripted."""
    from datasets import Dataset
    from transformers import Qwen3Config, Qwen3ForCausalLM
    from trl import GRPOConfig

    from ..trainers.trl_trainer import GRPOTrainer

    config = Qwen3Config(
        vocab_size=len(chat.tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, head_dim=32, intermediate_size=32,
    )  # fmt: skip
    args = GRPOConfig(
        os.path.join(tempfile.gettempdir(), "bench-rollout"), use_cpu=True, bf16=False, report_to="none",
        per_device_train_batch_size=GROUP, num_generations=GROUP, max_completion_length=4096,
    )  # fmt: skip
    kind: Any = GRPOTrainer
    trainer = kind(
        Qwen3ForCausalLM(config), lambda completions, **_: [0.0] * len(completions), args,
        Dataset.from_dict({"prompt": [rows[0]["prompt"]] * GROUP}), processing_class=chat.tokenizer, tools=[look],
    )  # fmt: skip
    # As its _generate_and_score_completions sets them.
    trainer._sync_tool_dicts, trainer._async_tool_dicts = [{}] * len(rows), [{"look": look}] * len(rows)
    turn = 0

    def scripted(prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[list[list[int]], list[list[float]]]:
        nonlocal turn
        ids = [[*chat.ids(turn_of(turn)), chat.tokenizer.eos_token_id] for _ in prompt_ids]
        turn += 1
        return ids, [[0.0] * len(one) for one in ids]

    trainer._generate_single_turn = scripted

    def generate() -> Any:
        nonlocal turn
        turn = 0
        return trainer._generate([row["prompt"] for row in rows])

    return generate


def _single(chat: Chat, rounds: int, groups: int, verifiers: str | None) -> dict[str, Any]:
    env, n = Sums(), GROUP * SINGLE * groups
    rows = [row for row in env.tasks("train", 0, SINGLE * groups) for _ in range(GROUP)]
    engine, pool = ScriptedEngine(lambda request: rows[request.stream[2]]["answer"], chat), Pool(env)
    peer = _Verifiers(verifiers, rows) if verifiers else None
    ours_s, peer_s = [], []
    with tempfile.TemporaryDirectory() as folder, Executor([exact]) as executor:
        writer = RecordWriter(Path(folder), "train")

        def ours() -> None:
            def collected(on_finished: OnFinished) -> list[Rollout]:
                batch = Batch("bench", 0, "train", 0, GROUP)
                return collect(engine, chat, pool, rows, Sampling(64), batch, on_finished=on_finished)

            rollouts, scores = scored_rollouts(collected, executor, rows, "exact", GROUP)
            writer.write(rollouts)
            executor.count(scores)
            assert scores.total.all()

        ours()
        for _ in range(rounds):
            ours_s.append(timed(ours)[0])
            if peer is not None:
                peer_s.append(peer.round())
        writer.close()
    if peer is not None:
        peer.close()
    a = statistics.median(ours_s)
    print(f"\n{n} single-turn rollouts with a reward; medians of {rounds} rounds in turns")
    print(f"  journeyman  {n / a:7,.0f} rollouts/s, tokens, records and their fsync included")
    found: dict[str, Any] = {"rollouts": n, "ours_s": a, "per_second": n / a}
    if peer is None:
        print("  verifiers   left out: --verifiers PYTHON names an interpreter that has verifiers==0.1.14")
        return found
    b = statistics.median(peer_s)
    print(f"  verifiers   {n / b:7,.0f} rollouts/s, {peer.about}, client in the process, nothing saved")
    return {**found, "peer_s": b, "peer_per_second": n / b, "ratio": b / a, "peer": peer.about}


class _Verifiers(Side):
    """verifiers in an interpreter of its own, one round at a time."""

    def __init__(self, python: str, rows: list[Row]) -> None:
        self.process = subprocess.Popen(
            tied([python, str(Path(__file__).with_name("verifiers_peer.py"))]), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        questions = [{"question": row["prompt"][-1]["content"], "answer": row["answer"]} for row in rows]
        found = self.ask(rows=questions, group=GROUP)
        self.about = f"verifiers {found['version']} by {found['way']}"

    def round(self) -> float:
        """Seconds of one round."""
        return float(self.ask()["seconds"])


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that `work` takes, and what it returns; what others left behind is collected before."""
    gc.collect()
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result
