"""The directional part of filters."""

import pytest
import torch
from random_images import normal

from gahbench.evaluation import directional

SHAPES = [(1, 5, 5), (1, 4, 6), (2, 3, 4)]


def symmetric(count, size, seed=0):
    matrices = normal(count, size, size, seed=seed)
    return matrices + matrices.mT


def pixels(shape):
    channels, height, width = shape
    return [(c, y, x) for c in range(channels) for y in range(height) for x in range(width)]


def isotropic_sets(shape):
    """Return indicators of the sets of entries (p, q) with equal p, channel of q, and unordered absolute offsets."""
    positions = pixels(shape)
    sets: dict[object, torch.Tensor] = {}
    for row, (_, y, x) in enumerate(positions):
        for column, (other_channel, v, u) in enumerate(positions):
            key = (row, other_channel, *sorted((abs(v - y), abs(u - x))))
            sets.setdefault(key, torch.zeros(len(positions), len(positions), dtype=torch.float64))[row, column] = 1
    return torch.stack(list(sets.values()))


def isotropic(shape, seed=0):
    """Return A + A' for a random A that is constant on each set."""
    sets = isotropic_sets(shape)
    matrix = torch.einsum("s,spq->pq", normal(len(sets), seed=seed), sets)
    return matrix + matrix.mT


def project_by_least_squares(filters, shape):
    """Return the projection on the complement of all A + A'."""
    sets = isotropic_sets(shape)
    left, values, _ = torch.linalg.svd((sets + sets.mT).flatten(1).mT, full_matrices=False)
    span = left[:, values > 1e-9 * values[0]]
    flat = filters.flatten(1).mT
    return (flat - span @ (span.mT @ flat)).mT.reshape(filters.shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_directional_part_is_the_orthogonal_projection(shape):
    filters = symmetric(3, len(pixels(shape)))
    expected = project_by_least_squares(filters, shape)
    result = directional(filters, shape, steps=100)
    torch.testing.assert_close(result, expected, atol=1e-8, rtol=0)
    torch.testing.assert_close(result, result.mT)
    # The default number of steps is nearly exact.
    assert (directional(filters, shape) - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("shape", SHAPES)
def test_filters_that_are_symmetric_up_to_rounding_do_not_diverge(shape):
    """No A + A' can fit an antisymmetric part, which must not make conjugate gradients diverge."""
    size = len(pixels(shape))
    filters = symmetric(2, size)
    skew = normal(2, size, size, seed=5)
    result = directional(filters + 1e-6 * (skew - skew.mT), shape, steps=300)
    torch.testing.assert_close(result, directional(filters, shape, steps=300), atol=1e-8, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_that_are_isotropic_at_each_pixel_are_projected_to_0(shape):
    filters = torch.stack([isotropic(shape, seed) for seed in range(2)])
    assert directional(filters, shape).norm() < 5e-3 * filters.norm()
    assert directional(filters, shape, steps=100).norm() < 1e-9 * filters.norm()
