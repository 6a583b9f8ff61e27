import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.jacobian import DenseMaps, FunctionMaps
from gahbench_plugins.bases import _graph as tikhonov
from gahbench_plugins.bases._graph import strength, tikhonov_filters
from gahbench_plugins.bases.graph_laplacian import GraphLaplacian, graph_laplacian
from gahbench_plugins.datasets.c_alpha import CAlpha


def images(count=3, size=8):
    return CAlpha(2.0, size).images("test", count)


def traces_of(maps):
    return maps.matrices().double().diagonal(dim1=1, dim2=2).sum(1)


def filters_of(basis, images, traces):
    return tikhonov_filters(basis.laplacian, basis.spectrum, images).at(traces)


def sparse_filters_of(basis, images, traces):
    return tikhonov._SparseTikhonov(basis.laplacian, images).at(traces)


def by_hand(laplacian, trace):
    """(1 + mu L)^-1 by solving equations, mu by a root of the trace."""
    eye = torch.eye(len(laplacian), dtype=torch.float64)

    def solved(logarithm):
        return torch.linalg.solve(eye + 10**logarithm * laplacian, eye)

    return solved(brentq(lambda logarithm: float(solved(logarithm).trace()) - trace, -6, 6, xtol=1e-12))


def test_filters_solve_the_equations_of_the_graph_and_have_the_traces():
    clean, traces = images(), torch.tensor([9.0, 25.0, 60.0], dtype=torch.float64)
    found = filters_of(GraphLaplacian(), clean, traces)
    assert isinstance(found, DenseMaps)
    torch.testing.assert_close(traces_of(found), traces, atol=1e-4, rtol=0)
    for matrix, laplacian, trace in zip(found.matrices(), graph_laplacian(clean), traces.tolist(), strict=True):
        torch.testing.assert_close(matrix.double(), by_hand(laplacian, trace), atol=5e-6, rtol=0)


@settings(deadline=None, max_examples=20)
@given(size=st.integers(2, 30), share=st.floats(0.02, 0.98), largest=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_the_strength_has_the_trace_that_was_asked_for(size, share, largest, seed):
    draw = torch.rand(1, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = largest * draw.sort().values
    values[:, 0] = 0
    trace = 1 + share * (size - 1)
    mu = strength(values, torch.tensor([trace], dtype=torch.float64))
    assert (1 / (1 + mu[:, None] * values)).sum().item() == pytest.approx(trace, abs=1e-6)


def test_more_trace_is_a_weaker_filter():
    values = torch.linspace(0, 3, 20, dtype=torch.float64).expand(5, -1)
    assert (strength(values, torch.linspace(2, 19, 5, dtype=torch.float64)).diff() < 0).all()


def test_where_no_filter_has_the_trace_it_is_the_nearest():
    clean = images(2)
    basis = GraphLaplacian(hr=1.0)
    for trace in (64.0, 70.0):
        found = filters_of(basis, clean, torch.full((2,), trace)).matrices()
        torch.testing.assert_close(found, torch.eye(64).expand(2, -1, -1), atol=1e-5, rtol=0)
    for trace in (1.0, 0.2, -3.0):
        found = filters_of(basis, clean, torch.full((2,), trace)).matrices()
        torch.testing.assert_close(found, torch.full((2, 64, 64), 1 / 64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sparse", [False, True])
def test_colours_have_one_filter_each_of_a_third_of_the_trace(sparse):
    clean = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    traces = torch.tensor([24.0, 60.0], dtype=torch.float64)
    how = sparse_filters_of if sparse else filters_of
    blocks = how(GraphLaplacian(), clean, traces).matrices().reshape(2, 3, 30, 3, 30)
    for one in range(3):
        for other in range(3):
            block = blocks[:, one, :, other]
            torch.testing.assert_close(block, blocks[:, 0, :, 0] * (one == other), atol=5e-6, rtol=0)
    found = blocks[:, 0, :, 0].double()
    expected = torch.stack([by_hand(*given) for given in zip(graph_laplacian(clean), [8.0, 20.0], strict=True)])
    if sparse:
        assert (found - expected).norm() < 0.1 * expected.norm()
    else:
        torch.testing.assert_close(found, expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_sparse_equations_give_nearly_the_same_filters(share):
    clean = images(3, 12)
    traces = torch.full((3,), share * 144, dtype=torch.float64)
    dense, sparse = filters_of(GraphLaplacian(), clean, traces), sparse_filters_of(GraphLaplacian(), clean, traces)
    assert isinstance(sparse, FunctionMaps)
    # Strengths are from traces that are estimated from 16 random vectors.
    assert ((traces_of(sparse) - traces).abs() < 0.1 * traces).all()
    for one, other in zip(dense.matrices(), sparse.matrices(), strict=True):
        assert (one - other).norm() < 0.1 * one.norm()


def test_sparse_filters_are_inverses_of_the_graph_at_one_strength():
    clean = images(2, 9)
    sparse = sparse_filters_of(GraphLaplacian(), clean, torch.full((2,), 30.0, dtype=torch.float64)).matrices().double()
    for matrix, laplacian in zip(sparse, graph_laplacian(clean), strict=True):
        rest = torch.linalg.inv(matrix) - torch.eye(81)
        mu = float((rest * laplacian).sum() / laplacian.square().sum())
        assert mu > 0
        torch.testing.assert_close(rest, mu * laplacian, atol=1e-3 * mu * float(laplacian.max()), rtol=0)
        torch.testing.assert_close(matrix, matrix.mT, atol=1e-6, rtol=0)


def test_which_traces_a_graph_reaches_does_not_depend_on_the_way():
    clean = torch.full((2, 1, 9, 9), 0.5) + 0.1 * images(2, 9)
    # Two regions, whose weights of exp(-50) do not join them.
    clean[1] = (torch.arange(81).reshape(9, 9) >= 45).float()
    basis = GraphLaplacian()
    families = (
        tikhonov_filters(basis.laplacian, basis.spectrum, clean),
        tikhonov._SparseTikhonov(basis.laplacian, clean),
    )
    for trace in (-1.0, 0.5, 1.5, 2.5, 40.0, 80.5, 81.5):
        asked = torch.full((2,), trace, dtype=torch.float64)
        for family in families:
            assert family.reaches(asked).tolist() == [1 < trace < 81, 2 < trace < 81]


def test_large_images_take_the_sparse_way(monkeypatch):
    clean, traces = images(2, 9), torch.full((2,), 30.0, dtype=torch.float64)
    exact = GraphLaplacian().filters(Truth(clean), 0.1).at(traces)
    monkeypatch.setattr(tikhonov, "LARGEST_EXACT", 80)
    basis = GraphLaplacian()
    monkeypatch.setattr(basis, "spectrum", lambda images: pytest.fail("eigenvectors were computed"))
    found = basis.filters(Truth(clean), 0.1).at(traces)
    assert isinstance(found, FunctionMaps)
    vectors = torch.randn(1, 200, 81, generator=torch.Generator().manual_seed(0))
    difference = (found.matvec(vectors) - exact.matvec(vectors)).norm()
    assert difference < 0.1 * exact.matvec(vectors).norm()


def test_patches_have_filters_too():
    clean, traces = images(2), torch.full((2,), 12.0, dtype=torch.float64)
    basis = gahbench.create("basis", "patch-graph")
    found = basis.filters(Truth(clean), 0.1).at(traces)
    torch.testing.assert_close(traces_of(found), traces, atol=1e-4, rtol=0)
    laplacian = basis.laplacian(clean)
    product = found.matrices().double() @ laplacian
    torch.testing.assert_close(product, product.mT, atol=1e-5, rtol=0)
