"""What a job is: tasks in three disjoint splits (and a few demonstrations), and the answers known to be right.

Always true here: a row's split follows from its content alone, so no seed can move a held-out row into training; the
seed only chooses which rows of a split are drawn and in what order. No torch.

The interface is TRL's (`reset(**row)`, public typed methods are tools, optional `get_reward()`), plus `tasks`,
`oracle`, `baseline` and `close`. A new job is usually one method:

    class Reverse(Generated):
        def generate(self, rng):
            word = "".join(rng.choices("abcdefgh", k=5))
            return {"prompt": f"Reverse {word}", "answer": word[::-1]}
"""

from __future__ import annotations

import hashlib
import inspect
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..configs.errors import BadInput, nearest
from .messages import plain_messages

Row = dict[str, Any]
"""One task: `prompt` (messages), `item` (hash of its content), and the columns that rewards ask for by name."""

SPLITS = ("demonstrations", "train", "validation", "heldout")
"""`demonstrations` is the stated small share with worked answers that warms up an embedded model; `train` is where only
the reward is known; `validation` serves curves and checkpoint selection; `heldout` is read by the proof alone."""

DEFAULT_SHARES: dict[str, float] = {"demonstrations": 0.1, "train": 0.55, "validation": 0.1, "heldout": 0.25}


@dataclass(frozen=True)
class Limits:
    """What one rollout may use before it is stopped; `limits:` in a config is laid on the environment's own."""

    turns: int = 1
    """Turns of the model. The tools that its last turn calls are not run."""
    tokens: int | None = None
    """Sampled tokens of all turns together."""
    seconds: float | None = None
    """Of the clock, for the whole rollout."""
    tool_seconds: float = 30.0
    """Of the clock, for one call of a tool; an async one is cancelled, one in a thread is left behind."""
    observation: int = 1024
    """Tokens of one tool's reply; what is longer is cut, and says so."""


class EnvironmentFailed(Exception):
    """Raised by a tool or by `reset` when the environment itself is broken: the rollout is no result, and is tried once more.

    Any other exception of a tool is told to the model, which may do better.
    """


class Environment:
    """The contract every job fulfils. Subclass `Generated` or `Rows`, or this where the tasks come from elsewhere."""

    version = "1"
    """Change it when the same seed would give other tasks: it goes into every record."""
    limits = Limits()
    threads = False
    """Whether the synchronous tools may run in threads beside those of other rollouts."""
    extraction: str = "strip"
    """How an answer is read out of a completion; a name of `rewards.text.EXTRACTORS`."""
    done = False
    """Set to True by a tool after which there is nothing left to do: the rollout ends with that turn."""
    _made_with: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def __new__(cls, *args: Any, **kwargs: Any) -> Environment:
        """Remembers what the constructor was given, for `another`."""
        self = super().__new__(cls)
        self._made_with = (args, kwargs)
        return self

    def another(self) -> Environment:
        """One more like this, for a rollout beside others; override it to share what is dear to make."""
        args, kwargs = self._made_with
        return type(self)(*args, **kwargs)

    def tasks(self, split: str, seed: int, n: int | None = None) -> list[Row]:
        """`n` rows of `split` (all of them where None), in the order that `seed` gives.

        Raises:
            BadInput: no such split, or it holds fewer than `n` rows.
        """
        raise NotImplementedError(f"{type(self).__name__} must say where its tasks come from: tasks(split, seed, n)")

    def reset(self, /, **row: Any) -> str | None:
        """Start one rollout on `row`; a returned text is appended to the prompt's last message."""
        return None

    def step_reward(self, message: Mapping[str, Any]) -> float:
        """What a turn has earned, asked once it is over and its tools have run; only asked where a class defines it.

        These come on top of the reward functions: GRPO adds them up, PPO credits each to its own turn.

        Args:
            message: what the policy wrote in that turn. A turn that was cut off, or whose tools did not run, is not asked for.
        """
        return 0.0

    def oracle(self, row: Row) -> str:
        """The completion that earns full marks on `row`."""
        return str(row["answer"])

    def oracle_turn(self, row: Row, messages: Sequence[Mapping[str, Any]]) -> str:
        """What the oracle writes next, with tool calls as chat templates have them; a job without tools needs `oracle` alone.

        Args:
            messages: the rollout so far, its prompt included.
        """
        return self.oracle(row)

    def demonstrate(self, row: Row, messages: Sequence[Mapping[str, Any]]) -> str:
        """The same for the warm start of an embedded model, which may be shown work that is not always right."""
        return self.oracle_turn(row, messages)

    def baseline(self, rows: Sequence[Row], demonstrations: Sequence[Row]) -> list[str] | None:
        """What a scripted workflow answers to `rows`, having seen `demonstrations`; None where the job has none."""
        return None

    def close(self) -> None:
        """Let go of what one rollout held."""


class Splitter(Environment):
    """A job whose rows are dealt to splits by a hash of their content, by `shares`."""

    def __init__(self, shares: Mapping[str, float] | None = None, system_prompt: str | None = None) -> None:
        self.shares = check_shares(DEFAULT_SHARES if shares is None else shares)
        self.system_prompt = system_prompt

    def key(self, row: Row) -> str:
        """What makes a row the same task as another; override it where different texts ask the same."""
        return content(row["prompt"])

    def family(self, row: Row) -> str:
        """What decides the split: rows of one family share it. The key, unless different tasks give each other away."""
        return self.key(row)

    def split_of(self, row: Row) -> str:
        """The one split that `row` belongs to, whatever the seed."""
        return deal(self.family(row), self.shares)

    def finished(self, row: Row, index: int) -> Row:
        """`row` as rewards and records see it: messages for a prompt, `item` and `index` filled in."""
        try:
            prompt = plain_messages(row["prompt"])
        except BadInput as error:
            raise BadInput(f"{type(self).__name__}, row {index}: {error}") from None
        if self.system_prompt and prompt[0]["role"] != "system":
            prompt = [{"role": "system", "content": self.system_prompt}, *prompt]
        return {**row, "prompt": prompt, "item": digest(self.key(row)), "index": index}


class Generated(Splitter):
    """A job that draws its tasks: `generate(rng)` returns one row."""

    def generate(self, rng: random.Random) -> Row:
        """One task: at least `prompt` (a text or messages), and `answer` where the oracle and rewards need it."""
        raise NotImplementedError(f"{type(self).__name__} must define generate(rng) -> row")

    def tasks(self, split: str, seed: int, n: int | None = None) -> list[Row]:
        """`n` different tasks of `split` (at most 4,096 where None); stops when the supply runs dry."""
        check_split(split)
        wanted = 4096 if n is None else n
        rng = random.Random(f"{type(self).__name__}/{split}/{seed}")
        rows: list[Row] = []
        seen: set[str] = set()
        misses = 0
        while len(rows) < wanted:
            row = self.generate(rng)
            key = self.key(row)
            if key in seen or self.split_of(row) != split:
                misses += 1
                if misses > 2000 + 10 * len(rows):
                    break
                continue
            seen.add(key)
            rows.append(self.finished(row, len(rows)))
            misses = 0
        if n is not None and len(rows) < n:
            raise BadInput(too_few(self, f"only about {len(rows)}", split, n))
        return rows


class Rows(Splitter):
    """A job over a fixed list of rows: `rows()` returns them all, each with a `prompt`."""

    def rows(self) -> Sequence[Row]:
        """Every row of the job, in any order."""
        raise NotImplementedError(f"{type(self).__name__} must define rows() -> list of rows")

    def tasks(self, split: str, seed: int, n: int | None = None) -> list[Row]:
        """`n` rows of `split` in the order that `seed` gives; all of them where `n` is None."""
        check_split(split)
        rows = [row for row in self.rows() if self.split_of(row) == split]
        random.Random(f"{split}/{seed}").shuffle(rows)
        if n is not None and len(rows) < n:
            raise BadInput(too_few(self, str(len(rows)), split, n))
        return [self.finished(row, index) for index, row in enumerate(rows[:n])]


def deal(text: str, shares: Mapping[str, float]) -> str:
    """The split that `text` falls into by its hash, each split as often as `shares` says (they sum to 1)."""
    place, edge = unit_hash(text), 0.0
    for split in SPLITS:
        edge += shares.get(split, 0.0)
        if place < edge:
            return split
    return SPLITS[-1]


def too_few(env: object, found: str, split: str, wanted: int) -> str:
    """What to say where a split has fewer rows than were asked for."""
    return f"{type(env).__name__} has {found} {split} rows and {wanted} were asked for; ask for fewer ({split}_rows in a config)"


def check_split(split: Any) -> None:
    """Raise BadInput unless `split` is one of SPLITS."""
    if split not in SPLITS:
        raise BadInput(f"there is no split '{split}'{nearest(str(split), SPLITS)} (splits: {', '.join(SPLITS)})")


def check_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """`shares` with every split present; they must lie in [0, 1] and sum to 1.

    Raises:
        BadInput: an unknown split, a share out of range, or a sum other than 1.
    """
    if not isinstance(shares, Mapping):
        raise BadInput(
            f"shares is {shares!r}; it should be a mapping from split to share, as in {{train: 0.7, heldout: 0.3}}"
        )
    for name, share in shares.items():
        check_split(name)
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
            raise BadInput(f"the share of '{name}' is {share!r}; it should be a number between 0 and 1")
    total = sum(shares.values())
    if abs(total - 1) > 1e-9:
        raise BadInput(f"the shares of the splits sum to {total:g}; they should sum to 1: {dict(shares)}")
    return {split: float(shares.get(split, 0.0)) for split in SPLITS}


def check_disjoint(rows_of: Mapping[str, Iterable[Row]]) -> None:
    """Raise BadInput where two splits hold the same task, naming both splits and the row."""
    first: dict[str, tuple[str, Any]] = {}
    for split, rows in rows_of.items():
        for row in rows:
            other = first.setdefault(row["item"], (split, row.get("index")))
            if other[0] != split:
                raise BadInput(
                    f"the splits overlap: row {row.get('index')} of {split} is also row {other[1]} of {other[0]} "
                    f"(item {row['item']}); remove it from one of them"
                )


def prompt_text(row: Row) -> str:
    """The text of a row's prompt: of its last message, where it is messages."""
    prompt = row["prompt"]
    return str(prompt if isinstance(prompt, str) else prompt[-1]["content"])


def content(value: Any) -> str:
    """A text that is equal for equal values: strings as they are, the rest as canonical JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def digest(text: str) -> str:
    """The first 16 hex digits of SHA-256: the name of an item."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone."""
    return (
        int.from_bytes(hashlib.sha256(("split/" + text).encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64
    )


def keeps_state(env: Environment) -> bool:
    """Whether each rollout needs an environment of its own: it has tools, or a reward reads what a rollout left in it."""
    return hasattr(env, "get_reward") or pays_steps(env) or bool(tools_of(env))


def pays_steps(env: Environment) -> bool:
    """Whether the environment gives a reward per turn."""
    return getattr(type(env), "step_reward", Environment.step_reward) is not Environment.step_reward


def tools_of(env: Environment) -> list[Any]:
    """The bound methods that a policy may call, as TRL has it: public functions of the class, its contract left out."""
    contract = {name for cls in type(env).__mro__ if cls.__module__ == __name__ for name in vars(cls)} | {"get_reward"}
    names = [name for cls in type(env).__mro__ for name, value in vars(cls).items() if inspect.isfunction(value)]
    return [getattr(env, name) for name in dict.fromkeys(names) if name not in contract and not name.startswith("_")]
