"""verifiers' side of `journeyman bench rollout`: run by path, in an interpreter that has verifiers 0.1.14 and not this package.

Always true here: the policy is a client object in the same process, so that no HTTP is counted; of verifiers' own ways to run a
batch (generate, with groups and without, and a gather over run_group) the fastest is used; nothing is saved.

It answers orders as `bench_side` gives them: the first holds the rows, each other one is a round.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import verifiers as vf
from verifiers.clients import Client
from verifiers.types import Response, ResponseMessage


class Scripted(Client):
    """Answers each sum at once."""

    def setup_client(self, config: Any) -> Any:
        """There is no other client behind it."""
        return None

    async def to_native_tool(self, tool: Any) -> Any:
        """As it is."""
        return tool

    async def to_native_prompt(self, messages: Any) -> Any:
        """As they are."""
        return messages, {}

    async def get_native_response(self, prompt: Any, *args: Any, **kwargs: Any) -> str:
        """The sum that the prompt asks for."""
        words = prompt[-1].content.split()
        return str(int(words[2]) + int(words[4].rstrip("?")))

    async def raise_from_native_response(self, response: str) -> None:
        """It never fails."""

    async def from_native_response(self, response: str) -> Response:
        """As verifiers has it."""
        message = ResponseMessage(content=response, finish_reason="stop", is_truncated=False)
        return Response(id="0", created=0, model="scripted", message=message)

    async def close(self) -> None:
        """Nothing to close."""


def exact(completion: Any, answer: str, **_: Any) -> float:
    """The reward."""
    message = completion[-1]
    return float((message["content"] if isinstance(message, dict) else message.content) == answer)


def main() -> None:
    """Find the fastest way, then time it as often as asked."""
    from datasets import Dataset

    logging.disable(logging.CRITICAL)
    order = json.loads(sys.stdin.readline())
    rows, group = order["rows"], order["group"]
    data = Dataset.from_list([{"question": row["question"], "answer": row["answer"]} for row in rows[::group]])
    env = vf.SingleTurnEnv(dataset=data, rubric=vf.Rubric(funcs=[exact]))
    inputs = env.get_dataset().to_list()
    groups = [[dict(one) for _ in range(group)] for one in inputs]
    flat = [one for each in groups for one in each]
    client = Scripted(None)

    def nothing(*_: Any) -> None:
        return

    async def generate(independent: bool) -> Any:
        found = await env.generate(
            flat, client, "scripted", independent_scoring=independent, on_start=nothing, on_progress=[nothing], on_log=nothing
        )  # fmt: skip
        return found["outputs"]

    async def gather() -> Any:
        done = await asyncio.gather(*(env.run_group(each, client, "scripted", {}) for each in groups))
        return [output for each in done for output in each]

    ways: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "generate": lambda: generate(False), "generate, independent": lambda: generate(True), "gather": gather,
    }  # fmt: skip

    def timed(way: str) -> float:
        began = time.perf_counter()
        outputs = asyncio.run(ways[way]())
        seconds = time.perf_counter() - began
        assert len(outputs) == len(rows) and all(output["reward"] == 1.0 for output in outputs)
        return seconds

    best = min({way: min(timed(way), timed(way)) for way in ways}.items(), key=lambda item: item[1])[0]
    print(json.dumps({"way": best, "version": vf.__version__}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": timed(best)}), flush=True)


if __name__ == "__main__":
    main()
