"""Bandlets: optimal in their dictionary, and never worse than their wavelet.

Their parts are Alpert transforms, orderings of samples along directions, flows, and the cost of the geometry.
"""

import itertools
import math

import numpy as np
import pytest
import pywt
import torch
from random_images import normal as images

import gahbench
from gahbench_plugins.bases import squares as geometry
from gahbench_plugins.bases.alpert import alpert, inverse_alpert
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.bases.extended import extend
from gahbench_plugins.bases.squares import _directions, _orders, dyadic_squares
from gahbench_plugins.bases.wavelet import Wavelet


def regular(size=64, count=8, construction="paper"):
    family = gahbench.create("dataset", "c-alpha", alpha=4, size=size, construction=construction)
    return family.images("test", count)


def across(angle, height, width):
    """Return the coordinate of each pixel across a direction, 0 in the middle."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = columns - (width - 1) / 2, (height - 1) / 2 - rows
    return (-math.sin(math.radians(angle)) * x + math.cos(math.radians(angle)) * y).double()


def threshold_energy(coefficients, threshold):
    return coefficients.square().clamp(max=threshold**2).flatten(1).sum(1)


def all_partitions(top, left, side, smallest):
    """Yield all quadtrees as lists of leaves, each with the number of squares that may be split."""
    yield [(top, left, side)], int(side > smallest)
    if side > smallest:
        half = side // 2
        parts = [all_partitions(top + i, left + j, half, smallest) for i in (0, half) for j in (0, half)]
        for choice in itertools.product(*map(list, parts)):
            yield [leaf for leaves, _ in choice for leaf in leaves], 1 + sum(decisions for _, decisions in choice)


@pytest.mark.parametrize("price", [0.0, 0.4])
@pytest.mark.parametrize("moments", [1, 2])
def test_the_chosen_geometry_has_minimum_cost_in_the_dictionary(price, moments):
    threshold, directions = 0.1, 8
    picture = ((across(37, 8, 8) - 0.8).sign() + 0.5 * (across(100, 8, 8) + 1.5).sign()).float() / 4
    picture = picture.double() + 0.05 * images(8, 8)
    best = {}
    angles = {}
    for side in (2, 4, 8):
        # As in the plugin, there is a direction for each of 8 equal arcs; a 2x2 square has only four.
        count = 4 if side == 2 else directions
        degrees = [180 / count * (number + 0.5) for number in range(count)]
        angles[side] = degrees
        for top, left in itertools.product(range(0, 8, side), repeat=2):
            block = picture[top : top + side, left : left + side].flatten()
            costs = [float(block.square().clamp(max=threshold**2).sum()) + price * threshold**2]
            for angle in degrees:
                turned = alpert(block[across(angle, side, side).flatten().argsort(descending=True)], moments)
                bits = 1 + math.log2(len(degrees))
                costs.append(float(turned.square().clamp(max=threshold**2).sum()) + price * bits * threshold**2)
            best[top, left, side] = min(costs)
    totals = [
        sum(best[leaf] for leaf in leaves) + price * decisions * threshold**2
        for leaves, decisions in all_partitions(0, 0, 8, 2)
    ]
    assert len(totals) == 17

    basis = Bandlet(None, smallest=2, largest=8, directions=directions, moments=moments, price=price)
    adapted = basis.adapt(picture[None, None], threshold, noisy=price > 0)
    squares = adapted.squares()
    chosen = float(threshold_energy(adapted.analysis(picture[None, None]), threshold))
    decided = {(0, 0, 8)} | {(s.top // 4 * 4, s.left // 4 * 4, 4) for s in squares if s.side <= 4}
    bits = len(decided) + sum(1 + (math.log2(len(angles[s.side])) if s.angle is not None else 0) for s in squares)
    chosen += price * bits * threshold**2
    # Costs are compared in steps of threshold^2 / 1024, at most 16 + 4 + 1 times.
    assert min(totals) - 1e-9 < chosen < min(totals) + 21 * threshold**2 / 1024
    assert min(totals) < min(totals[0], totals[-1]) - 21 * threshold**2 / 1024 or price > 0


@pytest.mark.parametrize(
    ("size", "sigma", "wavelet"),
    [((64, 64), 0.03, "sym5"), ((20, 36), 0.002, "haar"), ((80, 80), 0.2, "db4")],
)
def test_oracle_risk_is_at_most_the_risk_of_the_wavelet(size, sigma, wavelet):
    height, width = size
    batch = torch.cat([regular(80, 6)[..., :height, :width], regular(80, 4, "exact")[..., :height, :width]])
    batch = torch.cat([batch, 0.2 * images(4, 1, *size).float(), (across(30, *size).sign() / 4)[None, None].float()])
    plain = threshold_energy(Wavelet(wavelet).analysis(batch.double()), sigma)
    for basis in (Bandlet(wavelet), Bandlet(wavelet, largest=8, directions=3, moments=1)):
        adapted = threshold_energy(basis.adapt(batch.double(), sigma).analysis(batch.double()), sigma)
        assert (adapted <= plain * (1 + 1e-9)).all()
    assert adapted.sum() < plain.sum()


@pytest.mark.parametrize("turn", [lambda x: x.rot90(1, (2, 3)), lambda x: x.flip(3), lambda x: x.flip(2)])
def test_rotating_the_image_does_not_change_the_cost(turn):
    threshold = 0.03
    batch = regular(count=4)[..., :32].double()
    basis = Bandlet(None)
    straight = threshold_energy(basis.adapt(batch, threshold).analysis(batch), threshold)
    turned = threshold_energy(basis.adapt(turn(batch), threshold).analysis(turn(batch)), threshold)
    # Costs are rounded to steps.
    assert ((straight - turned).abs() < 16 * threshold**2 / 1024).all()
    assert (straight > 16 * threshold**2).all()


def test_each_image_and_channel_has_a_separate_geometry():
    batch = torch.cat([regular(count=4), regular(count=4).transpose(2, 3)], dim=1).double()
    basis = Bandlet()
    together = basis.adapt(batch, 0.03)
    assert together.squares(0, 0) != together.squares(0, 1)
    for i, channel in itertools.product(range(4), range(2)):
        plane = batch[i : i + 1, channel : channel + 1]
        alone = basis.adapt(plane, 0.03)
        assert alone.squares() == together.squares(i, channel) == basis.geometry(batch[i], 0.03, channel=channel)
        ours = together.analysis(batch)[i : i + 1, channel : channel + 1]
        torch.testing.assert_close(alone.analysis(plane), ours, atol=1e-12, rtol=0)


def test_the_batch_size_does_not_change_the_result(monkeypatch):
    batch = regular(count=3).double()
    whole = Bandlet().adapt(batch, 0.03)
    monkeypatch.setattr(geometry, "BATCH_VALUES", 3000)
    assert all(Bandlet().adapt(batch, 0.03).squares(i) == whole.squares(i) for i in range(3))


def test_threshold_0_selects_no_flow_and_negative_thresholds_are_refused():
    assert all(square.angle is None for square in Bandlet().adapt(regular(count=1), 0.0).squares())
    with pytest.raises(ValueError, match="threshold=-1"):
        Bandlet().adapt(torch.zeros(1, 1, 16, 16), -1.0)


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
    wavelet, blank = Wavelet("haar", 2), torch.zeros(1, 1, *size, dtype=torch.float64)
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
        border = blank.transpose(axis, 3).clone()
        border[..., -1] = 1
        coefficients = wavelet.forward(extend(border.transpose(axis, 3), extended))[0, 0]
        assert size == extended or not coefficients[covered > 0].any()


THRESHOLD = 0.05


def fine(**others):
    return Bandlet(**{"wavelet": None, "directions": "fine", "largest": None, **others})


def cost(coefficients, threshold=THRESHOLD):
    return float(threshold_energy(coefficients, threshold).sum())


def distance_from_circle(size, radius=0.2713):
    """Return the signed distance from a circle, in pixels, negative inside."""
    coordinates = torch.arange(size, dtype=torch.float64) + 0.5
    return ((coordinates[:, None] - 0.513 * size) ** 2 + (coordinates - 0.479 * size) ** 2).sqrt() - radius * size


def disc(size):
    return (0.4 + 0.24 * (0.5 - distance_from_circle(size)).clamp(0, 1))[None, None]


def edge(angle, side):
    """Return an edge through the centre at an angle."""
    return torch.sigmoid(3 * across(angle, side, side))[None, None]


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
    best = min(cost(row[None]) for row in alpert(turned, 1))
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
