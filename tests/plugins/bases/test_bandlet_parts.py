"""Parts of bandlets: Alpert transforms, orderings of samples along directions, flows, and their cost."""

import itertools
import math

import numpy as np
import pytest
import pywt
import torch

from gahbench import BasisError
from gahbench_plugins.bases._bandlets.alpert import alpert, inverse_alpert
from gahbench_plugins.bases._bandlets.flows import Flows, orderings
from gahbench_plugins.bases._bandlets.frame import dyadic_squares
from gahbench_plugins.bases.bandlet import Bandlet
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


@pytest.mark.parametrize("moments", [1, 2, 3])
def test_alpert_vectors_are_sorted_from_long_to_short(moments):
    lengths = (alpert_matrix(256, moments).abs() > 1e-9).sum(dim=1)
    assert (lengths.diff() <= 0).all()
    assert lengths[0] == 256


def test_successive_alpert_wavelets_annihilate_one_more_power():
    # The j-th of the four wavelets on the whole row annihilates the powers below 4 + j (Alpert 1993).
    ranks = torch.linspace(-1, 1, 256, dtype=torch.float64)
    seen = alpert_matrix(256, 4)[4:8] @ torch.stack([ranks**degree for degree in range(8)], dim=1)
    for number in range(4):
        assert seen[number, : 4 + number].abs().max() < 1e-10
        assert seen[number, 4 + number].abs() > 1e-3


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
def test_orderings_contain_every_direction(side, count):
    # With an irrational step, no direction has ties between samples.
    dense = {sort_by_angle(side, 0.01 + step * math.sqrt(2) / 25) for step in range(3182)}
    ours = [canonical(samples) for samples in orderings(side).samples]
    assert len(ours) == len(set(ours)) == count
    assert set(ours) == dense


@pytest.mark.parametrize("side", [4, 8, 16])
@pytest.mark.parametrize("most", [None, 1, 8, 12, 32, 500])
def test_an_ordering_belongs_to_its_angle(side, most):
    chosen = orderings(side, most)
    assert len(chosen) <= (most or len(orderings(side)))
    assert list(chosen.angles) == sorted(chosen.angles)
    for angle, samples in zip(chosen.angles, chosen.samples, strict=True):
        assert 0 < angle < 180
        assert canonical(samples) == sort_by_angle(side, angle)


@pytest.mark.parametrize("most", [8, 31, 32])
def test_a_limited_number_of_orderings_is_equally_spaced(most):
    angles = 180 * (np.arange(most) + 0.5) / most
    # If samples are tied in the middle of an arc, both orders are valid.
    expected = {sort_by_angle(16, angle) for angle in angles}
    ours = {canonical(samples) for samples in orderings(16, most).samples}
    assert len(expected ^ ours) <= 2 * sum(abs(angle % 45) < 1e-9 for angle in angles)
    assert len(orderings(16, 1000)) == len(orderings(16)) == 288


def test_squares_cover_usable_samples_once():
    bands = torch.zeros(21, 30, dtype=torch.long)
    bands[:, 10:] = 1
    usable = torch.ones(21, 30, dtype=torch.bool)
    usable[0, 10] = False
    small, large = dyadic_squares(bands, usable, (4, 8))
    covered = torch.zeros(21 * 30, dtype=torch.long).index_add(
        0, small.samples.flatten(), torch.ones(small.samples.numel(), dtype=torch.long)
    )
    expected = torch.zeros(21, 30, dtype=torch.long)
    expected[:20, 10:] = 1
    expected[:4, 10:14] = 0
    assert torch.equal(covered.reshape(21, 30), expected)
    assert large.corners.tolist() == [[0, 18], [8, 10], [8, 18]]
    for square, quarters in zip(large.samples, large.quarters, strict=True):
        assert sorted(small.samples[quarters].flatten().tolist()) == sorted(square.tolist())


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


def edge(angle, side, bend=0.0):
    """Return an edge through the centre at an angle, whose ends are ``bend`` samples below a straight edge."""
    coordinates = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along = (cos * coordinates - sin * coordinates[:, None]) / (side / 2)
    below = sin * coordinates + cos * coordinates[:, None] - bend * along**2
    return torch.sigmoid(3 * below)[None, None]


@pytest.mark.parametrize("side", [4, 16, 64, 512])
def test_directions_are_at_most_half_a_sample_apart(side):
    angles = torch.tensor(Flows(side).angles, dtype=torch.float64)
    assert (angles.diff().max() / 2).deg2rad().tan() * side / 2 <= 0.5
    assert angles[0] + 180 - angles[-1] <= angles.diff().max() + 1e-9


@pytest.mark.parametrize(("angle", "bend", "twist"), [(0.3, 0, 0), (1.1, 5, 0), (2.9, -4, 6)])
def test_an_order_follows_one_contour_after_another(angle, bend, twist):
    flows = Flows(16, degree=3)
    chosen = int(angle / math.pi * len(flows.angles))
    order = flows.orders(torch.tensor([chosen, bend, twist]))
    assert order.sort().values.equal(torch.arange(256))
    theta = math.radians(flows.angles[chosen])
    y, x = (
        coordinates.flatten() - 7.5
        for coordinates in torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    )
    u, v = (math.cos(theta) * x - math.sin(theta) * y) / 8, math.sin(theta) * x + math.cos(theta) * y
    contour = v - bend / 2 * u**2 - twist / 2 * u**3
    # Equal up to rounding and the term that orders samples on the same line.
    assert contour[order].diff().min() > -1e-5


@pytest.mark.parametrize("angle", [0, 11.3, 45, 71, 133.7, 178])
@pytest.mark.parametrize("side", [32, 64])
def test_the_search_of_large_squares_finds_the_best_direction_of_an_edge(angle, side):
    picture = edge(angle, side)
    flows = Flows(side)
    turned = picture.flatten()[flows.orders(flows.directions())]
    best = min(cost(row) for row in alpert(turned, 1))
    adapted = fine(moments=1).adapt(picture, THRESHOLD)
    # A split may be better still.
    assert cost(adapted.analysis(picture)) <= best + 100 * THRESHOLD**2 / 1024


@pytest.mark.parametrize(("angle", "bend"), [(20, 3.0), (100, -4.0), (0, 5.0)])
def test_a_quadratic_flow_bends_like_the_edge(angle, bend):
    picture = edge(angle, 32, bend)
    costs = {}
    for flow in ("straight", "quadratic"):
        basis = fine(smallest=32, largest=32, moments=1, flow=flow, count="parameters")
        adapted = basis.adapt(picture, THRESHOLD)
        costs[flow] = cost(adapted.analysis(picture)) + float(adapted.num_parameters()) * THRESHOLD**2
    assert costs["quadratic"] < costs["straight"] - 5 * THRESHOLD**2
    (square,) = adapted.geometry().squares
    # Along the direction rotated by 180 degrees, the same curve opens to the other side.
    sign = 1 if abs(square.angle - angle) < 90 else -1
    assert sign * square.bend == pytest.approx(bend, abs=1.0)
    assert square.twist == 0


def test_the_minimized_cost_includes_the_geometry():
    picture, sigma = disc(128), 0.03
    plain = cost(Wavelet("haar").analysis(picture), sigma)
    totals = {}
    for price in (0.0, 1.0, 3.0, 1e6):
        adapted = fine(wavelet="haar", count="parameters", moments=1, price=price).adapt(picture, sigma)
        numbers = sum(square.angle is not None for square in adapted.geometry().squares)
        assert adapted.num_parameters().tolist() == [numbers]
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


def test_noise_has_no_geometry_worth_its_price():
    noise = 0.1 * torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    adapted = fine(wavelet="sym5", count="parameters").adapt(noise, 0.35, noisy=True)
    assert adapted.num_parameters().sum() <= 2


def test_larger_squares_along_the_true_contour_are_no_worse():
    picture, lines, sigma = disc(128), distance_from_circle(128), 0.03
    costs = []
    for largest in (4, 8, 16, 32, 64, None):
        basis = fine(wavelet="haar", levels=4, moments=1, largest=largest)
        adapted = basis.adapt(picture, sigma, lines=lines)
        coefficients = adapted.analysis(picture)
        torch.testing.assert_close(adapted.synthesis(coefficients), picture)
        costs.append(cost(coefficients, sigma))
    steps = 1365 / 1024 * sigma**2
    assert all(larger <= smaller + steps for smaller, larger in itertools.pairwise(costs))
    assert costs[-1] < costs[0] - 10 * sigma**2


def test_slopes_along_a_known_circle_grow_with_the_squares():
    """At 256 pixels the slopes are not yet the asymptotic rates, but have the same order."""
    size, slopes = 256, []
    picture, lines = disc(size), distance_from_circle(size)
    sigmas = [size / 2048 * 2 ** (power / 2) for power in (-3, 0, 3)]
    for largest in (None, 8, "null"):
        risks = []
        for sigma in sigmas:
            basis = Wavelet("haar", 5)
            if largest is not None:
                cap = None if largest == "null" else largest
                basis = fine(wavelet="haar", levels=5, moments=1, largest=cap).adapt(picture, sigma, lines=lines)
            risks.append(cost(basis.analysis(picture), sigma))
        slopes.append(math.log(risks[-1] / risks[0]) / math.log(sigmas[-1] ** 2 / sigmas[0] ** 2))
    assert 0.5 < slopes[0] < slopes[1] < slopes[2]


def test_fixed_lines_have_the_size_of_the_images_and_no_directions():
    basis = fine(wavelet="haar")
    with pytest.raises(ValueError, match=r"lines of shape \(32, 32\); accepted: the shape of the images, \(64, 64\)"):
        basis.adapt(disc(64), 0.02, lines=distance_from_circle(32))
    with pytest.raises(BasisError, match="have no directions"):
        basis.adapt(disc(64), 0.02, lines=distance_from_circle(64)).geometry()


def test_each_image_and_channel_has_a_separate_flow():
    pictures = torch.cat(
        [torch.cat([edge(30, 32), edge(75, 32)], dim=1), torch.cat([edge(120, 32), edge(5, 32)], dim=1)]
    )
    adapted = fine(moments=1).adapt(pictures, THRESHOLD)
    together = adapted.analysis(pictures)
    numbers = torch.zeros(2, dtype=torch.float64)
    for image, channel in itertools.product(range(2), range(2)):
        plane = pictures[image : image + 1, channel : channel + 1]
        alone = fine(moments=1).adapt(plane, THRESHOLD)
        assert adapted.geometry(image, channel) == alone.geometry()
        numbers[image] += alone.num_parameters()[0]
        torch.testing.assert_close(together[image, channel], alone.analysis(plane)[0, 0])
    assert torch.equal(adapted.num_parameters(), numbers)
    assert numbers.min() > 0
