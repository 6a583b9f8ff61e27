"""Intervals: their coverage and laws, and the variance between training runs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f, t

from gahbench.board.seed_effects import Spread, degrees_of_freedom, seed_effects, spreads_of_entrants
from gahbench.board.statistics import (
    SampledMeans,
    divide,
    interval,
    join,
    means,
    resampling_weights,
    sampled_means,
    seed_spreads,
    total,
)


def joint_draws(values, **options):
    """Return joint draws of means, shape (D, E, ...)."""
    return sampled_means(values, **options).draws()


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_weights_are_counts_of_a_resampling():
    weights = resampling_weights(7, 500)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights * 7, np.round(weights * 7), atol=1e-12)
    # A unit is left out with probability (1 - 1/n)^n.
    assert (weights == 0).mean() == pytest.approx((6 / 7) ** 7, abs=0.02)


def width(draws):
    """Return half the width of 68 % intervals: a standard error that is robust to heavy tails."""
    low, high = interval(draws, 0.6827)
    return float(np.ravel(high - low)[0]) / 2


def test_standard_error_over_seeds_and_images_adds_up():
    # Without interaction between seeds and images, the variances of both means add.
    seeds, images = gaussian(20, 1, seed=1), gaussian(1, 50, seed=2)
    expected = np.sqrt(seeds.var(ddof=1) / 20 + images.var(ddof=1) / 50)
    assert width(joint_draws((seeds + images)[None], draws=8000)) == pytest.approx(expected, rel=0.04)


def test_intervals_of_few_units_follow_student_t_distributions():
    # Values do not vary over images, and six entrants with nine seeds and equal spreads have 48 degrees of freedom.
    deviations = np.linspace(-1, 1, 9)
    values = np.repeat(gaussian(6, 1, 1) + deviations[:, None], 30, axis=2)
    sample = sampled_means(values, draws=20000)
    for low, high in (interval(sample.draws()), sample.ends()):
        np.testing.assert_allclose(high - low, 2 * t.ppf(0.975, 48) * deviations.std(ddof=1) / 3, rtol=0.06)
    # Eight images have seven degrees of freedom.
    images = gaussian(1, 1, 8)
    low, high = interval(joint_draws(images, draws=40000))
    assert high[0] - low[0] == pytest.approx(2 * t.ppf(0.975, 7) * images.std(ddof=1) / np.sqrt(8), rel=0.1)


def test_seeds_of_two_entrants_are_not_paired():
    first = gaussian(3, 1) + np.zeros((3, 40))
    draws = joint_draws(np.stack([first, first]), draws=8000, names=["a", "b"])
    assert width(draws[:, [0]] - draws[:, [1]]) == pytest.approx(np.sqrt(2) * width(draws[:, [0]]), rel=0.05)


def test_draws_do_not_depend_on_the_order_of_entrants():
    values, names = gaussian(4, 2, 9), ["a", "b", "c", "d"]
    forward = joint_draws(values, names=names)
    backward = joint_draws(values[::-1], names=names[::-1])
    np.testing.assert_allclose(forward, backward[:, ::-1])


def test_an_entrant_that_is_not_trained_has_no_seed_effect_and_is_not_pooled():
    trained, classical = gaussian(2, 2, 9), np.repeat(gaussian(1, 1, 9), 2, axis=1)
    draws = joint_draws(np.concatenate([trained, classical]), names=["a", "b", "c"])
    np.testing.assert_allclose(draws[:, :2], joint_draws(trained, names=["a", "b"]))
    np.testing.assert_allclose(draws[:, 2:], joint_draws(classical))


def test_an_entrant_with_one_run_has_the_spread_of_the_others():
    values = np.repeat(gaussian(5, 3, 1), 20, axis=2)
    values[4, 1:] = np.nan
    draws = joint_draws(values, draws=8000, names=list("abcde"), spreads={})
    assert width(draws[:, [4]]) == pytest.approx(np.sqrt(3) * width(draws[:, [0]]), rel=0.05)


def test_a_missing_seed_is_left_out():
    values = gaussian(1, 3, 12)
    values[0, 1] = np.nan
    draws = joint_draws(values, draws=6000)
    assert means(values)[0] == pytest.approx(values[0, [0, 2]].mean())
    np.testing.assert_allclose(draws, joint_draws(values[:, [0, 2]], draws=6000))
    constant = np.where(np.isnan(values), np.nan, 7.0)
    np.testing.assert_allclose(joint_draws(constant), 7.0)


def coverage(samples, truth, **options):
    """Return the share of entrants whose interval covers the truth."""
    low, high = interval(joint_draws(samples, draws=600, **options))
    return ((low <= truth) & (truth <= high)).mean()


def test_intervals_over_seeds_and_images_cover_the_truth():
    generator, count, images = np.random.default_rng(6), 1000, 8
    seeds, image_effects = generator.normal(size=(count, 3, 1)), 2 * generator.normal(size=(count, 1, images))
    samples = seeds + image_effects + 0.3 * generator.normal(size=(count, 3, images))
    # Intervals of the mean over seeds ignore seeds, and are too narrow.
    assert coverage(samples.mean(axis=1, keepdims=True), 0.0) < 0.95 - 3 * np.sqrt(0.95 * 0.05 / count)
    # Each entrant is resampled alone, since variances over seeds would be pooled.
    alone, error = samples[:300], np.sqrt(0.95 * 0.05 / 300)
    # The sum of two t variables covers 95 % or slightly more (Behrens and Fisher).
    share = np.mean([coverage(sample[None], 0.0) for sample in alone])
    assert 0.94 - 3 * error < share < 0.97 + 3 * error


def test_fewer_than_five_images_with_values_have_no_interval():
    values = gaussian(2, 1, 20)
    values[0, 0, 4:] = np.nan
    values[1, 0, 5:] = np.nan
    sample = sampled_means(values)
    np.testing.assert_allclose(sample.values, means(values))
    assert np.isnan(sample.draws()).any(axis=0).tolist() == np.isnan(sample.ends()[0]).tolist() == [True, False]
    # Images without a value do not change the standard error.
    alone = sampled_means(values[1:, :, :5])
    spread, spread_alone = (np.ptp(interval(values.draws(), 0.5), axis=0)[-1] for values in (sample, alone))
    assert spread == pytest.approx(spread_alone, rel=0.25)


def test_a_unit_at_the_mean_counts_as_a_unit():
    values = np.array([[[-2.0, -1.0, 0.0, 1.0, 2.0]], [[-2.0, -1.0, 1e-9, 1.0, 2.0]]])
    low, high = sampled_means(values).ends()
    np.testing.assert_allclose([low[0], high[0]], [low[1], high[1]], atol=1e-6)
    for scale in ("log", "logit"):
        low, high = sampled_means(0.5 + values / 5).ends(scale)
        np.testing.assert_allclose([low[0], high[0]], [low[1], high[1]], atol=1e-6)


def test_intervals_of_images_of_which_some_are_left_out_cover_the_truth():
    count, present = 2000, 8
    values = gaussian(count, 1, 28, seed=present)
    values[..., present:] = np.nan
    low, high = sampled_means(values, draws=1000).ends()
    error = np.sqrt(0.95 * 0.05 / count)
    assert 0.935 - 3 * error < ((low <= 0) & (high >= 0)).mean() < 0.955 + 3 * error


def skewed(*shape, seed=0):
    """Return gamma(1/2) values with mean 0."""
    return np.random.default_rng(seed).gamma(0.5, size=shape) - 0.5


@pytest.mark.parametrize(("units", "min_coverage"), [(5, 0.90), (24, 0.93), (64, 0.93)])
@pytest.mark.parametrize("values", [gaussian, skewed])
def test_studentised_intervals_of_few_units_cover_the_truth(values, units, min_coverage):
    count = 2000
    low, high = sampled_means(values(count, 1, units, seed=units), draws=1000).ends()
    covered, error = ((low <= 0) & (high >= 0)).mean(), np.sqrt(0.95 * 0.05 / count)
    assert min_coverage - 3 * error < covered < 0.95 + 4 * error


@given(st.integers(0, 1000), st.floats(-5, 5), st.floats(0.01, 100))
def test_studentised_intervals_follow_linear_maps(seed, offset, factor):
    values = skewed(1, 1, 9, seed=seed)
    low, high = (float(end[0]) for end in sampled_means(values, draws=200).ends())
    scaled = sampled_means(offset + factor * values, draws=200).ends()
    np.testing.assert_allclose(np.ravel(scaled), [offset + factor * low, offset + factor * high], rtol=1e-9, atol=1e-9)
    mirrored = sampled_means(-values, draws=200).ends()
    np.testing.assert_allclose(np.ravel(mirrored), [-high, -low], atol=1e-12)


def test_a_paired_difference_has_its_own_studentised_interval():
    first, difference = 3 * gaussian(1, 1, 30), skewed(1, 1, 30, seed=1)
    sample = sampled_means(np.concatenate([first, first + difference]))
    paired = sample.apply(lambda array: array[..., [1]] - array[..., [0]])
    np.testing.assert_allclose(paired.ends(), sampled_means(difference).ends())


def test_intervals_of_shares_and_of_ratios_stay_in_their_range():
    shares = sampled_means(np.array([[[0.0, 0.0, 0.1, 0.0, 1.0]], [[1.0, 1.0, 0.9, 1.0, 0.2]]]))
    low, high = shares.ends("logit")
    assert ((low > 0) & (low < shares.values) & (shares.values < high) & (high < 1)).all()
    linear_low, linear_high = shares.ends()
    assert linear_low[0] < 0
    assert linear_high[1] > 1
    low, high = sampled_means(np.array([[[0.1, 0.2, 0.1, 9.0, 0.3]]])).ends("log")
    assert 0 < low[0] < 1.94
    assert high[0] > 1.94
    # Without much variation the scale does not matter.
    values = 0.4 + 0.001 * gaussian(1, 1, 50)
    ends = [np.ravel(sampled_means(values).ends(scale)) for scale in ("linear", "log", "logit")]
    np.testing.assert_allclose(ends[1:], [ends[0]] * 2, atol=5e-5)


@pytest.mark.parametrize(("units", "min_coverage"), [(5, 0.90), (24, 0.92)])
def test_intervals_on_the_log_scale_cover_the_mean_of_skewed_values(units, min_coverage):
    trials, generator = 400, np.random.default_rng(1)
    covered = 0
    for trial in range(trials):
        low, high = sampled_means(generator.gamma(0.5, 2, size=(1, 1, units)), draws=500, seed=trial).ends("log")
        covered += bool(low[0] <= 1 <= high[0])
    assert covered / trials > min_coverage - 2.5 * (min_coverage * (1 - min_coverage) / trials) ** 0.5


def test_the_interval_of_a_mean_over_independent_samples_has_the_variance_of_the_mean():
    samples = [gaussian(1, 1, units, seed=units) for units in (20, 30, 60)]
    parts = [sampled_means(values, draws=20000, seed=index) for index, values in enumerate(samples)]
    mean = total([part.apply(lambda array: array / 3) for part in parts])
    assert float(mean.values[0]) == pytest.approx(np.mean([values.mean() for values in samples]))
    error = np.sqrt(sum(values.var(ddof=1) / values.size for values in samples)) / 3
    low, high = mean.ends()
    # Welch's degrees of freedom are between those of the smallest sample and those of all samples together.
    assert 2 * t.ppf(0.975, 107) * 0.96 < (high - low)[0] / error < 2 * t.ppf(0.975, 19) * 1.04
    # Samples with the same number of units are the same units, so that they cancel.
    nothing = total([parts[0], parts[0].apply(lambda array: -array)])
    assert isinstance(nothing, SampledMeans)
    np.testing.assert_allclose(nothing.ends(), 0, atol=1e-12)


def test_intervals_of_ratios_of_means_cover_the_truth_and_need_a_positive_denominator():
    count, generator = 2000, np.random.default_rng(3)
    below = 2 + 0.5 * generator.normal(size=(count, 1, 24))
    above = 0.7 * below + 0.5 * generator.normal(size=(count, 1, 24))
    low, high = divide(sampled_means(above, draws=1000), sampled_means(below, draws=1000)).ends()
    covered = (low <= 0.7) & (high >= 0.7)
    assert covered.mean() == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / count))
    near_zero = divide(sampled_means(above[:1]), sampled_means(below[:1] - below[:1].mean() + 0.01))
    assert np.isfinite(near_zero.values).all()
    assert np.isnan(near_zero.ends()).all()


@pytest.mark.parametrize("scale", ["linear", "log", "logit"])
def test_percentiles_of_draws_of_the_truth_are_the_ends_of_intervals(scale):
    values = np.random.default_rng(0).beta(1, 3, size=(5, 1, 24))
    sample = sampled_means(values, draws=8000)
    expected = np.array(sample.ends(scale))
    assert interval(sample.truths(scale)) == pytest.approx(expected, abs=0.05 * np.ptp(expected, axis=0).max())


def test_joined_means_have_the_intervals_of_their_parts():
    parts = [sampled_means(gaussian(3, 1, units, seed=units)) for units in (12, 12, 20)]
    rows = join(parts, lambda arrays: np.stack(arrays, axis=-2))
    assert rows.values.shape == (3, 3)
    for index, part in enumerate(parts):
        np.testing.assert_allclose(np.array(rows.ends())[:, index], part.ends())
    joined = join(parts, lambda arrays: np.concatenate(arrays, axis=-1))
    np.testing.assert_allclose(joined.ends(), np.concatenate([part.ends() for part in parts], axis=1))


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_intervals_of_a_mean_over_datasets_cover_the_truth_whether_they_share_images_or_not(shared):
    count, datasets = 2000, 4
    images = shared * gaussian(1, count, 1, 24) + np.sqrt(1 - shared**2) * gaussian(datasets, count, 1, 24, seed=1)
    mean = total([sampled_means(values, draws=1000).apply(lambda array: array / datasets) for values in images])
    covered = (mean.ends()[0] <= 0) & (mean.ends()[1] >= 0)
    assert covered.mean() == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / count))
    covered = np.abs(mean.values) <= np.quantile(np.abs(mean.draws() - mean.values), 0.95, axis=0)
    assert covered.mean() == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / count))


def test_images_of_one_source_are_resampled_together():
    # 12 photographs with 5 equal patches each count as 12 images.
    photographs = gaussian(1, 1, 12)
    patches, sources = np.repeat(photographs, 5, axis=2), np.repeat(np.arange(12) + 7, 5)
    np.testing.assert_allclose(joint_draws(patches, sources=sources), joint_draws(photographs))
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_allclose(joint_draws(patches[..., order], sources=sources[order]), joint_draws(photographs))
    assert width(joint_draws(patches)) < 0.6 * width(joint_draws(patches, sources=sources))


def test_an_entrant_alone_at_a_level_has_its_own_degrees_of_freedom():
    values = np.repeat(gaussian(4, 2, 2, 1), 20, axis=3)
    values[1:, 1] = np.nan
    low, high = interval(joint_draws(values, draws=20000))
    own = values[0, 1, :, 0].std(ddof=1) / np.sqrt(2)
    assert (high - low)[0, 1] > 2 * 8 * own
    assert np.isnan((high - low)[1:, 1]).all()


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
