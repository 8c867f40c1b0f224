"""A reward function, and what a batch of completions is worth under several of them.

Always true here: an exception is not a zero. A deliberate `None` means "does not apply" and leaves the other rewards
standing; an exception in a weighted reward makes the whole row unscorable, is counted, and keeps its first traceback.
No torch.

    from journeyman.rewards import reward

    @reward
    def exact(completion: str, answer: str) -> float:
        return float(completion.strip() == answer)

A function may ask, by name, for any column of its row, and for `completion` (the text of the last message), `prompt`
(messages), `messages` (the rollout's own), `completion_ids` (token ids), `stop_reason`. The decorated object has TRL's
batch signature, so `trl.GRPOTrainer(reward_funcs=[exact])` takes it as it is; and any function with TRL's signature,
sync or async, is accepted wherever a reward is.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import math
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from ..configs.errors import BadInput

PROVIDED = ("completion", "prompt", "messages", "completion_ids", "stop_reason")
"""Arguments that every rollout can give; everything else must be a column of the row."""


@dataclass(frozen=True)
class Scored:
    """What a reward function is asked about: one finished rollout and the row it answers."""

    row: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    completion_ids: Sequence[int] = ()
    stop_reason: str = "eos"

    def argument(self, name: str) -> Any:
        """The value that an argument called `name` receives."""
        if name == "completion":
            return str(self.messages[-1].get("content") or "") if self.messages else ""
        if name in PROVIDED and name != "prompt":
            return getattr(self, name)
        return self.row[name]


@dataclass(frozen=True)
class Failure:
    """A reward function raised: the one-line reason and the traceback."""

    reason: str
    traceback: str


class Reward:
    """A named, weighted reward function. Made by `@reward` or by `as_reward`; called with TRL's batch signature."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        weight: float = 1.0,
        needs_reference: bool = True,
        batch: bool = False,
    ) -> None:
        self.function = function
        self.name = str(name or getattr(function, "__name__", type(function).__name__))
        self.__name__ = self.name  # TRL names its metrics by it
        self.weight = float(weight)
        self.needs_reference = needs_reference
        self.batch = batch
        self.__doc__ = function.__doc__
        parameters = inspect.signature(function).parameters.values()
        self.any_column = any(p.kind is p.VAR_KEYWORD for p in parameters)
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        self.arguments = {p.name: p.default is p.empty for p in named}
        self.source_hash = source_hash(function)

    def __repr__(self) -> str:
        return f"Reward({self.name!r}, weight={self.weight:g})"

    def weighing(self, weight: float) -> Reward:
        """The same function with another weight; 0 makes it a metric."""
        return Reward(
            self.function, name=self.name, weight=weight, needs_reference=self.needs_reference, batch=self.batch
        )

    def missing(self, columns: Sequence[str]) -> list[str]:
        """The columns that this function asks for and a row with `columns` does not have."""
        given = {*columns, *PROVIDED}
        if self.batch:
            given |= {"prompts", "completions", "trainer_state", "log_extra", "log_metric", "environments"}
        return [name for name, required in self.arguments.items() if required and name not in given]

    def __call__(
        self,
        *,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """TRL's batch signature: one float, or None for "does not apply", a completion. An exception is raised."""
        items = []
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            row = {key: values[i] for key, values in columns.items() if _is_column(values, len(prompts))}
            messages = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
            items.append(Scored({**row, "prompt": prompt}, messages, completion_ids[i] if completion_ids else ()))
        values: list[float | None] = []
        for value in self.score(items):
            if isinstance(value, Failure):
                raise RuntimeError(f"reward '{self.name}': {value.reason}\n{value.traceback}")
            values.append(value)
        return values

    def score(self, items: Sequence[Scored], **services: Any) -> list[float | Failure | None]:
        """One value an item: a finite float, None, or the Failure of that item alone.

        A batch function that raises fails every item; one that returns a wrong number of values is bad input.
        """
        if self.batch:
            return self._score_batch(items, services)
        return [self._score_one(item) for item in items]

    def _score_one(self, item: Scored) -> float | Failure | None:
        try:
            names = [name for name, required in self.arguments.items() if required or self._has(item, name)]
            kwargs = {name: item.argument(name) for name in names}
            if self.any_column:
                kwargs = {**item.row, **{name: item.argument(name) for name in PROVIDED}, **kwargs}
            value = self.function(**kwargs)
            return checked(_finished(value), self.name)
        except BadInput:
            raise
        except Exception as error:
            return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())

    def _has(self, item: Scored, name: str) -> bool:
        return name in PROVIDED or name in item.row

    def _score_batch(self, items: Sequence[Scored], services: Mapping[str, Any]) -> list[float | Failure | None]:
        shared: dict[str, Any] = {"trainer_state": None, "log_extra": _ignore, "log_metric": _ignore, **services}
        columns = (
            {key: [item.row.get(key) for item in items] for key in items[0].row if key != "prompt"} if items else {}
        )
        kwargs = {
            **columns,
            **shared,
            "prompts": [item.row.get("prompt") for item in items],
            "completions": [list(item.messages) for item in items],
            "completion_ids": [list(item.completion_ids) for item in items],
        }
        if not self.any_column:
            kwargs = {name: value for name, value in kwargs.items() if name in self.arguments}
        try:
            values = self.function(**kwargs)
            values = _finished(values)
        except Exception as error:
            return [Failure(f"{type(error).__name__}: {error}", traceback.format_exc())] * len(items)
        try:
            values = list(values)
        except TypeError:
            raise BadInput(
                f"reward '{self.name}' returned a {type(values).__name__}; it should return a list of one value each"
            ) from None
        if len(values) != len(items):
            raise BadInput(f"reward '{self.name}' returned {len(values)} values for {len(items)} completions")
        return [checked(value, self.name) for value in values]


def _finished(value: Any) -> Any:
    """What a coroutine returns; any other value as it is. In a notebook, whose own loop runs, a thread waits for it."""
    if not inspect.iscoroutine(value):
        return value
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(value)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, value).result()


def _is_column(values: Any, length: int) -> bool:
    return isinstance(values, list | tuple) and len(values) == length


def _ignore(*_: Any) -> None:
    return None


def checked(value: Any, name: str) -> float | Failure | None:
    """`value` as a finite float or None; NaN and infinities are failures, other types are bad input."""
    if value is None:
        return None
    if isinstance(value, str | bytes) or not isinstance(value, int | float | np.number | np.bool_):
        raise BadInput(
            f"reward '{name}' returned {value!r} ({type(value).__name__}); it should return a number or None"
        )
    number = float(value)
    if not math.isfinite(number):
        return Failure(f"returned {number}, which is not a finite number", "")
    return number


@overload
def reward(function: Callable[..., Any]) -> Reward: ...
@overload
def reward(
    *, name: str | None = None, weight: float = 1.0, needs_reference: bool = True
) -> Callable[[Callable[..., Any]], Reward]: ...
def reward(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    weight: float = 1.0,
    needs_reference: bool = True,
) -> Reward | Callable[[Callable[..., Any]], Reward]:
    """Turn a per-completion function, with its arguments filled in by name, into a reward.

    Args:
        function: returns a number, or None where the reward does not apply.
        name: what records and curves call it; the function's own name by default.
        weight: its share of the total; 0 makes it a metric.
        needs_reference: whether it reads a gold answer, and so can't serve where none is known.
    """

    def wrap(inner: Callable[..., Any]) -> Reward:
        return Reward(inner, name=name, weight=weight, needs_reference=needs_reference)

    return wrap if function is None else wrap(function)


def as_reward(function: Any) -> Reward:
    """A Reward as it is; any other callable as a function with TRL's batch signature.

    Raises:
        BadInput: not callable.
    """
    if isinstance(function, Reward):
        return function
    if not callable(function):
        raise BadInput(f"a reward is a function; {function!r} is a {type(function).__name__}")
    return Reward(function, batch=True)


def source_hash(function: Callable[..., Any]) -> str:
    """SHA-256 (16 hex digits) of the function's own source, or of its bytecode where the source can't be had."""
    try:
        text = textwrap.dedent(inspect.getsource(function)).encode()
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        text = code.co_code + repr(code.co_consts).encode() if code else repr(function).encode()
    return hashlib.sha256(text).hexdigest()[:16]


@dataclass(frozen=True)
class Scores:
    """What a batch is worth: `values` [B, F] with NaN for "does not apply", `total` [B] with NaN for unscorable."""

    names: list[str]
    values: np.ndarray
    total: np.ndarray
    errors: list[str | None]
    """The first failure of each row, weighted rewards and metrics alike; None where there was none."""
    failures: dict[str, list[Failure]] = field(default_factory=dict)
    """reward name -> its failures in this batch"""

    def of(self, i: int) -> dict[str, float | None]:
        """Row i as records hold it: reward name -> value, None where it did not apply or failed."""
        return {name: None if math.isnan(v) else float(v) for name, v in zip(self.names, self.values[i], strict=True)}


def score(rewards: Sequence[Reward], items: Sequence[Scored], **services: Any) -> Scores:
    """Run every reward over every item and add them up by weight.

    A row is unscorable (total NaN) where a weighted reward failed, or where no weighted reward applied.
    """
    values = np.full((len(items), len(rewards)), np.nan)
    broken = np.zeros(len(items), dtype=bool)
    errors: list[str | None] = [None] * len(items)
    failures: dict[str, list[Failure]] = {}
    for f, function in enumerate(rewards):
        for i, value in enumerate(function.score(items, **services)):
            if isinstance(value, Failure):
                errors[i] = errors[i] or f"{function.name}: {value.reason}"
                failures.setdefault(function.name, []).append(value)
                broken[i] |= function.weight != 0
            elif value is not None:
                values[i, f] = value
    weights = np.array([function.weight for function in rewards])
    weighted = weights != 0
    total = np.nansum(values * weights, axis=1)
    total[broken | np.isnan(values[:, weighted]).all(axis=1)] = np.nan
    return Scores([function.name for function in rewards], values, total, errors, failures)
