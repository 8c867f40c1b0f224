"""One side of a benchmark: a process of its own that takes orders, a line of JSON each, so that sides can take turns.

The process runs `serve(answer)` with a function from an order to an answer; `Side.ask` gives it one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..configs.lifeline import tied


class Side:
    """`python -m MODULE WORDS...` in a process of its own.

    Args:
        threads: OMP_NUM_THREADS of the process; as it is where None.
    """

    def __init__(self, module: str, *words: str, threads: int | None = None, **environment: str) -> None:
        env = {**os.environ, **environment, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
        self.process = subprocess.Popen(
            tied([sys.executable, "-m", module, *words]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def ask(self, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises:
            RuntimeError: the process ended.
        """
        self.tell(**order)
        return self.answer()

    def tell(self, **order: Any) -> None:
        """Give an order whose answer is fetched later, so that several sides can get ready at once."""
        assert self.process.stdin is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        """The answer to the order before.

        Raises:
            RuntimeError: the process ended.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError("a side of the benchmark ended; its message stands above")

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """The other end: answers every order on standard input until there are no more."""
    for line in sys.stdin:
        print("\n" + json.dumps(answer(json.loads(line))), flush=True)
