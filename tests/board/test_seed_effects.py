"""The variance between training runs, and the coverage of intervals that include it."""

import numpy as np
import pytest
from scipy.stats import f

from gahbench.board.seed_effects import Spread, degrees_of_freedom, seed_effects, spreads_of_entrants
from gahbench.board.statistics import seed_spreads


def runs(*spreads, seeds=3, levels=1, mean=30.0, seed=0):
    """Return means (E, L, R) of runs with the given standard deviations."""
    noise = np.random.default_rng(seed).normal(size=(len(spreads), levels, seeds))
    return mean + np.asarray(spreads)[:, None, None] * noise


def test_excluded_entrants_have_the_effects_that_they_have_alone():
    values, names = runs(0.1, 0.1, 0.2, 0.1, 40.0), list("abcde")
    effects = seed_effects(values, 500, 0, names, excluded=[1, 4])
    np.testing.assert_allclose(effects[:, [0, 2, 3]], seed_effects(values[[0, 2, 3]], 500, 0, ["a", "c", "d"]))
    for index in (1, 4):
        alone = seed_effects(values[[index]], 500, 0, [names[index]], relative=False)
        np.testing.assert_allclose(np.abs(effects[:, [index]]), np.abs(alone))


def test_variances_are_relative_to_squared_means_if_that_makes_them_more_equal():
    means = np.array([1.0, 3.0, 10.0, 30.0, 100.0, 300.0])[:, None, None]
    widths = np.abs(seed_effects(means * runs(*[0.01] * 6, mean=1.0), 2000, 0, list("abcdef"), spreads={})).mean(axis=0)
    np.testing.assert_allclose(widths[:, 0] / widths[0, 0], means[:, 0, 0], rtol=0.1)


def test_effects_at_levels_have_the_covariance_of_runs():
    # Deviations at the second level are those at the first level times -2.
    values = runs(0.1, 0.1, 0.1) * np.array([1.0, -2.0])[:, None]
    effects = seed_effects(values, 1000, 0, list("abc"), relative=False)
    np.testing.assert_allclose(effects[..., 1], -2 * effects[..., 0], atol=1e-6)


def test_degrees_of_freedom_are_between_the_values_of_the_entrant_and_the_pool():
    assert degrees_of_freedom(Spread(), 0.0, 12.0) == degrees_of_freedom(Spread(0.5, 2.0), 2.0, 12.0) == 12.0
    assert degrees_of_freedom(Spread(1e9, 2.0), 2.0, 12.0) == pytest.approx(2.0)
    # With two degrees of freedom a variance is exponential, and its median is about log(2) times its mean.
    expected = 1 / (0.75 / 2 + 0.25 / 12)
    assert degrees_of_freedom(Spread(4.0 * np.log(2), 2.0), 2.0, 12.0) == pytest.approx(expected, rel=0.02)
    # A ratio on another dataset applies to the uncertain pooled variance of this dataset.
    assert degrees_of_freedom(Spread(1e9, 2.0), 0.0, 12.0) == pytest.approx(1 / (1 / 2 + 1 / 12))


@pytest.mark.parametrize(("last", "expected"), [(0.2, 1.0), (0.6, 9.0)])
def test_the_mean_ratio_is_that_of_the_variances_whatever_the_spread_of_the_entrant(last, expected):
    trials = 1000
    ratios = [spreads_of_entrants(runs(*[0.2] * 5, last, seeds=5, seed=trial))[5].ratio for trial in range(trials)]
    # Each ratio is an F variable with 4 and 20 degrees of freedom, divided by its mean.
    error = f.std(4, 20) / f.mean(4, 20) / np.sqrt(trials)
    assert np.mean(ratios) == pytest.approx(expected, abs=4 * expected * error)


def test_spreads_are_averaged_over_datasets():
    values = np.repeat(np.array([[1.0, -1.0], [2.0, -2.0]])[..., None], 4, axis=2)
    # The variances are 2 and 8 in units of their mean, and swapped on the second dataset.
    assert seed_spreads([(values, "ab")]) == {"a": Spread(0.4, 1.0), "b": Spread(1.6, 1.0)}
    average = Spread(1.0, 2.0)
    assert seed_spreads([(values, "ab"), (values[::-1], "ab")]) == {"a": average, "b": average}
    assert seed_spreads([(values[:, :1], "ab")]) == {}


@pytest.mark.parametrize(
    ("seeds", "datasets", "least"),
    [
        (2, 1, 0.88),
        (3, 4, 0.93),
        pytest.param(2, 4, 0.925, marks=pytest.mark.slow),
        pytest.param(3, 1, 0.90, marks=pytest.mark.slow),
    ],
)
def test_intervals_of_an_entrant_with_a_larger_spread_cover_the_truth(seeds, datasets, least):
    generator, names = np.random.default_rng(0), list("abcdef")
    spreads = np.array([1.0] * 5 + [3.0])[:, None, None]
    covered, trials, count = np.zeros(6), 400, datasets
    for trial in range(trials):
        datasets = {str(index): (spreads * generator.normal(size=(6, seeds, 1)), names) for index in range(count)}
        first = datasets["0"][0][..., 0]
        effects = seed_effects(first, 400, trial, names, seed_spreads(datasets.values()))
        covered += np.abs(first.mean(axis=1)) < np.quantile(np.abs(effects), 0.95, axis=0)
    error = np.sqrt(0.95 * 0.05 / trials)
    assert covered[-1] / trials > least - 3 * error
    assert (covered[:-1] / trials > 0.95 - 3 * error).all()
