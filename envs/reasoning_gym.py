"""The tasks of reasoning-gym, a hundred of them, as environments: `ReasoningGym("chain_sum")`.

Always true here: an item's split follows from its question alone. The library's own seeds leak (seeds 0 and 1 share 999 of 1,000
`chain_sum` items, since item i of seed s is item 0 of seed s + i), so the items come from one pool and a seed only orders them.
An exception of a task's own scorer makes the row unscorable.

    environment: journeyman.envs.reasoning_gym:ReasoningGym
    environment_kwargs: {task: chain_sum, config: {min_terms: 2, max_terms: 3}}
    rewards: [journeyman.envs.reasoning_gym:reasoning_gym_score]

Needs the extra `reasoning-gym`. Some of the scorers pay for nonsense: see docs/audit.md before training on one.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from ..configs.errors import BadInput, nearest
from ..rewards.cases import Case
from ..rewards.core import reward
from ..rewards.text import WRITTEN, extractor
from .core import Row, Splitter, check_split

PRELOAD = ("reasoning_gym",)
"""What a worker imports before its first call."""


class ReasoningGym(Splitter):
    """One reasoning-gym task; the reward is `reasoning_gym_score`, its own scorer."""

    def __init__(
        self,
        task: str = "chain_sum",
        config: Mapping[str, Any] | None = None,
        size: int = 2000,
        shares: Mapping[str, float] | None = None,
        system_prompt: str | None = None,
        extraction: str = "strip",
    ) -> None:
        """Make the pool of items; most tasks make an item only when it is drawn.

        Args:
            task: a name of reasoning-gym's datasets.
            config: its own configuration, seed and size aside.
            size: items in the pool, over all splits and before equal questions are dropped.
            shares: the share of each split.
            system_prompt: put before every prompt where given.
            extraction: how an answer is read out of a completion, a name of `rewards.text.EXTRACTORS`.

        Raises:
            BadInput: no such task, or it refuses its configuration.
        """
        super().__init__(shares, system_prompt)
        extractor(extraction)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise BadInput(f"reasoning_gym: size is {size!r}; it should be a whole number, at least 1")
        for key in ("seed", "size"):
            if key in (config or {}):
                raise BadInput(f"reasoning_gym: '{key}' does not go into config; the pool has its own")
        self.task, self.extraction = task, extraction
        self.config = json.dumps(dict(config or {}), sort_keys=True)
        self.dataset = dataset(task, self.config, size)
        self.size = len(self.dataset)
        self.version = f"{installed_version()}/{task}/{self.config}/{self.size}"
        self._entries: dict[int, Mapping[str, Any]] = {}

    def tasks(self, split: str, seed: int, n: int | None = None) -> list[Row]:
        """`n` different tasks of `split`, all that the pool has where None, in the order that `seed` gives."""
        check_split(split)
        order = list(range(self.size))
        random.Random(f"{split}/{seed}").shuffle(order)
        rows: list[Row] = []
        seen: set[str] = set()
        for index in order:
            if n is not None and len(rows) == n:
                break
            row = self._row(index)
            if self.split_of(row) == split and self.key(row) not in seen:
                seen.add(self.key(row))
                rows.append(self.finished(row, len(rows)))
        if n is not None and len(rows) < n:
            raise BadInput(
                f"reasoning_gym: the pool of {self.size} {self.task} items holds {len(rows)} different {split} tasks and {n} "
                "were asked for; raise size"
            )
        return rows

    def _row(self, index: int) -> Row:
        if index not in self._entries:
            with contextlib.redirect_stdout(io.StringIO()):  # some print as they draw an item
                self._entries[index] = self.dataset[index]
        entry = self._entries[index]
        row = {"prompt": entry["question"], "task": self.task, "config": self.config, "entry": entry}
        if entry["answer"] is not None:
            row["answer"] = str(entry["answer"])
        return {**row, "extraction": self.extraction}

    def oracle(self, row: Row) -> str:
        """The item's answer, written as `extraction` reads it.

        Raises:
            KeyError: the task has many answers and gives none.
        """
        return WRITTEN.get(self.extraction, "{}").format(row["answer"])

    @classmethod
    def variants(cls) -> Iterator[dict[str, Any]]:
        """The arguments of every task there is."""
        for name in names():
            yield {"task": name}


@reward(isolated=True, timeout=2.0, overrun=0.0)
def reasoning_gym_score(
    completion: str, task: str, entry: Mapping[str, Any], config: str = "{}", extraction: str = "strip"
) -> float:
    """What the task's own `score_answer` gives to the extracted answer, mostly in [0, 1]; 0 where none can be read.

    Runs in a worker that is killed after 2 s, which earns 0: some scorers evaluate the answer as an expression.

    Args:
        completion: read by `extraction`.
        task: the dataset's name.
        entry: the item as the dataset made it.
        config: the dataset's configuration as JSON text.
        extraction: a name of `rewards.text.EXTRACTORS`.

    Source: reasoning-gym (Stojanovski et al. 2025, arXiv 2505.24760), the `score_answer` of each dataset.
    Known ways of being gamed: they differ by task, and are many; docs/audit.md lists what each pays for.
    """
    answer = extractor(extraction)(completion)
    return 0.0 if answer is None else float(dataset(task, config, 1).score_answer(answer, dict(entry)))


@functools.lru_cache(maxsize=128)
def dataset(task: str, config: str, size: int) -> Any:
    """A dataset of reasoning-gym, seed 0.

    Raises:
        BadInput: reasoning-gym isn't installed, or there is no such task, or it refuses `config`.
    """
    known = names()
    if task not in known:
        raise BadInput(f"reasoning_gym has no task '{task}'{nearest(task, known)} (it has {len(known)})")
    from reasoning_gym.factory import create_dataset

    try:
        return create_dataset(task, **json.loads(config), seed=0, size=size)
    except Exception as error:  # each task checks its configuration in its own way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"reasoning_gym: {task} with config {config} can't be made: {reason}") from error


def names() -> list[str]:
    """Every task of the installed reasoning-gym.

    Raises:
        BadInput: it isn't installed.
    """
    try:
        import reasoning_gym  # noqa: F401  # which fills the list
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise BadInput(f"reasoning_gym is not installed ({error}): pip install 'journeyman[reasoning-gym]'") from None
    return sorted(DATASETS)


def installed_version() -> str:
    """The version of reasoning-gym."""
    from importlib.metadata import version

    return f"reasoning-gym {version('reasoning-gym')}"


CASES = {
    "reasoning_gym_score": [
        Case(
            {"task": "leg_counting", "entry": {"question": "How many legs have 9 cats and 3 hens?", "answer": "42"}},
            right=["42", " 42\n", "<think>41?</think>42"],
            wrong=["43", "<think>42", "", "nan", "\u00b2"],
        ),
        Case(
            {"task": "leg_counting", "entry": {"question": "And 2 hens?", "answer": "4"}, "extraction": "boxed"},
            right=[r"so \boxed{4}"],
            wrong=["5", r"\boxed{4} or \boxed{5}"],
        ),
    ],
}
