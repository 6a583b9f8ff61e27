import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gahbench.jacobian import DenseMaps, FunctionMaps, Jacobian, SparseMaps, probes_for
from gahbench.jacobian.eigen import full, top

SHAPE, SIZE = (1, 6, 7), 42


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(count=3, symmetric=False, seed=0):
    matrices = random(count, SIZE, SIZE, seed=seed)
    return DenseMaps(matrices + matrices.mT if symmetric else matrices, SHAPE)


def symmetric_part(matrices):
    return (matrices + matrices.mT) / 2


class Network(nn.Module):
    def forward(self, noisy, sigma):
        kernel = random(1, 1, 3, 3, seed=5).to(noisy)
        return noisy * torch.sigmoid(nn.functional.conv2d(noisy, kernel, padding=1))


def network_maps(count=2):
    return Jacobian(Network().eval(), random(count, *SHAPE, seed=8), 0.1)


@pytest.mark.parametrize("found", [maps(), maps(symmetric=True), network_maps()], ids=["any", "symmetric", "network"])
def test_probes_agree_with_what_is_exact_within_their_errors(found):
    matrices = found.matrices()
    trace = found.trace()
    assert (trace.probes, trace.error.abs().max()) == (0, 0)
    torch.testing.assert_close(trace.value, torch.stack([matrix.trace() for matrix in matrices]))
    estimate = found.trace(probes=400)
    assert (estimate.probes, len(estimate.value)) == (400, len(found))
    assert ((estimate.value - trace.value).abs() < 4.5 * estimate.error).all()
    # Hutchinson's variance with random signs: 2 sum_{i != j} s_ij^2, over the number of probes.
    off = symmetric_part(matrices)
    off = off - torch.diag_embed(off.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(estimate.error, (2 * off.square().sum((1, 2)) / 400).sqrt(), rtol=0.25, atol=0)

    other = maps(len(found), seed=3)
    expected = (symmetric_part(matrices) * symmetric_part(other.matrices())).sum((1, 2))
    exact = found.frobenius_product(other)
    torch.testing.assert_close(exact.value, expected)
    assert (exact.probes, exact.error.abs().max()) == (0, 0)
    estimate = found.frobenius_product(other, probes=400)
    assert ((estimate.value - expected).abs() < 4.5 * estimate.error).all()
    assert (estimate.error > 0).all()


@pytest.mark.parametrize("measure", [maps(1).trace, functools.partial(maps(1).frobenius_product, maps(1, seed=1))])
def test_standard_errors_are_honest(measure):
    exact = measure().value.item()
    found = [measure(probes=48, seed=seed) for seed in range(300)]
    scores = torch.tensor([(estimate.value.item() - exact) / estimate.error.item() for estimate in found])
    # Their variance is that of Student's t, 47/45, with a standard error of about 8 %.
    assert scores.mean().abs() < 4 / 300**0.5
    assert 0.7 < scores.var() < 1.4


def test_one_probe_has_no_standard_error():
    estimate = maps().trace(probes=1)
    assert estimate.error.isinf().all()
    assert "from 1 random probes" in str(estimate)
    assert str(maps(1, symmetric=True).trace()).endswith("(exact)")


@settings(deadline=None, max_examples=10)
@given(size=st.integers(1, 50), count=st.integers(1, 5), seed=st.integers(0, 9))
def test_probes_are_signs_that_repeat_and_differ_from_seed_to_seed(size, count, seed):
    like = torch.empty(0, dtype=torch.float64)
    found = probes_for(size, count, seed, like)
    assert found.shape == (1, count, size)
    assert found.dtype == torch.float64
    assert torch.equal(found.abs(), torch.ones_like(found))
    assert torch.equal(found, probes_for(size, count, seed, like))
    if size * count > 40:
        assert not torch.equal(found, probes_for(size, count, seed + 1, like))


def test_sketches_give_unbiased_products():
    one, other = maps(3), maps(3, seed=1)
    lefts, rights = symmetric_part(one.matrices()), symmetric_part(other.matrices())
    expected = (lefts * rights).sum((1, 2))
    exact = one.sketch().own_products(other.sketch())
    assert exact.shape == (1, 3)
    torch.testing.assert_close(exact[0], expected)
    groups = [one.sketch(32, seed).own_products(other.sketch(32, seed)) for seed in range(100)]
    assert all(len(products) > 1 for products in groups)
    found = torch.stack([products.sum(0) for products in groups])
    error = found.std(0) / 100**0.5
    assert ((found.mean(0) - expected).abs() < 4.5 * error).all()
    assert (error < 0.1 * lefts.norm() * rights.norm()).all()


def test_sketches_on_other_vectors_are_refused():
    whole, few, more = maps().sketch(), maps().sketch(SIZE), maps().sketch(8)
    for one, other in ((whole, few), (few, more), (whole, more)):
        with pytest.raises(ValueError, match="on other vectors"):
            one.own_products(other)


@pytest.mark.parametrize("found", [maps(), network_maps()], ids=["any", "network"])
@pytest.mark.parametrize("smallest", [False, True])
def test_lanczos_finds_what_a_full_decomposition_does(found, smallest):
    symmetric = symmetric_part(found.matrices())
    expected = torch.linalg.eigvalsh(symmetric).flip(1)
    for count, method in ((3, "lanczos"), (8, "lanczos"), (20, "full"), (SIZE, "full")):
        pairs = top(found, count, tolerance=1e-8, smallest=smallest, method=method)
        assert pairs.method.startswith(method)
        assert (pairs.values.dtype, pairs.vectors.shape) == (torch.float64, (len(found), count, SIZE))
        chosen = expected[:, -count:] if smallest else expected[:, :count]
        torch.testing.assert_close(pairs.values, chosen, atol=1e-6, rtol=1e-6)
        eye = torch.eye(count, dtype=torch.float64).expand(len(found), -1, -1)
        torch.testing.assert_close(pairs.vectors @ pairs.vectors.mT, eye, atol=1e-8, rtol=0)
        # Residuals are what they are said to be, and small.
        residuals = (pairs.vectors @ symmetric - pairs.values[..., None] * pairs.vectors).norm(dim=2)
        torch.testing.assert_close(pairs.residuals, residuals, atol=1e-10, rtol=1e-6)
        assert residuals.max() < 1e-5 * expected.abs().max()
        assert (pairs.vectors.sum(2) >= 0).all()


def test_coarse_eigenvalues_are_within_their_residuals_of_true_ones():
    found = maps(symmetric=True)
    expected = torch.linalg.eigvalsh(found.matrices())
    pairs = top(found, 4, tolerance=0.3, method="lanczos")
    assert pairs.residuals.max() > 1e-8
    distances = (pairs.values[..., None] - expected[:, None]).abs().amin(2)
    assert (distances <= pairs.residuals + 1e-10).all()


def test_the_faster_method_is_chosen():
    small, large = DenseMaps(torch.eye(400)[None], (1, 20, 20)), DenseMaps(torch.eye(2500)[None], (1, 50, 50))
    assert [top(small, count).method.split(",")[0] for count in (4, 5)] == ["lanczos", "full"]
    assert top(large, 30).method.startswith("lanczos")


def test_lanczos_takes_fewer_products_than_there_are_values():
    spectrum = 0.5 ** torch.arange(400, dtype=torch.float64)
    turned = torch.linalg.qr(random(400, 400))[0]
    found = top(DenseMaps(((turned * spectrum) @ turned.mT)[None], (1, 20, 20)), 5, method="lanczos")
    assert int(found.method.split()[1]) < 100
    torch.testing.assert_close(found.values[0], spectrum[:5], rtol=1e-3, atol=0)


@pytest.mark.parametrize("count", [0, -1, SIZE + 1])
def test_counts_out_of_range_are_refused(count):
    with pytest.raises(ValueError, match=f"count={count}: accepted are 1 to {SIZE}"):
        top(maps(), count)


def test_full_decompositions_rebuild_the_symmetric_part():
    matrices = maps().matrices().float()
    values, vectors = full(matrices)
    assert values.dtype == vectors.dtype == torch.float64
    assert (values.diff(dim=1) <= 0).all()
    rebuilt = (vectors.mT * values[:, None]) @ vectors
    torch.testing.assert_close(rebuilt, symmetric_part(matrices.double()), atol=1e-12, rtol=0)


def test_maps_given_by_functions_are_the_matrices_of_their_functions():
    matrices = maps(symmetric=True).matrices()
    found = FunctionMaps(lambda vectors, places: vectors @ matrices[list(places)], 3, SHAPE, matrices)
    vectors = random(1, 5, SIZE, seed=4)
    for product in (found.matvec, found.rmatvec, found.symmetric_product):
        torch.testing.assert_close(product(vectors), vectors @ matrices)
    torch.testing.assert_close(found.matrices(), matrices)
    torch.testing.assert_close(found.only(1).matrices(), matrices[1:2])
    torch.testing.assert_close(found.trace().value, matrices.diagonal(dim1=1, dim2=2).sum(1))


def test_one_matrix_may_serve_many_images():
    matrix = maps(1).matrices()
    found = DenseMaps(matrix, SHAPE, count=4)
    vectors = random(4, 2, SIZE, seed=4)
    torch.testing.assert_close(found.matvec(vectors), vectors @ matrix.mT)
    torch.testing.assert_close(found.rmatvec(vectors[:1]), (vectors[:1] @ matrix).expand(4, -1, -1))
    torch.testing.assert_close(found.trace().value, matrix[0].trace().expand(4))
    torch.testing.assert_close(found.only(3).matrices(), matrix)


@pytest.mark.parametrize("shape", [(2, SIZE, SIZE + 1), (2, 41, 41), (SIZE, SIZE)])
def test_matrices_of_other_sizes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected matrices of shape \(\d+, 42, 42\)"):
        DenseMaps(torch.zeros(shape), SHAPE)
    with pytest.raises(ValueError, match=r"\(4, 42, 42\)"):
        DenseMaps(torch.zeros(2, SIZE, SIZE), SHAPE, count=4)


def test_the_smallest_eigenvalue_of_a_large_positive_filter_is_found():
    """Relative to itself an eigenvalue of nearly 0 in float32 could be sought for ever."""
    values = 1 / (1 + torch.arange(2500.0)).square()
    maps = FunctionMaps(lambda vectors, places: vectors * values, 1, (1, 50, 50), values)
    found = top(maps, 1, smallest=True)
    assert abs(float(found.values)) < 2e-3
    assert float(top(maps, 1).values) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("smallest", [False, True])
def test_a_map_that_is_0_has_eigenvalues_0(smallest):
    found = top(DenseMaps(torch.zeros(2, 64, 64), (1, 8, 8)), 3, smallest=smallest, method="lanczos")
    assert found.values.tolist() == [[0.0] * 3] * 2
    torch.testing.assert_close(found.vectors @ found.vectors.mT, torch.eye(3).double().expand(2, -1, -1))
    assert found.residuals.max() == 0


def test_sparse_maps_are_their_matrices():
    draw = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, 12, 12, generator=draw, dtype=torch.float64)
    matrices *= torch.rand(12, 12, generator=draw) < 0.3
    places = (matrices[0] != 0).nonzero().T
    # In no order.
    places = places[:, torch.randperm(places.shape[1], generator=draw)]
    maps, dense = SparseMaps(places, matrices[:, places[0], places[1]], (3, 2, 2)), DenseMaps(matrices, (3, 2, 2))
    assert torch.equal(maps.matrices(), matrices)
    for vectors in (torch.randn(3, 5, 12, generator=draw).double(), torch.randn(1, 4, 12, generator=draw)):
        torch.testing.assert_close(maps.matvec(vectors), dense.matvec(vectors))
        torch.testing.assert_close(maps.rmatvec(vectors), dense.rmatvec(vectors))
        torch.testing.assert_close(maps.only(1).matvec(vectors[:1]), dense.only(1).matvec(vectors[:1]))
    torch.testing.assert_close(maps.trace().value, matrices.diagonal(dim1=1, dim2=2).sum(1))
    assert len(maps) == 3
    assert maps.method == "sparse matrices"


def test_values_and_places_must_be_as_many():
    with pytest.raises(ValueError, match=r"\(2, K\)"):
        SparseMaps(torch.zeros(2, 3, dtype=torch.long), torch.zeros(1, 4), (1, 2, 2))
