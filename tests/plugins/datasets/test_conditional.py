"""Stationary fields, and the Gaussian distribution of an image of two fields given their mask."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench._util.errors import OptimumError
from gahbench_plugins.datasets import _conditional as conditional
from gahbench_plugins.datasets._conditional import ConditionalGaussian, LeadingPart, StationaryField
from gahbench_plugins.datasets._spectral import filter_noise, filter_pairs, frequencies, power_law, unit_variance
from gahbench_plugins.datasets.c_alpha import MEAN_STD, CAlpha, _background_amplitude


@pytest.mark.parametrize("shape", [(8,), (7,), (8, 8), (6, 9)])
def test_frequencies_are_integer_moduli(shape):
    # The expected frequencies are in numpy's layout of a real transform.
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
    assert filter_noise(impulse, amplitude).square().sum().item() == pytest.approx(1)


def test_filtering_is_a_product_in_the_full_fourier_domain():
    white = torch.randn(3, 8, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    moduli = np.hypot(*np.meshgrid(np.fft.fftfreq(8, 1 / 8), np.fft.fftfreq(8, 1 / 8), indexing="ij"))
    moduli[0, 0] = 1
    amplitude = power_law((8, 8), 1.7, constant=1)
    expected = np.fft.ifft2(np.fft.fft2(white.real.numpy()) * moduli**-1.7).real
    np.testing.assert_allclose(filter_noise(white.real, amplitude).numpy(), expected, atol=1e-12)
    # Complex white noise, which is white in the Fourier domain too, gives a pair of fields.
    expected = 8 * np.fft.ifft2(white.numpy() * moduli**-1.7)[:, :5, :5]
    for result, part in zip(filter_pairs(white, amplitude, 5), (expected.real, expected.imag), strict=True):
        np.testing.assert_allclose(result.numpy(), part, atol=1e-12)


def test_pairs_are_independent_fields_of_the_covariance_of_the_amplitude():
    """The linear map from all numbers drawn to all pixels of the pair, times its transpose, is their covariance."""
    side, size = 6, 3
    amplitude = power_law((side, side), 1.7, constant=1)
    unit = torch.eye(2 * side**2, dtype=torch.float64).reshape(-1, side, side, 2)
    first, second = (
        part.flatten(1) for part in filter_pairs(torch.view_as_complex(unit.contiguous()), amplitude, size)
    )
    kernel = torch.fft.irfft2(amplitude.square().to(torch.complex128), s=(side, side))
    indices = [(row, column) for row in range(size) for column in range(size)]
    expected = torch.tensor([[kernel[a - c, b - d].item() for c, d in indices] for a, b in indices]).double()
    torch.testing.assert_close(first.T @ first, expected)
    torch.testing.assert_close(second.T @ second, expected)
    torch.testing.assert_close(first.T @ second, torch.zeros_like(expected), atol=1e-12, rtol=0)


families = st.tuples(st.integers(3, 9), st.floats(0.6, 4))


def field(size, exponent):
    return StationaryField(power_law((2 * size, 2 * size), exponent, constant=0.5))


@pytest.mark.parametrize("size", [4, 5])
def test_covariance_is_the_sum_of_all_waves(size):
    expected = np.zeros((size, size, size, size))
    indices = np.arange(size)
    for row in range(-size, size):
        for column in range(-size, size):
            amplitude = np.hypot(row, column) ** -1.3 if (row, column) != (0, 0) else 0.5
            phases = np.pi / size * (row * indices[:, None] + column * indices)
            expected += amplitude**2 * np.cos(phases[:, :, None, None] - phases)
    expected = expected.reshape(size**2, size**2) / (2 * size) ** 2
    np.testing.assert_allclose(field(size, 1.3).matrix().numpy(), expected, atol=1e-12)
    assert field(size, 1.3).variance == pytest.approx(expected[0, 0])


@settings(deadline=None, max_examples=20)
@given(families)
def test_products_and_energies_agree_with_the_matrix(family):
    stationary = field(*family)
    images = torch.randn(2, 3, stationary.pixels, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stationary.matvec(images), images @ stationary.matrix())
    torch.testing.assert_close(stationary.energy(images), (images @ stationary.matrix() * images).sum(-1))


@settings(deadline=None, max_examples=20)
@given(families, st.floats(0.05, 1))
def test_decomposition_agrees_with_the_matrix(family, share):
    stationary = field(*family)
    count = max(1, int(share * stationary.pixels))
    values, vectors = stationary.decomposition(count)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(stationary.matrix()).flip(0))
    assert vectors.shape == (stationary.pixels, count)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(count, dtype=torch.float64))
    torch.testing.assert_close(stationary.matrix() @ vectors, vectors * values[:count], atol=1e-12, rtol=0)


PIXELS, RANK, CONSTANT = 40, 7, 0.3


@pytest.fixture
def leading():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.linalg.qr(torch.randn(PIXELS, RANK, dtype=torch.float64, generator=generator))[0]
    return LeadingPart(torch.rand(RANK, dtype=torch.float64, generator=generator) + 0.1, vectors, CONSTANT)


MASKS = {
    "mixed everywhere": torch.rand(PIXELS, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    "mixed at a contour": (torch.arange(PIXELS, dtype=torch.float64) / 4 - 4).clamp(0, 1),
    "one region": torch.ones(PIXELS, dtype=torch.float64),
    "the other": torch.zeros(PIXELS, dtype=torch.float64),
}


def columns(leading, mask):
    """Return the factor F of the leading part A = F F', column by column."""
    inside = [mask * column for column in leading.scaled.T] + [(1 - mask) * column for column in leading.scaled.T]
    return torch.stack([*inside, CONSTANT**0.5 * mask, CONSTANT**0.5 * (1 - mask)], dim=1)


@pytest.mark.parametrize("name", MASKS)
def test_the_leading_part_is_the_product_of_its_factor(leading, name):
    mask, factor = MASKS[name], columns(leading, MASKS[name])
    assert factor.shape == (PIXELS, leading.columns)
    torch.testing.assert_close(leading.gram(mask), factor.T @ factor, atol=1e-12, rtol=0)
    # Compute the matrix A by its definition, from the covariance of a background.
    background = leading.scaled @ leading.scaled.T + CONSTANT
    inside, outside = torch.diag(mask), torch.diag(1 - mask)
    expected = inside @ background @ inside + outside @ background @ outside
    torch.testing.assert_close(factor @ factor.T, expected, atol=1e-12, rtol=0)
    eye = torch.eye(leading.columns, dtype=torch.float64)
    torch.testing.assert_close(leading.synthesis(mask[None], eye), factor.T)
    torch.testing.assert_close(leading.analysis(mask[None], torch.eye(PIXELS, dtype=torch.float64)), factor)


SIGMAS = (1 / 255, 4 / 255, 16 / 255, 64 / 255)


@functools.cache
def distribution_of(alpha, size):
    return ConditionalGaussian(StationaryField(_background_amplitude(size, alpha, None)), MEAN_STD**2)


@functools.cache
def mask_of(alpha, size, contour="closed", index=0):
    generator = torch.Generator().manual_seed(index)
    return CAlpha(alpha, size, contour=contour).masks(generator, 1)[0].flatten().double()


def covariance(distribution, mask):
    """Return K_x by its definition."""
    inside, outside, background = torch.diag(mask), torch.diag(1 - mask), distribution.field.matrix()
    means = distribution.constant * (torch.outer(mask, mask) + torch.outer(1 - mask, 1 - mask))
    return inside @ background @ inside + outside @ background @ outside + means


def error(distribution, mask, sigma):
    """Return the error of the genie by its definition."""
    matrix = covariance(distribution, mask)
    noise = sigma**2 * torch.eye(len(mask), dtype=torch.float64)
    return sigma**2 * torch.linalg.solve(matrix + noise, matrix).trace().item()


def test_matrix_product_and_eigenvalues_agree_with_the_definition():
    distribution, mask = distribution_of(1.0, 12), mask_of(1.0, 12)
    expected = covariance(distribution, mask)
    torch.testing.assert_close(distribution.matrix(mask), expected)
    torch.testing.assert_close(distribution.matvec(mask[None], torch.eye(144, dtype=torch.float64)), expected)
    assert distribution.eigenvalues(mask).sum().item() == pytest.approx(expected.trace().item())
    assert distribution.eigenvalues(mask).square().sum().item() == pytest.approx(expected.square().sum().item())


@pytest.mark.parametrize("contour", ["line", "closed"])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_bounds_enclose_the_error_tightly(alpha, contour):
    size = 24
    distribution, mask = distribution_of(alpha, size), mask_of(alpha, size, contour)
    for sigma in SIGMAS:
        lower, upper = distribution.error_bounds(mask, sigma)
        exact = error(distribution, mask, sigma)
        assert lower <= exact * (1 + 1e-9)
        assert upper >= exact * (1 - 1e-9)
        if distribution._count(conditional.RESOLVED * sigma**2) <= size**2 // 4:
            assert lower >= 0.998 * exact
            assert upper <= 1.01 * lower


@settings(deadline=None, max_examples=40)
@given(
    alpha=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    sigma=st.floats(-3, 1).map(lambda exponent: 10**exponent),
    shares=st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0]), min_size=1, max_size=9),
    max_rank=st.sampled_from([0, 1, 5, 2047]),
)
def test_bounds_enclose_the_error_for_every_mask_and_rank(alpha, sigma, shares, max_rank):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditional, "MAX_RANK", max_rank)
        distribution = ConditionalGaussian(distribution_of(alpha, 9).field, MEAN_STD**2)
        mask = torch.tensor((shares * 81)[:81], dtype=torch.float64)
        lower, upper = distribution.error_bounds(mask, sigma)
    exact = error(distribution, mask, sigma)
    assert 0 <= lower <= exact * (1 + 1e-9)
    assert exact * (1 - 1e-9) <= upper


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_the_filter_agrees_with_a_dense_solve(alpha, monkeypatch):
    monkeypatch.setattr(conditional, "PRECONDITIONER_RANK", 20)
    size = 20
    distribution = distribution_of(alpha, size)
    masks = torch.stack([mask_of(alpha, size), mask_of(alpha, size, "line"), torch.ones(size**2).double()])
    noise = torch.randn(3, size**2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for sigma in (1e-3, *SIGMAS, 3.0):
        means = distribution.wiener(masks, 0.3 + sigma * noise, sigma)
        for mask, image, result in zip(masks, 0.3 + sigma * noise, means, strict=True):
            matrix = covariance(distribution, mask)
            expected = matrix @ torch.linalg.solve(matrix + sigma**2 * torch.eye(len(mask)).double(), image)
            assert (result - expected).square().mean().sqrt() <= 1.01e-5 * sigma


def test_the_filter_of_zero_is_zero_and_divergence_raises_an_error(monkeypatch):
    distribution, mask = distribution_of(1.0, 12), mask_of(1.0, 12)
    assert torch.equal(distribution.wiener(mask[None], torch.zeros(1, 144).double(), 0.1), torch.zeros(1, 144).double())
    monkeypatch.setattr(conditional, "STEPS", 2)
    with pytest.raises(OptimumError, match="converge"):
        distribution.wiener(mask[None], torch.ones(1, 144).double() / 3, 1e-4)


def test_small_bases_are_complete():
    distribution, mask = distribution_of(1.0, 12), mask_of(1.0, 12)
    vectors, energies = distribution.basis(mask)
    assert (energies.diff() <= 0).all()
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(144).double())
    torch.testing.assert_close(vectors * energies @ vectors.T, covariance(distribution, mask))


@pytest.mark.parametrize("alpha", [2.0, 3.0])
def test_large_bases_contain_all_vectors_of_sufficient_energy(alpha, monkeypatch):
    monkeypatch.setattr(conditional, "EXACT_PIXELS", 0)
    size = 34
    distribution, mask = distribution_of(alpha, size), mask_of(alpha, size)
    assert not distribution.is_resolved(1 / 255)
    vectors, energies = distribution.basis(mask)
    matrix = covariance(distribution, mask)
    exact = torch.linalg.eigvalsh(matrix).flip(0)
    count = len(energies)
    assert count < size**2 // 2
    assert exact[count] < conditional.MIN_ENERGY
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(count).double())
    # Vectors of sufficient energy are eigenvectors.
    clear = int((exact > conditional.MIN_ENERGY).sum())
    torch.testing.assert_close(energies[:clear], exact[:clear], rtol=1e-6, atol=0)
    residual = (matrix @ vectors - vectors * energies).norm(dim=0) / energies
    assert residual[:clear].max() < 1e-3
    # By the Poincare separation theorem, no energy in a subspace exceeds the energy in the whole space.
    assert (energies <= exact[:count] * (1 + 1e-9)).all()
    monkeypatch.setattr(conditional, "EXACT_PIXELS", 1600)
    assert distribution.basis(mask)[0].shape == vectors.shape
