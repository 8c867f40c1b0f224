"""Rewards for a ranking: the ids that a completion lists, best first, against the row's `relevant` ids.

Always true here: an id given twice keeps its second place empty, and what stands beyond place k is not read, so neither
repeating ids nor listing them all earns anything.

The ranking is what the answer after any thinking says: a JSON list, or ids separated by white space or commas, numbered
lines (`1. doc7`) included. Every other word takes a place too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from ..configs.errors import BadInput
from .cases import Case
from .core import reward
from .text import after_thinking, as_list

_NUMBERING = re.compile(r"^[ \t]{0,8}(?:\d{1,4}[.)]|[-*•])[ \t]+", re.MULTILINE)
_ROOM = 200
"""Characters that are read for each of the k places."""


def ranking(completion: str, k: int) -> list[str | None]:
    """The first k ids of a completion, best first; None in the place of one that was there before.

    Raises:
        BadInput: k is not a whole number above 0.
    """
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise BadInput(f"k is {k!r}; it should be a whole number, at least 1")
    text = after_thinking(completion).strip()
    words = _listed(text) if text.startswith("[") else None
    if words is None:
        words = _NUMBERING.sub("", text[: _ROOM * (k + 1)]).replace(",", " ").split()
    seen: set[str] = set()
    places: list[str | None] = []
    for word in words[:k]:
        name = word.strip("\"'`[]()")
        places.append(None if name in seen or not name else name)
        seen.add(name)
    return places


def _listed(text: str) -> list[str] | None:
    """The members of a JSON list of texts and numbers; None where the text is no such list."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in values):
        return None
    return [str(value) for value in values]


@reward
def recall_at_k(completion: str, relevant: Sequence[str], k: int = 10) -> float | None:
    """The share of the relevant ids that stand among the first k; None where nothing is relevant.

    Args:
        completion: a ranking, see the module's docstring.
        relevant: the ids that should be found, in any order.
        k: places that are read.

    Raises:
        BadInput: k is not a whole number above 0.

    Source: recall at k of information retrieval (Manning, Raghavan, Schütze 2008, chapter 8); over all relevant ids, so that
    with more than k of them 1 is out of reach.
    Known ways of being gamed: order within the k places is free, and so is filling them with guesses: keep k near the number of
    relevant ids, or take `ndcg`.
    """
    wanted = {str(name) for name in as_list(relevant, "relevant")}
    return len(wanted.intersection(ranking(completion, k))) / len(wanted) if wanted else None


@reward
def ndcg(
    completion: str, relevant: Sequence[str] = (), gains: Mapping[str, float] | None = None, k: int = 10
) -> float | None:
    """Normalised discounted cumulative gain of the first k places, in [0, 1]; None where nothing has a gain.

    Place i (from 1) pays its id's gain over log2(i + 1); the sum is divided by that of the best ranking there is.

    Args:
        completion: a ranking, see the module's docstring.
        relevant: ids that have a gain of 1 each.
        gains: id -> gain, 0 or more, where ids differ in worth; comes before `relevant`.
        k: places that are read.

    Raises:
        BadInput: k is not a whole number above 0.
        ValueError: a gain is negative or not finite.

    Source: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", with linear gains as in
    scikit-learn's `ndcg_score`.
    Known ways of being gamed: filling the places behind the sure ones with guesses costs nothing.
    """
    worth = {
        str(name): float(gain) for name, gain in (gains or dict.fromkeys(as_list(relevant, "relevant"), 1.0)).items()
    }
    if wrong := next((name for name, gain in worth.items() if not 0 <= gain < math.inf), None):
        raise ValueError(f"the row's gain of '{wrong}' is {worth[wrong]}; it should be a finite number, 0 or more")
    found = _discounted([worth.get(name, 0.0) if name else 0.0 for name in ranking(completion, k)])
    best = _discounted(sorted(worth.values(), reverse=True)[:k])
    return found / best if best else None


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


_WRONG = [
    "",
    "d4 d5 d6",
    "I would look at the documents",
    "<think>d1 d2</think>",
    "[[",
    "[" * 100_000,
    "d1d2",
    '{"d1": 1}',
]

CASES = {
    "recall_at_k": [
        Case(
            {"relevant": ["d1", "d2"], "k": 3},
            right=["d1 d2", '["d2", "d9", "d1"]', "1. d2\n2. d1\n", "<think>d3?</think>d7, d2, d1"],
            wrong=[*_WRONG, "d7 d8 d9 d1 d2", "d3 d3 d3 d1 d2"],
        ),
        Case({"relevant": [7], "k": 1}, right=["7", "[7]"], wrong=["77", "0.7", "2 7"]),
    ],
    "ndcg": [
        Case(
            {"relevant": ["d1", "d2"], "k": 3},
            right=["d1 d2", '["d2", "d1", "d9"]', "1) d1\n2) d2"],
            wrong=[*_WRONG, "d7 d8 d9 d1 d2"],
        ),
        Case({"gains": {"a": 3, "b": 1}, "k": 2}, right=["a b", "- a\n- b"], wrong=["c d a b", "A B"]),
    ],
}
