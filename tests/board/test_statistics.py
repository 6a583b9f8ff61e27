import dataclasses

import numpy as np
import pytest

from gahbench.board.statistics import Estimate, bootstrap_means, interval, means, resampling_weights


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_weights_are_counts_of_a_resampling():
    weights = resampling_weights(7, 500)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights * 7, np.round(weights * 7), atol=1e-12)
    # A unit is left out with probability (1 - 1/n)^n.
    assert (weights == 0).mean() == pytest.approx((6 / 7) ** 7, abs=0.02)


def test_streams_of_images_and_seeds_are_independent():
    first, second = resampling_weights(5, 4000, axis=0), resampling_weights(5, 4000, axis=1)
    correlation = np.corrcoef(first[:, 0], second[:, 0])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(4000)


def test_standard_error_over_images_is_the_analytic_one():
    values = gaussian(1, 1, 200)
    spread = bootstrap_means(values, draws=8000).std()
    assert spread == pytest.approx(values.std() / np.sqrt(200), rel=0.04)


def test_standard_error_over_seeds_and_images_adds_up():
    # Effects of seed and image without interaction: the variances of both means add.
    seeds, images = gaussian(20, 1, seed=1), gaussian(1, 50, seed=2)
    spread = bootstrap_means((seeds + images)[None], draws=8000).std()
    assert spread == pytest.approx(np.sqrt(seeds.var() / 20 + images.var() / 50), rel=0.04)


def test_as_many_seeds_as_images_are_resampled_independently():
    # Were both drawn alike, the effects, which are equal, would add up to twice the spread of one.
    effects = gaussian(20)
    spread = bootstrap_means((effects[:, None] + effects)[None], draws=8000).std()
    assert spread == pytest.approx(np.sqrt(2 * effects.var() / 20), rel=0.04)


def test_with_one_seed_only_images_are_resampled():
    one = gaussian(1, 1, 30)
    repeated = np.repeat(one, 5, axis=1)
    np.testing.assert_allclose(bootstrap_means(one), bootstrap_means(repeated))


def test_a_constant_difference_has_no_width():
    first = gaussian(3, 40)
    draws = bootstrap_means(np.stack([first, first + 0.5]))
    low, high = interval(draws[:, 1] - draws[:, 0])
    assert low == pytest.approx(0.5, abs=1e-12)
    assert high == pytest.approx(0.5, abs=1e-12)
    assert np.ptp(interval(draws[:, 0])) > 0.1


def test_entrants_are_resampled_alike_whoever_else_is_there():
    values = gaussian(4, 2, 9)
    np.testing.assert_allclose(bootstrap_means(values)[:, 2], bootstrap_means(values[2:3])[:, 0])


def test_any_leading_shape():
    values = gaussian(4, 3, 2, 9)
    draws = bootstrap_means(values, draws=50)
    assert draws.shape == (50, 4, 3)
    np.testing.assert_allclose(draws[:, 1, 2], bootstrap_means(values[1, 2], draws=50))


def test_a_missing_seed_is_left_out():
    values = gaussian(1, 3, 12)
    values[0, 1] = np.nan
    draws = bootstrap_means(values, draws=6000)
    assert means(values)[0] == pytest.approx(values[0, [0, 2]].mean())
    # All three drawings hit the missing seed with probability 1/27.
    assert np.isnan(draws).mean() == pytest.approx(1 / 27, abs=0.01)
    low, high = interval(draws)
    assert low[0] < means(values)[0] < high[0]
    constant = np.where(np.isnan(values), np.nan, 7.0)
    left = bootstrap_means(constant)
    np.testing.assert_allclose(left[~np.isnan(left)], 7.0)


def test_missing_images_do_not_pull_towards_zero():
    values = 30 + gaussian(1, 1, 50)
    values[0, 0, ::2] = np.nan
    low, high = interval(bootstrap_means(values))
    assert 29 < low[0] < np.nanmean(values) < high[0] < 31


def test_nothing_present_is_nan():
    values = np.full((2, 3, 5), np.nan)
    values[1] = 1.0
    assert np.isnan(means(values)[0])
    low, high = interval(bootstrap_means(values))
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == pytest.approx((1, 1))


def test_one_image_has_no_interval():
    assert np.isnan(interval(bootstrap_means(np.ones((2, 3, 1))))).all()


def test_interval_holds_its_share_of_the_draws():
    draws = gaussian(20000, 2) * [1, 3] + [0, 10]
    low, high = interval(draws, level=0.9)
    np.testing.assert_allclose(low, [-1.645, 10 - 3 * 1.645], atol=0.12)
    np.testing.assert_allclose(high, [1.645, 10 + 3 * 1.645], atol=0.12)


@pytest.mark.parametrize("level", [-0.5, 0, 1, 95])
def test_level_out_of_range(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(np.zeros((3, 1)), level)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 0), (2, 0, 3)])
def test_values_need_seeds_and_images(shape):
    with pytest.raises(ValueError, match="seeds, images"):
        bootstrap_means(np.zeros(shape))


def coverage(samples, truth):
    low, high = interval(bootstrap_means(samples, draws=600))
    return np.mean((low <= truth) & (truth <= high))


def test_intervals_cover_the_truth():
    # Skewed values (exponential, mean 1), 100 images; 2000 experiments at once.
    count = 2000
    samples = np.random.default_rng(5).exponential(size=(count, 1, 100))
    error = np.sqrt(0.95 * 0.05 / count)
    # The known shortfall of a percentile interval of a skewed sample of 100 is about 1.5 %.
    assert 0.92 - 3 * error < coverage(samples, 1.0) < 0.95 + 3 * error


def test_intervals_over_seeds_and_images_cover_the_truth():
    generator, count = np.random.default_rng(6), 1000
    seeds, images = generator.normal(size=(count, 20, 1)), 2 * generator.normal(size=(count, 1, 40))
    samples = seeds + images + 0.3 * generator.normal(size=(count, 20, 40))
    error = np.sqrt(0.95 * 0.05 / count)
    assert 0.925 - 3 * error < coverage(samples, 0.0) < 0.95 + 3 * error
    # Leaving the seeds out, as a single mean network would, is plainly too narrow.
    assert coverage(samples.mean(axis=1, keepdims=True), 0.0) < 0.925 - 3 * error


def test_few_images_cover_less_as_documented():
    samples = np.random.default_rng(7).normal(size=(2000, 1, 8))
    assert 0.86 < coverage(samples, 0.0) < 0.93


def test_a_draw_is_there_just_where_the_resampling_holds_a_value_that_is():
    """Also where one value in a hundred is there: its weight in a draw may be as small as 1/(R N)."""
    values = np.full((5, 20), np.nan)
    values[3, 11] = 7.0
    over_seeds, over_images = resampling_weights(5, 3000, axis=1), resampling_weights(20, 3000, axis=0)
    found = bootstrap_means(values, draws=3000)
    held = (over_seeds[:, 3] > 0) & (over_images[:, 11] > 0)
    assert 0 < held.sum() < 3000
    np.testing.assert_array_equal(np.isnan(found), ~held)
    np.testing.assert_allclose(found[held], 7.0)


@pytest.mark.parametrize("level", [0.2, 0.5, 0.9])
def test_the_ends_of_an_interval_are_the_quantiles_beyond_which_equal_tails_lie(level):
    draws = np.random.default_rng(5).permutation(1001).astype(np.float64)
    low, high = interval(draws, level)
    assert float(low) == pytest.approx(500 - 500 * level)
    assert float(high) == pytest.approx(500 + 500 * level)


def test_two_images_have_an_interval_and_one_value_a_mean():
    low, high = interval(bootstrap_means(np.array([[[1.0, 3.0]]])))
    np.testing.assert_allclose((low, high), [[1.0], [3.0]])
    alone = np.full((2, 3), np.nan)
    alone[1, 2] = 4.5
    assert float(means(alone)) == 4.5


def test_no_entrants_have_no_means():
    assert means(np.zeros((0, 2, 3))).shape == (0,)
    assert bootstrap_means(np.zeros((0, 2, 3)), draws=5).shape == (5, 0)


def test_an_estimate_is_known_unless_it_is_nan():
    assert Estimate(0.0, -1.0, 1.0).is_known
    assert not Estimate(np.nan).is_known
    with pytest.raises(dataclasses.FrozenInstanceError):
        Estimate(0.0).value = 1.0


def test_the_stream_of_random_numbers_is_that_of_images_unless_another_is_named():
    np.testing.assert_array_equal(resampling_weights(6, 50), resampling_weights(6, 50, axis=0))
    assert not np.array_equal(resampling_weights(6, 50), resampling_weights(6, 50, axis=1))
    assert not np.array_equal(resampling_weights(6, 50), resampling_weights(6, 50, seed=1))
