"""Filters compared with their definitions, or with programs of scipy and scikit-image."""

import itertools
import math

import numpy as np
import pytest
import torch
from constructing import construct
from learned_references import with_noise
from numpy.lib.stride_tricks import sliding_window_view
from random_images import uniform as random
from scipy import ndimage
from scipy.fft import dctn, idctn
from scipy.optimize import brentq
from skimage.restoration import denoise_bilateral

from gahbench.contracts.truth import Truth
from gahbench_plugins.bases.graph import graph_laplacian
from gahbench_plugins.bases.iso_local import local_variance
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.datasets.discs import Discs
from gahbench_plugins.references.anisotropic import INTEGRATION, PRESMOOTHING, Anisotropic
from gahbench_plugins.references.bilateral import Bilateral
from gahbench_plugins.references.bm3d import BM3D
from gahbench_plugins.references.gaussian_blur import GaussianBlur, LowPass
from gahbench_plugins.references.guided_filter import GuidedFilter
from gahbench_plugins.references.heat_kernel import HeatKernel
from gahbench_plugins.references.local_blur import LocalBlur
from gahbench_plugins.references.nl_means import NonLocalMeans
from gahbench_plugins.references.tv import TotalVariation

SIGMA = 0.1
CHANNELS = pytest.mark.parametrize("channels", [1, 3])
needs_bm3d = pytest.mark.extras("deepinv", "ptwt")


def denoise(reference, images, sigma=SIGMA, **parameters):
    return construct(reference, **parameters).denoise(images, sigma, Truth(images))


def windows(image, reach):
    """Yield row, column and the window around each pixel of an image (C, H, W) with repeated border pixels."""
    padded = np.pad(image, [(0, 0), (reach, reach), (reach, reach)], mode="symmetric")
    views = sliding_window_view(padded, (2 * reach + 1,) * 2, axis=(1, 2))
    for row, column in itertools.product(range(image.shape[1]), range(image.shape[2])):
        yield row, column, views[:, row, column]


def weighted_means(image, reach, margin, weights):
    """Return the mean of the window around each pixel with the weights ``weights(row, column, window and margin)``."""
    expected = np.empty(image.shape)
    for row, column, window in windows(image, reach + margin):
        weight = weights(row, column, window)
        inner = window[:, margin : window.shape[1] - margin, margin : window.shape[2] - margin]
        expected[:, row, column] = (weight * inner).sum((1, 2)) / weight.sum()
    return expected


@CHANNELS
def test_the_bilateral_filter_agrees_with_scikit_image_at_equal_distances(channels):
    """The table of weights of distances in scikit-image 0.26 is not centred if windows are odd, so it is flat here."""
    images = random(1, channels, 12, 15)
    image = images[0].movedim(0, -1).numpy()
    options = {"win_size": 9, "sigma_spatial": 100.0, "bins": 100_000, "mode": "symmetric"}
    # scikit-image divides distances of colours by the number of channels.
    colours = {"channel_axis": -1} if channels > 1 else {}
    expected = denoise_bilateral(image.squeeze(), sigma_color=0.3 / channels, **options, **colours).reshape(image.shape)
    result = denoise(Bilateral, images, hr=0.3, hs=100.0, distance=4)[0].movedim(0, -1)
    np.testing.assert_allclose(result, expected, atol=1e-3)


@CHANNELS
@pytest.mark.parametrize(("reference", "width", "parameters"), [
    (Bilateral, 1.2, {"hr": 1e9, "hs": 1.2, "distance": 6}),
    *((Anisotropic, width, {"width": width, "ratio": 1.0, "angle": 30.0, "distance": 6}) for width in (1.2, 2.0)),
    *((GaussianBlur, width, {"width": width}) for width in (2.5, 4.0)),
])  # fmt: skip
def test_blurs_are_sampled_gaussians_with_reflecting_borders(reference, width, parameters, channels):
    images = random(2, channels, 20, 13)
    radius = parameters.get("distance", 40)
    expected = ndimage.gaussian_filter(
        images.numpy(), (0, 0, width, width), mode="reflect", radius=(0, 0, *[radius] * 2)
    )
    np.testing.assert_allclose(denoise(reference, images, **parameters), expected, atol=1e-7)


@pytest.mark.parametrize(("patch", "distance", "channels"), [(1, 1, 1), (3, 2, 1), (5, 2, 3), (5, 7, 1)])
def test_non_local_means_agree_with_their_definition(patch, distance, channels):
    images, h, half = random(1, channels, 6, 7), 0.3, patch // 2

    def weights(row, column, window):
        patches = sliding_window_view(window, (patch, patch), axis=(1, 2))
        squared = (patches - patches[:, distance : distance + 1, distance : distance + 1]) ** 2
        return np.exp(-np.maximum(squared.mean((0, 3, 4)) - 2 * SIGMA**2, 0) / h**2)

    expected = weighted_means(images[0].numpy(), distance, half, weights)
    np.testing.assert_allclose(denoise(NonLocalMeans, images, h=h, patch=patch, distance=distance)[0], expected)


@pytest.mark.parametrize("radius", [1, 4])
@CHANNELS
def test_the_guided_filter_agrees_with_its_definition(radius, channels):
    """Each window is a ridge regression of the image on itself, with a penalty on the slopes only."""
    (image,) = images = random(1, channels, 6, 7)
    eps, count = 3.0, (2 * radius + 1) ** 2
    fits = np.empty((channels + 1, channels, 6, 7))
    for row, column, window in windows(image.numpy(), radius):
        values = window.reshape(channels, -1).T
        design = np.c_[values, np.ones(count)]
        penalty = np.diag([count * eps * SIGMA**2] * channels + [0.0])
        fits[..., row, column] = np.linalg.solve(design.T @ design + penalty, design.T @ values)
    expected = np.empty(image.shape)
    for row, column, several in windows(fits.reshape(-1, 6, 7), radius):
        fit = several.mean((1, 2)).reshape(channels + 1, channels)
        expected[:, row, column] = image.numpy()[:, row, column] @ fit[:-1] + fit[-1]
    np.testing.assert_allclose(denoise(GuidedFilter, images, eps=eps, radius=radius)[0], expected, atol=1e-12)


def blur(values, width):
    frequencies = [np.pi * np.arange(size) / size for size in values.shape]
    transfer = np.exp(-(width**2) * (frequencies[0][:, None] ** 2 + frequencies[1] ** 2) / 2)
    return idctn(dctn(values, norm="ortho") * transfer, norm="ortho")


@pytest.mark.parametrize("angle", [0.0, 30.0])
@CHANNELS
def test_the_anisotropic_filter_agrees_with_its_definition(angle, channels):
    (image,) = images = random(1, channels, 9, 8)
    width, ratio, reach = 1.5, 0.4, 4
    tensor = np.zeros((2, 2, 9, 8))
    for channel in image.numpy():
        smooth = np.pad(blur(channel, PRESMOOTHING), 1, mode="edge")
        gradient = (smooth[2:, 1:-1] - smooth[:-2, 1:-1]) / 2, (smooth[1:-1, 2:] - smooth[1:-1, :-2]) / 2
        tensor += [[first * second for second in gradient] for first in gradient]
    tensor = np.array([[blur(values, INTEGRATION) for values in row] for row in tensor])
    noise = channels * SIGMA**2 / (8 * math.pi * PRESMOOTHING**4)
    turn = math.radians(angle)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    displacements = np.mgrid[-reach : reach + 1, -reach : reach + 1]

    def weights(row, column, window):
        values, vectors = np.linalg.eigh(tensor[..., row, column])
        squared = (values[1] - values[0]) ** 2
        along = rotation @ vectors[:, 0]
        short = width**2 * (1 - (1 - ratio**2) * squared / (squared + noise**2))
        precision = np.linalg.inv(short * np.eye(2) + (width**2 - short) * np.outer(along, along))
        return np.exp(-np.einsum("iab,ij,jab->ab", displacements, precision, displacements) / 2)

    result = denoise(Anisotropic, images, width=width, ratio=ratio, angle=angle, distance=reach)
    np.testing.assert_allclose(result[0], weighted_means(image.numpy(), reach, 0, weights), atol=1e-10)


@pytest.mark.parametrize("share", [0.03, 0.5])
def test_the_cosines_of_lowest_frequency_are_kept(share):
    shape, noisy = (6, 15), with_noise(torch.zeros(2, 3, 6, 15).double(), 1.0)
    result = denoise(LowPass, noisy, share=share).numpy()
    before, after = (dctn(some, norm="ortho", axes=(2, 3)) for some in (noisy.numpy(), result))
    kept = np.abs(after).max((0, 1)) > 1e-12
    assert kept.sum() == round(share * math.prod(shape))
    np.testing.assert_allclose(after[:, :, kept], before[:, :, kept], atol=1e-12)
    frequencies = np.hypot(np.arange(shape[0])[:, None] / shape[0], np.arange(shape[1]) / shape[1])
    assert frequencies[kept].max() <= frequencies[~kept].min() + 1e-12


def total_variation(images):
    """Return the sum of the lengths of forward differences of each image, shape (N,)."""
    down, right = (np.diff(images, axis=axis, append=np.take(images, [-1], axis)) for axis in (2, 3))
    return np.hypot(down, right).sum((1, 2, 3))


@pytest.mark.parametrize("weight", [0.05, 0.3])
def test_total_variation_satisfies_its_optimality_condition(weight):
    """The minimiser u is optimal if <y - u, v> <= w TV(v) for all v, with equality for v = u."""
    noisy = random(1, 1, 12, 15)
    result = denoise(TotalVariation, noisy, weight=weight).numpy()
    residual, bound = noisy.numpy() - result, float(weight * total_variation(result)[0])
    # The iteration stops near the minimum of this objective.
    tolerance = 0.01 * ((residual**2).sum() / 2 + bound)
    assert (residual * result).sum() == pytest.approx(bound, abs=tolerance)
    others = np.concatenate([noisy.numpy(), *(np.roll(result, k, 3) for k in range(5)), random(50, 1, 12, 15).numpy()])
    slack = weight * total_variation(others) - (residual * others).sum((1, 2, 3))
    assert slack.min() > -tolerance


@needs_bm3d
def test_bm3d_denoises_colours_together_and_better_than_any_blur():
    """Three equal channels under independent noise have a mean with a third of the variance."""
    discs = Discs(32).images("test", 4)
    clean = discs.expand(-1, 3, -1, -1)
    images = with_noise(clean, SIGMA)
    result = denoise(BM3D, images)
    grey = denoise(BM3D, images.mean(1, keepdim=True), SIGMA / 3**0.5)
    # Differences of the channels are pure noise, which is almost completely removed.
    assert (result - grey).square().mean() < 0.02 * SIGMA**2
    # Rounding errors change the matching of some patches.
    assert (result.mean(1, keepdim=True) - grey).square().mean() < 1e-5 * SIGMA**2
    noisy = with_noise(discs, SIGMA)
    error = (denoise(BM3D, noisy) - discs).square().mean()
    blurred = [denoise(GaussianBlur, noisy, width=width) for width in (0.3, 0.5, 0.8, 1.2, 2.0)]
    assert error < min(SIGMA**2 / 5, *(0.8 * (other - discs).square().mean() for other in blurred))


@needs_bm3d
def test_bm3d_pads_images_smaller_than_a_patch():
    tiny = torch.rand(1, 1, 7, 9)
    whole = denoise(BM3D, torch.cat([tiny, tiny[..., -1:, :]], 2))
    assert torch.equal(denoise(BM3D, tiny), whole[..., :7, :])


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
@pytest.mark.parametrize("time", [0.1, 30.0])
@CHANNELS
def test_heat_kernels_are_functions_of_the_laplacian(kernel, time, channels):
    """The channels share a graph, and are filtered separately."""
    clean, reference = random(2, channels, 5, 6), construct(HeatKernel, kernel=kernel, time=time)
    laplacian = graph_laplacian(clean)
    eye = torch.eye(30, dtype=torch.float64)
    matrices = torch.matrix_exp(-time * laplacian) if kernel == "heat" else torch.linalg.inv(eye + time * laplacian)
    noisy, truth = with_noise(clean, SIGMA), Truth(clean)
    torch.testing.assert_close(reference.denoise(noisy, SIGMA, truth), (noisy.flatten(2) @ matrices).view_as(noisy))
    whole = torch.stack([torch.block_diag(*[matrix] * channels) for matrix in matrices])
    torch.testing.assert_close(reference.jacobian(noisy, SIGMA, truth).matrices(), whole)


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
@pytest.mark.parametrize("sigma", [0.03, 0.3])
def test_the_chosen_time_minimises_the_expected_error(kernel, sigma):
    truth = Truth(CAlpha(2.0, 10).images("test", 4).double())
    best = construct(HeatKernel, kernel=kernel).risk(truth, sigma)
    tried = [construct(HeatKernel, kernel=kernel, time=float(time)) for time in torch.logspace(-3, 4, 30)]
    # Candidate times are on a grid near a smooth minimum.
    assert (best <= 1.01 * torch.stack([reference.risk(truth, sigma) for reference in tried]).amin(0)).all()
    assert (best < 0.9 * sigma**2).all()


@pytest.mark.parametrize(("arguments", "height", "channels"), [
    ({}, 12, 1), ({}, 9, 3), ({"window": 9, "trace_fraction": 0.3}, 12, 1), ({"power": 1.0, "floor": 0.1}, 12, 1),
])  # fmt: skip
def test_local_blurs_are_gaussians_whose_width_follows_the_local_variance(arguments, height, channels):
    """All channels have the same filter, whose trace is a share of the pixels."""
    clean, blur = CAlpha(2.0, 12).images("test", 3 * channels), construct(LocalBlur, **arguments)
    clean = clean[..., :height, :].reshape(3, channels, height, 12)
    trace = arguments.get("trace_fraction", 0.1) * height * 12
    pixels = np.argwhere(np.ones((height, 12)))
    squared = np.square(pixels[:, None] - pixels).sum(2)
    noisy = with_noise(clean, SIGMA)
    denoised = blur.denoise(noisy, SIGMA, Truth(clean))
    for image, given, result in zip(clean, noisy, denoised, strict=True):
        falls = (local_variance(image[None], blur.window)[0].numpy().flatten() + blur.floor**2) ** blur.power

        def kernels(logarithm, falls=falls):
            result = np.exp(-squared / (2 * np.clip(np.exp(logarithm) / falls, 1e-4, 400)[:, None]))
            return result / result.sum(1, keepdims=True)

        expected = kernels(brentq(lambda logarithm, kernels=kernels: np.trace(kernels(logarithm)) - trace, -25, 25))
        matrix = (expected + expected.T) / 2
        np.testing.assert_allclose(result.flatten(1), given.flatten(1).numpy() @ matrix, atol=1e-5)
