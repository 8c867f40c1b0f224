"""Intervals and differences against closed forms, brute force and simulated coverage."""

import itertools
import math
import resource
import time

import numpy as np
import pytest
from journeyman.configs.errors import BadInput
from journeyman.evals.statistics import (
    difference_of_differences,
    interval_text,
    item_bootstrap,
    paired_difference,
    pass_at_k,
    wilson,
)
from scipy.stats import binomtest, norm


@pytest.mark.parametrize("successes, n", [(0, 1), (1, 1), (0, 40), (40, 40), (3, 10), (57, 200), (1999, 2000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_is_scipys(successes, n, confidence):
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("n, c", [(n, c) for n in (1, 2, 5, 7) for c in range(n + 1)])
def test_pass_at_k_is_the_share_of_draws_that_hold_a_success(n, c):
    rollouts = [1] * c + [0] * (n - c)
    for k in range(1, n + 1):
        draws = list(itertools.combinations(rollouts, k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


def test_pass_at_k_stays_exact_where_binomials_overflow_floats():
    n, c, k = 5000, 3, 2000
    assert pass_at_k(n, c, k) == pytest.approx(1 - float(math.comb(n - c, k) * 10**30 // math.comb(n, k)) / 1e30)


def test_the_bootstrap_resamples_items_and_not_rollouts():
    rng = np.random.default_rng(1)
    # Rollouts of one item agree, so a bootstrap over rollouts would be too narrow by sqrt(50).
    scores = {f"i{i}": [float(solved)] * 50 for i, solved in enumerate(rng.random(100) < 0.4)}
    found = item_bootstrap(scores, seed=3)
    means = np.array([np.mean(v) for v in scores.values()])
    brute = [means[rng.integers(100, size=100)].mean() for _ in range(20_000)]
    assert found.value == pytest.approx(means.mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(brute, [0.025, 0.975])), abs=0.011)
    assert found.high - found.low == pytest.approx(2 * 1.96 * means.std() / 10, rel=0.06)


def test_the_bootstrap_enumerated_on_three_items():
    values = [0.0, 0.3, 1.0]
    every = [np.mean(draw) for draw in itertools.product(values, repeat=3)]
    found = item_bootstrap([[v] for v in values], resamples=200_000)
    low, high = np.quantile(every, [0.025, 0.975], method="inverted_cdf")
    assert (found.low, found.high) == pytest.approx((low, high))


def test_any_statistic_along_the_last_axis():
    found = item_bootstrap([[v] for v in range(101)], statistic=lambda x: np.median(x, axis=-1), resamples=2000)
    assert found.value == 50
    assert 30 < found.low < 45 < 55 < found.high < 70


def test_the_paired_difference_of_a_closed_form():
    rng = np.random.default_rng(5)
    before = {f"i{i}": rng.random(4).tolist() for i in range(400)}
    after = {item: [np.mean(scores) + 0.1 + 0.2 * rng.standard_normal()] for item, scores in before.items()}
    found = paired_difference(before, dict(reversed(after.items())))
    d = np.array([np.mean(after[i]) - np.mean(before[i]) for i in before])
    se = d.std(ddof=1) / 20
    assert (found.n, found.k_before, found.k_after) == (400, 4, 1)
    assert found.difference == pytest.approx(d.mean()) == pytest.approx(found.mean_after - found.mean_before)
    assert (found.low, found.high) == pytest.approx((d.mean() - 1.96 * se, d.mean() + 1.96 * se), abs=0.1 * se)
    assert found.smallest_detectable == pytest.approx((1.96 + 0.8416) * se, rel=1e-4)
    assert found.shown


def test_the_smallest_detectable_difference_is_found_four_times_in_five():
    rng = np.random.default_rng(2)
    n, sd = 100, 0.5
    true = (norm.ppf(0.975) + norm.ppf(0.8)) * sd / math.sqrt(n)
    zero = {i: [0.0] for i in range(n)}
    found = [
        paired_difference(zero, {i: [x] for i, x in enumerate(rng.normal(true, sd, n))}, resamples=500, seed=s)
        for s in range(400)
    ]
    assert np.mean([d.low > 0 for d in found]) == pytest.approx(0.8, abs=0.06)
    assert np.mean([d.smallest_detectable for d in found]) == pytest.approx(true, rel=0.02)


def test_the_paired_interval_covers_the_truth():
    rng = np.random.default_rng(11)
    truth, covered, rounds = 0.1, 0, 300
    for seed in range(rounds):
        skill = rng.random(200) * 0.8
        before = {i: rng.binomial(1, p, 2).tolist() for i, p in enumerate(skill)}
        after = {i: rng.binomial(1, p + truth, 2).tolist() for i, p in enumerate(skill)}
        found = paired_difference(before, after, resamples=1000, seed=seed)
        covered += found.low <= truth <= found.high
    assert covered / rounds >= 0.9


def test_the_base_cancels_out_of_a_difference_of_differences():
    rng = np.random.default_rng(4)
    base, real, control = ({i: rng.random(3).tolist() for i in range(50)} for _ in range(3))
    found, direct = difference_of_differences(base, real, control), paired_difference(control, real)
    assert (found.difference, found.low, found.high) == pytest.approx((direct.difference, direct.low, direct.high))
    assert found.mean_after == pytest.approx(paired_difference(base, real).difference)
    assert found.mean_before == pytest.approx(paired_difference(base, control).difference)


def test_the_seed_alone_decides():
    scores = [[float(i % 7)] for i in range(60)]
    assert item_bootstrap(scores, seed=8) == item_bootstrap(scores, seed=8) != item_bootstrap(scores, seed=9)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: paired_difference({"a": [1], "b": [1], "c": [0]}, {"a": [1], "d": [1]}),
            r"1 are missing from 'before'",
        ),
        (
            lambda: paired_difference({"a": [1], "b": [1], "c": [0]}, {"a": [1], "d": [1]}),
            r"2 are missing from 'after'",
        ),
        (lambda: difference_of_differences({"a": [1]}, {"a": [1]}, {"b": [1]}), r"1 are missing from 'control'"),
        (lambda: item_bootstrap({"a": [1.0]}), "at least 2 items"),
        (lambda: item_bootstrap({"a": [1.0], "b": []}), "item b has no scores"),
        (lambda: item_bootstrap({"a": [1.0], "b": [0.0, None]}), "item b has the scores"),
        (lambda: item_bootstrap({"a": [1.0], "b": [math.inf]}), "finite"),
        (lambda: item_bootstrap([[1.0], [0.0]], resamples=0), "resamples"),
        (lambda: wilson(3, 2), "3 successes in 2"),
        (lambda: wilson(0, 0), "n >= 1"),
        (lambda: pass_at_k(3, 1, 4), "k <= n"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message):
    with pytest.raises(BadInput, match=message):
        call()


@pytest.mark.parametrize(
    "values, options, text",
    [
        ((0.2141, 0.1919, 0.2358), {}, "+0.214 [+0.192, +0.236]"),
        ((-0.0001, -0.02, 0.0), {}, "+0.000 [-0.020, +0.000]"),
        ((0.5, 0.4, 0.6), {"signed": False, "digits": 1}, "0.5 [0.4, 0.6]"),
    ],
)
def test_interval_text(values, options, text):
    assert interval_text(*values, **options) == text


def test_a_large_comparison_is_quick_and_small():
    rng = np.random.default_rng(0)
    before = {i: [x] for i, x in enumerate(rng.random(5000))}
    after = {i: [x] for i, x in enumerate(rng.random(5000))}
    peak, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    paired_difference(before, after, resamples=10_000)
    assert time.process_time() - start < 4  # 0.6 s on an idle core
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300_000  # KiB
