"""Linear maps: exact values and estimates from random probes, and eigenpairs."""

import pytest
import torch
from random_images import normal as random
from torch import nn

from gahbench.jacobian import DenseMaps, FunctionMaps, Jacobian, probes_for, top

SHAPE, SIZE = (1, 6, 7), 42


def symmetric_part(matrices):
    return (matrices + matrices.mT) / 2


def maps(count=3, seed=0):
    return DenseMaps(random(count, SIZE, SIZE, seed=seed), SHAPE)


class Network(nn.Module):
    def forward(self, noisy, sigma):
        kernel = random(1, 1, 3, 3, seed=5).to(noisy)
        return noisy * torch.sigmoid(nn.functional.conv2d(noisy, kernel, padding=1))


def network_maps():
    return Jacobian(Network().eval(), random(2, *SHAPE, seed=8), 0.1)


EITHER = pytest.mark.parametrize("linear_maps", [maps(), network_maps()], ids=["any", "network"])


@EITHER
def test_estimated_traces_agree_with_exact_traces_within_their_errors(linear_maps):
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
    assert linear_maps.trace(probes=1).error.isinf().all()


def test_probes_are_reproducible_signs_that_depend_on_the_seed():
    like = torch.empty(0, dtype=torch.float64)
    probes = probes_for(50, 3, 0, like)
    assert (probes.shape, probes.dtype) == ((1, 3, 50), torch.float64)
    assert torch.equal(probes.abs(), torch.ones_like(probes))
    assert torch.equal(probes, probes_for(50, 3, 0, like))
    assert not torch.equal(probes, probes_for(50, 3, 1, like))


def test_sketches_give_unbiased_products():
    first, second = maps(3), maps(3, seed=1)
    lefts, rights = symmetric_part(first.matrices()), symmetric_part(second.matrices())
    expected = (lefts * rights).sum((1, 2))
    torch.testing.assert_close(first.sketch().own_products(second.sketch()), expected[None])
    groups = [first.sketch(32, seed).own_products(second.sketch(32, seed)) for seed in range(100)]
    assert all(len(products) > 1 for products in groups)
    products_by_seed = torch.stack([products.sum(0) for products in groups])
    error = products_by_seed.std(0) / 100**0.5
    assert ((products_by_seed.mean(0) - expected).abs() < 4.5 * error).all()
    assert (error < 0.1 * lefts.norm() * rights.norm()).all()
    exact, large, small = first.sketch(), first.sketch(SIZE), first.sketch(8)
    for left, right in ((exact, large), (large, small), (exact, small)):
        with pytest.raises(ValueError, match="different vectors"):
            left.own_products(right)


@EITHER
@pytest.mark.parametrize("smallest", [False, True])
@pytest.mark.parametrize(("count", "method"), [(3, "lanczos"), (8, "lanczos"), (SIZE, "full")])
def test_lanczos_agrees_with_a_full_decomposition(linear_maps, smallest, count, method):
    symmetric = symmetric_part(linear_maps.matrices())
    expected = torch.linalg.eigvalsh(symmetric).flip(1)
    pairs = top(linear_maps, count, tolerance=1e-8, smallest=smallest, method=method)
    assert pairs.method == method
    assert (pairs.values.dtype, pairs.vectors.shape) == (torch.float64, (len(linear_maps), count, SIZE))
    chosen = expected[:, -count:] if smallest else expected[:, :count]
    torch.testing.assert_close(pairs.values, chosen, atol=1e-6, rtol=1e-6)
    eye = torch.eye(count, dtype=torch.float64).expand(len(linear_maps), -1, -1)
    torch.testing.assert_close(pairs.vectors @ pairs.vectors.mT, eye, atol=1e-8, rtol=0)
    residuals = (pairs.vectors @ symmetric - pairs.values[..., None] * pairs.vectors).norm(dim=2)
    torch.testing.assert_close(pairs.residuals, residuals, atol=1e-10, rtol=1e-6)
    assert residuals.max() < 1e-5 * expected.abs().max()
    assert (pairs.vectors.sum(2) >= 0).all()


def test_residuals_bound_the_errors_of_inaccurate_eigenvalues():
    expected = torch.linalg.eigvalsh(symmetric_part(maps().matrices()))
    pairs = top(maps(), 4, tolerance=0.3, method="lanczos")
    assert pairs.residuals.max() > 1e-8
    distances = (pairs.values[..., None] - expected[:, None]).abs().amin(2)
    assert (distances <= pairs.residuals + 1e-10).all()


def test_auto_chooses_the_faster_method():
    small, large = DenseMaps(torch.eye(400)[None], (1, 20, 20)), DenseMaps(torch.eye(2500)[None], (1, 50, 50))
    assert [top(small, count).method for count in (4, 5)] == ["lanczos", "full"]
    assert top(large, 30).method == "lanczos"


def test_lanczos_takes_far_fewer_products_than_image_values():
    spectrum = 0.5 ** torch.arange(400, dtype=torch.float64)
    basis = torch.linalg.qr(random(400, 400))[0]
    matrix, products = (basis * spectrum) @ basis.mT, []
    counted = FunctionMaps(lambda vectors, indices: products.append(0) or vectors @ matrix, 1, (1, 20, 20), matrix)
    pairs = top(counted, 5, method="lanczos")
    assert len(products) < 100
    torch.testing.assert_close(pairs.values[0], spectrum[:5], rtol=1e-3, atol=0)


def test_the_smallest_eigenvalue_of_a_large_positive_filter_is_found():
    """Lanczos' method with relative accuracy may never converge to an eigenvalue near 0 in float32."""
    values = 1 / (1 + torch.arange(2500.0)).square()
    linear_maps = FunctionMaps(lambda vectors, indices: vectors * values, 1, (1, 50, 50), values)
    assert abs(float(top(linear_maps, 1, smallest=True).values)) < 2e-3
    assert float(top(linear_maps, 1).values) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("smallest", [False, True])
def test_the_zero_map_has_zero_eigenvalues(smallest):
    pairs = top(DenseMaps(torch.zeros(2, 64, 64), (1, 8, 8)), 3, smallest=smallest, method="lanczos")
    assert pairs.values.tolist() == [[0.0] * 3] * 2
    torch.testing.assert_close(pairs.vectors @ pairs.vectors.mT, torch.eye(3).double().expand(2, -1, -1))
    assert pairs.residuals.max() == 0


@pytest.mark.parametrize("shape", [(2, SIZE, SIZE + 1), (2, 41, 41), (SIZE, SIZE)])
def test_matrices_of_wrong_shape_are_rejected(shape):
    with pytest.raises(ValueError, match="42, 42"):
        DenseMaps(torch.zeros(shape), SHAPE)


@pytest.mark.parametrize("count", [0, SIZE + 1])
def test_counts_out_of_range_are_rejected(count):
    with pytest.raises(ValueError, match=f"count={count}"):
        top(maps(), count)
