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


@pytest.mark.parametrize(
    "linear_maps", [maps(), maps(symmetric=True), network_maps()], ids=["any", "symmetric", "network"]
)
def test_estimates_agree_with_exact_values_within_their_errors(linear_maps):
    matrices = linear_maps.matrices()
    trace = linear_maps.trace()
    assert (trace.probes, trace.error.abs().max()) == (0, 0)
    torch.testing.assert_close(trace.value, torch.stack([matrix.trace() for matrix in matrices]))
    estimate = linear_maps.trace(probes=400)
    assert (estimate.probes, len(estimate.value)) == (400, len(linear_maps))
    assert ((estimate.value - trace.value).abs() < 4.5 * estimate.error).all()
    # The variance of Hutchinson's estimate with random signs is 2 sum_{i != j} s_ij^2 over the number of probes.
    off_diagonal = symmetric_part(matrices)
    off_diagonal = off_diagonal - torch.diag_embed(off_diagonal.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(estimate.error, (2 * off_diagonal.square().sum((1, 2)) / 400).sqrt(), rtol=0.25, atol=0)

    other = maps(len(linear_maps), seed=3)
    expected = (symmetric_part(matrices) * symmetric_part(other.matrices())).sum((1, 2))
    exact = linear_maps.frobenius_product(other)
    torch.testing.assert_close(exact.value, expected)
    assert (exact.probes, exact.error.abs().max()) == (0, 0)
    estimate = linear_maps.frobenius_product(other, probes=400)
    assert ((estimate.value - expected).abs() < 4.5 * estimate.error).all()
    assert (estimate.error > 0).all()


@pytest.mark.parametrize("measure", [maps(1).trace, functools.partial(maps(1).frobenius_product, maps(1, seed=1))])
def test_standard_errors_agree_with_simulations(measure):
    exact = measure().value.item()
    estimates = [measure(probes=48, seed=seed) for seed in range(300)]
    scores = torch.tensor([(estimate.value.item() - exact) / estimate.error.item() for estimate in estimates])
    # The variance of Student's t is 47/45 here, estimated with a standard error of about 8 %.
    assert scores.mean().abs() < 4 / 300**0.5
    assert 0.7 < scores.var() < 1.4


def test_one_probe_has_no_standard_error():
    estimate = maps().trace(probes=1)
    assert estimate.error.isinf().all()
    assert "from 1 random probe)" in str(estimate)
    assert str(maps(1, symmetric=True).trace()).endswith("(exact)")


@settings(deadline=None, max_examples=10)
@given(size=st.integers(1, 50), count=st.integers(1, 5), seed=st.integers(0, 9))
def test_probes_are_reproducible_signs_that_depend_on_the_seed(size, count, seed):
    like = torch.empty(0, dtype=torch.float64)
    probes = probes_for(size, count, seed, like)
    assert probes.shape == (1, count, size)
    assert probes.dtype == torch.float64
    assert torch.equal(probes.abs(), torch.ones_like(probes))
    assert torch.equal(probes, probes_for(size, count, seed, like))
    if size * count > 40:
        assert not torch.equal(probes, probes_for(size, count, seed + 1, like))


def test_sketches_give_unbiased_products():
    first, second = maps(3), maps(3, seed=1)
    lefts, rights = symmetric_part(first.matrices()), symmetric_part(second.matrices())
    expected = (lefts * rights).sum((1, 2))
    exact = first.sketch().own_products(second.sketch())
    assert exact.shape == (1, 3)
    torch.testing.assert_close(exact[0], expected)
    groups = [first.sketch(32, seed).own_products(second.sketch(32, seed)) for seed in range(100)]
    assert all(len(products) > 1 for products in groups)
    products_by_seed = torch.stack([products.sum(0) for products in groups])
    error = products_by_seed.std(0) / 100**0.5
    assert ((products_by_seed.mean(0) - expected).abs() < 4.5 * error).all()
    assert (error < 0.1 * lefts.norm() * rights.norm()).all()


def test_sketches_on_different_vectors_are_rejected():
    exact, large, small = maps().sketch(), maps().sketch(SIZE), maps().sketch(8)
    for left, right in ((exact, large), (large, small), (exact, small)):
        with pytest.raises(ValueError, match="use different vectors"):
            left.own_products(right)


@pytest.mark.parametrize("linear_maps", [maps(), network_maps()], ids=["any", "network"])
@pytest.mark.parametrize("smallest", [False, True])
def test_lanczos_agrees_with_a_full_decomposition(linear_maps, smallest):
    symmetric = symmetric_part(linear_maps.matrices())
    expected = torch.linalg.eigvalsh(symmetric).flip(1)
    for count, method in ((3, "lanczos"), (8, "lanczos"), (20, "full"), (SIZE, "full")):
        pairs = top(linear_maps, count, tolerance=1e-8, smallest=smallest, method=method)
        assert pairs.method.startswith(method)
        assert (pairs.values.dtype, pairs.vectors.shape) == (torch.float64, (len(linear_maps), count, SIZE))
        chosen = expected[:, -count:] if smallest else expected[:, :count]
        torch.testing.assert_close(pairs.values, chosen, atol=1e-6, rtol=1e-6)
        eye = torch.eye(count, dtype=torch.float64).expand(len(linear_maps), -1, -1)
        torch.testing.assert_close(pairs.vectors @ pairs.vectors.mT, eye, atol=1e-8, rtol=0)
        # The residuals are correct and small.
        residuals = (pairs.vectors @ symmetric - pairs.values[..., None] * pairs.vectors).norm(dim=2)
        torch.testing.assert_close(pairs.residuals, residuals, atol=1e-10, rtol=1e-6)
        assert residuals.max() < 1e-5 * expected.abs().max()
        assert (pairs.vectors.sum(2) >= 0).all()


def test_residuals_bound_the_errors_of_inaccurate_eigenvalues():
    linear_maps = maps(symmetric=True)
    expected = torch.linalg.eigvalsh(linear_maps.matrices())
    pairs = top(linear_maps, 4, tolerance=0.3, method="lanczos")
    assert pairs.residuals.max() > 1e-8
    distances = (pairs.values[..., None] - expected[:, None]).abs().amin(2)
    assert (distances <= pairs.residuals + 1e-10).all()


def test_auto_chooses_the_faster_method():
    small, large = DenseMaps(torch.eye(400)[None], (1, 20, 20)), DenseMaps(torch.eye(2500)[None], (1, 50, 50))
    assert [top(small, count).method.split(",")[0] for count in (4, 5)] == ["lanczos", "full"]
    assert top(large, 30).method.startswith("lanczos")


def test_lanczos_takes_far_fewer_products_than_image_values():
    spectrum = 0.5 ** torch.arange(400, dtype=torch.float64)
    basis = torch.linalg.qr(random(400, 400))[0]
    pairs = top(DenseMaps(((basis * spectrum) @ basis.mT)[None], (1, 20, 20)), 5, method="lanczos")
    assert int(pairs.method.split()[1]) < 100
    torch.testing.assert_close(pairs.values[0], spectrum[:5], rtol=1e-3, atol=0)


@pytest.mark.parametrize("count", [0, -1, SIZE + 1])
def test_counts_out_of_range_are_rejected(count):
    with pytest.raises(ValueError, match=f"count={count}; accepted: 1 to {SIZE}"):
        top(maps(), count)


def test_full_decompositions_reconstruct_the_symmetric_part():
    matrices = maps().matrices().float()
    values, vectors = full(matrices)
    assert values.dtype == vectors.dtype == torch.float64
    assert (values.diff(dim=1) <= 0).all()
    reconstructed = (vectors.mT * values[:, None]) @ vectors
    torch.testing.assert_close(reconstructed, symmetric_part(matrices.double()), atol=1e-12, rtol=0)


def test_function_maps_have_the_matrices_of_their_functions():
    matrices = maps(symmetric=True).matrices()
    linear_maps = FunctionMaps(lambda vectors, indices: vectors @ matrices[list(indices)], 3, SHAPE, matrices)
    vectors = random(1, 5, SIZE, seed=4)
    for product in (linear_maps.matvec, linear_maps.rmatvec, linear_maps.symmetric_product):
        torch.testing.assert_close(product(vectors), vectors @ matrices)
    torch.testing.assert_close(linear_maps.matrices(), matrices)
    torch.testing.assert_close(linear_maps.select(1).matrices(), matrices[1:2])
    torch.testing.assert_close(linear_maps.trace().value, matrices.diagonal(dim1=1, dim2=2).sum(1))


def test_images_may_share_one_matrix():
    matrix = maps(1).matrices()
    linear_maps = DenseMaps(matrix, SHAPE, count=4)
    vectors = random(4, 2, SIZE, seed=4)
    torch.testing.assert_close(linear_maps.matvec(vectors), vectors @ matrix.mT)
    torch.testing.assert_close(linear_maps.rmatvec(vectors[:1]), (vectors[:1] @ matrix).expand(4, -1, -1))
    torch.testing.assert_close(linear_maps.trace().value, matrix[0].trace().expand(4))
    torch.testing.assert_close(linear_maps.select(3).matrices(), matrix)


@pytest.mark.parametrize("shape", [(2, SIZE, SIZE + 1), (2, 41, 41), (SIZE, SIZE)])
def test_matrices_of_wrong_shape_are_rejected(shape):
    with pytest.raises(ValueError, match=r"expected matrices of shape \(\d+, 42, 42\)"):
        DenseMaps(torch.zeros(shape), SHAPE)
    with pytest.raises(ValueError, match=r"\(4, 42, 42\)"):
        DenseMaps(torch.zeros(2, SIZE, SIZE), SHAPE, count=4)


def test_the_smallest_eigenvalue_of_a_large_positive_filter_is_found():
    """Lanczos' method with relative accuracy may never converge to an eigenvalue near 0 in float32."""
    values = 1 / (1 + torch.arange(2500.0)).square()
    maps = FunctionMaps(lambda vectors, indices: vectors * values, 1, (1, 50, 50), values)
    pairs = top(maps, 1, smallest=True)
    assert abs(float(pairs.values)) < 2e-3
    assert float(top(maps, 1).values) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("smallest", [False, True])
def test_the_zero_map_has_zero_eigenvalues(smallest):
    pairs = top(DenseMaps(torch.zeros(2, 64, 64), (1, 8, 8)), 3, smallest=smallest, method="lanczos")
    assert pairs.values.tolist() == [[0.0] * 3] * 2
    torch.testing.assert_close(pairs.vectors @ pairs.vectors.mT, torch.eye(3).double().expand(2, -1, -1))
    assert pairs.residuals.max() == 0


def test_sparse_maps_agree_with_dense_maps():
    random_state = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, 12, 12, generator=random_state, dtype=torch.float64)
    matrices *= torch.rand(12, 12, generator=random_state) < 0.3
    indices = (matrices[0] != 0).nonzero().T
    # Shuffle the elements.
    indices = indices[:, torch.randperm(indices.shape[1], generator=random_state)]
    maps, dense = SparseMaps(indices, matrices[:, indices[0], indices[1]], (3, 2, 2)), DenseMaps(matrices, (3, 2, 2))
    assert torch.equal(maps.matrices(), matrices)
    for vectors in (
        torch.randn(3, 5, 12, generator=random_state).double(),
        torch.randn(1, 4, 12, generator=random_state),
    ):
        torch.testing.assert_close(maps.matvec(vectors), dense.matvec(vectors))
        torch.testing.assert_close(maps.rmatvec(vectors), dense.rmatvec(vectors))
        torch.testing.assert_close(maps.select(1).matvec(vectors[:1]), dense.select(1).matvec(vectors[:1]))
    torch.testing.assert_close(maps.trace().value, matrices.diagonal(dim1=1, dim2=2).sum(1))
    assert len(maps) == 3
    assert maps.method == "sparse matrices"


def test_sparse_maps_need_one_value_per_element():
    with pytest.raises(ValueError, match=r"\(2, K\)"):
        SparseMaps(torch.zeros(2, 3, dtype=torch.long), torch.zeros(1, 4), (1, 2, 2))
