import numpy as np
import pytest
import torch
from journeyman.trainers.advantages import advantages, permuted
from trl.trainer.utils import nanstd

G, F = 4, 3
WEIGHTS = np.array([1.0, 0.5, 0.0])


def stock(values, weights, group_size, scale, aggregation):
    """What GRPOTrainer._generate_and_score_completions of TRL 1.16 does with a [B, F] table, in torch."""
    table, weights = torch.tensor(values), torch.tensor(weights)
    unscorable = torch.isnan(table).all(dim=1)
    if aggregation == "sum_then_normalize":
        rewards = (table * weights).nansum(dim=1)
        rewards[unscorable] = torch.nan
        mean = torch.nanmean(rewards.view(-1, group_size), dim=1).repeat_interleave(group_size)
        if scale == "batch":
            std = nanstd(rewards).expand_as(rewards)
        else:
            std = nanstd(rewards.view(-1, group_size), dim=1).repeat_interleave(group_size)
        result = rewards - mean
        if scale != "none":
            result = result / (std + 1e-4)
    else:
        grouped = table.view(-1, group_size, table.shape[1])
        normal = (grouped - torch.nanmean(grouped, dim=1, keepdim=True)) / (nanstd(grouped, dim=1, keepdim=True) + 1e-4)
        rewards = (normal.view(-1, table.shape[1]) * weights).nansum(dim=1)
        rewards[unscorable] = torch.nan
        std = nanstd(rewards).expand_as(rewards)
        result = (rewards - torch.nanmean(rewards)) / (std + 1e-4)
    return torch.nan_to_num(result, nan=0.0).numpy(), torch.isclose(std, torch.zeros_like(std)).numpy()


def table(kind):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(8 * G, F))
    if kind == "binary":
        values = (values > 0).astype(float)
    elif kind == "flat groups":
        values[: 3 * G] = 1.0
    elif kind == "all the same":
        values[:] = 0.25
    elif kind == "some do not apply":
        values[rng.random(values.shape) < 0.2] = np.nan
        values[:, 0] = np.where(np.isnan(values).all(axis=1), 0.5, values[:, 0])
    elif kind == "rows unscorable":
        values[[0, 5, 6, 17]] = np.nan
    return values


KINDS = ["dense", "binary", "flat groups", "all the same", "some do not apply", "rows unscorable"]
MODES = [("group", "sum_then_normalize"), ("batch", "sum_then_normalize"), ("none", "sum_then_normalize")]
MODES += [("group", "normalize_then_sum")]


def totals(values, weights=WEIGHTS):
    return np.where(np.isnan(values).all(axis=1), np.nan, np.nansum(values * weights, axis=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("scale", "aggregation"), MODES)
def test_they_are_stock_trls(kind, scale, aggregation):
    values = table(kind)
    ours, flat = advantages(values, totals(values), WEIGHTS, G, scale, aggregation)
    theirs, their_flat = stock(values, WEIGHTS, G, scale, aggregation)

    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(flat, their_flat)


@pytest.mark.parametrize(("scale", "aggregation"), MODES)
def test_a_row_that_failed_has_no_advantage_and_moves_no_other(scale, aggregation):
    """Unlike stock TRL, which would count the rewards that did not fail."""
    values = table("dense")
    total = totals(values)
    total[[1, 9]] = np.nan
    ours, _ = advantages(values, total, WEIGHTS, G, scale, aggregation)
    gone = values.copy()
    gone[[1, 9]] = np.nan
    theirs, _ = stock(gone, WEIGHTS, G, scale, aggregation)

    assert ours[1] == ours[9] == 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("scale", "aggregation"), MODES)
def test_groups_with_one_row_or_none_scored_are_finite(scale, aggregation):
    values = table("dense")[: 3 * G]
    values[:G] = np.nan
    values[G + 1 : 2 * G] = np.nan
    ours, _ = advantages(values, totals(values), WEIGHTS, G, scale, aggregation)

    assert np.isfinite(ours).all() and (ours[:G] == 0).all()
    if aggregation == "sum_then_normalize":
        assert ours[G] == 0


def test_permuting_keeps_each_groups_rewards_and_says_nothing_about_rows():
    values = np.arange(10 * G * F, dtype=float).reshape(-1, F)
    total = values.sum(axis=1)
    mixed, mixed_total = permuted(values, total, G, (3, 7))

    np.testing.assert_allclose(mixed.sum(axis=1), mixed_total)
    for start in range(0, len(total), G):
        assert sorted(mixed_total[start : start + G]) == sorted(total[start : start + G])
    assert not np.array_equal(mixed_total, total)
    np.testing.assert_array_equal(permuted(values, total, G, (3, 7))[1], mixed_total)
    assert not np.array_equal(permuted(values, total, G, (3, 8))[1], mixed_total)
    assert not np.array_equal(permuted(values, total, G, (4, 7))[1], mixed_total)


def test_permuting_puts_every_reward_in_every_place_as_often():
    places = np.zeros((G, G))
    for step in range(4000):
        places[permuted(np.zeros((G, 1)), np.arange(G, dtype=float), G, (0, step))[1].astype(int), np.arange(G)] += 1

    assert np.abs(places / 4000 - 1 / G).max() < 0.03
