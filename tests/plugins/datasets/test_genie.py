"""The genie of C^alpha images, which knows the contours, and images that are block averages of larger images."""

import itertools

import pytest
import torch
from torch.nn.functional import avg_pool2d, max_pool2d

import gahbench
from gahbench._util.noise import evaluation_noise
from gahbench.evaluation import Evaluation
from gahbench_plugins.datasets import c_alpha, fields
from gahbench_plugins.datasets.c_alpha import FIELD_STD, MEAN_STD, CAlpha
from gahbench_plugins.datasets.fields import AveragedField

SIGMAS = (1 / 255, 4 / 255, 16 / 255, 64 / 255)
CONTOURS = ("line", "closed", "disc")


def masks_of(dataset, split, count, start=0):
    """Return the masks of images of the first block of a split, shape (count, d), float64."""
    masks = dataset.masks(dataset.generator_of(split, 0), dataset.block_size)
    return masks[start : start + count].flatten(1).double()


def explicit(dataset):
    """Return the covariance of averaged backgrounds, shape (d, d), from all pairs of pixels at the render size."""
    render_size, size, exponent = dataset.render_size or dataset.size, dataset.size, dataset.background_alpha + 1
    waves = torch.fft.fftfreq(2 * render_size, 1 / (2 * render_size)).double()
    moduli = torch.hypot(waves[:, None], waves)
    power = torch.where(moduli == 0, 0.0, moduli.clamp(min=1) ** (-2 * exponent))
    kernel = torch.fft.ifft2(power).real
    kernel *= FIELD_STD**2 / kernel[0, 0]
    indices = torch.cartesian_prod(torch.arange(render_size), torch.arange(render_size))
    lags = (indices[:, None] - indices) % (2 * render_size)
    full = kernel[lags[..., 0], lags[..., 1]]
    # Each pixel of the smaller size is the mean of its block.
    blocks = torch.eye(size).repeat_interleave(render_size // size, 1).double() * (size / render_size)
    means = torch.kron(blocks, blocks)
    return means @ full @ means.T


@pytest.mark.parametrize("contour", ["line", "closed"])
@pytest.mark.parametrize(("alpha", "render_size"), [(0.5, 16), (1.0, 24), (4.0, 8), (2.0, None)])
def test_bound_filter_and_basis_are_those_of_the_explicit_covariance_given_the_contour(contour, alpha, render_size):
    dataset = CAlpha(alpha, 8, contour=contour, render_size=render_size)
    background = explicit(dataset) + MEAN_STD**2
    noisy = dataset.images("test", 3, 2) + 0.05
    basis = dataset.true_basis("test", 3, 2)
    for sigma in (1e-3, *SIGMAS, 3.0):
        results = dataset.genie(noisy, sigma, "test", 2), dataset.optimal_filters(noisy, sigma, "test", 2).matrices()
        bounds = dataset.lower_bound("test", 3, sigma, 2)
        for index, mask in enumerate(masks_of(dataset, "test", 3, 2)):
            covariance = background * (torch.outer(mask, mask) + torch.outer(1 - mask, 1 - mask))
            gain = torch.linalg.solve(covariance + sigma**2 * torch.eye(64).double(), covariance)
            expected = 0.5 + (noisy[index].flatten().double() - 0.5) @ gain
            torch.testing.assert_close(results[0][index].flatten().double(), expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(results[1][index].double(), gain, atol=1e-5, rtol=0)
            assert float(bounds[index]) == pytest.approx(sigma**2 * float(gain.trace()) / 64, rel=1e-5)
            vectors, energies = basis.vectors[index], basis.energies[index]
            torch.testing.assert_close(vectors * energies @ vectors.T, covariance, atol=1e-8, rtol=0)
            assert (energies.diff() <= 0).all()


def test_the_optimum_is_known_for_up_to_4096_pixels(monkeypatch):
    monkeypatch.setattr(c_alpha, "MAX_PIXELS", 256)
    small, large = CAlpha(2.0, 16), CAlpha(2.0, 17)
    assert small.lower_bound("test", 0, 0.1).shape == (0,)
    assert small.genie(torch.empty(0, 1, 16, 16), 0.1, "test").shape == (0, 1, 16, 16)
    assert small.true_basis("test", 0).vectors.shape == (0, 256, 256)
    assert large.optimum == small.optimum
    assert not large.has_true_basis
    noisy = large.images("test", 1)
    assert large.true_basis("test", 1) is None is large.optimal_filters(noisy, 0.1, "test")
    assert large.level_sets("test", 1) is not None
    for compute in (lambda: large.lower_bound("test", 1, 0.1), lambda: large.genie(noisy, 0.1, "test")):
        with pytest.raises(gahbench.OptimumError, match=r"size=17.*accepted: construction=exact and a size of at most"):
            compute()


def test_large_bases_contain_all_vectors_of_sufficient_energy(monkeypatch):
    monkeypatch.setattr(c_alpha, "COMPLETE_PIXELS", 100)
    complete, part = (CAlpha(3.0, size, contour="closed") for size in (10, 18))
    assert complete.true_basis("test", 1).vectors.shape == (1, 100, 100)
    basis = part.true_basis("test", 2)
    monkeypatch.setattr(c_alpha, "COMPLETE_PIXELS", 1024)
    exact = part.true_basis("test", 2).energies
    count = basis.energies.shape[1]
    assert count < 200
    torch.testing.assert_close(basis.energies, exact[:, :count])
    assert exact[:, count].max() < c_alpha.MIN_ENERGY


def test_on_flat_regions_the_genie_estimates_two_grey_values():
    """With a broad prior on two constants the error is about 2 sigma^2, summed over pixels."""
    for size in (16, 36):
        dataset = CAlpha(2.0, size, contour="disc", background_alpha="flat")
        bound = dataset.lower_bound("test", 2, 1e-3) * size**2
        torch.testing.assert_close(bound, torch.full((2,), 2e-6).double(), rtol=1e-3, atol=0)
    assert dataset.optimum.slope == 1
    assert dataset.true_basis("test", 1).vectors.shape == (1, 36**2, 2)
    image, mask = dataset.images("test", 1).flatten(), masks_of(dataset, "test", 1)[0]
    assert len(image[mask == 0].unique()) == len(image[mask == 1].unique()) == 1


@pytest.mark.parametrize("contour", CONTOURS)
@pytest.mark.parametrize(("alpha", "background"), [(1.0, 0.5), (2.0, 4.0), (4.0, "flat")])
def test_masks_and_backgrounds_are_block_averages_of_those_of_twice_the_size(contour, alpha, background):
    """Masks and backgrounds are averaged separately; 12 is not a power of 2."""
    for render_size, sizes in ((32, (32, 16, 8)), (96, (24, 12))):
        parts_by_size = []
        for size in sizes:
            dataset, generator = (
                CAlpha(alpha, size, "exact", contour, background, render_size),
                torch.Generator().manual_seed(3),
            )
            parts_by_size.append((dataset.masks(generator, 2), *dataset.backgrounds(generator, 2)))
        for large, small in itertools.pairwise(parts_by_size):
            for fine, coarse in zip(large, small, strict=True):
                torch.testing.assert_close(coarse, avg_pool2d(fine[:, None], 2)[:, 0], atol=2e-6, rtol=0)
        assert 0.05 < parts_by_size[-1][0].mean() < 0.95


def test_blocks_of_images_depend_only_on_the_render_size_and_images_are_composed_of_averages():
    assert [CAlpha(2.0, 8, render_size=size).block_size for size in (64, 256, 512, 4096)] == [64, 16, 4, 1]
    dataset = CAlpha(4.0, 8, render_size=512)
    images = dataset.images("test", 6)
    assert torch.equal(dataset.images("test", 3, 3), images[3:])
    assert not torch.equal(dataset.images("train", 1), images[:1])
    generator = dataset.generator_of("test", 1)
    masks, (first, second) = dataset.masks(generator, 4), dataset.backgrounds(generator, 4)
    torch.testing.assert_close(images[4:, 0], (masks * first + (1 - masks) * second)[:2])


@pytest.mark.parametrize("render_size", [None, 32])
def test_drawn_backgrounds_have_the_covariance_of_the_formula(render_size):
    dataset, count = CAlpha(1.0, 8, render_size=render_size), 2000
    pairs = dataset.backgrounds(torch.Generator().manual_seed(0), count)
    result = torch.cat(pairs).flatten(1).double() - 0.5
    expected = explicit(dataset) + MEAN_STD**2
    # A covariance estimated from n pairs has a standard error of at most sqrt(2 / n) of the variance.
    assert (result.T @ result / len(result) - expected).abs().max() < 5 * (2 / len(result)) ** 0.5 * expected.max()
    # The two backgrounds of an image are independent.
    cross = result[:count].T @ result[count:] / count
    assert cross.abs().max() < 5 * count**-0.5 * expected.max()


@pytest.mark.parametrize("alpha", [3.0, 4.0])
def test_omitted_frequencies_are_below_rounding(alpha, monkeypatch):
    """The variance summed over all frequencies exceeds that of the kept frequencies by less than rounding errors."""
    kept = AveragedField(256, alpha, FIELD_STD).highest
    assert kept < 256
    monkeypatch.setattr(fields, "ROUNDING", 1e-30)
    squares = AveragedField(256, alpha, FIELD_STD).quarter.double().square()
    counts = torch.full((257,), 2.0).double()
    counts[[0, -1]] = 1
    inside = counts[: kept + 1] @ squares[: kept + 1, : kept + 1] @ counts[: kept + 1]
    assert 0 < counts @ squares @ counts - inside < inside * (2.0**-25 / FIELD_STD) ** 2


@pytest.mark.parametrize("contour", CONTOURS)
@pytest.mark.parametrize("render_size", [None, 64])
def test_level_sets_are_zero_on_the_contour(contour, render_size):
    """Pixels are covered where levels around them are negative; near zero, level over slope is the distance."""
    dataset = CAlpha(4.0, 16, contour=contour, render_size=render_size)
    levels, masks = dataset.level_sets("test", 10, 3), masks_of(dataset, "test", 10, 3).reshape(10, 16, 16)
    assert (levels.shape, levels.dtype) == ((10, 16, 16), torch.float64)
    highest, lowest = (sign * max_pool2d(sign * levels[:, None], 3, 1, 1)[:, 0] for sign in (1, -1))
    # A contour may still cut a corner.
    assert (masks[highest < 0] > 0.95).all()
    assert (masks[lowest > 0] < 0.05).all()
    slopes = torch.hypot(*torch.gradient(levels, dim=(1, 2))).clamp(min=0.5)
    assert (masks - (0.5 - levels / slopes).clamp(0, 1)).abs().mean() < 0.01
    if contour == "disc":
        # The level set is not smooth around the centre, which is therefore excluded.
        away = levels[:, 1:-1, 1:-1] > levels.amin((1, 2), keepdim=True) + 3
        assert (slopes[:, 1:-1, 1:-1][away] - 1).abs().max() < 0.1


def test_noise_at_equal_sigma_over_side_is_the_same_at_every_size():
    noise = []
    for size, sigma in ((8, 0.1), (16, 0.2)):
        dataset = CAlpha(2.0, size, render_size=32)
        clean = dataset.images("test", 2)
        evaluation = Evaluation(gahbench.create("reference", "identity"), clean, [sigma], dataset=dataset)
        noise.append(evaluation.noisy(sigma) - clean)
    # An average of four pixels has half the standard deviation, the noise level of the smaller size.
    torch.testing.assert_close(noise[0], avg_pool2d(noise[1], 2), atol=1e-6, rtol=0)
    many = evaluation_noise(400, (1, 8, 8), 0.1, 5, "test", render_size=32)
    assert float(many.std()) == pytest.approx(0.1, rel=4 / (2 * many.numel()) ** 0.5)
    with pytest.raises(ValueError, match="block averages"):
        evaluation_noise(3, (1, 12, 12), 0.1, render_size=32)
