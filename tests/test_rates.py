import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gahbench.rates import fit_slope, input_psnr


@given(slope=st.floats(-2, 2), intercept=st.floats(-50, 50))
def test_a_line_has_its_own_slope(slope, intercept):
    x = np.array([3.0, 11.0, 20.0, 41.0])
    assert fit_slope(x, slope * x + intercept) == pytest.approx(slope, abs=1e-9)


def test_slope_is_the_least_squares_one():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=7), generator.normal(size=(2, 3, 7))
    expected = [[np.polyfit(x, curve, 1)[0] for curve in row] for row in y]
    np.testing.assert_allclose(fit_slope(x, y), expected)


def test_slope_of_a_power_law_of_sigma():
    # MSE = sigma^(2 alpha / (alpha + 1)) has slope alpha / (alpha + 1).
    sigma, alpha = np.array([0.01, 0.05, 0.2]), 2.0
    output = -10 * np.log10(sigma ** (2 * alpha / (alpha + 1)))
    assert fit_slope(input_psnr(sigma), output) == pytest.approx(alpha / (alpha + 1))


def test_a_curve_with_a_hole_has_no_slope():
    slopes = fit_slope([1, 2, 3], [[1, 2, 3], [1, np.nan, 3]])
    assert slopes[0] == pytest.approx(1)
    assert np.isnan(slopes[1])


@pytest.mark.parametrize("x", [[20.0], [20.0, 20.0], []])
def test_one_noise_level_has_no_slope(x):
    with pytest.raises(ValueError, match="two different noise levels"):
        fit_slope(x, np.zeros(len(x)))


def test_shapes_must_match():
    with pytest.raises(ValueError, match="shape"):
        fit_slope([1, 2], [[1, 2, 3]])


def test_input_psnr_is_that_of_the_noise():
    assert input_psnr([1.0, 0.1, 0.01]).tolist() == pytest.approx([0, 20, 40])


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_input_psnr_needs_noise(sigma):
    with pytest.raises(ValueError, match="greater than 0"):
        input_psnr(sigma)
