"""Metrics of the Jacobian: spectrum, gain from adaptation, and eigenvectors."""

import math

import numpy as np
import pytest
import torch
from known_filters import Filters, create, evaluate_images, evaluation, random_images, table
from random_images import normal as random

from gahbench.contracts.references import Reference
from gahbench.jacobian import FunctionMaps

SIZE = 36


@pytest.mark.parametrize(("symmetric", "skew"), [(1.0, 0.0), (0.8, 0.6), (0.3, 0.1), (0.0, 1.0)])
def test_asymmetry_is_the_share_of_the_skew_part(symmetric, skew):
    """For J = a + b R with a quarter turn R, J - J' = 2 b R and |J| = sqrt(a^2 + b^2) |R|."""
    # A quarter turn in each of 18 planes is antisymmetric and orthogonal.
    turn = torch.kron(torch.eye(SIZE // 2), torch.tensor([[0.0, -1.0], [1.0, 0.0]])).double()
    matrix = symmetric * torch.eye(SIZE).double() + skew * turn
    parts = table("spectrum", evaluate_images(Filters(matrix[None]), random_images(3, 1, 6, 6)))
    assert parts["asymmetry", 0.1].tolist() == pytest.approx([2 * skew / math.hypot(symmetric, skew)] * 3, abs=1e-6)
    # The skew part does not change the eigenvalues of the symmetric part.
    for part in ("largest", "smallest"):
        assert parts[part, 0.1].tolist() == pytest.approx([symmetric] * 3, abs=1e-6)
    assert parts["trace", 0.1].tolist() == pytest.approx([SIZE * symmetric] * 3, abs=1e-5)


def test_eigenvectors_are_saved_at_the_middle_noise_level():
    """For J = V diag(e) V', the saved vectors are columns of V up to their sign and scale."""
    eigenvalues = torch.linspace(1.2, -0.2, SIZE).double()
    vectors = torch.linalg.qr(random(SIZE, SIZE))[0]
    matrix = (vectors * eigenvalues) @ vectors.mT
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
