"""Metrics of the Jacobian: spectrum, gain from adaptation, and eigenvectors."""

import math

import numpy as np
import pytest
import torch
from constructing import construct
from hypothesis import given
from hypothesis import strategies as st
from known_filters import Filters, create, evaluate_images, evaluation, random_images, table
from random_images import normal as random
from scipy.stats import spearmanr

from gahbench.contracts.references import Reference
from gahbench.contracts.truth import Truth
from gahbench.jacobian import DenseMaps, FunctionMaps
from gahbench_plugins.bases.dct import DCT
from gahbench_plugins.bases.graph_laplacian import graph_laplacian
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.metrics.harmonic_order import rank_correlation
from gahbench_plugins.references.oracle import OracleShrink

SIZE = 36


def matrix_with_eigenvalues(eigenvalues, seed=0):
    """Return a symmetric matrix with the given eigenvalues."""
    draw = torch.randn(len(eigenvalues), len(eigenvalues), generator=torch.Generator().manual_seed(seed)).double()
    vectors = torch.linalg.qr(draw)[0]
    return (vectors * torch.as_tensor(eigenvalues, dtype=torch.float64)) @ vectors.mT


def rotation():
    """A quarter turn in each of 18 planes: antisymmetric and orthogonal."""
    return torch.kron(torch.eye(SIZE // 2), torch.tensor([[0.0, -1.0], [1.0, 0.0]])).double()


def only(parts, sigma=0.1):
    return {part: values for (part, level), values in parts.items() if level == sigma}


def test_a_projection_keeps_as_many_dimensions_as_its_rank():
    for share, rank in ((0.2, 51), (0.01, 3), (1.0, 256)):
        parts = only(table("spectrum", evaluation(f"low-pass[{share}]", count=3)))
        expected = {"trace": rank, "above-half": rank, "largest": 1, "smallest": int(rank == 256)}
        expected |= {"negative": 0, "asymmetry": 0, "homogeneity": 0}
        assert set(parts) == set(expected)
        for part, value in expected.items():
            assert parts[part].tolist() == pytest.approx([value] * 3, abs=1e-4), part


def test_parts_follow_from_the_eigenvalues():
    eigenvalues = [1.4, 0.6, 0.51, 0.49, 0.2, *[0.0] * 29, -0.1, -0.3]
    parts = only(
        table(
            "spectrum", evaluate_images(Filters(matrix_with_eigenvalues(eigenvalues)[None]), random_images(3, 1, 6, 6))
        )
    )
    expected = {"trace": 2.8, "above-half": 3, "largest": 1.4, "smallest": -0.3, "negative": 0.4 / 3.2, "asymmetry": 0}
    for part, value in expected.items():
        assert parts[part].tolist() == pytest.approx([value] * 3, abs=1e-6), part


@pytest.mark.parametrize(("symmetric", "skew"), [(1.0, 0.0), (0.8, 0.6), (0.3, 0.1), (0.0, 1.0)])
def test_asymmetry_is_the_share_of_the_skew_part(symmetric, skew):
    """For J = a + b R with a quarter turn R, J - J' = 2 b R and |J| = sqrt(a^2 + b^2) |R|."""
    matrix = symmetric * torch.eye(SIZE).double() + skew * rotation()
    parts = only(table("spectrum", evaluate_images(Filters(matrix[None]), random_images(3, 1, 6, 6))))
    assert parts["asymmetry"].tolist() == pytest.approx([2 * skew / math.hypot(symmetric, skew)] * 3, abs=1e-6)
    # The skew part does not change the eigenvalues of the symmetric part.
    for part in ("largest", "smallest"):
        assert parts[part].tolist() == pytest.approx([symmetric] * 3, abs=1e-6)
    assert parts["trace"].tolist() == pytest.approx([SIZE * symmetric] * 3, abs=1e-5)


def test_eigenvectors_are_saved_at_the_middle_noise_level():
    """For J = V diag(e) V', the saved vectors are columns of V up to their sign and scale."""
    eigenvalues = torch.linspace(1.2, -0.2, SIZE).double()
    matrix = matrix_with_eigenvalues(eigenvalues)
    evaluated = evaluate_images(Filters(matrix[None]), random_images(3, 1, 6, 6), (0.1, 0.2))
    arrays = create("metric", "spectrum").score(evaluated).arrays
    assert arrays["sigmas"].tolist() == [0.2]
    ranks = arrays["ranks"]
    assert ranks.tolist() == [1, 2, 3, 5, 9, 17, 33]
    torch.testing.assert_close(arrays["eigenvalues"], eigenvalues[ranks - 1].expand(2, -1), atol=1e-5, rtol=0)
    vectors = (arrays["eigenvectors"].double() - 128).flatten(2)
    assert vectors.shape == (2, len(ranks), SIZE)
    assert (vectors.abs().amax(2) == 127).all()
    residuals = vectors @ matrix - eigenvalues[ranks - 1, None] * vectors
    # Rounding changes each entry by at most 1/2, and the norm of the matrix is 1.2.
    assert residuals.norm(dim=2).max() < 0.5 * SIZE**0.5 * 1.4
    assert (arrays["clean"].double() / 255 - evaluated.clean[:2].clamp(0, 1)).abs().max() <= 0.51 / 255


def test_homogeneity_measures_additive_constants():
    matrix, offset = matrix_with_eigenvalues([0.5] * SIZE), 0.25
    evaluated = evaluate_images(Filters(matrix[None], offset), random_images(3, 1, 6, 6), (0.1, 0.4))
    parts = table("spectrum", evaluated)
    for sigma in (0.1, 0.4):
        denoised = 0.5 * evaluated.noisy(sigma).double() + offset
        expected = (offset * SIZE**0.5 / denoised.flatten(1).norm(dim=1)).tolist()
        assert parts["homogeneity", sigma].tolist() == pytest.approx(expected, rel=1e-5)
        assert min(expected) > 0.1


def test_the_spectrum_of_large_images_is_estimated_without_parts_of_all_eigenvalues(monkeypatch):
    eigenvalues = [1.4, 1.0, 0.51, 0.49, 0.2, *[0.1] * 29, -0.1, -0.3]
    matrix = matrix_with_eigenvalues(eigenvalues) + 0.2 * rotation()
    evaluated = evaluate_images(Filters(matrix[None].expand(3, -1, -1), 0.1), random_images(3, 1, 6, 6))
    exact = only(table("spectrum", evaluated))
    monkeypatch.setattr("gahbench.jacobian.maps.LARGEST_EXACT", SIZE - 1)
    result = only(
        table("spectrum", evaluate_images(Filters(matrix[None].expand(3, -1, -1), 0.1), random_images(3, 1, 6, 6)))
    )
    assert set(exact) - set(result) == {"above-half", "negative"}
    for part in ("largest", "smallest"):
        torch.testing.assert_close(result[part], exact[part], atol=2e-3, rtol=0)
    torch.testing.assert_close(result["homogeneity"], exact["homogeneity"])
    # With random signs the error of the trace comes from off-diagonal entries, averaged over 64 vectors.
    off = (matrix + matrix.mT) / 2
    off = off - off.diagonal().diag()
    error = float((2 * off.square().sum() / 64).sqrt())
    assert ((result["trace"] - sum(eigenvalues)).abs() < 4 * error).all()
    torch.testing.assert_close(result["asymmetry"], exact["asymmetry"], atol=0, rtol=0.15)


def test_jacobians_that_are_not_finite_are_refused():
    matrices = torch.eye(SIZE).repeat(3, 1, 1)
    matrices[1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"not finite, at sigma=0\.1"):
        table("spectrum", evaluate_images(Filters(matrices), random_images(3, 1, 6, 6)))


def psnr(denoised, clean):
    return -10 * math.log10(float((denoised.double() - clean.double()).square().mean()))


@pytest.mark.parametrize("name", ["low-pass", "gaussian-blur", "wiener-linear", "identity", "untrained[linear]"])
def test_linear_denoisers_gain_nothing(name):
    parts = table("adaptation", evaluation(name, "c-alpha[size=8]", (0.05, 0.3)))
    assert set(parts) == {(part, sigma) for part in ("", "gain", "sensitivity") for sigma in (0.05, 0.3)}
    assert all(values.abs().max() < 1e-3 for values in parts.values())


class Products(Reference):
    """A denoiser that returns half the square of every pixel; its filter multiplies by the noisy image."""

    def denoise(self, noisy, sigma, truth):
        return noisy.square() / 2

    def jacobian(self, noisy, sigma, truth):
        rows = noisy.flatten(1)[:, None]
        return FunctionMaps(
            lambda vectors, indices: vectors * rows[list(indices)], len(noisy), tuple(noisy.shape[1:]), noisy
        )


@pytest.mark.parametrize("size", [2304, 10])
def test_adaptation_is_the_gain_minus_the_noise_sensitivity(monkeypatch, size):
    """Compare with a direct computation for four images and filters that depend on image and noise."""
    monkeypatch.setattr("gahbench.jacobian.maps.LARGEST_EXACT", size)
    clean = random_images(4, 2, 4, 3)
    evaluated = evaluate_images(Products(), clean)
    parts = table("adaptation", evaluated)
    noisy, fresh = evaluated.noisy(0.1), evaluated.noisy(0.1, draw=1)
    assert not torch.equal(noisy, fresh)
    for index in range(4):
        own = psnr(noisy[index] ** 2, clean[index])
        again = psnr(fresh[index] * noisy[index], clean[index])
        others = [psnr(noisy[other] * noisy[index], clean[index]) for other in range(4) if other != index]
        mean = sum(others) / 3
        assert parts["gain", 0.1][index].item() == pytest.approx(own - mean, abs=1e-4)
        assert parts["sensitivity", 0.1][index].item() == pytest.approx(own - again, abs=1e-4)
        assert parts["", 0.1][index].item() == pytest.approx(again - mean, abs=1e-4)


def test_the_genie_gains_and_is_not_sensitive_to_noise():
    parts = table("adaptation", evaluation("lower-bound", "c-alpha[size=12]", (0.05,)))
    assert parts["", 0.05].mean() > 2
    assert parts["sensitivity", 0.05].abs().max() < 1e-3
    torch.testing.assert_close(parts["", 0.05], parts["gain", 0.05], atol=1e-3, rtol=0)


def test_a_filter_that_follows_the_noise_alone_gains_nothing_after_its_sensitivity():
    class Follower(Filters):
        """A projection on the noisy image, which is unrelated to other images and to fresh noise."""

        def jacobian(self, noisy, sigma, truth):
            unit = noisy.flatten(1) / noisy.flatten(1).norm(dim=1, keepdim=True)
            return DenseMaps(unit[:, :, None] * unit[:, None], tuple(noisy.shape[1:]))

    # For faint images under strong noise the filter consists of noise.
    parts = table(
        "adaptation", evaluate_images(Follower(torch.eye(256)[None]), 1e-3 * random_images(6, 1, 16, 16), (1.0,))
    )
    assert parts["sensitivity", 1.0].abs().min() > 3
    # Both gains are those of filters from unrelated noise, and differ only by chance.
    spread = parts["", 1.0].std() / 6**0.5
    assert parts["", 1.0].mean().abs() < 4 * spread


def projections(count, size, rank, seed=0):
    vectors = torch.linalg.qr(random(count, size, rank, seed=seed))[0]
    return vectors @ vectors.mT


def eigenvectors(matrix):
    """Return descending eigenvalues, and eigenvectors as rows, of the symmetric part, computed by numpy."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return values[::-1], vectors.T[::-1]


# Capture.


def test_heat_on_a_graph_is_captured_by_the_harmonics_of_the_graph():
    parts = table("capture", evaluation("heat-kernel[time=3]"))
    assert set(parts) == {("", 0.1), ("null", 0.1), ("low-dct", 0.1)}
    assert parts["", 0.1].tolist() == pytest.approx([1] * 8, abs=1e-6)
    assert (parts["null", 0.1] < 0.999).all()
    assert (parts["low-dct", 0.1] < 0.9999).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_equal_images_have_capture_and_null_1_at_any_strength(channels):
    """Equal images have the same basis, independent of the strength of smoothing."""
    clean = CAlpha(2.0, 8).images("test", 1).repeat(6, channels, 1, 1)
    vectors = torch.linalg.eigh(graph_laplacian(clean[:1]))[1][0].mT
    eye = torch.eye(channels, dtype=torch.float64)
    rows = torch.einsum("kq,ce->kceq", vectors, eye).reshape(64 * channels, -1)
    counts = [channels * count for count in (4, 7, 10, 20, 31, 40)]
    filters = torch.stack([rows[:count].mT @ rows[:count] for count in counts])
    parts = table("capture", evaluate_images(Filters(filters), clean))
    for part in ("", "null"):
        assert parts[part, 0.1].tolist() == pytest.approx([1] * 6, abs=1e-5)


def test_a_low_pass_is_captured_by_low_cosines_and_mostly_by_every_basis():
    parts = table("capture", evaluation("low-pass"))
    assert parts["low-dct", 0.1].tolist() == pytest.approx([1] * 8, abs=1e-5)
    assert (parts["", 0.1] > 0.5).all()


def test_capture_is_the_corrected_share_in_the_largest_coefficients():
    """Compare with a direct computation in the largest cosines of the clean image."""
    clean, matrices = CAlpha(2.0, 8).images("test", 4), random(4, 64, 64) * 0.1 + 0.3 * torch.eye(64)
    result = table("capture[dct]", evaluate_images(Filters(matrices), clean))
    assert set(result) == {("", 0.1), ("low-dct", 0.1)}
    cosines = DCT().synthesis(torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8)).flatten(1).numpy()
    for image, matrix, score in zip(clean.double(), matrices.numpy(), result["", 0.1], strict=True):
        values, vectors = eigenvectors(matrix)
        count = round(np.trace(matrix))
        weights = np.maximum(values[:count], 0)
        largest = np.argsort(-np.abs(cosines @ image.flatten().numpy()), kind="stable")[:count]
        shares = np.square(vectors[:count] @ cosines[largest].T).sum(1)
        share = (weights * shares).sum() / weights.sum()
        assert score.item() == pytest.approx((share - count / 64) / (1 - count / 64), abs=1e-5)


def test_an_oracle_is_captured_by_its_own_basis():
    result = table("capture[sym4]", evaluation("oracle-shrink[sym4]"))["", 0.1]
    assert result.min() > 0.99
    # A filter that keeps all dimensions has a value too.
    assert all(values.isfinite().all() for values in table("capture", evaluation("identity")).values())


# Harmonic order.


@pytest.mark.parametrize("name", ["heat-kernel", "heat-kernel[kernel=tikhonov]", "heat-kernel[time=0.3]"])
def test_heat_is_in_harmonic_order_and_commutes_with_the_graph(name):
    parts = table("harmonic-order", evaluation(name))
    assert parts["", 0.1].tolist() == pytest.approx([1] * 8, abs=1e-3)
    assert parts["commutation", 0.1].max() < 1e-5


@pytest.mark.parametrize("channels", [1, 2])
def test_harmonic_order_is_spearmans_correlation_with_graph_energies(channels):
    clean = random(3, channels, 6, 6).mul(0.1).add(0.5).float()
    size = 36 * channels
    matrices = random(3, size, size, seed=1) * 0.05 + 0.4 * torch.eye(size)
    parts = table("harmonic-order", evaluate_images(Filters(matrices), clean))
    for index, laplacian in enumerate(graph_laplacian(clean).numpy()):
        whole = np.kron(np.eye(channels), laplacian)
        matrix = matrices[index].numpy()
        vectors = eigenvectors(matrix)[1][: round(np.trace(matrix))]
        energies = np.einsum("ki,ij,kj->k", vectors, whole, vectors)
        expected = spearmanr(np.arange(len(energies)), energies).statistic
        assert parts["", 0.1][index].item() == pytest.approx(expected, abs=1e-6)
        symmetric = (matrix + matrix.T) / 2
        commutator = np.linalg.norm(symmetric @ whole - whole @ symmetric)
        expected = commutator / (2 * np.linalg.norm(symmetric) * np.linalg.norm(whole))
        assert parts["commutation", 0.1][index].item() == pytest.approx(expected, abs=1e-6)
        assert expected > 0.01


@given(st.lists(st.integers(0, 5), max_size=12))
def test_equal_energies_share_their_ranks(energies):
    result = rank_correlation(torch.tensor(energies, dtype=torch.float64))
    if len(energies) < 3 or len(set(energies)) == 1:
        assert math.isnan(result)
    else:
        assert result == pytest.approx(spearmanr(np.arange(len(energies)), energies).statistic, abs=1e-12)


# Contour anisotropy.


def stripe_filters(along_rows):
    """Filters that keep oscillations along rows only, or along columns only, of 12x12 images."""
    mean = torch.full((12, 12), 1 / 12)
    return torch.kron(mean, torch.eye(12))[None] if along_rows else torch.kron(torch.eye(12), mean)[None]


def test_contour_anisotropy_is_0_across_and_1_along_the_contour():
    # A vertical contour: the image changes along its rows.
    clean = torch.sigmoid(torch.arange(12.0) - 5.5).expand(2, 1, 12, 12)
    across, along = (
        table("contour-anisotropy", evaluate_images(Filters(stripe_filters(rows)), clean)) for rows in (True, False)
    )
    assert across["", 0.1].tolist() == pytest.approx([0] * 2, abs=1e-6)
    assert along["", 0.1].tolist() == pytest.approx([1] * 2, abs=1e-6)
    # A quarter turn exchanges the two filters.
    turned = table("contour-anisotropy", evaluate_images(Filters(stripe_filters(True)), clean.mT.contiguous()))
    assert turned["", 0.1].tolist() == pytest.approx([1] * 2, abs=1e-6)


def test_contour_anisotropy_is_one_half_for_denoisers_that_ignore_contours():
    """The value differs from 1/2 only through one-sided differences at borders."""
    result = table("contour-anisotropy", evaluation("identity", count=24))["", 0.1]
    assert result.mean().item() == pytest.approx(0.5, abs=0.06)
    clean = CAlpha(2.0, 12).images("test", 24)
    result = table("contour-anisotropy", evaluate_images(Filters(projections(24, 144, 40)), clean))["", 0.1]
    assert result.mean().item() == pytest.approx(0.5, abs=0.06)


def test_flat_images_have_no_contours_and_no_value():
    clean = torch.stack([torch.full((1, 8, 8), 0.5), torch.eye(8)[None]])
    result = table("contour-anisotropy", evaluate_images("identity", clean))
    assert len(result["", 0.1]) == 1


# Leakage.


def test_the_best_denoiser_of_a_manifold_hardly_leaks_at_low_noise():
    parts = table("leakage", evaluation("optimal", "discs[size=16]", (0.003, 0.03), count=3))
    assert parts["", 0.003].abs().max() < 0.01
    assert parts["extra", 0.003].tolist() == [0] * 3
    assert parts["largest-angle", 0.003].max() < 2
    assert (parts["angle", 0.003] <= parts["largest-angle", 0.003]).all()
    # The filter tends to the projection onto the tangent space.
    for part in ("", "angle"):
        assert (parts[part, 0.003] < 0.5 * parts[part, 0.03]).all()


def test_angles_are_those_to_the_tangent_space():
    dataset = create("dataset", "discs[size=8]")
    tangents = dataset.true_basis("test", 2).vectors
    rank, angle = tangents.shape[2], 0.4
    # A tangent direction is rotated by an angle, and an additional direction is kept with weight 1/3.
    vectors = torch.linalg.qr(torch.cat([tangents, random(2, 64, 2)], dim=2))[0]
    outside, further = vectors[..., rank : rank + 1], vectors[..., rank + 1 :]
    turned = np.cos(angle) * vectors[..., :1] + np.sin(angle) * outside
    kept = torch.cat([turned, vectors[..., 1:rank]], dim=2)
    matrices = kept @ kept.mT + further @ further.mT / 3
    parts = table("leakage", evaluation(Filters(matrices), "discs[size=8]", count=2))
    assert parts["", 0.1].tolist() == pytest.approx([1 / 3] * 2, abs=1e-6)
    assert parts["extra", 0.1].tolist() == [0] * 2
    assert parts["largest-angle", 0.1].tolist() == pytest.approx([np.rad2deg(angle)] * 2, abs=1e-3)
    assert parts["angle", 0.1].tolist() == pytest.approx([np.rad2deg(angle) / rank] * 2, abs=1e-3)


# Sparsity and decay.


def test_an_oracle_gains_nothing_over_its_own_basis_and_the_ratio_of_risks_over_others():
    evaluated = evaluation("oracle-shrink[sym4]", sigmas=(0.05, 0.2))
    truth = Truth(evaluated.clean, evaluated.dataset)
    own = table("sparsity[sym4]", evaluated)
    others = {basis: table(f"sparsity[{basis}]", evaluated) for basis in ("dct", "haar", "true-basis")}
    for sigma in (0.05, 0.2):
        assert own["", sigma].abs().max() < 0.01
        risk = construct(OracleShrink, "sym4").risk(truth, sigma)
        for basis, result in others.items():
            expected = 10 * (construct(OracleShrink, basis).risk(truth, sigma) / risk).log10()
            torch.testing.assert_close(result["", sigma], expected, atol=0.01, rtol=0)
            assert expected.abs().max() > 0.5


@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_the_exponent_describes_coefficients_in_the_eigenvectors(alpha):
    sizes = torch.arange(1, 257, dtype=torch.float64) ** (-(alpha + 1) / 2)
    coefficients = torch.stack([sizes[torch.randperm(256, generator=torch.Generator().manual_seed(k))] for k in (0, 1)])
    vectors = torch.linalg.qr(random(256, 256))[0]
    clean = (coefficients @ vectors).reshape(2, 1, 16, 16)
    # Any distinct eigenvalues are suitable.
    matrix = (vectors.mT * torch.linspace(0, 1, 256, dtype=torch.float64)) @ vectors
    result = table("learned-decay", evaluate_images(Filters(matrix[None]), clean.float(), (0.1, 0.3)))
    assert result["", 0.1].tolist() == pytest.approx([alpha] * 2, abs=0.01)
    assert result["", 0.3].tolist() == pytest.approx([alpha] * 2, abs=0.01)
    # In another basis coefficients do not decay in this way.
    other = table("learned-decay", evaluate_images(Filters(torch.diag(torch.linspace(0, 1, 256))[None]), clean.float()))
    assert (other["", 0.1] - alpha).abs().min() > 0.3
