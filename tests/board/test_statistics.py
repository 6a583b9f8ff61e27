import numpy as np
import pytest

from gahbench.board.statistics import bootstrap_means, interval, means, resampling_weights, seed_spreads


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


def test_standard_error_over_images_is_the_analytic_one():
    values = gaussian(1, 1, 200)
    assert width(bootstrap_means(values, draws=8000)) == pytest.approx(values.std(ddof=1) / np.sqrt(200), rel=0.04)


def test_standard_error_over_seeds_and_images_adds_up():
    # Without interaction between seeds and images, the variances of both means add.
    seeds, images = gaussian(20, 1, seed=1), gaussian(1, 50, seed=2)
    expected = np.sqrt(seeds.var(ddof=1) / 20 + images.var(ddof=1) / 50)
    assert width(bootstrap_means((seeds + images)[None], draws=8000)) == pytest.approx(expected, rel=0.04)


def test_intervals_of_few_units_are_those_of_t_statistics():
    from scipy.stats import t

    # Values do not vary over images, and six entrants with two seeds have six degrees of freedom together.
    values = np.repeat(gaussian(6, 2, 1), 30, axis=2)
    pooled = np.sqrt(values[..., 0].var(axis=1, ddof=1).mean() / 2)
    relative_variances = values[..., 0].var(axis=1, ddof=1) / values[..., 0].var(axis=1, ddof=1).mean()
    low, high = interval(bootstrap_means(values, draws=20000))
    expected = 2 * t.ppf(0.975, 6) * pooled * np.sqrt(np.maximum(relative_variances, 1))
    np.testing.assert_allclose(high - low, expected, rtol=0.06)
    # Eight images have seven degrees of freedom.
    images = gaussian(1, 1, 8)
    low, high = interval(bootstrap_means(images, draws=40000))
    assert high[0] - low[0] == pytest.approx(2 * t.ppf(0.975, 7) * images.std(ddof=1) / np.sqrt(8), rel=0.1)


def test_a_constant_difference_has_no_width_over_images():
    first = gaussian(1, 40)
    draws = bootstrap_means(np.stack([first, first + 0.5]))
    low, high = interval(draws[:, 1] - draws[:, 0])
    assert low == pytest.approx(0.5, abs=1e-12)
    assert high == pytest.approx(0.5, abs=1e-12)
    assert np.ptp(interval(draws[:, 0])) > 0.1


def test_seeds_of_two_entrants_are_not_paired():
    first = gaussian(3, 1) + np.zeros((3, 40))
    draws = bootstrap_means(np.stack([first, first]), draws=8000, names=["a", "b"])
    assert width(draws[:, [0]] - draws[:, [1]]) == pytest.approx(np.sqrt(2) * width(draws[:, [0]]), rel=0.05)


def test_draws_do_not_depend_on_the_order_of_entrants():
    values, names = gaussian(4, 2, 9), ["a", "b", "c", "d"]
    forward = bootstrap_means(values, names=names)
    backward = bootstrap_means(values[::-1], names=names[::-1])
    np.testing.assert_allclose(forward, backward[:, ::-1])


def test_an_entrant_that_is_not_trained_has_no_seed_effect_and_is_not_pooled():
    trained, classical = gaussian(2, 2, 9), np.repeat(gaussian(1, 1, 9), 2, axis=1)
    draws = bootstrap_means(np.concatenate([trained, classical]), names=["a", "b", "c"])
    np.testing.assert_allclose(draws[:, :2], bootstrap_means(trained, names=["a", "b"]))
    np.testing.assert_allclose(draws[:, 2:], bootstrap_means(classical))


def test_an_entrant_with_one_run_has_the_spread_of_the_others():
    values = np.repeat(gaussian(5, 3, 1), 20, axis=2)
    values[4, 1:] = np.nan
    draws = bootstrap_means(values, draws=8000, names=list("abcde"), spreads={})
    assert width(draws[:, [4]]) == pytest.approx(np.sqrt(3) * width(draws[:, [0]]), rel=0.05)


def test_spreads_are_pooled_over_datasets():
    values = np.repeat(np.array([[1.0, -1.0], [2.0, -2.0]])[..., None], 4, axis=2)
    # The variances are 2 and 8 in units of their mean, and swapped on the second dataset.
    assert seed_spreads({"d": (values, "ab")}) == pytest.approx({"a": 0.4, "b": 1.6})
    assert seed_spreads({"d": (values, "ab"), "e": (values[::-1], "ab")}) == pytest.approx({"a": 1.0, "b": 1.0})
    assert seed_spreads({"d": (values[:, :1], "ab")}) == {}


def test_draws_accept_any_leading_shape():
    values = gaussian(1, 3, 2, 9)
    draws = bootstrap_means(values, draws=4000)
    assert draws.shape == (4000, 1, 3)
    for level in range(3):
        alone = bootstrap_means(values[:, level], draws=4000)
        assert width(draws[:, :, level]) == pytest.approx(width(alone), rel=0.1)


def test_means_over_levels_that_share_their_seeds_vary_as_the_means_of_seeds():
    # Effects of opposite sign at two levels cancel in the mean.
    seeds = gaussian(4, 6, 1)
    values = np.stack([seeds, -seeds], axis=1) + np.zeros((4, 2, 6, 10))
    draws = bootstrap_means(values)
    assert width(draws[..., 0]) > 0.1
    np.testing.assert_allclose(draws.mean(axis=2), 0, atol=1e-12)


def test_a_missing_seed_is_left_out():
    values = gaussian(1, 3, 12)
    values[0, 1] = np.nan
    draws = bootstrap_means(values, draws=6000)
    assert means(values)[0] == pytest.approx(values[0, [0, 2]].mean())
    np.testing.assert_allclose(draws, bootstrap_means(values[:, [0, 2]], draws=6000))
    constant = np.where(np.isnan(values), np.nan, 7.0)
    np.testing.assert_allclose(bootstrap_means(constant), 7.0)


def coverage(samples, truth, **options):
    """Return the share of entrants whose interval covers the truth."""
    low, high = interval(bootstrap_means(samples, draws=600, **options))
    return ((low <= truth) & (truth <= high)).mean()


def test_intervals_cover_the_truth():
    # The values of 100 images are skewed: exponential with mean 1.
    count = 1000
    samples = np.random.default_rng(5).exponential(size=(count, 1, 100))
    error = np.sqrt(0.95 * 0.05 / count)
    # Percentile intervals of 100 skewed values are known to fall short by about 1.5 %.
    assert 0.925 - 3 * error < coverage(samples, 1.0) < 0.95 + 3 * error


@pytest.mark.parametrize("images", [8, 40])
def test_intervals_over_seeds_and_images_cover_the_truth(images):
    generator, count = np.random.default_rng(6), 1000
    seeds, image_effects = generator.normal(size=(count, 3, 1)), 2 * generator.normal(size=(count, 1, images))
    samples = seeds + image_effects + 0.3 * generator.normal(size=(count, 3, images))
    # Intervals of the mean over seeds ignore seeds, and are too narrow.
    assert coverage(samples.mean(axis=1, keepdims=True), 0.0) < 0.95 - 3 * np.sqrt(0.95 * 0.05 / count)
    # Each entrant is resampled alone, since variances over seeds would be pooled.
    alone, error = samples[:300], np.sqrt(0.95 * 0.05 / 300)
    # The sum of two t variables covers 95 % or slightly more (Behrens and Fisher).
    share = np.mean([coverage(sample[None], 0.0) for sample in alone])
    assert 0.94 - 3 * error < share < 0.97 + 3 * error


def test_a_draw_is_finite_only_if_the_resampling_holds_a_finite_value():
    values = np.full((1, 5, 20), np.nan)
    values[0, 3, 11] = 7.0
    draws = bootstrap_means(values, draws=3000)[:, 0]
    holds_value = resampling_weights(20, 3000)[:, 11] > 0
    assert 0 < holds_value.sum() < 3000
    np.testing.assert_array_equal(np.isnan(draws), ~holds_value)
    np.testing.assert_allclose(draws[holds_value], 7.0)


@pytest.mark.parametrize("level", [0.2, 0.5, 0.9])
def test_the_ends_of_an_interval_are_quantiles_with_equal_tails(level):
    draws = np.random.default_rng(5).permutation(1001).astype(np.float64)
    low, high = interval(draws, level)
    assert float(low) == pytest.approx(500 - 500 * level)
    assert float(high) == pytest.approx(500 + 500 * level)


def test_five_images_have_an_interval_four_have_none_and_no_value_is_nan():
    low, high = interval(bootstrap_means(np.array([[[1.0, 3.0, 2.0, 1.5, 2.5]]])))
    # The t distribution has four degrees of freedom.
    assert 0.9 < low[0] < 1.5 < 2.5 < high[0] < 3.1
    assert np.isnan(interval(bootstrap_means(np.array([[[1.0, 3.0, 2.0, 1.5]]])))).all()
    nothing = np.full((2, 3, 5), np.nan)
    nothing[1] = 1.0
    np.testing.assert_array_equal(means(nothing), [np.nan, 1.0])
    np.testing.assert_allclose(interval(bootstrap_means(nothing)), [[np.nan, 1.0]] * 2)


def test_images_of_one_source_are_resampled_together():
    # 12 photographs with 5 equal patches each count as 12 images.
    photographs = gaussian(1, 1, 12)
    patches, sources = np.repeat(photographs, 5, axis=2), np.repeat(np.arange(12) + 7, 5)
    np.testing.assert_allclose(bootstrap_means(patches, sources=sources), bootstrap_means(photographs))
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_allclose(
        bootstrap_means(patches[..., order], sources=sources[order]), bootstrap_means(photographs)
    )
    assert width(bootstrap_means(patches)) < 0.6 * width(bootstrap_means(patches, sources=sources))


def test_intervals_over_sources_cover_the_truth():
    generator, count = np.random.default_rng(8), 1000
    sources = np.repeat(np.arange(10), 4)
    samples = generator.normal(size=(count, 1, 10))[..., sources] + generator.normal(size=(count, 1, 40))
    assert abs(coverage(samples, 0.0, sources=sources) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / count)


def test_variances_are_pooled_relative_to_means_of_other_scales():
    generator = np.random.default_rng(3)
    scales = np.array([0.001, 0.01, 0.1, 1.0, 10.0])
    values = scales[:, None, None] * (1 + 0.05 * generator.normal(size=(5, 3, 1)) + np.zeros((1, 1, 20)))
    low, high = interval(bootstrap_means(values))
    widths = (high - low) / means(values)
    # A spread of 5 % and three seeds give a standard error of 3 %; intervals extend 2.3 of them or more to each side.
    assert (widths > 0.05).all()
    assert (widths < 0.4).all()
    # Values of one scale with equal variances are pooled on the absolute scale.
    equal = np.arange(1, 6)[:, None, None] + 0.3 * np.array([-1.0, 0.0, 1.0])[None, :, None] + np.zeros((1, 1, 20))
    low, high = interval(bootstrap_means(equal))
    assert np.ptp(high - low) < 0.2 * (high - low).mean()


def test_an_entrant_alone_at_a_level_has_its_own_degrees_of_freedom():
    values = np.repeat(gaussian(4, 2, 2, 1), 20, axis=3)
    values[1:, 1] = np.nan
    low, high = interval(bootstrap_means(values, draws=20000))
    own = values[0, 1, :, 0].std(ddof=1) / np.sqrt(2)
    assert (high - low)[0, 1] > 2 * 8 * own
    assert np.isnan((high - low)[1:, 1]).all()
