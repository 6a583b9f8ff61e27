"""The directional part of filters."""

import pytest
import torch
from random_images import normal

from gahbench.evaluation import direction, directional

SHAPES = [(1, 5, 5), (1, 4, 6), (2, 3, 4)]


def symmetric(count, size, seed=0):
    matrices = normal(count, size, size, seed=seed)
    return matrices + matrices.mT


def pixels(shape):
    channels, height, width = shape
    return [(c, y, x) for c in range(channels) for y in range(height) for x in range(width)]


def isotropic_sets(shape):
    """Indicators of the sets of entries (p, q) with equal p, channel of q, and absolute offsets in any order."""
    places = pixels(shape)
    sets: dict[object, torch.Tensor] = {}
    for row, (_, y, x) in enumerate(places):
        for column, (other, v, u) in enumerate(places):
            key = (row, other, *sorted((abs(v - y), abs(u - x))))
            sets.setdefault(key, torch.zeros(len(places), len(places), dtype=torch.float64))[row, column] = 1
    return torch.stack(list(sets.values()))


def isotropic(shape, seed=0):
    """A + A' for a random A that is constant on each set."""
    sets = isotropic_sets(shape)
    found = torch.einsum("s,spq->pq", normal(len(sets), seed=seed), sets)
    return found + found.mT


def by_least_squares(filters, shape):
    """The projection on the complement of all A + A'."""
    sets = isotropic_sets(shape)
    left, values, _ = torch.linalg.svd((sets + sets.mT).flatten(1).mT, full_matrices=False)
    span = left[:, values > 1e-9 * values[0]]
    flat = filters.flatten(1).mT
    return (flat - span @ (span.mT @ flat)).mT.reshape(filters.shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_orthogonal_projection(shape):
    filters = symmetric(3, len(pixels(shape)))
    expected = by_least_squares(filters, shape)
    found = directional(filters, shape, steps=100)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)
    torch.testing.assert_close(found, found.mT)
    # The default number of steps comes near.
    assert (directional(filters, shape) - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("scale", [1.0, 1e-12])
@pytest.mark.parametrize("width", [0.7, 2.0])
def test_in_single_precision_it_is_nearly_the_same(width, scale):
    """Of filters that hardly reach far: what is left of a distant offset is rounding."""
    side = 12
    places = torch.arange(side * side)
    squares = ((places[:, None] // side - places // side) ** 2 + (places[:, None] % side - places % side) ** 2).double()
    filters = scale * symmetric(4, side * side) * torch.exp(-squares / (2 * width**2))
    expected = directional(filters, (1, side, side), steps=200)
    found = directional(filters.float(), (1, side, side))
    assert (found - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize("shape", SHAPES)
def test_filters_that_are_symmetric_but_for_rounding(shape):
    """No A + A' is near an antisymmetric part, and conjugate gradients that look for one diverge."""
    size = len(pixels(shape))
    filters = symmetric(2, size)
    skew = normal(2, size, size, seed=5)
    found = directional(filters + 1e-6 * (skew - skew.mT), shape, steps=300)
    torch.testing.assert_close(found, directional(filters, shape, steps=300), atol=1e-8, rtol=0)


@pytest.mark.parametrize("together", [1, 10, 10**6])
@pytest.mark.parametrize("shape", SHAPES)
def test_how_many_offsets_are_solved_for_together_does_not_matter(monkeypatch, shape, together):
    filters = symmetric(2, len(pixels(shape)))
    expected = directional(filters, shape, steps=100)
    monkeypatch.setattr(direction, "TOGETHER", together)
    direction._orbits.cache_clear()
    found = directional(filters, shape, steps=100)
    direction._orbits.cache_clear()
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_left_of_kernels_that_are_isotropic_at_each_pixel(shape):
    filters = torch.stack([isotropic(shape, seed) for seed in range(2)])
    assert directional(filters, shape).norm() < 5e-3 * filters.norm()
    assert directional(filters, shape, steps=100).norm() < 1e-9 * filters.norm()
