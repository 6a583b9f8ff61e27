"""Graphs on images: their Laplacians, the bases of their eigenvectors, and their filters."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import uniform as random
from scipy.optimize import brentq

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.jacobian import DenseMaps, FunctionMaps
from gahbench_plugins.bases import graph as graphs
from gahbench_plugins.bases.dct import DCT
from gahbench_plugins.bases.graph import GraphLaplacian, graph_laplacian, laplacian_spectrum
from gahbench_plugins.bases.iso_local import local_variance
from gahbench_plugins.datasets.c_alpha import CAlpha

GRAPHS = [
    "graph-laplacian",
    "graph-laplacian[radius=1,hr=0.2]",
    "iso-local",
]


@pytest.mark.parametrize("name", GRAPHS)
@settings(deadline=None, max_examples=10)
@given(height=st.integers(2, 7), width=st.integers(2, 7), channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_laplacians_are_positive_and_invariant_under_shifts_and_rotations(name, height, width, channels, seed):
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


def laplacian_by_hand(image, radius, hs, hr):
    """Return the Laplacian of an image (C, H, W) by its definition, pixel by pixel."""
    pixels = list(itertools.product(range(image.shape[1]), range(image.shape[2])))
    laplacian = np.zeros((len(pixels), len(pixels)))
    for (i, first), (j, second) in itertools.permutations(enumerate(pixels), 2):
        distance = math.dist(first, second)
        if distance <= radius:
            colour = np.linalg.norm(image[:, first[0], first[1]] - image[:, second[0], second[1]])
            weight = math.exp(-(distance**2) / (2 * hs**2) - colour**2 / (2 * hr**2))
            laplacian[i, j] -= weight
            laplacian[i, i] += weight
    return laplacian


@pytest.mark.parametrize("radius", [1, 1.5, 2, 2.3, 9])
@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 5, 3), (1, 1, 6), (2, 1, 1)])
def test_the_laplacian_agrees_with_its_definition(radius, shape):
    images = random(2, *shape)
    result = graph_laplacian(images, radius, 1.3, 0.4)
    for image, laplacian in zip(images, result, strict=True):
        np.testing.assert_allclose(laplacian.numpy(), laplacian_by_hand(image.numpy(), radius, 1.3, 0.4), atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 12), (5, 7)])
def test_on_a_flat_image_eigenvectors_are_the_dct(shape):
    height, width = shape
    laplacian = graph_laplacian(torch.full((1, 1, *shape), 0.3), radius=1, hs=0.8)[0]
    weight = math.exp(-1 / (2 * 0.8**2))
    along = [4 * torch.sin(torch.pi * torch.arange(size, dtype=torch.float64) / (2 * size)) ** 2 for size in shape]
    values = weight * (along[0][:, None] + along[1]).flatten()
    atoms = DCT().synthesis(torch.eye(height * width).double().reshape(-1, 1, *shape)).flatten(1)
    torch.testing.assert_close(atoms @ laplacian, values[:, None] * atoms, atol=1e-12, rtol=0)
    vectors, result = laplacian_spectrum(laplacian)
    torch.testing.assert_close(result, values.sort().values, atol=1e-12, rtol=0)
    torch.testing.assert_close(vectors.T @ laplacian @ vectors, torch.diag(values.sort().values), atol=1e-12, rtol=0)


@pytest.mark.parametrize("step", [0.4, 1.0])
def test_the_second_vector_separates_weakly_connected_regions(step):
    """The first vector is constant, even if the weights between the regions underflow."""
    image = torch.zeros(1, 1, 8, 9, dtype=torch.float64)
    image[..., 3:] = step
    second = GraphLaplacian().adapt(image, 0.1).vectors[0, :, 1].reshape(8, 9)
    assert GraphLaplacian().adapt(image, 0.1).vectors[0, :, 0].tolist() == pytest.approx([72**-0.5] * 72, abs=1e-15)
    expected = torch.where(image[0, 0] > 0, -1 / 6, 1 / 3).double()
    expected /= expected.norm()
    assert (second * expected).sum().abs() > (0.999 if step < 1 else 1 - 1e-10)


def random_batch(channels=1, count=3):
    return torch.rand(count, channels, 7, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("window", [3, 5])
def test_local_variances_are_variances_of_windows(channels, window):
    clean = random_batch(channels)
    result = local_variance(clean, window)
    padded = np.pad(clean.double().numpy(), ((0, 0), (0, 0), *[(window // 2,) * 2] * 2), mode="edge")
    for row, column in ((0, 0), (3, 4), (6, 8)):
        cut = padded[:, :, row : row + window, column : column + window]
        np.testing.assert_allclose(result[:, row, column], cut.var(axis=(2, 3)).mean(1), rtol=1e-9)
    assert local_variance(clean + 1e3, 3).min() >= 0


def c_alpha(count=3, size=8):
    return CAlpha(2.0, size).images("test", count)


def traces_of(maps):
    return maps.matrices().double().diagonal(dim1=1, dim2=2).sum(1)


def filters_of(basis, images, traces):
    return basis.filters(Truth(images), 0.1).at(traces)


def filter_by_hand(laplacian, trace):
    """Return (1 + mu L)^-1 by solving equations, with mu from the root of the trace."""
    eye = torch.eye(len(laplacian), dtype=torch.float64)

    def inverse_at(logarithm):
        return torch.linalg.solve(eye + 10**logarithm * laplacian, eye)

    return inverse_at(brentq(lambda logarithm: float(inverse_at(logarithm).trace()) - trace, -6, 6, xtol=1e-12))


def test_filters_solve_the_equations_of_the_graph_and_have_the_traces():
    clean, traces = c_alpha(), torch.tensor([9.0, 25.0, 60.0], dtype=torch.float64)
    result = filters_of(GraphLaplacian(), clean, traces)
    assert isinstance(result, DenseMaps)
    torch.testing.assert_close(traces_of(result), traces, atol=1e-4, rtol=0)
    for matrix, laplacian, trace in zip(result.matrices(), graph_laplacian(clean), traces.tolist(), strict=True):
        torch.testing.assert_close(matrix.double(), filter_by_hand(laplacian, trace), atol=5e-6, rtol=0)


@pytest.mark.parametrize("is_large", [False, True])
def test_each_colour_has_a_filter_with_a_third_of_the_trace(monkeypatch, is_large):
    clean = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    traces = torch.tensor([24.0, 60.0], dtype=torch.float64)
    if is_large:
        monkeypatch.setattr(graphs, "LARGEST_EXACT", 80)
    maps = filters_of(GraphLaplacian(), clean, traces)
    assert isinstance(maps, FunctionMaps if is_large else DenseMaps)
    blocks = maps.matvec(torch.eye(90)[None]).reshape(2, 3, 30, 3, 30)
    torch.testing.assert_close(maps.select(1).matvec(torch.eye(90)[None]).reshape(1, 3, 30, 3, 30), blocks[1:])
    expected = torch.stack([filter_by_hand(*given) for given in zip(graph_laplacian(clean), [8.0, 20.0], strict=True)])
    for row, column in itertools.product(range(3), repeat=2):
        torch.testing.assert_close(blocks[:, row, :, column].double(), expected * (row == column), atol=5e-6, rtol=0)


def test_regions_without_links_keep_their_means():
    clean = torch.full((2, 1, 9, 9), 0.5) + 0.1 * c_alpha(2, 9)
    # Weights of exp(-50) do not join the two regions.
    clean[1] = (torch.arange(81).reshape(9, 9) >= 45).float()
    family = GraphLaplacian().filters(Truth(clean), 0.1)
    for trace in (-1.0, 0.5, 1.5, 2.5, 40.0, 80.5, 81.5):
        assert family.reaches(torch.full((2,), trace).double()).tolist() == [1 < trace < 81, 2 < trace < 81]
