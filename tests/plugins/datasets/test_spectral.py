import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench_plugins.datasets._spectral import filtered, filtered_pairs, frequencies, power_law, unit_variance


@pytest.mark.parametrize("shape", [(8,), (7,), (8, 8), (6, 9)])
def test_frequencies_are_integer_moduli(shape):
    # numpy's layout, written out axis by axis.
    axes = [np.fft.fftfreq(side, 1 / side) for side in shape[:-1]] + [np.arange(shape[-1] // 2 + 1)]
    expected = np.sqrt(sum(grid**2 for grid in np.meshgrid(*axes, indexing="ij")))
    np.testing.assert_allclose(frequencies(shape).numpy(), expected, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    shape=st.one_of(st.tuples(st.integers(4, 20)), st.tuples(st.integers(4, 12), st.integers(4, 12))),
    exponent=st.floats(0.5, 5),
    constant=st.sampled_from([0.0, 1.0]),
)
def test_unit_variance(shape, exponent, constant):
    # A filter turns white noise into noise whose variance is the energy of its impulse response.
    amplitude = unit_variance(power_law(shape, exponent, constant), shape)
    impulse = torch.zeros(1, *shape, dtype=torch.float64)
    impulse[(0,) * (len(shape) + 1)] = 1
    assert filtered(impulse, amplitude).square().sum().item() == pytest.approx(1)


def test_filtering_is_a_product_in_the_full_fourier_domain():
    white = torch.randn(3, 8, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    moduli = np.hypot(*np.meshgrid(np.fft.fftfreq(8, 1 / 8), np.fft.fftfreq(8, 1 / 8), indexing="ij"))
    moduli[0, 0] = 1
    amplitude = power_law((8, 8), 1.7, constant=1)
    expected = np.fft.ifft2(np.fft.fft2(white.real.numpy()) * moduli**-1.7).real
    np.testing.assert_allclose(filtered(white.real, amplitude).numpy(), expected, atol=1e-12)
    # Of white noise, which is white in the Fourier domain too, a pair of fields is made at once.
    expected = 8 * np.fft.ifft2(white.numpy() * moduli**-1.7)[:, :5, :5]
    for found, part in zip(filtered_pairs(white, amplitude, 5), (expected.real, expected.imag), strict=True):
        np.testing.assert_allclose(found.numpy(), part, atol=1e-12)


def test_pairs_are_independent_fields_of_the_covariance_of_the_amplitude():
    """The linear map from all numbers drawn to all pixels of the pair, times its transpose, is their covariance."""
    side, size = 6, 3
    amplitude = power_law((side, side), 1.7, constant=1)
    unit = torch.eye(2 * side**2, dtype=torch.float64).reshape(-1, side, side, 2)
    first, second = (
        part.flatten(1) for part in filtered_pairs(torch.view_as_complex(unit.contiguous()), amplitude, size)
    )
    kernel = torch.fft.irfft2(amplitude.square().to(torch.complex128), s=(side, side))
    places = [(row, column) for row in range(size) for column in range(size)]
    expected = torch.tensor([[kernel[a - c, b - d].item() for c, d in places] for a, b in places]).double()
    torch.testing.assert_close(first.T @ first, expected)
    torch.testing.assert_close(second.T @ second, expected)
    torch.testing.assert_close(first.T @ second, torch.zeros_like(expected), atol=1e-12, rtol=0)
