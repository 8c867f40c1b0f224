"""Rewards for how much is said: a soft limit on length, and a price on repetition. They pay 0 at best and never more.

Always true here: both count sampled tokens, in linear time, and read no answer; they belong beside a reward that does, or
saying nothing at all is best.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..configs.errors import BadInput
from .cases import Case
from .core import reward

_PIECES = re.compile(r"[^\W_]{1,16}|\S")


@reward(needs_reference=False)
def length(
    completion: str, limit: int, margin: int, completion_ids: Sequence[int] = (), unit: str = "tokens"
) -> float | None:
    """0 up to `limit - margin`, then falling in a straight line to -1 at `limit`, and -1 beyond it.

    None where `unit` is tokens and no token ids are known, as for a text that no model sampled.

    Args:
        completion: its characters are counted where `unit` says so.
        limit: the length from which the whole price is due.
        margin: over how much the price rises; 0 for a step.
        completion_ids: the sampled tokens, the end of sequence and tool results included.
        unit: what is counted: `tokens` or `characters`.

    Raises:
        BadInput: `limit` and `margin` are not whole numbers with 0 <= margin <= limit, or the unit is unknown.

    Source: soft overlong punishment, equation 13 of DAPO (Yu et al. 2025, arXiv 2503.14476).
    Known ways of being gamed: an empty completion pays no price, and below the limit length is free; with `characters`,
    nothing stops a text of rare symbols that are many tokens each.
    """
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (limit, margin))
    if not whole or not 0 <= margin <= limit:
        raise BadInput(
            f"reward 'length': limit {limit!r} and margin {margin!r} should be whole numbers, 0 <= margin <= limit"
        )
    if unit not in ("tokens", "characters"):
        raise BadInput(f"reward 'length': unit is {unit!r}; it should be tokens or characters")
    if unit == "tokens" and completion and not completion_ids:
        return None
    over = (len(completion_ids) if unit == "tokens" else len(completion)) - (limit - margin)
    return 0.0 if over <= 0 else -min(1.0, over / margin) if margin else -1.0


@reward(needs_reference=False)
def repetition(completion: str, completion_ids: Sequence[int] = (), size: int = 3) -> float:
    """Minus the share of n-grams that occur again: 0 where none does, towards -1 where one is repeated without end.

    Counted over the sampled tokens; where they are not known, over words (at most 16 letters of each) and symbols.

    Args:
        completion: read where there are no token ids.
        completion_ids: the sampled tokens.
        size: tokens of an n-gram.

    Raises:
        BadInput: a size that is no whole number above 0.

    Source: the n-gram penalty of Yeo et al. 2025, "Demystifying long chain-of-thought reasoning" (arXiv 2502.03373, C.2).
    Known ways of being gamed: saying the same in other words is free, and so is a text shorter than `size`; a long honest
    text repeats more n-grams than a short one.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise BadInput(f"reward 'repetition': size is {size!r}; it should be a whole number, at least 1")
    pieces: Sequence[object] = completion_ids if len(completion_ids) else _PIECES.findall(completion.casefold())
    count = len(pieces) - size + 1
    if count < 1:
        return 0.0
    different = len(set(zip(*(pieces[i : i + count] for i in range(size)), strict=True)))
    return different / count - 1


CASES = {
    "length": [
        Case(
            {"limit": 20, "margin": 10, "unit": "characters"},
            full=0.0,
            right=["", "ten chars."],
            wrong=["x" * 15, "x" * 999],
        ),
    ],
    "repetition": [
        Case(
            {},
            full=0.0,
            right=["", "two words", "The quick brown fox jumps over the lazy dog."],
            wrong=["so it is so it is so it is", "ha" * 500, "!" * 500, "好" * 500],
        ),
    ],
}
