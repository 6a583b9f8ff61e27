import itertools
import math

import numpy as np
import pytest
import torch
from random_images import uniform as random

from gahbench_plugins.bases._graph import lowest_first
from gahbench_plugins.bases.dct import DCT
from gahbench_plugins.bases.graph_laplacian import GraphLaplacian, graph_laplacian
from gahbench_plugins.datasets.c_alpha import CAlpha


def by_hand(image, radius, hs, hr):
    """The definition, pixel by pixel, for an image (C, H, W)."""
    pixels = list(itertools.product(range(image.shape[1]), range(image.shape[2])))
    laplacian = np.zeros((len(pixels), len(pixels)))
    for (i, one), (j, other) in itertools.permutations(enumerate(pixels), 2):
        apart = math.dist(one, other)
        if apart <= radius:
            colour = np.linalg.norm(image[:, one[0], one[1]] - image[:, other[0], other[1]])
            weight = math.exp(-(apart**2) / (2 * hs**2) - colour**2 / (2 * hr**2))
            laplacian[i, j] -= weight
            laplacian[i, i] += weight
    return laplacian


@pytest.mark.parametrize("radius", [1, 1.5, 2, 2.3, 9])
@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 5, 3), (1, 1, 6), (2, 1, 1)])
def test_is_the_definition(radius, shape):
    images = random(2, *shape)
    found = graph_laplacian(images, radius, 1.3, 0.4)
    for image, laplacian in zip(images, found, strict=True):
        np.testing.assert_allclose(laplacian.numpy(), by_hand(image.numpy(), radius, 1.3, 0.4), atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 12), (5, 7)])
def test_on_a_flat_image_it_is_the_grid_whose_eigenvectors_are_the_dct(shape):
    height, width = shape
    laplacian = graph_laplacian(torch.full((1, 1, *shape), 0.3), radius=1, hs=0.8)[0]
    weight = math.exp(-1 / (2 * 0.8**2))
    along = [4 * torch.sin(torch.pi * torch.arange(size, dtype=torch.float64) / (2 * size)) ** 2 for size in shape]
    values = weight * (along[0][:, None] + along[1]).flatten()
    atoms = DCT().synthesis(torch.eye(height * width).double().reshape(-1, 1, *shape)).flatten(1)
    torch.testing.assert_close(atoms @ laplacian, values[:, None] * atoms, atol=1e-12, rtol=0)
    vectors, found = lowest_first(laplacian)
    torch.testing.assert_close(found, values.sort().values, atol=1e-12, rtol=0)
    torch.testing.assert_close(vectors.T @ laplacian @ vectors, torch.diag(values.sort().values), atol=1e-12, rtol=0)


@pytest.mark.parametrize("step", [0.4, 1.0])
def test_regions_that_hardly_touch_have_the_second_vector_to_themselves(step):
    """Even where nothing is left of the weights between them, the first is constant."""
    image = torch.zeros(1, 1, 8, 9, dtype=torch.float64)
    image[..., 3:] = step
    second = GraphLaplacian().adapt(image, 0.1).vectors[0, :, 1].reshape(8, 9)
    assert GraphLaplacian().adapt(image, 0.1).vectors[0, :, 0].tolist() == pytest.approx([72**-0.5] * 72, abs=1e-15)
    expected = torch.where(image[0, 0] > 0, -1 / 6, 1 / 3).double()
    expected /= expected.norm()
    assert (second * expected).sum().abs() > (0.999 if step < 1 else 1 - 1e-10)


def test_piecewise_regular_images_are_sparser_than_in_plain_waves():
    clean, sigma = CAlpha(2.0, 20).images("test", 8).double(), 0.1

    def risk(basis):
        energy = basis.analysis(clean).square()
        return (sigma**2 * energy / (energy + sigma**2)).mean()

    assert risk(GraphLaplacian(hr=0.05).adapt(clean, sigma)) < 0.65 * risk(DCT())


def test_the_last_is_remembered_and_no_other_is_mistaken_for_it():
    basis, images = GraphLaplacian(), random(2, 1, 6, 6)
    found = basis.adapt(images, 0.1)
    assert basis.adapt(images.clone(), 0.5, noisy=True) is found
    assert basis.adapt(images.float(), 0.1) is not found
    changed = images.clone()
    found = basis.adapt(changed, 0.1)
    changed[1] += random(6, 6, seed=1)
    assert not torch.equal(basis.adapt(changed, 0.1).vectors[1], found.vectors[1])


def test_as_many_bases_as_fit_into_memory():
    assert GraphLaplacian().max_batch((3, 64, 64)) * 64**4 * 12 <= 2**30


def test_images_of_other_shapes_are_not_mistaken_for_each_other():
    basis = GraphLaplacian()
    values = [basis.spectrum(torch.zeros(1, 1, *shape))[1] for shape in ((4, 9), (6, 6))]
    assert not torch.allclose(*values)
    torch.testing.assert_close(values[1], GraphLaplacian().spectrum(torch.zeros(1, 1, 6, 6))[1])
