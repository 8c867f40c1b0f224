"""Planning of an update: every row once, groups whole, and no more tokens than there need be."""

import itertools

import numpy as np
import pytest
from journeyman.trainers.layout import OVERHEAD, Chunk, Limits, dealt, live_rows, plan, token_ratio

CASES = {
    "one row": ([5], [3], [0], Limits(), [Chunk((0,), False, 8)]),
    "a group that is worth sharing": ([100] * 4, [10, 20, 30, 20], [0] * 4, Limits(), [Chunk((0, 1, 2, 3), True, 99 + 4 * 31)]),
    "a group that is not": ([10] * 2, [100, 100], [0, 0], Limits(), [Chunk((0, 1), False, 220)]),
    "no sharing at all": ([100] * 2, [10, 10], [0, 0], Limits(share=False), [Chunk((0, 1), False, 220)]),
    "a prompt of one token": ([1] * 4, [1] * 4, [0] * 4, Limits(ratio=0), [Chunk((0, 1, 2, 3), False, 8)]),
    "lengths that are far apart": (
        [10] * 3, [1000, 20, 990], [0, 1, 2], Limits(), [Chunk((1,), False, 30), Chunk((2, 0), False, 2020)]
    ),
    "a budget": ([10] * 4, [90] * 4, [0, 1, 2, 3], Limits(tokens=200), [Chunk((0, 1), False, 200), Chunk((2, 3), False, 200)]),
    "a row above the budget": (
        [10] * 2, [500, 10], [0, 1], Limits(tokens=100), [Chunk((1,), False, 20), Chunk((0,), False, 510)]
    ),
    "groups of different prompts together": (
        [60, 60, 64, 64], [5] * 4, [0, 0, 1, 1], Limits(), [Chunk((0, 1, 2, 3), True, 2 * 63 + 4 * 6)]
    ),
    "a group whose rows stand apart": ([100, 9, 100], [10, 5, 10], [0, 1, 0], Limits(), [
        Chunk((0, 2), True, 99 + 22), Chunk((1,), False, 14)
    ]),
}  # fmt: skip


@pytest.mark.parametrize(("prompts", "completions", "groups", "limits", "expected"), CASES.values(), ids=CASES)
def test_chunks(prompts, completions, groups, limits, expected):
    assert plan(prompts, completions, groups, limits) == expected


@pytest.mark.parametrize("seed", range(20))
def test_every_row_once_groups_whole_and_within_the_budget(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 12, 60).tolist()
    length = rng.integers(1, 400, 12)
    prompts, completions = [int(length[g]) for g in groups], rng.integers(0, 200, 60).tolist()
    limits = Limits(tokens=int(rng.integers(500, 6000)))
    chunks = plan(prompts, completions, groups, limits)

    assert sorted(row for chunk in chunks for row in chunk.rows) == list(range(60))
    shared = [{groups[row] for row in chunk.rows} for chunk in chunks if chunk.shared]
    for chunk, names in zip((c for c in chunks if c.shared), shared, strict=True):
        assert sorted(chunk.rows) == [row for row in range(60) if groups[row] in names]
    for chunk in chunks:
        units = len({groups[row] for row in chunk.rows}) if chunk.shared else len(chunk.rows)
        assert chunk.tokens <= limits.tokens or units == 1
        P, C = max(prompts[r] for r in chunk.rows), max(completions[r] for r in chunk.rows)
        exact = units * (P - 1) + len(chunk.rows) * (C + 1) if chunk.shared else len(chunk.rows) * (P + C)
        assert chunk.tokens == exact


def test_no_cut_of_the_sorted_rows_is_cheaper():
    rng = np.random.default_rng(5)
    completions = sorted(rng.integers(1, 500, 9).tolist())
    prompts, n = [10] * 9, 9
    found = plan(prompts, completions, list(range(n)), Limits())

    def cost(cuts):
        edges = [0, *cuts, n]
        return sum((b - a) * (10 + max(completions[a:b])) + OVERHEAD for a, b in itertools.pairwise(edges))

    every = [[i for i in range(1, n) if bits >> i & 1] for bits in range(0, 2**n, 2)]
    assert sum(chunk.tokens + OVERHEAD for chunk in found) == min(cost(cuts) for cuts in every)


def test_the_ratio_is_that_of_the_formula():
    assert token_ratio(900, [64] * 8) == pytest.approx(8 * 964 / (899 + 8 * 65))
    assert token_ratio(10, [5]) == 1.0


LIVE = {
    "some": ([0.5, 0.0, -1.0], [3, 3, 3], 1, [0, 2]),
    "none: the cheapest": ([0.0, 0.0, 0.0], [9, 2, 5], 1, [1]),
    "nothing written": ([1.0, 1.0], [0, 4], 1, [1]),
    "as many as another rank": ([0.0, 1.0, 0.0, 0.0], [5, 9, 4, 1], 3, [1, 2, 3]),
}


@pytest.mark.parametrize(("advantages", "lengths", "least", "expected"), LIVE.values(), ids=LIVE)
def test_rows_that_can_move_the_policy(advantages, lengths, least, expected):
    assert live_rows(advantages, lengths, least) == expected


DEALT = {
    "two ranks": ([10, 1, 1, 8], 2, [[0, 2], [1, 3]]),
    "as many to each, whatever they cost": ([100, 1, 1, 1], 2, [[0, 3], [1, 2]]),
    "all alike": ([1, 1, 1, 1], 2, [[0, 2], [1, 3]]),
    "one rank": ([3, 2, 1], 1, [[0, 1, 2]]),
}


@pytest.mark.parametrize(("costs", "ranks", "expected"), DEALT.values(), ids=DEALT)
def test_groups_are_dealt_to_ranks(costs, ranks, expected):
    assert dealt(costs, ranks) == expected


def test_ranks_are_nearly_level_and_better_off_than_undealt():
    rng = np.random.default_rng(2)
    costs = (rng.lognormal(5, 0.8, 64) * rng.integers(0, 2, 64)).tolist()
    loads = [sum(costs[g] for g in hand) for hand in dealt(costs, 4)]
    undealt = [sum(costs[start : start + 16]) for start in range(0, 64, 16)]

    assert sorted(g for hand in dealt(costs, 4) for g in hand) == list(range(64))
    assert max(loads) < 1.05 * sum(loads) / 4 < max(undealt)
