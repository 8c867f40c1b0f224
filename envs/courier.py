"""Courier: pack the goods, then get them over every stretch of the road; what the packing was worth shows on arrival alone.

Always true here: a delivery is one call of `use(thing)` a turn: the packing first, then the gear for what lies ahead, which the
reply before has named. Goods and road are drawn with the task, and no two tasks have both alike.

    Courier().tasks("train", seed=0, n=1)
    # [{'prompt': [{'role': 'user', 'content': 'Deliver milk.'}], 'goods': 'milk', 'road': ['river', 'night', ...], ...}]

A turn earns (`step_reward`) `GEARED / stretches` by the right gear, and `SAVED` by the sack, which costs less than other packing.
But nothing stays whole in a sack: goods arrive whole in a packing of their own, and that pays `WHOLE` once the last stretch is
behind (the reward `arrival`, weighed so). A policy that follows what is paid at once learns to save on packing, and loses by it.

The job's quality (`get_reward`) is `WHOLE * arrival + the sum of what the turns earned`, in [0, 1]: all that a policy is paid.

What an embedded model is shown at first is the work of a clerk who saves on packing, mixes up four kinds of gear (`HABIT`), and
now and then takes anything: it earns `CLERK_EARNS` of 1. The structure is that of the key-to-door task of Hung et al. 2019,
"Optimizing agent behavior over long time scales by transporting value": a choice, other things that pay meanwhile, then the door.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from ..configs.errors import BadInput, nearest
from ..rewards.core import reward
from .core import Generated, Limits, Row, unit_hash

PACKING: dict[str, tuple[str, ...]] = {
    "ice": ("milk", "fish", "cream"),
    "straw": ("glass", "eggs", "china"),
    "cloth": ("books", "silk", "flour"),
}
"""packing -> the goods that it keeps whole."""
SACK = "sack"
GEAR = {
    "snow": "chains", "river": "raft", "night": "lamp", "wall": "ladder",
    "cliff": "rope", "mud": "planks", "thicket": "axe", "gate": "key",
}  # fmt: skip
"""what lies ahead -> what gets over it."""

WHOLE, GEARED, SAVED = 0.5, 0.5, 0.1
"""What a delivery pays: goods that arrive whole, all the right gear together, and a sack."""

HABIT = {"cliff": "ladder", "mud": "chains", "thicket": "rope", "gate": "axe"}
"""Before the thing on the left, the clerk mostly uses the one on the right."""
SACKED = ("ice", "straw")
"""In place of these the clerk mostly takes a sack."""
HABIT_SHARE, SLIP = 0.9, 0.2
"""How often habit has its way, and how often a turn takes any packing, or any gear."""
CLERK_EARNS = 0.470
"""Mean quality of the clerk's work, as follows from the shares above."""

SHARES = {"demonstrations": 0.2, "train": 0.4, "validation": 0.15, "heldout": 0.25}


class Courier(Generated):
    """Deliver goods over a road of several stretches, by one tool; each turn's call is one decision."""

    def __init__(
        self, stretches: int = 5, shares: Mapping[str, float] | None = None, system_prompt: str | None = None
    ) -> None:
        if not isinstance(stretches, int) or isinstance(stretches, bool) or not 1 <= stretches <= 32:
            raise BadInput(f"courier: stretches is {stretches!r}; it should be a whole number from 1 to 32")
        super().__init__(SHARES if shares is None else shares, system_prompt)
        self.stretches = stretches
        self.limits = Limits(turns=stretches + 3)  # the packing, a turn that may go wrong, and one whose tool isn't run
        goods = [name for names in PACKING.values() for name in names]
        self.labels = [*PACKING, SACK, *goods, *GEAR, *GEAR.values(), "whole", "spoilt"]
        self._goods, self._road = "", list[str]()
        self._packed: str | None = None
        self._behind, self._earned, self._since = 0, 0.0, 0.0

    def generate(self, rng: random.Random) -> Row:
        """Goods, and a road."""
        goods = rng.choice([name for names in PACKING.values() for name in names])
        return {"prompt": f"Deliver {goods}.", "goods": goods, "road": rng.choices(list(GEAR), k=self.stretches)}

    def key(self, row: Row) -> str:
        """The goods and the road: the prompt shows the first alone."""
        return " ".join([row["goods"], *row["road"]])

    def reset(self, **row: Any) -> None:
        """Goods that aren't packed yet, at the beginning of the row's road."""
        self._goods, self._road = row["goods"], row["road"]
        self._packed, self._behind, self._earned, self._since = None, 0, 0.0, 0.0

    def use(self, thing: str) -> str:
        """Pack the goods, then get over what lies ahead.

        Args:
            thing: What to use.

        Returns:
            What lies ahead, or how the goods arrived.
        """
        if self.done:
            raise ValueError("the goods have arrived")
        if self._packed is None:
            self._pack(thing)
        else:
            self._go(thing)
        if self._behind < len(self._road):
            return self._road[self._behind]
        self.done = True
        return "whole" if self.whole else "spoilt"

    def _pack(self, thing: str) -> None:
        packings = [*PACKING, SACK]
        if thing not in packings:
            raise ValueError(
                f"'{thing}' is no packing{nearest(str(thing), packings)} (packings: {', '.join(packings)})"
            )
        self._packed = thing
        self._earn(SAVED * (thing == SACK))

    def _go(self, thing: str) -> None:
        gear = list(GEAR.values())
        if thing not in gear:
            raise ValueError(f"'{thing}' is no gear{nearest(str(thing), gear)} (gear: {', '.join(gear)})")
        self._earn(GEARED / len(self._road) * (thing == GEAR[self._road[self._behind]]))
        self._behind += 1

    def _earn(self, amount: float) -> None:
        self._earned += amount
        self._since += amount

    @property
    def whole(self) -> bool:
        """Whether the goods have arrived, in the packing that they need."""
        return self.done and self._goods in PACKING.get(self._packed or "", ())

    def step_reward(self, message: Mapping[str, Any]) -> float:
        """What was earned since the turn before was asked: for packing, and for the stretches gone."""
        earned, self._since = self._since, 0.0
        return earned

    def get_reward(self) -> float:
        """The whole delivery, in [0, 1]: what the turns earned, and `WHOLE` where the goods arrived so."""
        return self._earned + WHOLE * self.whole

    def oracle(self, row: Row) -> str:
        """The first of the oracle's turns: there is no answer, only work."""
        return self.oracle_turn(row, row["prompt"])

    def oracle_turn(self, row: Row, messages: Sequence[Mapping[str, Any]]) -> str:
        """The packing that the goods need, then the gear for each stretch."""
        turn = _turn(messages)
        return _use(GEAR[row["road"][turn - 1]] if turn else packing_of(row["goods"]))

    def demonstrate(self, row: Row, messages: Sequence[Mapping[str, Any]]) -> str:
        """The clerk's turn; which turns go wrong, and how, follows from the task."""
        return _use(clerk(row, _turn(messages)))


@reward(needs_reference=False)
def arrival(environment: Any) -> float:
    """1 where the goods arrived whole, else 0; known once the last stretch is behind.

    Source: the door of Hung et al. 2019. Known ways of being gamed: none; a sack pays at once, and nothing here.
    """
    return float(environment.whole)


def packing_of(goods: str) -> str:
    """What keeps `goods` whole."""
    return next(packing for packing, names in PACKING.items() if goods in names)


def clerk(row: Row, turn: int) -> str:
    """What the clerk uses in a turn of `row`."""
    key = f"{row['item']}/{turn}"
    slips, habit = unit_hash(f"slip/{key}") < SLIP, unit_hash(f"habit/{key}") < HABIT_SHARE
    if turn == 0:
        packing = packing_of(row["goods"])
        if slips:
            return _any([*PACKING, SACK], key)
        return SACK if habit and packing in SACKED else packing
    ahead = row["road"][turn - 1]
    if slips:
        return _any(list(GEAR.values()), key)
    return HABIT.get(ahead, GEAR[ahead]) if habit else GEAR[ahead]


def _any(things: Sequence[str], key: str) -> str:
    return things[int(unit_hash(f"any/{key}") * len(things))]


def _turn(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many turns there were: each of a scripted policy calls the tool once."""
    return sum(message["role"] == "tool" for message in messages)


def _use(thing: str) -> str:
    """A tool call as Qwen's chat templates have it."""
    return f"<tool_call>\n{json.dumps({'name': 'use', 'arguments': {'thing': thing}})}\n</tool_call>"
