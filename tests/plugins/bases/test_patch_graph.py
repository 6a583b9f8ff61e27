import itertools
import math

import numpy as np
import pytest
import torch
from random_images import uniform as random

from gahbench_plugins.bases.patch_graph import PatchGraph


def by_hand(image, patch, window, nearest, h):
    """The definition, pixel by pixel, for an image (C, H, W) without ties."""
    half = patch // 2
    padded = np.pad(image, ((0, 0), (half, half), (half, half)), mode="reflect")
    pixels = list(itertools.product(range(image.shape[1]), range(image.shape[2])))
    patches = [padded[:, row : row + patch, column : column + patch] for row, column in pixels]
    count = len(pixels)
    square = np.array([[((one - other) ** 2).mean() for other in patches] for one in patches])
    joined = np.zeros((count, count), dtype=bool)
    for i, (row, column) in enumerate(pixels):
        near = [
            j
            for j, (other_row, other_column) in enumerate(pixels)
            if j != i and max(abs(row - other_row), abs(column - other_column)) <= window
        ]
        for j in sorted(near, key=lambda j: square[i, j])[:nearest]:
            joined[i, j] = joined[j, i] = True
        for j, other in enumerate(pixels):
            if math.dist((row, column), other) == 1:
                joined[i, j] = True
    weights = np.where(joined, np.exp(-square / (2 * h**2)), 0)
    return np.diag(weights.sum(1)) - weights


@pytest.mark.parametrize("shape", [(1, 7, 6), (3, 5, 8)])
@pytest.mark.parametrize(("patch", "window", "nearest"), [(3, 2, 4), (5, 7, 10), (1, 3, 100)])
def test_is_the_definition(shape, patch, window, nearest):
    images = random(2, *shape)
    found = PatchGraph(patch, window, nearest, 0.3).laplacian(images)
    for image, laplacian in zip(images, found, strict=True):
        np.testing.assert_allclose(laplacian.numpy(), by_hand(image.numpy(), patch, window, nearest, 0.3), atol=1e-12)


def test_pixels_of_a_texture_are_joined_to_their_like():
    """Stripes of period 4: the nearest patches are those of the same phase, of weight 1."""
    stripes = (0.5 + 0.5 * torch.sin(torch.pi / 2 * torch.arange(16) + 0.4)).expand(1, 1, 16, 16)
    weights = -PatchGraph(patch=3, window=4, nearest=12, h=0.05).laplacian(stripes)[0].fill_diagonal_(0)
    columns = torch.arange(256) % 16
    # Patches at the border see their mirror image.
    inside = (columns > 0) & (columns < 15)
    same = (columns[:, None] - columns) % 4 == 0
    pairs = inside[:, None] & inside
    assert weights[pairs & same & (weights > 0)].min() > 1 - 1e-9
    assert weights[pairs & ~same].max() < 0.1
    rows, row = torch.arange(256) // 16, 8
    middle = (rows == row) & (columns == 8)
    joined = (weights[middle][0] > 0.5).nonzero()[:, 0]
    assert {4, 8, 12} <= set(columns[joined].tolist())


def test_flat_images_join_the_nearest_pixels_first():
    laplacian = PatchGraph(patch=3, window=3, nearest=4).laplacian(torch.full((1, 1, 9, 9), 0.5))[0]
    middle = -laplacian[40].reshape(9, 9)
    assert middle[3, 4] == middle[5, 4] == middle[4, 3] == middle[4, 5] == 1
    # Others are joined to it only where they have fewer than four beside them.
    assert laplacian[40, 40] == 4
