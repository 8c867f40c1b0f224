"""A reward function: written for one completion, for a group or for a batch, and called by the names of its arguments.

Always true here: an exception is not a zero. A deliberate `None` means "does not apply" and leaves the other rewards
standing; an exception in a weighted reward makes the whole row unscorable, is counted, and keeps its first traceback.
No torch.

    from journeyman.rewards import reward

    @reward
    def exact(completion: str, answer: str) -> float:
        return float(completion.strip() == answer)

A function may ask, by name, for any column of its row, and for `completion` (the text of the last message), `prompt`
(messages), `messages` (the rollout's own), `completion_ids` (token ids), `stop_reason`, `environment`, and for `log_extra`
and `log_metric`. One whose `answer` is annotated as a single text or number is asked once for each answer of a row that has
a list of them, and the best counts. The decorated object has TRL's batch signature, so
`trl.GRPOTrainer(reward_funcs=[exact])` takes it as it is; and any function with TRL's signature, sync or async, is accepted
wherever a reward is.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, overload

from ..configs.errors import BadInput, nearest
from .call import BATCHED, GROUPED, PROVIDED, UNDECIDED, Call, Failure, Scored, Value, best, checked, finished, shown
from .source import code_of, digest, found, source_hash, spec_of

GOLDS = 256
"""Parsed gold answers that a reward remembers: more than the groups that are scored at a time."""

Kind = Literal["completion", "group", "batch"]


class Reward:
    """A named, weighted reward function, made by `@reward`, `@group_reward` or `as_reward`; called with TRL's batch signature.

    The arguments are those of `reward`; `kind` says whether the function sees a completion, a group or a batch.
    """

    parts: Sequence[Reward] = ()
    """The rewards that a composed one is made of; none for a function."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        weight: float = 1.0,
        needs_reference: bool = True,
        kind: Kind = "completion",
        isolated: bool = False,
        timeout: float = 10.0,
        memory_mb: int = 2048,
        overrun: float | None = None,
        concurrent: bool = False,
        gold: Callable[..., Any] | None = None,
        fast: Callable[..., Any] | None = None,
    ) -> None:
        self.function, self.gold, self.fast = function, gold, fast
        self.name = str(name or getattr(function, "__name__", type(function).__name__))
        self.__name__ = self.name  # TRL names its metrics by it
        self.__doc__ = function.__doc__
        self.weight, self.needs_reference, self.kind = float(weight), needs_reference, kind
        self.isolated, self.timeout, self.memory_mb, self.overrun = isolated, float(timeout), memory_mb, overrun
        self.concurrent = concurrent or inspect.iscoroutinefunction(function)
        self.bound: dict[str, Any] = {}
        self.source_hash = self._plain_hash = source_hash(function, gold, fast)
        self._calls = {part: Call.of(f) for part, f in self._functions().items()}
        self._golds: OrderedDict[Any, Any] = OrderedDict()
        if kind == "batch" and (isolated or gold or fast):
            raise BadInput(
                f"reward '{self.name}': isolated, gold and fast are for functions of one completion or one group"
            )
        if isolated and not self.timeout > 0:
            raise BadInput(f"reward '{self.name}': timeout is {timeout!r}; it should be a number of seconds above 0")

    def _functions(self) -> dict[str, Callable[..., Any]]:
        given = {"function": self.function, "gold": self.gold, "fast": self.fast}
        return {part: f for part, f in given.items() if f is not None}

    def __repr__(self) -> str:
        return f"Reward({self.name!r}, weight={self.weight:g})"

    def __copy__(self) -> Reward:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __reduce__(self) -> Any:
        # By reference: pickle would look for the function under its name and find this object there.
        specs = {part: spec_of(f, f"reward '{self.name}'") for part, f in self._functions().items()}
        options = {key: getattr(self, key) for key in _OPTIONS}
        return _rebuilt, (specs, options, self.bound, code_of(self.function, self.gold, self.fast))

    def weighing(self, weight: float) -> Reward:
        """The same function with another weight; 0 makes it a metric."""
        other = copy.copy(self)
        other.weight = float(weight)
        return other

    def named(self, name: str) -> Reward:
        """The same function under another name."""
        other = copy.copy(self)
        other.name = other.__name__ = name
        return other

    def binding(self, **values: Any) -> Reward:
        """The same function with arguments fixed; they come before columns of the same name.

        Raises:
            BadInput: the function has no such argument.
        """
        for name in values:
            if not any(name in call.arguments or call.any_column for call in self._calls.values()):
                known = ", ".join(name for name in self.columns() if name not in PROVIDED)
                raise BadInput(f"reward '{self.name}' has no argument '{name}' (it has {known or 'none to set'})")
        other = copy.copy(self)
        other.bound = {**self.bound, **values}
        other.source_hash = digest(
            self._plain_hash, *(f"{name}={value!r}" for name, value in sorted(other.bound.items()))
        )
        other._golds = OrderedDict()
        return other

    def columns(self) -> dict[str, bool]:
        """Every argument that the functions ask for -> whether it has no default."""
        asked: dict[str, bool] = {}
        for call in self._calls.values():
            for name, required in call.arguments.items():
                if name not in self.bound and not (name == "gold" and self.gold is not None):
                    asked[name] = asked.get(name, False) or required
        return asked

    def missing(self, columns: Sequence[str]) -> list[str]:
        """The columns that this function asks for and a row with `columns` does not have."""
        given = {*columns, *{"completion": PROVIDED, "group": GROUPED, "batch": (*BATCHED, *PROVIDED)}[self.kind]}
        return [name for name, required in self.columns().items() if required and name not in given]

    def require(self, columns: Sequence[str], whose: str) -> None:
        """Raise BadInput where this function asks for a column that rows with `columns` don't have; `whose` they are."""
        for name in self.missing(columns):
            raise BadInput(
                f"reward '{self.name}' asks for the column '{name}', which the rows of {whose} lack"
                f"{nearest(name, columns)} (they have {', '.join(columns)})"
            )

    def __call__(
        self,
        *,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """TRL's batch signature: one float, or None for "does not apply", a completion. An exception is raised.

        A group is a run of equal prompts, as TRL lays its batches out.
        """
        items = []
        environments = columns.pop("environments", None)
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            row = {key: values[i] for key, values in columns.items() if _is_column(values, len(prompts))}
            messages = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
            ids = completion_ids[i] if completion_ids else ()
            items.append(
                Scored({**row, "prompt": prompt}, messages, ids, environment=environments[i] if environments else None)
            )
        size = next((i for i, prompt in enumerate(prompts) if prompt != prompts[0]), len(prompts))
        values: list[float | None] = []
        for value in self.score(items, size if self.kind == "group" and size and len(prompts) % size == 0 else 1):
            if isinstance(value, Failure):
                raise RuntimeError(f"reward '{self.name}': {value.reason}\n{value.traceback}")
            values.append(value)
        return values

    def score(self, items: Sequence[Scored], group_size: int = 1, **services: Any) -> list[Value]:
        """One value an item: a finite float, None, or the Failure of that item alone.

        Args:
            group_size: items of a group stand next to one another; a group function sees as many at once.
            services: `trainer_state` for batch functions.

        Raises:
            BadInput: a function returned something that is no reward, or a wrong number of them.
        """
        from .executor import Executor  # which is made of rewards

        with Executor([self]) as executor:
            return executor.score(items, group_size, **services).of_reward(self.name)

    def run(self, items: Sequence[Scored], **services: Any) -> list[Value]:
        """Call the function here and now: on one item, on one group, or on one batch."""
        items = [_with(item, self.bound) for item in items] if self.bound else items
        if self.kind == "completion":
            return [self._guarded(functools.partial(self._value, item)) for item in items]
        arguments = self._group if self.kind == "group" else self._batch
        values = self._guarded(lambda: arguments(items, services))
        return values if isinstance(values, list) else [values] * len(items)

    def quickly(self, items: Sequence[Scored]) -> list[Value] | None:
        """What the `fast` function makes of one item; None where it leaves it to the isolated one."""
        if self.fast is None:
            return None
        (item,) = [_with(item, self.bound) for item in items]
        value = self._guarded(lambda: self._value(item, "fast"))
        return None if value is UNDECIDED else [value]

    def needed(self, item: Scored) -> Scored:
        """`item` with only the columns that the functions ask for: what has to cross into another process."""
        asked = self.columns()
        wide = any(call.any_column for call in self._calls.values())
        row = item.row if wide else {key: value for key, value in item.row.items() if key in asked}
        return Scored(row, item.messages, item.completion_ids, item.stop_reason)

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except BadInput:
            raise
        except MemoryError:
            return Failure("MemoryError: out of memory", overrun=True)
        except Exception as error:
            return Failure(f"{type(error).__name__}: {error}", shown(error))

    def _value(self, item: Scored, part: str = "function") -> Any:
        answer = item.row.get("answer")
        if isinstance(answer, list) and any(call.one_answer for call in self._calls.values()):
            values = [self._value(_with(item, {"answer": one}), part) for one in answer]
            return UNDECIDED if any(value is UNDECIDED for value in values) else best(values)
        value = self._calls[part](item, {"gold": self._gold(item)} if self.gold is not None else {})
        return value if part == "fast" and value is UNDECIDED else checked(value, self.name)

    def _gold(self, item: Scored) -> Any:
        call = self._calls["gold"]
        key: Any = tuple(item.row.get(name) for name in call.arguments)
        try:
            known = key in self._golds
        except TypeError:  # a list or a mapping
            key = repr(key)
            known = key in self._golds
        if not known:
            self._golds[key] = call(item, {})
            if len(self._golds) > GOLDS:
                self._golds.popitem(last=False)
        return self._golds[key]

    def _group(self, items: Sequence[Scored], services: Mapping[str, Any]) -> list[Value]:
        first = items[0]
        lists = {name: [item.argument(name) for item in items] for name in PROVIDED[:-2] if name != "prompt"}
        lists["completions"] = lists.pop("completion")
        shared: dict[str, Any] = {"log_extra": _logger(items), "log_metric": first.notes.log_metric, **lists}
        if self.gold is not None:
            shared["gold"] = self._gold(first)
        return self._listed(self._calls["function"](first, shared), items)

    def _batch(self, items: Sequence[Scored], services: Mapping[str, Any]) -> list[Value]:
        call = self._calls["function"]
        columns = (
            {key: [item.row.get(key) for item in items] for key in items[0].row if key != "prompt"} if items else {}
        )
        environments = [item.environment for item in items]
        kwargs = {
            **columns, "trainer_state": None, "log_extra": _logger(items),
            "log_metric": items[0].notes.log_metric if items else None, **services,
            "environments": environments if any(e is not None for e in environments) else None,
            "prompts": [item.row.get("prompt") for item in items],
            "completions": [list(item.messages) for item in items],
            "completion_ids": [list(item.completion_ids) for item in items],
        }  # fmt: skip
        if not call.any_column:
            kwargs = {name: value for name, value in kwargs.items() if name in call.arguments}
        return self._listed(finished(self.function(**kwargs)), items)

    def _listed(self, values: Any, items: Sequence[Scored]) -> list[Value]:
        try:
            values = list(values)
        except TypeError:
            raise BadInput(
                f"reward '{self.name}' returned a {type(values).__name__}; it should return a list of one value each"
            ) from None
        if len(values) != len(items):
            raise BadInput(f"reward '{self.name}' returned {len(values)} values for {len(items)} completions")
        return [checked(value, self.name) for value in values]


_OPTIONS = (
    "name", "weight", "needs_reference", "kind", "isolated", "timeout", "memory_mb", "overrun", "concurrent"
)  # fmt: skip


def _rebuilt(
    specs: Mapping[str, str], options: Mapping[str, Any], bound: Mapping[str, Any], code: Sequence[str]
) -> Reward:  # fmt: skip
    """The reward in another process: as its module is loaded there, or as its file is now, whichever was meant.

    Args:
        code: hashes of the files that it was made from.

    Raises:
        BadInput: neither is made from these.
    """
    for again in (False, True):
        parts = {part: found(spec, again) for part, spec in specs.items()}
        if code_of(*parts.values()) == code:
            made = Reward(**parts, **options)
            return made.binding(**bound) if bound else made
    raise BadInput(
        f"reward '{options['name']}': {specs['function'].rpartition(':')[0]} has changed since it was loaded, and its workers "
        "would score by other code; put it back as it was, or start anew"
    )


def _with(item: Scored, bound: Mapping[str, Any]) -> Scored:
    return Scored(
        {**item.row, **bound}, item.messages, item.completion_ids, item.stop_reason, item.environment, item.notes
    )


def _logger(items: Sequence[Scored]) -> Callable[[str, Sequence[Any]], None]:
    """TRL's `log_extra` of a batch: one value an item."""

    def log_extra(name: str, values: Sequence[Any]) -> None:
        for item, value in zip(items, values, strict=True):
            item.notes.log_extra(name, value)

    return log_extra


def _is_column(values: Any, length: int) -> bool:
    return isinstance(values, list | tuple) and len(values) == length


@overload
def reward(function: Callable[..., Any]) -> Reward: ...
@overload
def reward(**options: Any) -> Callable[[Callable[..., Any]], Reward]: ...
def reward(
    function: Callable[..., Any] | None = None, **options: Any
) -> Reward | Callable[[Callable[..., Any]], Reward]:
    """Turn a per-completion function, with its arguments filled in by name, into a reward.

    Args:
        function: returns a number, or None where the reward does not apply; may be async.
        name: what records and curves call it; the function's own name by default.
        weight: its share of the total (1.0); 0 makes it a metric.
        needs_reference: whether it reads a gold answer, and so can't serve where none is known (True).
        isolated: run it in a worker process that is killed when it hangs, crashes or eats memory (False).
        timeout: seconds that an isolated call may take (10).
        memory_mb: MiB that an isolated call may add to its worker (2048).
        overrun: what an isolated call pays that ran out of time or memory or took its worker down, where the completion is
            to blame; None, the default, makes the row unscorable.
        concurrent: run it in a thread beside others, for rewards that wait; async functions always are (False).
        gold: parses the gold answer: its arguments are columns, its result is remembered for the group and handed to the
            function as `gold`.
        fast: asked first, here, with the same arguments; `UNDECIDED` leaves the case to the isolated function.
    """

    def wrap(inner: Callable[..., Any]) -> Reward:
        return Reward(inner, **options)

    return wrap if function is None else wrap(function)


@overload
def group_reward(function: Callable[..., Any]) -> Reward: ...
@overload
def group_reward(**options: Any) -> Callable[[Callable[..., Any]], Reward]: ...
def group_reward(
    function: Callable[..., Any] | None = None, **options: Any
) -> Reward | Callable[[Callable[..., Any]], Reward]:
    """Turn a function that sees all G completions of a prompt, on any number of ranks, into a reward.

    It receives `completions` (G texts), and `messages`, `completion_ids`, `stop_reason`, `environment` as lists of G; columns
    of the row as they are; it returns G numbers or Nones. Options as for `reward`, without `fast`.
    """
    decorator = reward(kind="group", **options)
    return decorator if function is None else decorator(function)


def as_reward(function: Any) -> Reward:
    """A Reward as it is; any other callable as a function with TRL's batch signature.

    Raises:
        BadInput: not callable.
    """
    if isinstance(function, Reward):
        return function
    if not callable(function):
        raise BadInput(f"a reward is a function; {function!r} is a {type(function).__name__}")
    return Reward(function, kind="batch")
