"""Alpert transforms and directions, against closed forms and brute force."""

import itertools
import math

import numpy as np
import pytest
import pywt
import torch

from gahbench_plugins.bases._bandlets.alpert import alpert, inverse_alpert
from gahbench_plugins.bases._bandlets.flows import orderings
from gahbench_plugins.bases._bandlets.frame import dyadic_squares

CASES = [
    (size, moments) for size, moments in itertools.product([4, 16, 64, 256], [1, 2, 3, 4, 5, 8]) if moments <= size
]


def alpert_matrix(size, moments):
    """Return the transform of every unit vector: its vectors as rows."""
    return alpert(torch.eye(size, dtype=torch.float64), moments).T


@pytest.mark.parametrize(("size", "moments"), CASES)
def test_alpert_is_orthonormal_and_blind_to_polynomials_of_the_rank(size, moments):
    matrix = alpert_matrix(size, moments)
    eye = torch.eye(size, dtype=torch.float64)
    torch.testing.assert_close(matrix @ matrix.T, eye, atol=1e-12, rtol=0)
    torch.testing.assert_close(inverse_alpert(matrix.T, moments), eye, atol=1e-12, rtol=0)
    ranks = torch.linspace(-1, 1, size, dtype=torch.float64)
    powers = torch.stack([ranks**degree for degree in range(moments + 1)], dim=1)
    details = matrix[moments:] @ powers
    assert details.numel() == 0 or details[:, :moments].abs().max() < 1e-11
    # One power more is seen, where there is room for it.
    assert size <= moments or details[:, moments].abs().max() > 1e-4


@pytest.mark.parametrize("size", [2, 4, 16, 64])
def test_one_moment_is_haar(size):
    levels = pywt.wavedec(np.eye(size), "haar", mode="periodization", level=int(math.log2(size)), axis=0)
    products = alpert_matrix(size, 1).numpy() @ np.concatenate(levels).T
    # The same vectors, up to sign and order.
    assert np.allclose(np.sort(np.abs(products), axis=1)[:, -1], 1)
    assert np.allclose((np.abs(products) > 1e-9).sum(axis=0), 1)


@pytest.mark.parametrize("moments", [1, 2, 3])
def test_alpert_vectors_come_from_long_to_short(moments):
    lengths = (alpert_matrix(256, moments).abs() > 1e-9).sum(dim=1)
    assert (lengths.diff() <= 0).all()
    assert lengths[0] == 256


def test_alpert_wavelets_of_the_whole_see_one_power_less_each():
    # Of the four wavelets on the whole row, number j is blind to the powers below 4 + j (Alpert 1993).
    ranks = torch.linspace(-1, 1, 256, dtype=torch.float64)
    seen = alpert_matrix(256, 4)[4:8] @ torch.stack([ranks**degree for degree in range(8)], dim=1)
    for number in range(4):
        assert seen[number, : 4 + number].abs().max() < 1e-10
        assert seen[number, 4 + number].abs() > 1e-3


def by_angle(side, degrees):
    """Return the samples of a square by their coordinate across a direction, in either order."""
    angle = math.radians(degrees)
    rows, columns = np.mgrid[:side, :side].reshape(2, -1)
    across = -math.sin(angle) * columns + math.cos(angle) * -rows
    order = tuple(np.argsort(across).tolist())
    return min(order, order[::-1])


def canonical(samples):
    order = tuple(samples.tolist())
    return min(order, order[::-1])


@pytest.mark.parametrize(("side", "count"), [(2, 4), (4, 16), (8, 72)])
def test_orderings_are_those_of_all_directions(side, count):
    # An irrational step meets no direction in which samples are tied.
    dense = {by_angle(side, 0.01 + step * math.sqrt(2) / 25) for step in range(3182)}
    ours = [canonical(samples) for samples in orderings(side).samples]
    assert len(ours) == len(set(ours)) == count
    assert set(ours) == dense


@pytest.mark.parametrize("side", [4, 8, 16])
@pytest.mark.parametrize("most", [None, 1, 8, 12, 32, 500])
def test_an_ordering_is_that_of_its_angle(side, most):
    chosen = orderings(side, most)
    assert len(chosen) <= (most or len(orderings(side)))
    assert list(chosen.angles) == sorted(chosen.angles)
    for angle, samples in zip(chosen.angles, chosen.samples, strict=True):
        assert 0 < angle < 180
        assert canonical(samples) == by_angle(side, angle)


@pytest.mark.parametrize("most", [8, 31, 32])
def test_some_orderings_are_equally_spread(most):
    angles = 180 * (np.arange(most) + 0.5) / most
    # Where the middle of an equal arc meets tied samples, either side will do.
    expected = {by_angle(16, angle) for angle in angles}
    ours = {canonical(samples) for samples in orderings(16, most).samples}
    assert len(expected ^ ours) <= 2 * sum(abs(angle % 45) < 1e-9 for angle in angles)
    assert len(orderings(16, 1000)) == len(orderings(16)) == 288


def test_squares_cover_what_they_can_once():
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
    assert large.places.tolist() == [[0, 18], [8, 10], [8, 18]]
    for square, quarters in zip(large.samples, large.quarters, strict=True):
        assert sorted(small.samples[quarters].flatten().tolist()) == sorted(square.tolist())
