"""Notices, generated: a short, kind message from a few facts. There are many good answers, so a judge reads them by a rubric.

A task gives goods, a day and a reason; the oracle's answer is one that a rubric on apology, facts and thanks gives full marks.
"""

from __future__ import annotations

import random
from typing import ClassVar

from .core import Generated, Row


class Notices(Generated):
    """Tell a customer kindly that an order is late, with all the facts that the task gives and no others."""

    GOODS: ClassVar[tuple[str, ...]] = (
        "apples", "bags", "bells", "books", "boots", "bowls", "brushes", "candles", "chairs", "clocks", "coats", "cups",
        "drums", "fans", "flutes", "forks", "frames", "gloves", "hats", "jars", "kettles", "keys", "kites", "lamps", "maps",
        "mugs", "pans", "pens", "plates", "radios", "ropes", "rugs", "scarves", "shirts", "shoes", "spoons", "tables",
        "tents", "towels", "vases",
    )  # fmt: skip
    DAYS: ClassVar[tuple[str, ...]] = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    REASONS: ClassVar[tuple[str, ...]] = (
        "a storm",
        "a strike",
        "an error",
        "floods",
        "heavy snow",
        "roadworks",
        "traffic",
    )

    def generate(self, rng: random.Random) -> Row:
        """Draw the facts; `facts` holds them as a good answer repeats them."""
        goods = f"{rng.randrange(2, 10)} {rng.choice(self.GOODS)}"
        day, reason = rng.choice(self.DAYS), rng.choice(self.REASONS)
        return {
            "prompt": f"Tell a customer kindly, in two sentences, that an order is late. {goods}, {day}, {reason}.",
            "answer": f"Sorry, your {goods} will only come on {day} because of {reason}. Thank you for waiting!",
            "facts": [goods, day, reason],
        }
