import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.evaluation import fit_slope, input_psnr, local_slopes
from gahbench.evaluation.approximation import approximate
from gahbench_plugins.metrics.rates import coefficient_decay


def test_the_slope_is_fitted_by_least_squares():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=7), generator.normal(size=(2, 3, 7))
    expected = [[np.polyfit(x, curve, 1)[0] for curve in row] for row in y]
    np.testing.assert_allclose(fit_slope(x, y), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_slope([], []), "two different noise levels"),
        (lambda: fit_slope([20.0, 20.0], [0.0, 0.0]), "two different noise levels"),
        (lambda: fit_slope([1, 2], [[1, 2, 3]]), "shape"),
        (lambda: local_slopes([1, 2], [[1, 2, 3]]), "shape"),
        (lambda: local_slopes([20.0, 20.0], [0.0, 0.0]), "in ascending or descending order"),
        (lambda: local_slopes([1.0, 3.0, 2.0], [0.0] * 3), "in ascending or descending order"),
        (lambda: input_psnr(0.0), "greater than 0"),
        (lambda: input_psnr([1.0, np.nan]), "greater than 0"),
    ],
)
def test_noise_levels_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(slope=st.floats(-2, 2), intercept=st.floats(-50, 50), downwards=st.booleans())
def test_a_line_has_its_slope_throughout(slope, intercept, downwards):
    x = np.array([3.0, 11.0, 20.0, 41.0])[:: -1 if downwards else 1]
    assert fit_slope(x, slope * x + intercept) == pytest.approx(slope, abs=1e-9)
    np.testing.assert_allclose(local_slopes(x, slope * x + intercept), [slope] * 4, atol=1e-9)


def test_local_slopes_of_a_parabola_are_its_derivative_inside():
    x = np.array([0.0, 1.0, 3.0, 7.0, 8.0])
    curves = np.stack([x**2, 3 * x - x**2])
    np.testing.assert_allclose(local_slopes(x, curves)[:, 1:-1], np.stack([2 * x, 3 - 2 * x])[:, 1:-1])


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_decay_of_a_power_law(alpha):
    generator = np.random.default_rng(0)
    ranks = generator.permutation(np.arange(1, 5001))
    signs = generator.choice([-1, 1], size=(3, 5000))
    decay = coefficient_decay(signs * ranks ** (-(alpha + 1) / 2))
    np.testing.assert_allclose(decay, [alpha] * 3)


CLEAN = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def basis(name):
    return gahbench.create("basis", name)


def test_the_error_is_the_energy_of_the_remaining_coefficients():
    approximation = approximate(basis("dct"), Truth(CLEAN), [0.1, 1.0, 0.3])
    assert approximation.thresholds.tolist() == [1.0, 0.3, 0.1]
    for threshold, terms, errors in zip(
        approximation.thresholds, approximation.terms, approximation.errors, strict=True
    ):
        coefficients = basis("dct").analysis(CLEAN.double())
        kept = coefficients * (coefficients.abs() > threshold)
        difference = basis("dct").synthesis(kept) - CLEAN
        np.testing.assert_allclose(errors, difference.square().mean((1, 2, 3)), atol=1e-12)
        np.testing.assert_array_equal(terms, (kept != 0).sum((1, 2, 3)))


def test_an_adaptive_basis_never_has_a_larger_cost():
    thresholds = [0.5, 0.2, 0.05]
    plain = approximate(basis("sym4"), Truth(CLEAN), thresholds)
    packets = approximate(basis("wavelet-packet[sym4]"), Truth(CLEAN), thresholds)
    costs = [
        approximation.errors * 256 + approximation.terms * approximation.thresholds[:, None] ** 2
        for approximation in (plain, packets)
    ]
    assert (costs[1] <= costs[0] + 1e-9).all()
    assert (costs[1] < costs[0] - 1e-3).any()
