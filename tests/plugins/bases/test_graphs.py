"""What the Laplacians and the bases of all graphs on images have in common."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import uniform as random

import gahbench
from gahbench_plugins.datasets.c_alpha import CAlpha

GRAPHS = [
    "graph-laplacian",
    "graph-laplacian[radius=1,hr=0.2]",
    "patch-graph[patch=3,nearest=5]",
    "iso-local",
]


@pytest.mark.parametrize("name", GRAPHS)
@settings(deadline=None, max_examples=10)
@given(height=st.integers(2, 7), width=st.integers(2, 7), channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_symmetric_not_negative_and_blind_to_shifts_and_the_way_an_image_is_turned(name, height, width, channels, seed):
    graph, images = gahbench.create("basis", name), random(2, channels, height, width, seed=seed)
    laplacian = graph.laplacian(images)
    torch.testing.assert_close(laplacian, laplacian.mT, atol=1e-12, rtol=0)
    scale = 1 + float(laplacian.max())
    assert laplacian.sum(-1).abs().max() < 1e-11 * scale
    assert torch.linalg.eigvalsh(laplacian).min() > -1e-12 * scale
    torch.testing.assert_close(graph.laplacian(images + 3), laplacian, atol=1e-8, rtol=1e-8)
    order = torch.arange(height * width).reshape(height, width).flip(1).flatten()
    torch.testing.assert_close(graph.laplacian(images.flip(-1)), laplacian[:, order][:, :, order])
    order = torch.arange(height * width).reshape(height, width).T.flatten()
    torch.testing.assert_close(graph.laplacian(images.mT), laplacian[:, order][:, :, order])


@pytest.mark.parametrize("name", GRAPHS)
def test_vectors_are_ordered_and_diagonalise(name):
    graph, images = gahbench.create("basis", name), CAlpha(2.0, 12).images("test", 2).double()
    vectors = graph.adapt(images, 0.1).vectors
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(144).double().expand(2, 144, 144), atol=1e-12, rtol=0)
    diagonal = vectors.mT @ graph.laplacian(images) @ vectors
    values = diagonal.diagonal(dim1=-2, dim2=-1)
    scale = 1 + float(values.max())
    assert (values.diff() > -1e-12 * scale).all()
    torch.testing.assert_close(diagonal, torch.diag_embed(values), atol=1e-12 * scale, rtol=0)


@pytest.mark.parametrize("name", GRAPHS)
def test_an_image_has_the_same_vectors_in_every_batch_even_where_eigenvalues_repeat(name):
    symmetric = torch.zeros(12, 12)
    symmetric[4:8, 4:8] = 1
    images = torch.stack([torch.full((12, 12), 0.5), symmetric, random(12, 12).float()])[:, None]
    together = gahbench.create("basis", name).adapt(images, 0.1).vectors
    assert together.dtype == torch.float64
    for image, vectors in zip(images, together, strict=True):
        assert torch.equal(gahbench.create("basis", name).adapt(image[None], 0.1).vectors[0], vectors)
        assert vectors[:, 0].tolist() == pytest.approx([1 / 12] * 144)


@pytest.mark.parametrize("name", GRAPHS)
def test_channels_share_a_graph(name):
    image = random(1, 3, 6, 6)
    basis = gahbench.create("basis", name).adapt(image, 0.1)
    torch.testing.assert_close(basis.analysis(image)[:, 1:2], basis.analysis(image[:, 1:2]))
    assert basis.analysis(image)[0, :, 0, 0].tolist() == pytest.approx((image.sum((2, 3)) / 6)[0].tolist())
