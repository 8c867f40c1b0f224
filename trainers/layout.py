"""Which rows are forwarded together: pure planning, from lengths, groups and advantages to chunks of rows.

Always true here: numbers in and out, no tensors and no model; every row is in one chunk; the rows of a group that shares
its prompt are in the same chunk. Sources: prefix sharing as in "Prefix Grouper" (Liu et al. 2025); dropping groups without a
signal as in DAPO (Yu et al. 2025), here without resampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OVERHEAD = 192
"""What one more forward costs, in tokens of a small model: padding of fewer tokens than this is cheaper than a chunk."""


@dataclass(frozen=True)
class Limits:
    """What a plan has to keep to."""

    tokens: int = 16384
    """Most tokens of a forward, padding counted; a single group or row may need more."""
    ratio: float = 1.3
    """Share a prompt where that saves at least so much: tokens without sharing over tokens with it."""
    share: bool = True
    """Whether prompts may be shared at all."""


@dataclass(frozen=True)
class Chunk:
    """Rows forwarded together. `shared`: each group's prompt once, then its completions."""

    rows: tuple[int, ...]
    shared: bool
    tokens: int
    """Tokens that are forwarded, padding counted."""


@dataclass(frozen=True)
class _Unit:
    """What can't be divided: a group that shares its prompt, or one row."""

    rows: tuple[int, ...]
    prompt: int
    completion: int


def plan(prompts: Sequence[int], completions: Sequence[int], groups: Sequence[int], limits: Limits) -> list[Chunk]:
    """Chunks for rows with the given lengths (in tokens) and group numbers; the fewest tokens within the limits.

    Rows of a group stand anywhere; they have one prompt, and so one prompt length.
    """
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    shared, alone = [], []
    for rows in members.values():
        P, lengths = prompts[rows[0]], [completions[row] for row in rows]
        if limits.share and P > 1 and token_ratio(P, lengths) >= limits.ratio:
            shared.append(_Unit(tuple(rows), P - 1, max(lengths) + 1))
        else:
            alone += [_Unit((row,), P, completions[row]) for row in rows]
    return [*_packed(shared, limits.tokens, True), *_packed(alone, limits.tokens, False)]


def token_ratio(prompt: int, completions: Sequence[int]) -> float:
    """Tokens of a group without a shared prompt, over those with one."""
    n, total = len(completions), sum(completions)
    return (n * prompt + total) / (prompt - 1 + total + n)


def _cost(units: Sequence[_Unit], shared: bool) -> int:
    rows = sum(len(unit.rows) for unit in units)
    prompt, completion = max(unit.prompt for unit in units), max(unit.completion for unit in units)
    return len(units) * prompt + rows * completion if shared else rows * (prompt + completion)


def _packed(units: list[_Unit], most: int, shared: bool) -> list[Chunk]:
    """Units of like lengths together: the cheapest cut of the sorted list, each piece within `most` tokens."""
    units = sorted(units, key=lambda unit: (unit.prompt + unit.completion, unit.rows))
    best, cut = [0.0], [0]
    for end in range(1, len(units) + 1):
        least, begin, prompt, completion, rows = float("inf"), end - 1, 0, 0, 0
        for start in range(end - 1, -1, -1):
            unit = units[start]
            prompt, completion = max(prompt, unit.prompt), max(completion, unit.completion)
            rows += len(unit.rows)
            cost = (end - start) * prompt + rows * completion if shared else rows * (prompt + completion)
            if start < end - 1 and cost > most:
                break
            if best[start] + cost + OVERHEAD < least:
                least, begin = best[start] + cost + OVERHEAD, start
        best.append(least)
        cut.append(begin)
    chunks: list[Chunk] = []
    end = len(units)
    while end:
        piece = units[cut[end] : end]
        chunks.append(Chunk(tuple(row for unit in piece for row in unit.rows), shared, _cost(piece, shared)))
        end = cut[end]
    return chunks[::-1]


def live_rows(advantages: Sequence[float], lengths: Sequence[int], least: int = 1) -> list[int]:
    """The rows that can move the policy, in order; filled up to `least` with those that are cheapest to forward."""
    live = [row for row, advantage in enumerate(advantages) if advantage != 0 and lengths[row] > 0]
    others = sorted(set(range(len(lengths))) - set(live), key=lambda row: (lengths[row], row))
    return sorted(live + others[: max(0, least - len(live))])


def dealt(costs: Sequence[float], ranks: int) -> list[list[int]]:
    """Groups to ranks, as many to each: the dearest first, always to the rank with the least so far that has room.

    Source: longest processing time first (Graham 1969), with equal counts.
    """
    room = len(costs) // ranks
    hands: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0.0] * ranks
    for group in sorted(range(len(costs)), key=lambda group: (-costs[group], group)):
        rank = min((r for r in range(ranks) if len(hands[r]) < room), key=lambda r: (loads[r], r))
        hands[rank].append(group)
        loads[rank] += costs[group]
    return [sorted(hand) for hand in hands]
