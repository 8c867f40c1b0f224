"""The environments of verifiers (the classic ones, up to 0.3) as they are: their datasets, tools and rubrics.

Always true here: verifiers lives in a Python of its own and is never imported; what its functions raise makes a row
unscorable. Environments of one turn and of stateless tools (`SingleTurnEnv`, `ToolEnv`) are taken, others refused by name.

    environment: journeyman.envs.verifiers_classic:Verifiers
    environment_kwargs: {name: my-env, python: /path/to/its/venv/bin/python, arguments: {difficulty: easy}}
    rewards: [journeyman.envs.verifiers_classic:verifiers_score]
"""

from __future__ import annotations

import asyncio
import atexit
import copy
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ..configs.errors import BadInput
from ..rewards.core import group_reward, reward
from .core import Environment, EnvironmentFailed, Limits, Row, Rows, digest
from .schema_tools import tool

UNLIMITED = 10
"""Turns where the environment has no limit of its own."""


class Verifiers(Rows):
    """A classic environment of verifiers, loaded by a Python that has it; the reward is `verifiers_score`, its rubric."""

    def __init__(
        self,
        name: str,
        python: str = sys.executable,
        arguments: Mapping[str, Any] | None = None,
        answer_format: str = "{answer}",
        timeout: float = 60.0,
        load_timeout: float = 600.0,
        shares: Mapping[str, float] | None = None,
        base: str = ".",
    ) -> None:
        """Start the other Python and load the environment there.

        Args:
            name: what `verifiers.load_environment` is called with: an installed package, or a module beside the config.
            python: the interpreter of the virtual environment that has verifiers and the environment's package.
            arguments: what its `load_environment` receives.
            answer_format: how the oracle writes an answer so that the rubric's parser reads it, such as `\\boxed{{answer}}`.
            timeout: seconds that scoring one rollout, or one call of a tool, may take.
            load_timeout: seconds that loading the environment and its dataset may take.
            shares: the share of each split, of the rows of its training dataset.
            base: the folder where relative paths and modules are looked for.

        Raises:
            BadInput: the interpreter or the environment can't be started, or it is of a kind that can't be adapted.
        """
        super().__init__(shares)
        self.answer_format = answer_format
        found = Path(base, python) if "/" in python and not Path(python).exists() else Path(python)
        where = str(found.absolute()) if "/" in python else python
        self.source = json.dumps(
            [where, name, dict(arguments or {}), str(Path(base).absolute()), timeout, load_timeout], sort_keys=True
        )
        self.about = bridge(self.source).about()
        if not self.about["plain"]:
            raise BadInput(
                f"verifiers: '{name}' is a {self.about['kind']}, which answers a turn in its own way; only environments of "
                "one turn and of stateless tools can be adapted"
            )
        self.version = f"verifiers {self.about['verifiers']}/{name}/{digest(self.source)}"
        if self.about["tools"]:
            turns = int(self.about["turns"])
            self.limits = Limits(turns=turns if turns > 0 else UNLIMITED, tool_seconds=timeout)
            methods = {
                t["name"]: tool(t["name"], t["description"], t["parameters"], _call(t["name"]))
                for t in self.about["tools"]
            }
            self.__class__ = type("Verifiers", (type(self),), {**methods, "__module__": __name__})

    def another(self) -> Environment:
        """The same: the tools keep no state."""
        return copy.copy(self)

    @functools.cached_property
    def _rows(self) -> list[Row]:
        entries = bridge(self.source).wait("rows", {})
        if not entries:
            raise BadInput("verifiers: the environment's dataset has no rows")
        return [
            {"prompt": entry["prompt"], "entry": entry, "source": self.source}
            | ({"answer": entry["answer"]} if entry.get("answer") not in (None, "") else {})
            for entry in entries
        ]

    def rows(self) -> Sequence[Row]:
        """The rows of the environment's training dataset, prompts as messages."""
        return self._rows

    def oracle(self, row: Row) -> str:
        """The row's answer in `answer_format`.

        Raises:
            KeyError: the row has none.
        """
        return self.answer_format.replace("{answer}", str(row["answer"]))


def _call(name: str) -> Any:
    async def call(env: Verifiers, arguments: dict[str, Any]) -> str:
        return str(await bridge(env.source).ask("tool", {"name": name, "arguments": arguments}))

    return call


@reward(name="verifiers")
async def verifiers_score(
    messages: Sequence[Mapping[str, Any]], entry: Mapping[str, Any], source: str, stop_reason: str, log_extra: Any
) -> float:
    """What the environment's own rubric gives: the weighted sum of its functions, each of which goes into the record.

    Args:
        messages: the rollout's own.
        entry: the row as the environment's dataset has it.
        source: which environment, and the Python that has it.

    Source: verifiers (Brown, 2025), `Rubric.score_rollout`. Known ways of being gamed: those of its functions.
    """
    (score,) = await _scores(source, entry, [messages], [stop_reason])
    for name, value in score["metrics"].items():
        log_extra(name, value)
    return float(score["reward"])


@group_reward(name="verifiers")
async def verifiers_group_score(
    messages: Sequence[Sequence[Mapping[str, Any]]],
    entry: Mapping[str, Any],
    source: str,
    stop_reason: Sequence[str],
    log_extra: Any,
) -> list[float]:
    """`verifiers_score` for rubrics that compare the completions of a prompt: the whole group is scored together.

    Args:
        messages: those of each rollout of the group.

    Source: verifiers (Brown, 2025), `Rubric.score_group`. Known ways of being gamed: those of its functions.
    """
    scores = await _scores(source, entry, messages, stop_reason)
    for name in scores[0]["metrics"]:
        log_extra(name, [score["metrics"].get(name) for score in scores])
    return [float(score["reward"]) for score in scores]


async def _scores(source: str, entry: Any, rollouts: Sequence[Any], stops: Sequence[str]) -> list[dict[str, Any]]:
    there = bridge(source)
    if there.about()["groups"] and len(rollouts) == 1:
        names = ", ".join(there.about()["rewards"])
        raise BadInput(f"verifiers: the rubric ({names}) compares completions: use verifiers_group_score")
    data = {
        "entry": entry,
        "rollouts": [list(r) for r in rollouts],
        "truncated": [s in ("length", "context") for s in stops],
    }
    scores: list[dict[str, Any]] = await there.ask("score", data)
    weights = there.about()["rewards"]
    for name, trace in scores[0]["failed"]:
        if weights.get(name, 1.0):
            raise RuntimeError(f"verifiers: '{name}' failed:\n{trace}")
    return scores


class Bridge:
    """A process of the other Python, started when it is first asked and again after it has died or hung."""

    def __init__(self, source: str) -> None:
        self.python, self.name, self.arguments, self.base, self.timeout, self.load_timeout = json.loads(source)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._waiting: dict[int, Future[Any]] = {}
        self._about: dict[str, Any] = {}
        self._next = 0
        atexit.register(self.close)

    def about(self) -> dict[str, Any]:
        """What `verifiers_bridge.Bridge.about` says.

        Raises:
            BadInput: it can't be started.
        """
        with self._lock:
            if self._process is None:
                self._start()
            return self._about

    async def ask(self, do: str, data: Mapping[str, Any]) -> Any:
        """The answer to one request.

        Raises:
            TimeoutError: there was none in time; the process is ended, for it may hang.
            EnvironmentFailed: the process died, or failed at the request.
        """
        future = self._send(do, data)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self.timeout)
        except TimeoutError:
            self.close()
            raise TimeoutError(f"verifiers: no answer to {do} in {self.timeout:g} s") from None

    def wait(self, do: str, data: Mapping[str, Any]) -> Any:
        """The same for whoever has no event loop, with the time of loading."""
        return self._send(do, data).result(self.load_timeout)

    def close(self) -> None:
        """End the process; who waits for it is told."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _send(self, do: str, data: Mapping[str, Any]) -> Future[Any]:
        self.about()
        future: Future[Any] = Future()
        with self._lock:
            process = self._process
            self._next += 1
            self._waiting[self._next] = future
            try:
                assert process is not None and process.stdin is not None
                process.stdin.write(json.dumps({"id": self._next, "do": do, "data": data}, default=str) + "\n")
                process.stdin.flush()
            except (AssertionError, OSError) as error:
                self._waiting.pop(self._next)
                raise EnvironmentFailed(f"verifiers: the process of '{self.name}' has ended") from error
        return future

    def _start(self) -> None:
        words = [self.python, "-c", Path(__file__).with_name("verifiers_bridge.py").read_text(encoding="utf-8")]
        # -c and not the file: the folder of the file, this one, would hide the other side's modules.
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        try:
            process = subprocess.Popen(
                [*words, self.name, json.dumps(self.arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True, encoding="utf-8", env=env, cwd=self.base,
            )  # fmt: skip
        except OSError as error:
            raise BadInput(f"verifiers: python '{self.python}' can't be started: {error.strerror or error}") from error
        hello: Future[Any] = Future()
        self._waiting = {0: hello}
        reader = threading.Thread(
            target=self._read, args=(process, self._waiting, errors), name="verifiers", daemon=True
        )
        reader.start()
        try:
            self._about = hello.result(self.load_timeout)
        except (EnvironmentFailed, TimeoutError) as error:
            process.kill()
            reason = (
                str(error).removeprefix("verifiers: ").strip().splitlines()[-1]
                if str(error)
                else f"not loaded in {self.load_timeout:g} s"
            )
            raise BadInput(f"verifiers: '{self.name}' can't be loaded by {self.python}: {reason}") from error
        self._process = process

    def _read(self, process: subprocess.Popen[str], waiting: dict[int, Future[Any]], errors: Any) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            future = waiting.pop(answer["id"], None)
            if future is None or not future.set_running_or_notify_cancel():
                continue
            if "error" in answer:
                future.set_exception(EnvironmentFailed(f"verifiers: {answer['error']}"))
            else:
                future.set_result(answer["data"])
        code = process.wait()
        errors.seek(0)
        last = " ".join(errors.read()[-2000:].strip().splitlines()[-1:])
        if self._process is process:
            self._process = None
        for future in list(waiting.values()):
            if future.set_running_or_notify_cancel():
                future.set_exception(
                    EnvironmentFailed(f"verifiers: the process of '{self.name}' ended with {code}: {last}")
                )


@functools.lru_cache(maxsize=32)
def bridge(source: str) -> Bridge:
    """The one process of this process for an environment."""
    return Bridge(source)
