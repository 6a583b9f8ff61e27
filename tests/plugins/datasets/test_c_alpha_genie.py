"""The genie of C^alpha images, which is given the contours."""

import pytest
import torch
from random_images import normal

from gahbench._util.noise import evaluation_noise
from gahbench.jacobian import FunctionMaps
from gahbench_plugins.datasets import c_alpha
from gahbench_plugins.datasets.c_alpha import FIELD_STD, MEAN_STD, CAlpha

SIGMAS = (1 / 255, 4 / 255, 16 / 255, 64 / 255)


def psnr_slope(dataset, sigmas, count):
    """Least-squares slope of -10 log10 of the bound against -10 log10 sigma^2."""
    levels = torch.tensor([dataset.lower_bound("test", count, sigma).log().mean() for sigma in sigmas])
    inputs = 2 * torch.tensor(sigmas).log()
    centred = inputs - inputs.mean()
    return float((centred * levels).sum() / centred.square().sum())


@pytest.mark.parametrize(
    "parameters",
    [
        {"alpha": 1.0, "size": 16},
        {"alpha": 4.0, "size": 16, "contour": "closed"},
        {"size": 8, "background_alpha": 1.0, "master": 32},
        {"size": 8, "contour": "disc", "master": 32},
        {"size": 8, "contour": "closed", "background_alpha": "flat", "master": 32},
    ],
)
def test_the_genie_makes_the_error_that_the_bound_says(parameters):
    """On average over the images and noise, which it has to be given the contours of."""
    dataset, start = CAlpha(**parameters), 37
    count = 2000 // dataset.size
    clean = dataset.images("validation", count, start)
    for sigma in SIGMAS:
        noisy = clean + evaluation_noise(count, dataset.shape, sigma, 0, master=dataset.master)
        errors = (dataset.genie(noisy, sigma, "validation", start) - clean).double().square().mean((1, 2, 3))
        difference = errors - dataset.lower_bound("validation", count, sigma, start)
        error = difference.std() / count**0.5
        assert difference.mean().abs() < 4 * error
        assert error < 0.1 * errors.mean()


@pytest.mark.parametrize(("alpha", "resolved"), [(1.0, 1600), (2.0, 0)])
def test_the_bound_is_the_error_of_the_filter_by_monte_carlo(alpha, resolved, monkeypatch):
    """Backgrounds as the family draws them, noise, and the filter of one contour: to 1 %."""
    monkeypatch.setattr("gahbench_plugins.datasets._conditional.SMALL", resolved)
    dataset, sigma, size = CAlpha(alpha, 24), 0.05, 24
    assert dataset._conditional.is_resolved(sigma) == (resolved > 0)
    (mask,) = dataset._masks("test", 1, 0)
    bound = float(dataset.lower_bound("test", 1, sigma))
    matrix = dataset._conditional.matrix(mask)
    gain = torch.linalg.solve(matrix + sigma**2 * torch.eye(size**2).double(), matrix)
    errors = []
    for block in range(40):
        generator = torch.Generator().manual_seed(block)
        first, second = (part.double().flatten(1) for part in dataset._backgrounds(generator, 256))
        clean = mask * first + (1 - mask) * second
        noisy = clean + sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        errors.append((0.5 + (noisy - 0.5) @ gain - clean).square().mean(1))
    errors = torch.cat(errors)
    error = float(errors.std() / len(errors) ** 0.5)
    assert error < 0.003 * bound
    # The bound is at most 0.2 % below the error.
    assert float(errors.mean()) == pytest.approx(bound, abs=0.002 * bound + 3 * error)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_the_bound_rises_with_the_noise_between_its_limits(alpha):
    dataset = CAlpha(alpha, 8)
    previous = torch.zeros(5, dtype=torch.float64)
    for sigma in (1e-5, 1e-3, *SIGMAS, 1.0, 30.0):
        bound = dataset.lower_bound("test", 5, sigma)
        assert bound.dtype == torch.float64
        assert (bound > previous).all()
        assert (bound < sigma**2).all()
        previous = bound
    # At last nothing is left but the variance of a pixel, which is less where regions mix.
    masks = dataset._masks("test", 5, 0)
    variance = (MEAN_STD**2 + FIELD_STD**2) * (masks.square() + (1 - masks).square()).mean(1)
    torch.testing.assert_close(previous, variance, rtol=1e-3, atol=0)
    # At first everything is noise, as all of 64 directions have some energy.
    torch.testing.assert_close(
        dataset.lower_bound("test", 5, 1e-7), torch.full((5,), 1e-14).double(), rtol=1e-3, atol=0
    )


def test_contours_and_backgrounds_are_rough_separately():
    """Rougher backgrounds are harder; a rougher contour is given to the genie, and harder only for what it cuts off."""
    count, sigma = 8, 4 / 255
    smooth, rough = (CAlpha(4.0, 16, background_alpha=alpha) for alpha in (4.0, 1.0))
    assert torch.equal(smooth._masks("test", count, 0), rough._masks("test", count, 0))
    assert (rough.lower_bound("test", count, sigma) > 2 * smooth.lower_bound("test", count, sigma)).all()
    cut = CAlpha(0.5, 16, background_alpha=4.0)
    assert not torch.equal(cut._masks("test", count, 0), smooth._masks("test", count, 0))
    ratio = cut.lower_bound("test", count, sigma).mean() / smooth.lower_bound("test", count, sigma).mean()
    assert 1 < ratio < 2


@pytest.mark.parametrize("size", [16, 41])
def test_answers_depend_on_the_image_alone(size, monkeypatch):
    """Neither on what was asked before, nor on how many are asked for together."""
    monkeypatch.setattr(c_alpha, "HELD", 2)
    sigmas = (0.2, 0.05, 0.2)
    dataset, start = CAlpha(2.0, size, contour="closed"), 62
    together = [dataset.lower_bound("test", 4, sigma, start) for sigma in sigmas]
    assert torch.equal(together[0], together[2])
    for sigma, bound in zip(sigmas, together, strict=True):
        one = [CAlpha(2.0, size, contour="closed").lower_bound("test", 1, sigma, start + place) for place in range(4)]
        assert torch.equal(torch.cat(one), bound)
    noisy = dataset.images("test", 4, start) + 0.1
    filtered = dataset.genie(noisy, 0.1, "test", start)
    assert filtered.dtype == torch.float32
    torch.testing.assert_close(dataset.genie(noisy[2:], 0.1, "test", start + 2), filtered[2:], atol=1e-5, rtol=0)
    # Other images have other contours.
    assert (dataset.genie(noisy[2:], 0.1, "test", start) - filtered[2:]).abs().max() > 1e-3


def test_bounds_fall_nearly_at_the_optimal_slope():
    """The full measurement, with its figure, is bench/genie_slopes.py."""
    sigmas = [2.0**level / 255 for level in (0, 2, 4, 6)]
    for alpha in (1.0, 2.0, 4.0):
        dataset = CAlpha(alpha, 32)
        found = psnr_slope(dataset, sigmas, 2)
        # Slopes over any range of noise levels are a little above that of the limit; a finite grid adds to it.
        assert dataset.optimum.slope < found < dataset.optimum.slope + 0.09


def test_without_images_there_are_no_answers():
    dataset = CAlpha(2.0, 16)
    assert dataset.lower_bound("test", 0, 0.1).shape == (0,)
    assert dataset.genie(torch.empty(0, 1, 16, 16), 0.1, "test").shape == (0, 1, 16, 16)
    assert dataset.true_basis("test", 0).vectors.shape[0] == 0


def test_filters_of_large_images_are_products_with_the_matrix(monkeypatch):
    dataset, sigma = CAlpha(2.0, 12), 0.1
    noisy, vectors = dataset.images("test", 2, 5), normal(2, 40, 144)
    exact = dataset.optimal_filters(noisy, sigma, "test", 5).matrices().double()
    monkeypatch.setattr(c_alpha, "LARGEST_EXACT", 100)
    found = dataset.optimal_filters(noisy, sigma, "test", 5)
    assert isinstance(found, FunctionMaps)
    torch.testing.assert_close(found.matvec(vectors).double(), vectors @ exact, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.only(1).matvec(vectors[1:]).double(), vectors[1:] @ exact[1:], atol=1e-4, rtol=0)
