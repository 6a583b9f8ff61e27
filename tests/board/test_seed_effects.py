import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import f

from gahbench.board.seed_effects import OUTLIER_SHARE, degrees_of_freedom, pool, seed_effects, variance_ratio
from gahbench.board.statistics import seed_spreads


def runs(*spreads, seeds=3, levels=1, mean=30.0, seed=0):
    """Return means (E, L, R) of runs with the given standard deviations."""
    noise = np.random.default_rng(seed).normal(size=(len(spreads), levels, seeds))
    return mean + np.asarray(spreads)[:, None, None] * noise


@pytest.mark.parametrize(("own", "other"), [(1, 1), (2, 2), (1, 2), (4, 3)])
@pytest.mark.parametrize("share", [0.001, 0.05])
def test_with_two_variances_the_quantile_is_the_quantile_of_f(own, other, share):
    assert variance_ratio(own, other, 1, share) == pytest.approx(f.isf(share, own, other), rel=1e-6)


@pytest.mark.parametrize("others", [2, 7])
def test_with_three_seeds_the_quantile_solves_a_closed_form(others):
    # Variances of three seeds are exponential, and an order statistic of them is a sum of independent exponentials.
    terms = others - np.arange(others // 2 + 1)
    expected = brentq(lambda ratio: np.prod(terms / (terms + ratio)) - 0.001, 1, 1e6)
    assert variance_ratio(2, 2, others, 0.001) == pytest.approx(expected, rel=1e-6)


def test_with_two_seeds_the_quantile_agrees_with_a_simulation():
    squares = np.random.default_rng(0).chisquare(1, size=(200_000, 6))
    ratio = squares[:, 0] / np.sort(squares[:, 1:], axis=1)[:, 2]
    exceeded = (ratio > variance_ratio(1, 1, 5, 0.01)).mean()
    assert exceeded == pytest.approx(0.01, abs=4 * np.sqrt(0.01 / 200_000))


@pytest.mark.parametrize(("seeds", "levels"), [(2, 1), (3, 1), (3, 4)])
def test_one_honest_entrant_of_a_thousand_is_an_outlier(seeds, levels):
    trials, outliers = 1000, 0
    for trial in range(trials):
        outliers += len(pool(runs(*[0.2] * 6, seeds=seeds, levels=levels, seed=trial), False).outliers)
    expected = OUTLIER_SHARE * 6 * trials
    assert outliers < expected + 4 * np.sqrt(expected)


def test_an_outlier_does_not_change_the_decision_on_others():
    honest = runs(0.1, 0.2, 0.1, 0.3, 0.2, 12.0, seed=4)
    outlier = runs(300.0)
    pooled, pooled_without_outlier = pool(np.concatenate([outlier, honest])), pool(honest)
    assert pooled.outliers.keys() == {0, 6}
    assert pooled_without_outlier.outliers.keys() == {5}
    np.testing.assert_array_equal(pooled.indices, pooled_without_outlier.indices + 1)
    np.testing.assert_array_equal(pooled.runs.pooled, pooled_without_outlier.runs.pooled)


def test_an_outlier_at_one_level_is_named_with_that_level():
    values = runs(*[0.1] * 6, levels=3)
    values[2, 1] = 30 + np.array([-9.0, 0.0, 9.0])
    outlier = pool(values, False).outliers[2]
    assert (outlier.level, outlier.spread) == (1, pytest.approx(9.0))
    assert 0.03 < outlier.median < 0.3


def test_an_outlier_does_not_decide_whether_variances_are_relative():
    # Honest spreads are 1 % of the means; the outlier has a larger spread and a negative mean.
    means = np.array([1.0, 3.0, 10.0, 30.0, 100.0, 300.0])[:, None, None]
    honest = means * runs(*[0.01] * 6, mean=1.0)
    outlier = np.full((1, 1, 3), -1000.0) + np.array([-3e4, 0.0, 3e4])
    pooled = pool(np.concatenate([honest, outlier]))
    assert pooled.relative
    np.testing.assert_array_equal(pooled.indices, np.arange(6))


def test_excluded_entrants_have_the_effects_that_they_have_alone():
    values, names = runs(0.1, 0.1, 0.2, 0.1, 4.0), list("abcde")
    effects = seed_effects(values, 500, 0, names, excluded=[1])
    np.testing.assert_allclose(effects[:, [0, 2, 3]], seed_effects(values[[0, 2, 3]], 500, 0, ["a", "c", "d"]))
    for index in (1, 4):
        alone = seed_effects(values[[index]], 500, 0, [names[index]])
        np.testing.assert_allclose(np.abs(effects[:, [index]]), np.abs(alone))


def test_degrees_of_freedom_are_between_the_values_of_the_entrant_and_the_pool():
    # With two degrees of freedom a variance is exponential, and its median is log(2) times its mean.
    median = np.log(2)
    assert degrees_of_freedom(0.5, 2.0, 12.0) == degrees_of_freedom(median, 2.0, 12.0) == pytest.approx(12.0)
    assert degrees_of_freedom(1e9, 2.0, 12.0) == pytest.approx(2.0)
    assert degrees_of_freedom(4.0 * median, 2.0, 12.0) == pytest.approx(1 / (0.75 / 2 + 0.25 / 12))
    # Satterthwaite's approximation for a sum of 3 with 2 and 1 with 12 degrees of freedom is an upper limit.
    assert 2.0 < degrees_of_freedom(4.0, 2.0, 12.0) < 16 / (9 / 2 + 1 / 12)


def test_ratios_of_equal_variances_are_1_on_average():
    trials, ratios = 1000, []
    for trial in range(trials):
        ratios += [spread.ratio for spread in pool(runs(*[0.2] * 6, seeds=5, seed=trial), False).runs.spreads]
    # Each ratio is an F variable with 4 and 20 degrees of freedom, divided by its mean.
    error = f.std(4, 20) / f.mean(4, 20) / np.sqrt(trials)
    assert np.mean(ratios) == pytest.approx(1.0, abs=4 * error)


def test_the_spread_of_an_entrant_does_not_reduce_its_own_ratio():
    trials, ratios = 1000, []
    for trial in range(trials):
        pooled = pool(runs(0.2, 0.2, 0.2, 0.2, 0.2, 0.6, seeds=5, seed=trial), False)
        ratios += [] if pooled.outliers else [pooled.runs.spreads[5].ratio]
    assert len(ratios) > 0.8 * trials
    assert np.mean(ratios) == pytest.approx(9.0, abs=4 * 9 * f.std(4, 20) / f.mean(4, 20) / np.sqrt(trials))


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
        effects = seed_effects(first, 400, trial, names, seed_spreads(datasets))
        covered += np.abs(first.mean(axis=1)) < np.quantile(np.abs(effects), 0.95, axis=0)
    error = np.sqrt(0.95 * 0.05 / trials)
    assert covered[-1] / trials > least - 3 * error
    assert (covered[:-1] / trials > 0.95 - 3 * error).all()


def test_with_two_entrants_one_is_an_outlier_above_the_quantile_of_f():
    below_quantile, above_quantile = (
        np.array([[[-1.0, 0.0, 1.0]], [[-times, 0.0, times]]]) for times in (np.sqrt(9 * 998.0), np.sqrt(9 * 1000.0))
    )
    assert pool(below_quantile).outliers == {}
    assert pool(above_quantile).outliers.keys() == {1}


def test_an_outlier_on_one_dataset_has_no_spread_there():
    values = np.repeat(runs(*[0.1] * 5)[..., None], 6, axis=3)
    with_outlier = values.copy()
    with_outlier[4] += 50 * np.array([-1.0, 0.0, 1.0])[:, None]
    names = list("abcde")
    assert seed_spreads({"d": (with_outlier, names)}).keys() == set("abcd")
    assert seed_spreads({"d": (with_outlier, names)}) == seed_spreads({"d": (values[:4], names[:4])})
    assert "e" in seed_spreads({"d": (with_outlier, names), "e": (values, names)})
