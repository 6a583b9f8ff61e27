import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, multivariate_t

from gahbench_plugins.datasets._sampling.proposals import DEFENCE, FREEDOM, Draws, Mixture


def mixture():
    """Return mixtures for two images, of two components in two dimensions."""
    covariances = torch.tensor([[[0.04, 0.02], [0.02, 0.09]], [[0.5, -0.1], [-0.1, 0.2]]]).double()
    return Mixture(
        torch.tensor([[0.7, 0.3], [0.1, 0.9]]).double(),
        torch.tensor([[[0.5, -1.0], [1.0, 1.0]], [[0.0, 0.2], [-1.0, 2.0]]]).double(),
        torch.stack([covariances, covariances.flip(0)]),
    )


def test_log_density_agrees_with_scipy():
    proposal = mixture()
    points = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = proposal.log_density(points).exp().numpy()
    for image in range(2):
        expected = DEFENCE * multivariate_normal([0, 0], np.eye(2)).pdf(points[image])
        for weight, mean, covariance in zip(
            proposal.weights[image], proposal.means[image], proposal.covariances[image], strict=True
        ):
            student = multivariate_t(mean.numpy(), covariance.numpy(), df=FREEDOM)
            expected = expected + (1 - DEFENCE) * weight.item() * student.pdf(points[image])
        np.testing.assert_allclose(found[image], expected, rtol=1e-10)


def test_samples_have_the_moments_of_the_density():
    proposal = mixture()
    points = proposal.sample(Draws.named("test", 2**14, 2))
    shares = (1 - DEFENCE) * proposal.weights
    mean = (shares[..., None] * proposal.means).sum(1)
    torch.testing.assert_close(points.mean(1), mean, atol=5e-3, rtol=0)
    inner = FREEDOM / (FREEDOM - 2) * proposal.covariances + proposal.means[..., None] * proposal.means[..., None, :]
    second = (shares[..., None, None] * inner).sum(1) + DEFENCE * torch.eye(2)
    torch.testing.assert_close(points.mT @ points / 2**14, second, atol=2e-2, rtol=0)


def test_learning_makes_weights_more_equal():
    proposal = mixture()
    law = multivariate_normal([1.5, -0.5], [[0.02, 0.0], [0.0, 0.3]])
    efficiency = []
    for number in range(6):
        points = proposal.sample(Draws.named(f"test {number}", 1024, 2))
        weights = torch.from_numpy(law.pdf(points.numpy())) / proposal.log_density(points).exp()
        shares = weights / weights.sum(1, keepdim=True)
        efficiency.append((1 / shares.square().sum(1) / 1024).min().item())
        proposal = proposal.updated(points, shares)
    assert efficiency[0] < 0.2
    # A Student distribution of the target's covariance would have about .9.
    assert efficiency[-1] > 0.75


def test_components_without_samples_stay():
    proposal = mixture()
    points = proposal.means[:, :1].expand(-1, 100, -1) + 0.01 * torch.randn(
        2, 100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    updated = proposal.updated(points, torch.full((2, 100), 0.01).double())
    assert torch.linalg.eigvalsh(updated.covariances).min() > 0
    torch.testing.assert_close(updated.weights.sum(1), torch.ones(2).double())
    assert (updated.weights > 0).all()
    assert (updated.means[:, 1] - proposal.means[:, 1]).abs().max() < 0.5


def test_draws_are_fixed_and_even():
    draws = Draws.named("test", 4096, 3)
    assert torch.equal(draws.normal, Draws.named("test", 4096, 3).normal)
    assert not torch.equal(draws.normal, Draws.named("other", 4096, 3).normal)
    # Independent draws would miss by 1 / sqrt(4096) = .016.
    assert draws.normal.mean(0).abs().max() < 2e-3
    assert draws.component.mean().item() == pytest.approx(0.5, abs=1e-3)
    # E of FREEDOM / chi^2 is FREEDOM / (FREEDOM - 2).
    assert draws.scale.square().mean().item() == pytest.approx(FREEDOM / (FREEDOM - 2), rel=0.03)
    assert math.isfinite(draws.normal.abs().max())
