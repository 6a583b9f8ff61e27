"""The optimum of discs under Poisson-Gaussian noise: the likelihood, the posterior and its limits."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from gahbench import OptimumError, create
from gahbench.noise import PoissonGaussian
from gahbench_plugins.datasets import _importance as importance
from gahbench_plugins.datasets import _photons as photons


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def summed_density(noisy, clean, a, b):
    """Return log p(y | x) as a sum over counts, by scipy."""
    largest = max(clean, noisy, 0) / a
    counts = np.arange(int(largest + 15 * math.sqrt(largest) + 40))
    terms = stats.poisson.logpmf(counts, clean / a) + stats.norm.logpdf(noisy, a * counts, math.sqrt(b))
    return special.logsumexp(terms)


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.001), (0.2, 0.05), (0.002, 4e-4)])
def test_the_likelihood_is_a_sum_over_counts(a, b):
    noisy, clean = torch.tensor([-0.1, 0.02, 0.5, 1.2]).double(), torch.tensor([1e-3, 0.03, 0.4, 1.0]).double()
    values, _ = photons.log_likelihoods(noisy, clean, PoissonGaussian(a, b))
    for row, y in enumerate(noisy.tolist()):
        for column, x in enumerate(clean.tolist()):
            if (expected := summed_density(y, x, a, b)) > -300:
                assert values[row, column].item() == pytest.approx(expected, abs=1e-5)


def test_without_read_noise_the_likelihood_is_a_poisson_probability():
    noisy, clean = torch.tensor([0.0, 0.05, 0.6]).double(), torch.tensor([0.01, 0.3, 1.0]).double()
    values, _ = photons.log_likelihoods(noisy, clean, PoissonGaussian(0.05, 0.0))
    expected = stats.poisson.logpmf((noisy / 0.05).round().numpy()[:, None], (clean / 0.05).numpy())
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-9)


def test_the_saddle_point_agrees_with_the_sum():
    noise = PoissonGaussian(1 / 2000, 2e-5)
    clean = torch.linspace(0.02, 1, 12).double()
    noisy = noise.sample(clean, seeded())
    exact, slopes = photons._sum_over_counts(noisy, clean / noise.a, noise)
    approximate, approximate_slopes = photons._saddle_point(noisy[:, None], clean, noise)
    # A posterior depends on differences of likelihoods only.
    is_likely = exact > exact.amax(1, keepdim=True) - 30
    difference = approximate - exact
    assert (difference - difference.diagonal()[:, None])[is_likely].abs().max() < 2e-3
    torch.testing.assert_close(approximate_slopes[is_likely], slopes[is_likely], atol=0.05, rtol=2e-3)


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.0), (0.05, 0.001), (1e-4, 1e-3), (1e-5, 0.0)])
def test_slopes_are_derivatives(a, b):
    noisy, clean = torch.tensor([0.1, 0.5]).double(), torch.tensor([0.1, 0.45, 0.9]).double()
    noise, step = PoissonGaussian(a, b), 1e-6
    ends = [photons.log_likelihoods(noisy, clean + sign * step, noise)[0] for sign in (1, -1)]
    _, slopes = photons.log_likelihoods(noisy, clean, noise)
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), slopes, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.0), (0.01, 4e-4), (0.001, 1e-5)])
def test_interpolated_likelihoods_of_images(a, b):
    noise, family = PoissonGaussian(a, b), create("dataset", "discs", size=16)
    clean = family.images("test", 6).double().flatten(1)
    target = photons.PhotonTarget(photons.Whole(family), noise.sample(clean[:1], seeded()), noise)
    # The images of other discs, and almost the same disc.
    near = (clean[:1] + 0.02 * (clean[1:] - clean[:1]))[None]
    interpolated = target._log_likelihood(near)[0]
    direct = [
        photons.log_likelihoods(y[None], x[None], noise)[0].item()
        for image in near[0]
        for y, x in zip(target.data[0], image, strict=True)
    ]
    direct = torch.tensor(direct).reshape(5, -1).sum(1).double()
    assert (interpolated - direct - (interpolated - direct)[0]).abs().max() < 0.02


def brute_force(family, noisy, noise, count=100_000):
    """Return the posterior mean of an image (1, C, H, W) over prior draws, and its standard error, shape (d,)."""
    means, totals = [], []
    for seed in range(10):
        images = family.draw(seeded(seed), count // 10).double().flatten(1)
        nodes = torch.linspace(1e-6, 1, 4001).double()
        table, _ = photons.log_likelihoods(noisy.double().flatten(), nodes, noise)
        position = (images.clamp(1e-6, 1) * 4000).round().long()
        log_weights = table[torch.arange(images.shape[1]), position].sum(1)
        weights = log_weights.exp()
        means.append((weights @ images).numpy())
        totals.append(float(weights.sum()))
    means, totals = np.array(means), np.array(totals)
    mean = means.sum(0) / totals.sum()
    error = np.sqrt(((means - totals[:, None] * mean) ** 2).sum(0) * 10 / 9) / totals.sum()
    return mean, error


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.05), (0.3, 0.0)])
def test_posterior_mean_against_brute_force(a, b):
    family, noise = create("dataset", "discs", size=8), PoissonGaussian(a, b)
    clean = family.images("test", 2)
    noisy = noise.sample(clean, seeded(5))
    posterior = family.posterior_under(noisy, noise)
    for index in range(2):
        mean, error = brute_force(family, noisy[index : index + 1], noise)
        own = posterior.mean[index].flatten().double().numpy()
        # Own errors: the fraction of the standard deviation that the effective sample size leaves.
        sampled = math.sqrt(float(posterior.trace[index]) / 64 / 500)
        assert np.abs(own - mean).max() < 5 * (error.max() + sampled)
        assert np.sqrt(np.mean((own - mean) ** 2)) < 2 * (np.sqrt(np.mean(error**2)) + sampled)


@pytest.mark.parametrize(("a", "b"), [(0.02, 4e-4), (0.1, 0.0)])
def test_the_trace_is_the_mean_squared_error(few_draws, a, b):
    family, noise = create("dataset", "discs", size=8), PoissonGaussian(a, b)
    # Errors are skewed: a few images have most of the mean squared error.
    clean = family.images("test", 80)
    posterior = family.posterior_under(noise.sample(clean, seeded(1)), noise)
    excess = (posterior.mean - clean).square().flatten(1).sum(1).double() - posterior.trace
    assert abs(float(excess.mean())) < 3.5 * float(excess.std()) / math.sqrt(80)
    assert posterior.ess_fraction.min() > 0.01


@pytest.mark.parametrize("a", [1e-6, 1e-9, 0.0])
def test_without_photon_noise_the_posterior_is_that_of_white_noise(a):
    family = create("dataset", "discs", size=8)
    noisy = family.images("test", 4) + 0.1 * torch.randn(4, 1, 8, 8, generator=seeded(2))
    white, photon = family.posterior(noisy, 0.1), family.posterior_under(noisy, PoissonGaussian(a, 0.01))
    # Both are estimates from several hundred effective samples.
    distance = (white.mean - photon.mean).square().flatten(1).sum(1)
    assert (distance < 0.02 * white.trace).all()
    torch.testing.assert_close(photon.trace, white.trace, rtol=0.2, atol=0)
    if a == 0:
        assert torch.equal(white.mean, photon.mean)


def test_images_of_another_family_and_few_effective_samples_are_refused(monkeypatch):
    family, noise = create("dataset", "discs", size=8), PoissonGaussian(0.01, 1e-4)
    with pytest.raises(OptimumError, match=r"a=0.01, b=0.0001: the (nearest images|posterior of an image)"):
        family.posterior_under(torch.rand(1, 1, 8, 8, generator=seeded()), noise)
    monkeypatch.setattr(importance, "WANTED", 1e9)
    monkeypatch.setattr(importance, "REFUSED", 1e9)
    monkeypatch.setattr(importance, "DOUBLINGS", 0)
    with pytest.raises(OptimumError, match="effective samples of 4096; accepted: at least"):
        family.posterior_under(noise.sample(family.images("test", 1), seeded()), noise)
    with pytest.raises(OptimumError, match="no posterior is known under Poisson-Gaussian noise"):
        create("dataset", "gaussian-field", size=8).posterior_under(torch.zeros(1, 1, 8, 8), noise)
