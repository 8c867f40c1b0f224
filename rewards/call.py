"""One question to one function: what is known of a finished rollout, handed over by the names of the arguments.

Always true here: the function sees what it asks for and nothing else; what it raises, and what is no finite number, is a
Failure and not a zero.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import re
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..configs.errors import BadInput

PROVIDED = (
    "completion",
    "prompt",
    "messages",
    "completion_ids",
    "stop_reason",
    "environment",
    "log_extra",
    "log_metric",
)
"""Arguments that every rollout can give; everything else must be a column of the row."""
GROUPED = ("completions", *PROVIDED[1:])
"""The same for a group function, where all but `prompt` and the loggers are lists of G."""
BATCHED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments")
"""The same for a function with TRL's batch signature."""


_PLUMBING = {os.path.join(os.path.dirname(__file__), name) for name in ("call.py", "core.py")}


class _Undecided:
    def __repr__(self) -> str:
        return "UNDECIDED"


UNDECIDED = _Undecided()
"""What a `fast` function returns to leave the case to the isolated one."""


@dataclass(frozen=True)
class Notes:
    """What a function logged beside its reward: `extras` of this rollout, `metrics` as (name, number)."""

    extras: dict[str, Any] = field(default_factory=dict)
    metrics: list[tuple[str, float]] = field(default_factory=list)

    def log_extra(self, name: str, value: Any) -> None:
        """Keep `value` in the rollout's record."""
        self.extras[name] = value

    def log_metric(self, name: str, value: float) -> None:
        """Add `value` to the mean that the run logs under `name`."""
        self.metrics.append((name, float(value)))


@dataclass(frozen=True)
class Scored:
    """What a reward function is asked about: one finished rollout and the row it answers."""

    row: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    completion_ids: Sequence[int] = ()
    stop_reason: str = "eos"
    environment: Any = None
    notes: Notes = field(default_factory=Notes, compare=False)

    @property
    def completion(self) -> str:
        """The text of the last message."""
        return str(self.messages[-1].get("content") or "") if self.messages else ""

    @property
    def log_extra(self) -> Callable[[str, Any], None]:
        """See `Notes`."""
        return self.notes.log_extra

    @property
    def log_metric(self) -> Callable[[str, float], None]:
        """See `Notes`."""
        return self.notes.log_metric

    def argument(self, name: str) -> Any:
        """The value that an argument called `name` receives."""
        return getattr(self, name) if name in PROVIDED and name != "prompt" else self.row[name]


@dataclass(frozen=True)
class Failure:
    """A reward function gave no value: the one-line reason and the traceback."""

    reason: str
    traceback: str = ""
    overrun: bool = False
    """Whether it ran out of time or memory, or took its process down: what a hostile completion can bring about."""


Value = float | Failure | None


@dataclass(frozen=True)
class Call:
    """A function and what it asks for: argument -> whether it has no default."""

    function: Callable[..., Any]
    arguments: Mapping[str, bool]
    any_column: bool
    one_answer: bool = False
    """Whether it reads one right answer: its `answer` is annotated as a text or a number, and not as a list too."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Call:
        """Read the signature of `function`."""
        parameters = inspect.signature(function).parameters.values()
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        return cls(
            function,
            {p.name: p.default is p.empty for p in named},
            any(p.kind is p.VAR_KEYWORD for p in parameters),
            any(p.name == "answer" and _is_single(p.annotation) for p in named),
        )

    def __call__(self, item: Scored, given: Mapping[str, Any]) -> Any:
        """Call it on `item`; what is `given` comes before what the item has."""
        kwargs: dict[str, Any] = {}
        if self.any_column:
            kwargs = {**item.row, **{name: item.argument(name) for name in PROVIDED[:-2] if name != "prompt"}, **given}
        for name, required in self.arguments.items():
            if name in given:
                kwargs[name] = given[name]
            elif required or name in item.row or name in PROVIDED:
                kwargs[name] = item.argument(name)
        return finished(self.function(**kwargs))


def _is_single(annotation: Any) -> bool:
    """Whether an annotation, as a type or as its text, allows single texts and numbers alone."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    names = set(re.findall(r"\w+", text)) - {"None", "Optional", "Union", "typing"}
    return bool(names) and names <= {"str", "int", "float", "bool"}


def best(values: Sequence[Value]) -> Value:
    """What a completion earns by the best of several answers; None where none applies, a failure where one fails."""
    failed = next((value for value in values if isinstance(value, Failure)), None)
    return failed or max((v for v in values if v is not None and not isinstance(v, Failure)), default=None)


_loop_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def finished(value: Any) -> Any:
    """What a coroutine returns; any other value as it is. All coroutines share one loop, so clients they keep stay usable."""
    global _loop
    if not inspect.iscoroutine(value):
        return value
    with _loop_lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="rewards", daemon=True).start()
    return asyncio.run_coroutine_threadsafe(value, _loop).result()


def shown(error: BaseException) -> str:
    """The traceback of `error` from the function's own frame on."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename in _PLUMBING:
        own = own.tb_next
    return "".join(traceback.format_exception(type(error), error, own or error.__traceback__))


def checked(value: Any, name: str) -> Value:
    """`value` as a finite float or None; NaN and infinities are failures, other types are bad input."""
    if value is None:
        return None
    if isinstance(value, str | bytes) or not isinstance(value, int | float | np.number | np.bool_):
        raise BadInput(
            f"reward '{name}' returned {value!r} ({type(value).__name__}); it should return a number or None"
        )
    number = float(value)
    if not math.isfinite(number):
        return Failure(f"returned {number}, which is not a finite number")
    return number
