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
from gahbench.evaluation import directional
from gahbench.jacobian import DenseMaps, FunctionMaps
from gahbench_plugins.bases import _graph as tikhonov
from gahbench_plugins.bases._graph import laplacian_spectrum, solve_strength, tikhonov_filters
from gahbench_plugins.bases.dct import DCT
from gahbench_plugins.bases.graph_laplacian import GraphLaplacian, graph_laplacian
from gahbench_plugins.bases.iso_local import IsoLocal, local_variance
from gahbench_plugins.bases.patch_graph import PatchGraph
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


@pytest.mark.parametrize("name", GRAPHS)
def test_vectors_do_not_depend_on_the_batch_even_for_repeated_eigenvalues(name):
    symmetric = torch.zeros(12, 12)
    symmetric[4:8, 4:8] = 1
    images = torch.stack([torch.full((12, 12), 0.5), symmetric, random(12, 12).float()])[:, None]
    together = gahbench.create("basis", name).adapt(images, 0.1).vectors
    assert together.dtype == torch.float64
    for image, vectors in zip(images, together, strict=True):
        assert torch.equal(gahbench.create("basis", name).adapt(image[None], 0.1).vectors[0], vectors)
        assert vectors[:, 0].tolist() == pytest.approx([1 / 12] * 144)


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


def test_piecewise_regular_images_are_sparser_than_in_the_dct():
    clean, sigma = CAlpha(2.0, 20).images("test", 8).double(), 0.1

    def risk(basis):
        energy = basis.analysis(clean).square()
        return (sigma**2 * energy / (energy + sigma**2)).mean()

    assert risk(GraphLaplacian(hr=0.05).adapt(clean, sigma)) < 0.65 * risk(DCT())


def test_the_last_result_is_cached_and_no_other_result_is_mistaken_for_it():
    basis, images = GraphLaplacian(), random(2, 1, 6, 6)
    result = basis.adapt(images, 0.1)
    assert basis.adapt(images.clone(), 0.5, noisy=True) is result
    assert basis.adapt(images.float(), 0.1) is not result
    changed = images.clone()
    result = basis.adapt(changed, 0.1)
    changed[1] += random(6, 6, seed=1)
    assert not torch.equal(basis.adapt(changed, 0.1).vectors[1], result.vectors[1])
    # Images of other shapes may have the same bytes.
    assert not torch.allclose(*[basis.spectrum(torch.zeros(1, 1, *shape))[1] for shape in ((4, 9), (6, 6))])


def patches_by_hand(image, patch, window, nearest, h):
    """Return the Laplacian of an image (C, H, W) without ties by its definition, pixel by pixel."""
    half = patch // 2
    padded = np.pad(image, ((0, 0), (half, half), (half, half)), mode="reflect")
    pixels = list(itertools.product(range(image.shape[1]), range(image.shape[2])))
    patches = [padded[:, row : row + patch, column : column + patch] for row, column in pixels]
    count = len(pixels)
    square = np.array([[((first - second) ** 2).mean() for second in patches] for first in patches])
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
def test_the_patch_graph_agrees_with_its_definition(shape, patch, window, nearest):
    images = random(2, *shape)
    result = PatchGraph(patch, window, nearest, 0.3).laplacian(images)
    for image, laplacian in zip(images, result, strict=True):
        np.testing.assert_allclose(
            laplacian.numpy(), patches_by_hand(image.numpy(), patch, window, nearest, 0.3), atol=1e-12
        )


def test_pixels_of_a_texture_are_joined_to_similar_pixels():
    """Stripes of period 4: the nearest patches are those of the same phase, of weight 1."""
    stripes = (0.5 + 0.5 * torch.sin(torch.pi / 2 * torch.arange(16) + 0.4)).expand(1, 1, 16, 16)
    weights = -PatchGraph(patch=3, window=4, nearest=12, h=0.05).laplacian(stripes)[0].fill_diagonal_(0)
    columns = torch.arange(256) % 16
    # Patches at the border are reflected.
    inside = (columns > 0) & (columns < 15)
    same = (columns[:, None] - columns) % 4 == 0
    pairs = inside[:, None] & inside
    assert weights[pairs & same & (weights > 0)].min() > 1 - 1e-9
    assert weights[pairs & ~same].max() < 0.1
    rows, row = torch.arange(256) // 16, 8
    middle = (rows == row) & (columns == 8)
    joined = (weights[middle][0] > 0.5).nonzero()[:, 0]
    assert {4, 8, 12} <= set(columns[joined].tolist())


def test_on_flat_images_the_nearest_pixels_are_joined():
    laplacian = PatchGraph(patch=3, window=3, nearest=4).laplacian(torch.full((1, 1, 9, 9), 0.5))[0]
    middle = -laplacian[40].reshape(9, 9)
    assert middle[3, 4] == middle[5, 4] == middle[4, 3] == middle[4, 5] == 1
    # Only pixels with fewer than four adjacent pixels would add links to the middle pixel.
    assert laplacian[40, 40] == 4


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


def test_weights_of_iso_local_depend_on_the_variance():
    clean, basis = random_batch(), IsoLocal(window=3, floor=0.05)
    result = basis.laplacian(clean)
    scale = (local_variance(clean, 3) + 0.05**2).sqrt().flatten(1)
    for first, other, distance in ((0, 1, 1), (10, 20, 2), (0, 18, 4)):
        expected = -np.exp(-distance / 2) / (scale[:, first] * scale[:, other])
        torch.testing.assert_close(result[:, first, other], expected)
    assert result[:, 0, 30].tolist() == [0.0] * 3


def test_filters_of_iso_local_have_hardly_any_direction():
    clean = gahbench.create("dataset", "c-alpha[size=16]").images("test", 4)
    result = {}
    for name in ("iso-local", "graph-laplacian"):
        filters = gahbench.create("basis", name).filters(gahbench.Truth(clean), 0.1)
        matrices = filters.at(torch.full((4,), 40.0).double()).matrices()
        rest = matrices - matrices.mean(0)
        result[name] = float((directional(rest, (1, 16, 16)).norm() / rest.norm()) ** 2)
    assert result["iso-local"] < 0.1 * result["graph-laplacian"]


def c_alpha(count=3, size=8):
    return CAlpha(2.0, size).images("test", count)


def traces_of(maps):
    return maps.matrices().double().diagonal(dim1=1, dim2=2).sum(1)


def filters_of(basis, images, traces):
    return tikhonov_filters(basis.laplacian, basis.spectrum, images).at(traces)


def sparse_filters_of(basis, images, traces):
    return tikhonov._SparseTikhonov(basis.laplacian, images).at(traces)


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


@settings(deadline=None, max_examples=20)
@given(size=st.integers(2, 30), share=st.floats(0.02, 0.98), largest=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_the_strength_has_the_requested_trace(size, share, largest, seed):
    draw = torch.rand(1, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = largest * draw.sort().values
    values[:, 0] = 0
    trace = 1 + share * (size - 1)
    mu = solve_strength(values, torch.tensor([trace], dtype=torch.float64))
    assert (1 / (1 + mu[:, None] * values)).sum().item() == pytest.approx(trace, abs=1e-6)


def test_for_unreachable_traces_the_nearest_filter_is_returned():
    clean = c_alpha(2)
    basis = GraphLaplacian(hr=1.0)
    for trace in (64.0, 70.0):
        result = filters_of(basis, clean, torch.full((2,), trace)).matrices()
        torch.testing.assert_close(result, torch.eye(64).expand(2, -1, -1), atol=1e-5, rtol=0)
    for trace in (1.0, 0.2, -3.0):
        result = filters_of(basis, clean, torch.full((2,), trace)).matrices()
        torch.testing.assert_close(result, torch.full((2, 64, 64), 1 / 64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sparse", [False, True])
def test_each_colour_has_a_filter_with_a_third_of_the_trace(sparse):
    clean = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    traces = torch.tensor([24.0, 60.0], dtype=torch.float64)
    make_filters = sparse_filters_of if sparse else filters_of
    blocks = make_filters(GraphLaplacian(), clean, traces).matrices().reshape(2, 3, 30, 3, 30)
    for row in range(3):
        for column in range(3):
            block = blocks[:, row, :, column]
            torch.testing.assert_close(block, blocks[:, 0, :, 0] * (row == column), atol=5e-6, rtol=0)
    result = blocks[:, 0, :, 0].double()
    expected = torch.stack([filter_by_hand(*given) for given in zip(graph_laplacian(clean), [8.0, 20.0], strict=True)])
    if sparse:
        assert (result - expected).norm() < 0.1 * expected.norm()
    else:
        torch.testing.assert_close(result, expected, atol=5e-6, rtol=0)


def test_sparse_filters_are_inverses_at_a_common_strength():
    clean = c_alpha(2, 9)
    sparse = sparse_filters_of(GraphLaplacian(), clean, torch.full((2,), 30.0, dtype=torch.float64)).matrices().double()
    for matrix, laplacian in zip(sparse, graph_laplacian(clean), strict=True):
        rest = torch.linalg.inv(matrix) - torch.eye(81)
        mu = float((rest * laplacian).sum() / laplacian.square().sum())
        assert mu > 0
        torch.testing.assert_close(rest, mu * laplacian, atol=1e-3 * mu * float(laplacian.max()), rtol=0)
        torch.testing.assert_close(matrix, matrix.mT, atol=1e-6, rtol=0)


def test_dense_and_sparse_filters_reach_the_same_traces():
    clean = torch.full((2, 1, 9, 9), 0.5) + 0.1 * c_alpha(2, 9)
    # Weights of exp(-50) do not join the two regions.
    clean[1] = (torch.arange(81).reshape(9, 9) >= 45).float()
    basis = GraphLaplacian()
    families = (
        tikhonov_filters(basis.laplacian, basis.spectrum, clean),
        tikhonov._SparseTikhonov(basis.laplacian, clean),
    )
    for trace in (-1.0, 0.5, 1.5, 2.5, 40.0, 80.5, 81.5):
        traces = torch.full((2,), trace, dtype=torch.float64)
        for family in families:
            assert family.reaches(traces).tolist() == [1 < trace < 81, 2 < trace < 81]


@pytest.mark.parametrize("trace", [8.0, 30.0, 65.0])
def test_large_images_have_sparse_filters(monkeypatch, trace):
    clean, traces = c_alpha(2, 9), torch.full((2,), trace, dtype=torch.float64)
    exact = GraphLaplacian().filters(Truth(clean), 0.1).at(traces)
    monkeypatch.setattr(tikhonov, "LARGEST_EXACT", 80)
    basis = GraphLaplacian()
    monkeypatch.setattr(basis, "spectrum", lambda images: pytest.fail("eigenvectors were computed"))
    result = basis.filters(Truth(clean), 0.1).at(traces)
    assert isinstance(result, FunctionMaps)
    # The trace is estimated from 16 random vectors.
    assert ((traces_of(result) - traces).abs() < 0.1 * traces).all()
    vectors = torch.randn(1, 200, 81, generator=torch.Generator().manual_seed(0))
    difference = (result.matvec(vectors) - exact.matvec(vectors)).norm()
    assert difference < 0.1 * exact.matvec(vectors).norm()
