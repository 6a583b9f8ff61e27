"""Parts of bandlets: Alpert transforms, orderings of samples along directions, flows, and their cost."""

import itertools
import math

import numpy as np
import pytest
import pywt
import torch

from gahbench_plugins.bases.alpert import alpert, inverse_alpert
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.bases.extended import extend
from gahbench_plugins.bases.squares import _directions, _orders, dyadic_squares
from gahbench_plugins.bases.wavelet import Wavelet

CASES = [
    (size, moments) for size, moments in itertools.product([4, 16, 64, 256], [1, 2, 3, 4, 5, 8]) if moments <= size
]


def alpert_matrix(size, moments):
    """Return the vectors of the transform as rows."""
    return alpert(torch.eye(size, dtype=torch.float64), moments).T


@pytest.mark.parametrize(("size", "moments"), CASES)
def test_alpert_is_orthonormal_and_orthogonal_to_polynomials(size, moments):
    matrix = alpert_matrix(size, moments)
    eye = torch.eye(size, dtype=torch.float64)
    torch.testing.assert_close(matrix @ matrix.T, eye, atol=1e-12, rtol=0)
    torch.testing.assert_close(inverse_alpert(matrix.T, moments), eye, atol=1e-12, rtol=0)
    ranks = torch.linspace(-1, 1, size, dtype=torch.float64)
    powers = torch.stack([ranks**degree for degree in range(moments + 1)], dim=1)
    details = matrix[moments:] @ powers
    assert details.numel() == 0 or details[:, :moments].abs().max() < 1e-11
    # The next power is not annihilated, if the size suffices.
    assert size <= moments or details[:, moments].abs().max() > 1e-4


@pytest.mark.parametrize("size", [2, 4, 16, 64])
def test_alpert_with_one_moment_is_haar(size):
    levels = pywt.wavedec(np.eye(size), "haar", mode="periodization", level=int(math.log2(size)), axis=0)
    products = alpert_matrix(size, 1).numpy() @ np.concatenate(levels).T
    # The vectors agree up to sign and order.
    assert np.allclose(np.sort(np.abs(products), axis=1)[:, -1], 1)
    assert np.allclose((np.abs(products) > 1e-9).sum(axis=0), 1)


def sort_by_angle(side, degrees):
    """Return the samples of a square, sorted by their coordinate across a direction."""
    angle = math.radians(degrees)
    rows, columns = np.mgrid[:side, :side].reshape(2, -1)
    across = -math.sin(angle) * columns + math.cos(angle) * -rows
    order = tuple(np.argsort(across).tolist())
    return min(order, order[::-1])


def canonical(samples):
    order = tuple(samples.tolist())
    return min(order, order[::-1])


@pytest.mark.parametrize(("side", "count"), [(2, 4), (4, 16), (8, 72)])
def test_many_directions_have_every_order_once(side, count):
    # With an irrational step, no direction has ties between samples.
    dense = {sort_by_angle(side, 0.01 + step * math.sqrt(2) / 25) for step in range(3182)}
    ours = [canonical(samples) for samples in _directions(side, 800)[1]]
    assert len(ours) == len(set(ours)) == count
    assert set(ours) == dense


@pytest.mark.parametrize(("size", "extended"), [((61, 45), (64, 48)), ((64, 48), (64, 48))])
def test_squares_cover_samples_once_without_influence_of_the_extension(size, extended):
    wavelet, images = Wavelet("haar", 2), torch.zeros(1, 1, *size, dtype=torch.float64)
    squares = dyadic_squares("haar", 2, 4, 16, 32, size)
    covered = torch.zeros(extended, dtype=torch.long)
    for index, level in enumerate(squares):
        assert len(level.samples.unique()) == level.samples.numel() == len(level) * level.side**2
        covered.view(-1)[level.samples.flatten()] += 1 if index == 0 else 0
        for samples, quarters in zip(level.samples, level.quarters, strict=True):
            if len(quarters):
                assert squares[index - 1].samples[quarters].flatten().sort().values.equal(samples.sort().values)
    labels = wavelet.extended_bands(extended)
    assert not covered[labels == 0].any()
    assert covered.sum() > 0.5 * (labels > 0).sum()
    # Ones in the last row and column of an image and in their mirror image.
    for axis in (2, 3):
        edge = images.transpose(axis, 3).clone()
        edge[..., -1] = 1
        coefficients = wavelet.forward(extend(edge.transpose(axis, 3), extended))[0, 0]
        assert size == extended or not coefficients[covered > 0].any()


THRESHOLD = 0.05


def fine(**others):
    return Bandlet(**{"wavelet": None, "directions": "fine", "largest": None, **others})


def cost(coefficients, threshold=THRESHOLD):
    return float(coefficients.square().clamp(max=threshold**2).sum())


def distance_from_circle(size, radius=0.2713):
    """Return the signed distance from a circle, in pixels, negative inside."""
    coordinates = torch.arange(size, dtype=torch.float64) + 0.5
    return ((coordinates[:, None] - 0.513 * size) ** 2 + (coordinates - 0.479 * size) ** 2).sqrt() - radius * size


def disc(size):
    return (0.4 + 0.24 * (0.5 - distance_from_circle(size)).clamp(0, 1))[None, None]


def edge(angle, side):
    """Return an edge through the centre at an angle."""
    coordinates = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return torch.sigmoid(3 * (sin * coordinates + cos * coordinates[:, None]))[None, None]


@pytest.mark.parametrize("side", [4, 16, 64, 512])
def test_fine_directions_are_at_most_half_a_sample_apart(side):
    angles = torch.tensor(_directions(side, "fine")[0], dtype=torch.float64)
    assert (angles.diff().max() / 2).deg2rad().tan() * side / 2 <= 0.5
    assert angles[0] + 180 - angles[-1] <= angles.diff().max() + 1e-9


@pytest.mark.parametrize("angle", [0, 11.3, 45, 71, 133.7, 178])
@pytest.mark.parametrize("side", [32, 64])
def test_the_search_of_large_squares_finds_the_best_direction_of_an_edge(angle, side):
    picture = edge(angle, side)
    turned = picture.flatten()[_orders(side, count := len(_directions(side, "fine")[0]), torch.arange(count))]
    best = min(cost(row) for row in alpert(turned, 1))
    adapted = fine(moments=1).adapt(picture, THRESHOLD)
    # A split may be better still.
    assert cost(adapted.analysis(picture)) <= best + 100 * THRESHOLD**2 / 1024


def test_the_minimized_cost_includes_the_geometry():
    picture, sigma = disc(128), 0.03
    plain = cost(Wavelet("haar").analysis(picture), sigma)
    totals = {}
    for price in (0.0, 1.0, 3.0, 1e6):
        adapted = fine(wavelet="haar", count="parameters", moments=1, price=price).adapt(picture, sigma)
        numbers = sum(square.angle is not None for square in adapted.squares())
        totals[price] = (cost(adapted.analysis(picture), sigma), numbers)
        # Costs are rounded to 1/1024 for each of 1365 squares.
        assert totals[price][0] + price * numbers * sigma**2 <= plain + 1365 / 1024 * sigma**2
    errors, counts = zip(*totals.values(), strict=True)
    assert list(errors) == sorted(errors)
    assert list(counts) == sorted(counts, reverse=True)
    assert counts[0] > counts[1] > counts[-1] == 0
    # The geometry for a price has the minimum cost at this price.
    for price, (error, number) in itertools.product(totals, totals.values()):
        own = totals[price]
        assert own[0] + price * own[1] * sigma**2 <= error + (price * number + 2) * sigma**2
