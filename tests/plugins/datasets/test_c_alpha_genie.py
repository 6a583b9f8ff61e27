"""The genie of C^alpha images, which knows the contours, and images that are block averages of larger images."""

import functools
import itertools

import pytest
import torch
from random_images import normal
from torch.nn.functional import avg_pool2d, max_pool2d

import gahbench
from gahbench._util.noise import evaluation_noise
from gahbench.evaluation import Evaluation
from gahbench.jacobian import FunctionMaps
from gahbench_plugins.datasets import _spectral, c_alpha
from gahbench_plugins.datasets._spectral import AveragedField
from gahbench_plugins.datasets.c_alpha import FIELD_STD, MEAN_STD, CAlpha

SIGMAS = (1 / 255, 4 / 255, 16 / 255, 64 / 255)


def psnr_slope(dataset, sigmas, count):
    """Return the least-squares slope of -10 log10 of the bound against -10 log10 sigma^2."""
    levels = torch.tensor([dataset.lower_bound("test", count, sigma).log().mean() for sigma in sigmas])
    inputs = 2 * torch.tensor(sigmas).log()
    centred = inputs - inputs.mean()
    return float((centred * levels).sum() / centred.square().sum())


@pytest.mark.parametrize(
    "parameters",
    [
        {"alpha": 1.0, "size": 16},
        {"alpha": 4.0, "size": 16, "contour": "closed"},
        {"size": 8, "background_alpha": 1.0, "render_size": 32},
        {"size": 8, "contour": "disc", "render_size": 32},
        {"size": 8, "contour": "closed", "background_alpha": "flat", "render_size": 32},
    ],
)
def test_the_error_of_the_genie_is_the_bound(parameters):
    """The equality holds on average over images and noise, if the genie knows the contours."""
    dataset, start = CAlpha(**parameters), 37
    count = 1000 // dataset.size
    clean = dataset.images("validation", count, start)
    for sigma in SIGMAS:
        noisy = clean + evaluation_noise(count, dataset.shape, sigma, 0, render_size=dataset.render_size)
        errors = (dataset.genie(noisy, sigma, "validation", start) - clean).double().square().mean((1, 2, 3))
        difference = errors - dataset.lower_bound("validation", count, sigma, start)
        error = difference.std() / count**0.5
        assert difference.mean().abs() < 4 * error
        assert error < 0.1 * errors.mean()


@pytest.mark.parametrize(("alpha", "resolved"), [(1.0, 1600), (2.0, 0)])
def test_the_bound_is_the_error_of_the_filter_by_monte_carlo(alpha, resolved, monkeypatch):
    """Filter backgrounds of the family with noise, for a fixed contour; the accuracy is 1 %."""
    monkeypatch.setattr("gahbench_plugins.datasets._conditional.EXACT_PIXELS", resolved)
    dataset, sigma, size = CAlpha(alpha, 24), 0.05, 24
    assert dataset._conditional.is_resolved(sigma) == (resolved > 0)
    (mask,) = dataset._masks("test", 1, 0)
    bound = float(dataset.lower_bound("test", 1, sigma))
    matrix = dataset._conditional.matrix(mask)
    gain = torch.linalg.solve(matrix + sigma**2 * torch.eye(size**2).double(), matrix)
    errors = []
    for block in range(40):
        generator = torch.Generator().manual_seed(block)
        first, second = (part.double().flatten(1) for part in dataset._draw_backgrounds(generator, 256))
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
    # Strong noise leaves the variance of a pixel, which is smaller where regions mix.
    masks = dataset._masks("test", 5, 0)
    variance = (MEAN_STD**2 + FIELD_STD**2) * (masks.square() + (1 - masks).square()).mean(1)
    torch.testing.assert_close(previous, variance, rtol=1e-3, atol=0)
    # Under weak noise the error is sigma^2, as all 64 directions have some energy.
    torch.testing.assert_close(
        dataset.lower_bound("test", 5, 1e-7), torch.full((5,), 1e-14).double(), rtol=1e-3, atol=0
    )


def test_contours_and_backgrounds_have_separate_exponents():
    """Rougher backgrounds increase the error; a rougher contour hardly does, as the genie knows it."""
    count, sigma = 8, 4 / 255
    smooth, rough = (CAlpha(4.0, 16, background_alpha=alpha) for alpha in (4.0, 1.0))
    assert torch.equal(smooth._masks("test", count, 0), rough._masks("test", count, 0))
    assert (rough.lower_bound("test", count, sigma) > 2 * smooth.lower_bound("test", count, sigma)).all()
    cut = CAlpha(0.5, 16, background_alpha=4.0)
    assert not torch.equal(cut._masks("test", count, 0), smooth._masks("test", count, 0))
    ratio = cut.lower_bound("test", count, sigma).mean() / smooth.lower_bound("test", count, sigma).mean()
    assert 1 < ratio < 2


@pytest.mark.parametrize("size", [16, 41])
def test_bounds_depend_only_on_the_image(size, monkeypatch):
    """Bounds depend neither on earlier calls nor on the number of images of a call."""
    monkeypatch.setattr(c_alpha, "MAX_CACHED_IMAGES", 2)
    sigmas = (0.2, 0.05, 0.2)
    dataset, start = CAlpha(2.0, size, contour="closed"), 62
    together = [dataset.lower_bound("test", 4, sigma, start) for sigma in sigmas]
    assert torch.equal(together[0], together[2])
    for sigma, bound in zip(sigmas, together, strict=True):
        singles = [
            CAlpha(2.0, size, contour="closed").lower_bound("test", 1, sigma, start + index) for index in range(4)
        ]
        assert torch.equal(torch.cat(singles), bound)
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
        result = psnr_slope(dataset, sigmas, 2)
        # Slopes over a range of noise levels are slightly above the limit, in part because the grid is finite.
        assert dataset.optimum.slope < result < dataset.optimum.slope + 0.09


def test_without_images_results_are_empty():
    dataset = CAlpha(2.0, 16)
    assert dataset.lower_bound("test", 0, 0.1).shape == (0,)
    assert dataset.genie(torch.empty(0, 1, 16, 16), 0.1, "test").shape == (0, 1, 16, 16)
    assert dataset.true_basis("test", 0).vectors.shape[0] == 0


def test_filters_of_large_images_are_products_with_the_matrix(monkeypatch):
    dataset, sigma = CAlpha(2.0, 12), 0.1
    noisy, vectors = dataset.images("test", 2, 5), normal(2, 40, 144)
    exact = dataset.optimal_filters(noisy, sigma, "test", 5).matrices().double()
    monkeypatch.setattr(c_alpha, "LARGEST_EXACT", 100)
    result = dataset.optimal_filters(noisy, sigma, "test", 5)
    assert isinstance(result, FunctionMaps)
    torch.testing.assert_close(result.matvec(vectors).double(), vectors @ exact, atol=1e-4, rtol=0)
    second = result.select(1).matvec(vectors[1:]).double()
    torch.testing.assert_close(second, vectors[1:] @ exact[1:], atol=1e-4, rtol=0)


CONTOURS = ("line", "closed", "disc")


def parts(dataset, seed=3, count=2):
    """Return masks and backgrounds of a dataset, shape (count, size, size) each."""
    generator = torch.Generator().manual_seed(seed)
    return dataset.masks(generator, count), *dataset._draw_backgrounds(generator, count)


def halved(images):
    return avg_pool2d(images[:, None], 2)[:, 0]


@pytest.mark.parametrize("contour", CONTOURS)
@pytest.mark.parametrize(("alpha", "background"), [(1.0, 0.5), (2.0, 4.0), (4.0, "flat")])
def test_masks_and_backgrounds_are_block_averages_of_those_of_twice_the_size(contour, alpha, background):
    """Masks and backgrounds are averaged separately; 12 is not a power of 2."""
    for render_size, sizes in ((32, (32, 16, 8)), (96, (24, 12))):
        parts_by_size = [parts(CAlpha(alpha, size, "exact", contour, background, render_size)) for size in sizes]
        for large, small in itertools.pairwise(parts_by_size):
            for fine, coarse in zip(large, small, strict=True):
                torch.testing.assert_close(coarse, halved(fine), atol=2e-6, rtol=0)
        assert 0.05 < parts_by_size[-1][0].mean() < 0.95


def test_an_image_is_composed_of_averages_and_is_not_an_average():
    small, large = (CAlpha(2.0, size, contour="closed", render_size=64) for size in (16, 32))
    images = small.images("test", 3, 1)
    generator = small.generator_of("test", 0)
    block_parts = small.masks(generator, small.block_size), *small._draw_backgrounds(generator, small.block_size)
    for index in range(3):
        mask, first, second = (part[1 + index] for part in block_parts)
        torch.testing.assert_close(images[index, 0], mask * first + (1 - mask) * second)
    difference = (images - avg_pool2d(large.images("test", 3, 1), 2)).abs()
    # Averages of the large images and small images differ only in pixels that both regions share.
    mixed = (small._masks("test", 3, 1) * (1 - small._masks("test", 3, 1)) > 0).view_as(images)
    assert difference[~mixed].max() < 1e-5 < 1e-3 < difference[mixed].max()


def test_blocks_of_images_depend_only_on_the_render_size():
    assert [CAlpha(2.0, 8, render_size=size).block_size for size in (64, 256, 512, 4096)] == [64, 16, 4, 1]
    dataset = CAlpha(4.0, 8, render_size=512)
    images = dataset.images("test", 6)
    assert torch.equal(dataset.images("test", 3, 3), images[3:])
    assert torch.equal(CAlpha(4.0, 8, render_size=512).images("test", 1), images[:1])
    assert not torch.equal(dataset.images("train", 1), images[:1])


def explicit(dataset):
    """Return the covariance of averaged backgrounds, shape (d, d), from all pairs of pixels at the render size."""
    render_size, size, exponent = dataset.render_size, dataset.size, dataset.background_alpha + 1
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


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_the_amplitude_has_the_covariance_of_the_averaged_field(alpha):
    for size, render_size in ((8, 24), (8, 8)):
        dataset = CAlpha(alpha, size, render_size=render_size)
        result = dataset._conditional.field.matrix()
        torch.testing.assert_close(result, explicit(dataset), atol=1e-9, rtol=1e-5)


def test_drawn_fields_have_the_covariance_of_the_amplitude():
    dataset, count = CAlpha(1.0, 8, render_size=32), 2000
    result = (
        torch.cat(AveragedField(32, 1.0, FIELD_STD).pairs(torch.Generator().manual_seed(0), count, 8))
        .flatten(1)
        .double()
    )
    expected = explicit(dataset)
    # A covariance estimated from n pairs has a standard error of at most sqrt(2 / n) of the variance.
    assert (result.T @ result / len(result) - expected).abs().max() < 5 * (2 / len(result)) ** 0.5 * expected.max()
    # The two fields of a pair are independent.
    cross = result[:count].T @ result[count:] / count
    assert cross.abs().max() < 5 * count**-0.5 * expected.max()


@pytest.mark.parametrize("alpha", [3.0, 4.0])
def test_omitted_frequencies_are_below_rounding(alpha, monkeypatch):
    """The variance summed over all frequencies exceeds that of the kept frequencies by less than rounding errors."""
    kept = AveragedField(256, alpha, FIELD_STD).highest
    assert kept < 256
    monkeypatch.setattr(_spectral, "ROUNDING", 1e-30)
    squares = AveragedField(256, alpha, FIELD_STD).quarter.double().square()
    counts = torch.full((257,), 2.0).double()
    counts[[0, -1]] = 1
    inside = counts[: kept + 1] @ squares[: kept + 1, : kept + 1] @ counts[: kept + 1]
    assert 0 < counts @ squares @ counts - inside < inside * (2.0**-25 / FIELD_STD) ** 2


@pytest.mark.parametrize("contour", ["line", "closed"])
def test_the_genie_is_the_mean_given_the_contour_and_its_error_the_bound(contour):
    """Compare both with values from the explicit covariance of an image of 8x8 pixels."""
    dataset, sigma = CAlpha(1.0, 8, contour=contour, render_size=24), 0.05
    background = explicit(dataset) + MEAN_STD**2
    noisy = dataset.images("test", 3, 2) + 0.05
    result = dataset.genie(noisy, sigma, "test", 2).flatten(1).double()
    for mask, image, filtered, bound in zip(
        dataset._masks("test", 3, 2),
        noisy.flatten(1).double(),
        result,
        dataset.lower_bound("test", 3, sigma, 2),
        strict=True,
    ):
        covariance = background * (torch.outer(mask, mask) + torch.outer(1 - mask, 1 - mask))
        gain = torch.linalg.solve(covariance + sigma**2 * torch.eye(64).double(), covariance)
        torch.testing.assert_close(filtered, 0.5 + (image - 0.5) @ gain, atol=1e-5, rtol=0)
        assert float(bound) == pytest.approx(sigma**2 * float(gain.trace()) / 64, rel=1e-5)


def test_on_flat_regions_the_genie_estimates_two_grey_values():
    """With a broad prior on two constants the error is about 2 sigma^2, summed over pixels."""
    for size in (16, 44):
        dataset = CAlpha(2.0, size, contour="disc", background_alpha="flat")
        bound = dataset.lower_bound("test", 2, 1e-3) * size**2
        torch.testing.assert_close(bound, torch.full((2,), 2e-6).double(), rtol=1e-3, atol=0)
    assert dataset.optimum.slope == 1
    assert dataset.true_basis("test", 1).vectors.shape == (1, 44**2, 2)
    image, mask = dataset.images("test", 1).flatten(), dataset._masks("test", 1, 0).flatten()
    assert len(image[mask == 0].unique()) == len(image[mask == 1].unique()) == 1


@pytest.mark.parametrize("contour", CONTOURS)
@pytest.mark.parametrize("render_size", [None, 64])
def test_level_sets_are_zero_on_the_contour(contour, render_size):
    """Pixels are covered where levels around them are negative; near zero, level over slope is the distance."""
    dataset = CAlpha(4.0, 16, contour=contour, render_size=render_size)
    levels, masks = dataset.level_sets("test", 20, 3), dataset._masks("test", 20, 3).reshape(20, 16, 16)
    assert levels.shape == (20, 16, 16)
    assert levels.dtype == torch.float64
    highest, lowest = (sign * max_pool2d(sign * levels[:, None], 3, 1, 1)[:, 0] for sign in (1, -1))
    # A contour may still cut a corner.
    assert (masks[highest < 0] > 0.95).all()
    assert (masks[lowest > 0] < 0.05).all()
    slopes = torch.hypot(*torch.gradient(levels, dim=(1, 2))).clamp(min=0.5)
    assert (masks - (0.5 - levels / slopes).clamp(0, 1)).abs().mean() < 0.01
    assert torch.equal(dataset.level_sets("test", 1, 22), levels[19:])


def test_the_level_set_of_a_disc_is_the_distance():
    levels = CAlpha(2.0, 32, contour="disc", render_size=64).level_sets("test", 2)
    down, across = torch.gradient(levels, dim=(1, 2))
    slopes = torch.hypot(down, across)[:, 1:-1, 1:-1]
    # The level set is not smooth around the centre, which is therefore excluded; the radius is about 8 pixels.
    away = levels[:, 1:-1, 1:-1] > levels.amin((1, 2), keepdim=True) + 3
    assert (slopes[away] - 1).abs().max() < 0.04


def test_noise_at_equal_sigma_over_side_is_the_same_at_every_size():
    noise = functools.partial(evaluation_noise, 3, render_size=32)
    small, large = noise((1, 8, 8), 0.1, 5, "test"), noise((1, 16, 16), 0.2, 5, "test")
    # An average of four pixels has half the standard deviation, the noise level of the smaller size.
    torch.testing.assert_close(small, avg_pool2d(large, 2), atol=1e-6, rtol=0)
    assert torch.equal(evaluation_noise(1, (1, 8, 8), 0.1, 5, "test", render_size=32), small[:1])
    torch.testing.assert_close(noise((1, 8, 8), 0.2, 5, "test"), 2 * small)
    for others in ((6, "test"), (5, "train"), (5, "test", "draw 1")):
        assert (noise((1, 8, 8), 0.1, *others) - small).abs().max() > 0.05
    assert (small[1:] - small[:-1]).abs().amax((1, 2, 3)).min() > 0.05
    many = evaluation_noise(400, (1, 8, 8), 0.1, 5, "test", render_size=32)
    assert float(many.std()) == pytest.approx(0.1, rel=4 / (2 * many.numel()) ** 0.5)
    with pytest.raises(ValueError, match="block averages"):
        noise((1, 12, 12), 0.1)


def test_an_evaluation_has_the_noise_of_the_master():
    result = []
    for size, sigma in ((8, 0.1), (16, 0.2)):
        dataset = CAlpha(2.0, size, render_size=32)
        clean = dataset.images("test", 2)
        denoiser = gahbench.create("reference", "identity")
        evaluation = Evaluation(denoiser, clean, [sigma], dataset=dataset)
        result.append(evaluation.noisy(sigma) - clean)
    torch.testing.assert_close(result[0], avg_pool2d(result[1], 2), atol=1e-6, rtol=0)
