import math

import pytest
import scipy.fft
import torch
from given_networks import build, images, untrained

from gahbench_plugins.architectures.linear import Linear


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_linear_and_with_bias_affine(channels):
    shape = (channels, 5, 6)
    first, second = images(1, shape, seed=1), images(1, shape, seed=2)
    level = torch.ones(1)
    with torch.no_grad():
        network = build(Linear, shape)
        assert torch.allclose(
            network(first - 2 * second, level), network(first, level) - 2 * network(second, level), atol=1e-4
        )
        network = build(Linear, shape, bias=True)
        constant = network(torch.zeros_like(first), level)
        assert float(constant.norm()) > 0
        assert torch.allclose(
            network(first + second, level), network(first, level) + network(second, level) - constant, atol=1e-4
        )


def test_it_starts_as_the_identity():
    noisy = images(2, (3, 5, 6))
    assert torch.allclose(untrained(Linear, (3, 5, 6))(noisy, torch.ones(2)), noisy)


def test_what_is_removed_is_a_matrix_between_dct_coefficients():
    network = build(Linear, (1, 4, 6))
    noisy = images(2, (1, 4, 6))
    coefficients = scipy.fft.dctn(noisy.double().numpy(), axes=(2, 3), norm="ortho").reshape(2, 24)
    diagonal = 10 * network.shrinkage.detach().double().numpy().ravel()
    matrix = network.mixing.detach().double().numpy() / math.sqrt(24)
    removed = (coefficients * diagonal + coefficients @ matrix.T).reshape(2, 1, 4, 6)
    expected = noisy.double() - torch.from_numpy(scipy.fft.idctn(removed, axes=(2, 3), norm="ortho"))
    with torch.no_grad():
        assert torch.allclose(network(noisy, torch.ones(2)).double(), expected, atol=1e-4)


def test_training_finds_the_wiener_filter_of_fields_that_are_not_stationary():
    """The best linear map has error sigma^2 tr K (K + sigma^2)^-1; no other has less."""
    torch.manual_seed(0)
    shape, sigma = (1, 6, 6), 0.5
    mixing = torch.randn(36, 36, dtype=torch.float64)
    covariance = mixing @ mixing.T / 36 * torch.linspace(0.1, 3, 36).sqrt().outer(torch.linspace(0.1, 3, 36).sqrt())
    root = torch.linalg.cholesky(covariance).float()
    spectrum = torch.linalg.eigvalsh(covariance)
    optimum = float((sigma**2 * spectrum / (spectrum + sigma**2)).mean())
    network = Linear(shape).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    for _ in range(1500):
        clean = (torch.randn(128, 36) @ root.T).view(-1, *shape)
        loss = (network(clean + sigma * torch.randn_like(clean), torch.ones(128)) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    # The risk of the map itself: bias (I - A) K (I - A)^T and variance sigma^2 A A^T.
    with torch.no_grad():
        image = network(torch.eye(36).view(36, *shape), torch.ones(36)).view(36, 36).T.double()
    left = torch.eye(36, dtype=torch.float64) - image
    risk = float((left @ covariance @ left.T).trace() + sigma**2 * image.square().sum()) / 36
    assert optimum < risk < 1.05 * optimum


def test_a_plain_matrix_learns_components_at_the_rates_of_gradient_descent():
    """Each gain is its target times 1 - (1 - 2 rate (variance + sigma^2) / d)^steps, for the mean error per pixel."""
    torch.manual_seed(0)
    shape, pixels, sigma, rate, steps = (1, 3, 4), 12, 0.3, 0.2, 40
    variances = torch.logspace(1, -2, pixels)
    components = torch.linalg.qr(torch.randn(pixels, pixels))[0]
    # Every image with every noise, each of both signs: their second moments are exact and nothing correlates them.
    signals = torch.cat([sign * components.T * (pixels * variances).sqrt()[:, None] for sign in (1, -1)])
    noises = torch.cat([sign * math.sqrt(pixels) * sigma * torch.eye(pixels) for sign in (1, -1)])
    clean = signals.repeat_interleave(len(noises), 0).view(-1, *shape)
    noisy = clean + noises.repeat(len(signals), 1).view(-1, *shape)
    network = Linear(shape, residual=False).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (network(noisy, torch.ones(len(noisy))) - clean).square().mean().backward()
        optimizer.step()
    targets = variances / (variances + sigma**2)
    expected = targets * (1 - (1 - 2 * rate * (variances + sigma**2) / pixels) ** steps)
    with torch.no_grad():
        learned = network(torch.eye(pixels).view(pixels, *shape), torch.ones(pixels)).view(pixels, pixels).T
    assert torch.allclose(components.T @ learned @ components, torch.diag(expected), atol=1e-4)
