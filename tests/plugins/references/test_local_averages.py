"""Filters that average over the neighbours of each pixel: bilateral, guided, and anisotropic Gaussian."""

import itertools
import math

import numpy as np
import pytest
import torch
from constructing import construct
from learned_references import fitted, with_noise
from random_images import uniform as random
from scipy import ndimage
from scipy.fft import dctn, idctn
from skimage.restoration import denoise_bilateral

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.evaluation.evaluation import Evaluation
from gahbench_plugins.references.anisotropic import INTEGRATION, PRESMOOTHING, Anisotropic
from gahbench_plugins.references.bilateral import Bilateral
from gahbench_plugins.references.guided_filter import GuidedFilter

SIGMA = 0.1


def denoise(reference, images, sigma=SIGMA, **parameters):
    return construct(reference, **parameters).denoise(images, sigma, Truth(images))


def windows(image, reach):
    """Yield row, column and the window around each pixel of an image (C, H, W) with repeated border pixels."""
    padded = np.pad(image, [(0, 0), (reach, reach), (reach, reach)], mode="symmetric")
    side = 2 * reach + 1
    for row, column in itertools.product(range(image.shape[1]), range(image.shape[2])):
        yield row, column, padded[:, row : row + side, column : column + side]


def weighted_means(image, reach, weights):
    """Return the mean of the window around each pixel with the weights ``weights(row, column, window)``."""
    expected = np.empty(image.shape)
    for row, column, window in windows(image, reach):
        weight = weights(row, column, window)
        expected[:, row, column] = (weight * window).sum((1, 2)) / weight.sum()
    return expected


def offsets(reach):
    return np.mgrid[-reach : reach + 1, -reach : reach + 1]


@pytest.mark.parametrize(("hr", "hs", "reach", "channels"), [(0.3, 1.5, 5, 1), (0.2, 0.8, 2, 3), (0.5, 2.0, 9, 1)])
def test_the_bilateral_filter_agrees_with_its_definition(hr, hs, reach, channels):
    (image,) = images = random(1, channels, 6, 7)
    down, right = offsets(reach)

    def weights(row, column, window):
        difference = ((window - image.numpy()[:, row, column, None, None]) ** 2).sum(0)
        return np.exp(-(down**2 + right**2) / (2 * hs**2) - difference / (2 * hr**2))

    result = denoise(Bilateral, images, hr=hr, hs=hs, distance=reach)
    np.testing.assert_allclose(result[0], weighted_means(image.numpy(), reach, weights), atol=1e-12)


def test_the_bilateral_filter_agrees_with_scikit_image_at_equal_distances():
    """The table of weights of distances in scikit-image 0.26 is not centred if windows are odd, so it is flat here."""
    images = random(1, 1, 12, 15)
    result = denoise(Bilateral, images, hr=0.3, hs=100.0, distance=4)[0, 0]
    expected = denoise_bilateral(
        images[0, 0].numpy(), win_size=9, sigma_color=0.3, sigma_spatial=100.0, bins=100_000, mode="symmetric"
    )
    np.testing.assert_allclose(result, expected, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "width"), [("bilateral", 1.2), ("anisotropic", 1.2), ("anisotropic", 2.0)])
def test_without_range_or_with_equal_widths_the_filter_is_a_gaussian_blur(name, width, channels):
    images = random(2, channels, 9, 13)
    expected = ndimage.gaussian_filter(images.numpy(), (0, 0, width, width), mode="reflect", radius=(0, 0, 6, 6))
    if name == "bilateral":
        result = denoise(Bilateral, images, hr=1e9, hs=width, distance=6)
    else:
        result = denoise(Anisotropic, images, width=width, ratio=1.0, angle=30.0, distance=6)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("radius", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_guided_filter_agrees_with_its_definition(radius, channels):
    """Each window is a ridge regression of the image on itself, with a penalty on the slopes only."""
    (image,) = images = random(1, channels, 6, 7)
    eps, count = 3.0, (2 * radius + 1) ** 2
    slopes, intercepts = np.empty((channels, channels, 6, 7)), np.empty((channels, 6, 7))
    for row, column, window in windows(image.numpy(), radius):
        values = window.reshape(channels, -1).T
        design = np.c_[values, np.ones(count)]
        penalty = np.diag([count * eps * SIGMA**2] * channels + [0.0])
        solution = np.linalg.solve(design.T @ design + penalty, design.T @ values)
        slopes[:, :, row, column], intercepts[:, row, column] = solution[:-1], solution[-1]
    expected = np.empty(image.shape)
    flat = slopes.reshape(-1, 6, 7)
    for (row, column, several), (_, _, constants) in zip(
        windows(flat, radius), windows(intercepts, radius), strict=True
    ):
        slope = several.mean((1, 2)).reshape(channels, channels)
        expected[:, row, column] = image.numpy()[:, row, column] @ slope + constants.mean((1, 2))
    np.testing.assert_allclose(denoise(GuidedFilter, images, eps=eps, radius=radius)[0], expected, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("radius", [1, 3])
def test_the_limits_of_the_guided_filter_are_two_box_means_and_the_identity(channels, radius):
    images, size = random(2, channels, 8, 11), (1, 1, 2 * radius + 1, 2 * radius + 1)
    boxes = ndimage.uniform_filter(ndimage.uniform_filter(images.numpy(), size, mode="reflect"), size, mode="reflect")
    np.testing.assert_allclose(denoise(GuidedFilter, images, eps=1e12, radius=radius), boxes, atol=1e-9)
    np.testing.assert_allclose(denoise(GuidedFilter, images, eps=1e-9, radius=radius), images, atol=1e-6)


def blur(values, width):
    frequencies = [np.pi * np.arange(size) / size for size in values.shape]
    transfer = np.exp(-(width**2) * (frequencies[0][:, None] ** 2 + frequencies[1] ** 2) / 2)
    return idctn(dctn(values, norm="ortho") * transfer, norm="ortho")


@pytest.mark.parametrize("angle", [0.0, 90.0, 30.0])
@pytest.mark.parametrize("channels", [1, 3])
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
    displacements = np.stack(offsets(reach))

    def weights(row, column, window):
        values, vectors = np.linalg.eigh(tensor[..., row, column])
        squared = (values[1] - values[0]) ** 2
        along = rotation @ vectors[:, 0]
        short = width**2 * (1 - (1 - ratio**2) * squared / (squared + noise**2))
        covariance = short * np.eye(2) + (width**2 - short) * np.outer(along, along)
        precision = np.linalg.inv(covariance)
        return np.exp(-np.einsum("iab,ij,jab->ab", displacements, precision, displacements) / 2)

    result = denoise(Anisotropic, images, width=width, ratio=ratio, angle=angle, distance=reach)
    np.testing.assert_allclose(result[0], weighted_means(image.numpy(), reach, weights), atol=1e-10)


def stripes(angle, size=24):
    """Return stripes along a direction, in degrees from the rows, shape (1, 1, H, W)."""
    rows, columns = torch.meshgrid(*[torch.arange(size, dtype=torch.float64)] * 2, indexing="ij")
    turn = math.radians(angle)
    return 0.5 + 0.3 * torch.sin(1.2 * (math.cos(turn) * rows - math.sin(turn) * columns))[None, None]


@pytest.mark.parametrize("direction", [0, 30, 90, 135])
def test_stripes_are_kept_along_and_lost_across(direction):
    clean = stripes(direction)
    inside = (..., slice(6, -6), slice(6, -6))
    contrast = {
        angle: float((denoise(Anisotropic, clean, 0.02, width=3.0, ratio=0.1, angle=angle) - 0.5)[inside].std())
        for angle in (0.0, 45.0, 90.0)
    }
    assert contrast[0.0] > 0.85 * float(clean[inside].std())
    assert contrast[0.0] > 4 * max(contrast[45.0], contrast[90.0])


NAMES = ["bilateral", "guided-filter", "anisotropic"]


@pytest.mark.parametrize("dataset", ["photos[size=16]", "photos[size=16,colour=rgb]", "c-alpha[size=16]"])
@pytest.mark.parametrize("name", NAMES)
def test_tuned_filters_reduce_the_noise(name, dataset):
    family = gahbench.create("dataset", dataset)
    reference, clean = fitted(name, family), family.images("test", 16)
    error = (reference.denoise(with_noise(clean, SIGMA), SIGMA, Truth(clean)) - clean).square().mean()
    assert error < 0.4 * SIGMA**2
    assert "tuned on" in reference.notes[0]
    assert "end of its range" not in reference.notes[0]


@pytest.fixture(scope="module")
def direction():
    """Mean and standard error of the direction on the graph of 28 images, by the name of a reference."""
    dataset = gahbench.create("dataset", "c-alpha[size=16]")
    metric = gahbench.create("metric", "direction[graph-laplacian,ceiling_levels=0]")

    def score(name):
        reference = gahbench.create("reference", name)
        scores = metric.score(Evaluation(reference, dataset.images("test", 28), [SIGMA], dataset=dataset))
        values = np.array([value for value, part in zip(scores.value, scores.part, strict=True) if part == ""])
        assert len(values) >= 24
        return values.mean(), values.std(ddof=1) / len(values) ** 0.5

    return score


@pytest.mark.parametrize(("name", "known"), [("bilateral[hr=0.3,distance=3]", 0.27), ("guided-filter[eps=4.0]", 0.22)])
def test_filters_that_stop_at_edges_have_the_known_direction(direction, name, known):
    """The known values are of 16x16 patches of photographs, and have an error of 0.03 themselves."""
    mean, error = direction(name)
    assert abs(mean - known) < 0.1
    assert mean > 5 * error


def test_the_direction_of_the_anisotropic_filter_follows_its_angle(direction):
    along, across, between = (
        direction(f"anisotropic[width=1.5,distance=2,angle={angle}]") for angle in (0.0, 90.0, 45.0)
    )
    assert along[0] > 5 * along[1]
    assert across[0] < -5 * across[1]
    assert abs(between[0]) < 3 * between[1]
