"""Confidence intervals against slower ways to resample."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.faithfulness.bootstrap import Bootstrap, Estimate


def test_the_interval_of_a_mean_is_the_percentile_bootstrap():
    values = np.random.default_rng(0).gamma(1.0, size=80)
    found = Bootstrap(np.zeros(80), np.arange(80), seed=1).mean(values)
    rng = np.random.default_rng(2)
    means = [values[rng.integers(80, size=80)].mean() for _ in range(5000)]
    assert found.value == pytest.approx(values.mean())
    assert found[1:] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_the_median_is_that_of_the_repeated_images():
    rng = np.random.default_rng(3)
    values, boot = rng.normal(size=31), Bootstrap(np.zeros(31), np.arange(31), seed=4)
    found = boot.median(values)
    medians = [sorted(np.repeat(values, draw))[15] for draw in boot.weights]
    assert found.value == np.median(values)
    assert found[1:] == pytest.approx(np.quantile(medians, [0.025, 0.975]))


def test_strata_keep_their_size_and_clusters_stay_together():
    strata = np.repeat([0, 1], [12, 18])
    clusters = np.concatenate([np.arange(12) // 2, np.arange(18) // 3])
    weights = Bootstrap(strata, clusters, seed=0).weights
    assert (weights[:, :12].sum(axis=1) == 12).all()
    assert (weights[:, 12:].sum(axis=1) == 18).all()
    assert (weights[:, 0:12:2] == weights[:, 1:12:2]).all()
    assert len(np.unique(weights[:, ::2], axis=0)) > 900


def test_what_differs_between_models_alone_has_no_interval():
    """Models are not resampled, images are."""
    strata = np.repeat([0, 1, 2], 10)
    found = Bootstrap(strata, np.arange(30), seed=0).mean(strata.astype(float))
    assert found == (1, 1, 1)


def test_views_of_one_photograph_are_one_photograph():
    """Copies of a view add nothing to what is known."""
    values = np.random.default_rng(5).normal(size=12)
    alone = Bootstrap(np.zeros(12), np.arange(12), seed=6).mean(values)
    copied = Bootstrap(np.zeros(120), np.arange(120) % 12, seed=6).mean(np.tile(values, 10))
    assert copied == pytest.approx(alone)


def test_numbers_that_are_missing_or_too_few():
    boot = Bootstrap(np.zeros(9), np.arange(9), seed=0)
    values = np.array([1.0, np.nan, 2, 3, 4, 5, np.nan, 6, 7])
    assert boot.mean(values).value == 4
    assert boot.median(values).value == 4
    assert 1 < boot.mean(values).lower < 4 < boot.mean(values).upper < 7
    # Draws differ in how many numbers they hold.
    assert boot.mean(np.where(np.isnan(values), values, 2.0)) == (2, 2, 2)
    few = np.where(np.arange(9) < 4, 1.0, np.nan)
    for estimate in (boot.mean(few), boot.median(few)):
        assert estimate.value == 1
        assert np.isnan(estimate[1:]).all()
        assert not estimate.excludes_zero
    assert np.isnan(boot.mean(np.full(9, np.nan))).all()


def test_what_excludes_zero():
    assert Estimate(1, 0.1, 2).excludes_zero
    assert Estimate(-1, -2, -0.1).excludes_zero
    assert not Estimate(1, -0.1, 2).excludes_zero
