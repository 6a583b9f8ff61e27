import math

import numpy as np
import pytest
import torch
from scipy.special import erf

from gahbench._util.noise import evaluation_noise
from gahbench_plugins.datasets._sampling import importance
from gahbench_plugins.datasets.discs import Discs, render


def parameters(count=200, size=32):
    return Discs(size).draw_parameters(torch.Generator().manual_seed(0), count)


def test_discs_stay_inside_and_their_parameters_in_range():
    row, column, radius, foreground, background = parameters(2000).unbind(1)
    assert radius.min() >= 3.2
    assert radius.max() <= 12.8
    for centre in (row, column):
        assert (centre - radius >= 0.5 - 1e-4).all()
        assert (centre + radius <= 31.5 + 1e-4).all()
    for grey in (foreground, background):
        assert 0 <= grey.min() < 0.01
        assert 0.99 < grey.max() <= 1


def test_mass_is_that_of_a_blurred_disc():
    # A radial profile Phi((r - d) / s) integrates to pi (r^2 + s^2); a smooth image sums to its integral.
    theta = torch.tensor([[15.3, 16.8, 9.4, 1.0, 0.0]], dtype=torch.float64)
    assert render(theta, 32).sum().item() == pytest.approx(math.pi * (9.4**2 + 0.25), rel=1e-4)


def test_edge_is_a_pixel_wide_around_the_exact_area():
    theta = parameters(50).double()
    theta[:, 3], theta[:, 4] = 1, 0
    images = render(theta, 32)[:, 0].numpy()
    places = (np.arange(32) + 0.5)[None]
    row, column, radius = theta[:, :3].numpy().T
    distance = np.hypot(places[..., None] - row[:, None, None], places[:, None] - column[:, None, None])
    away = np.abs(distance - radius[:, None, None])
    exact = distance < radius[:, None, None]
    assert np.abs(images - exact)[away > 1.5].max() < 2e-3
    assert np.abs(images - 0.5)[away < 0.01].max() < 0.01


def test_differentiable_in_every_parameter():
    theta = torch.tensor([[7.5, 7.3, 4.2, 0.8, 0.3], [7.5, 7.5, 4.0, 0.2, 0.9]], dtype=torch.float64)
    theta.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: render(values, 16), theta[:1])
    # At the very centre of a pixel, too, the tangent is finite; and the manifold has 5 dimensions.
    tangent = torch.autograd.functional.jacobian(lambda values: render(values, 16).flatten(), theta[1:])
    assert torch.linalg.matrix_rank(tangent.reshape(256, 5)) == 5
    assert tangent.isfinite().all()


def noisy_images(size, count, sigma):
    clean = Discs(size).images("test", count)
    return clean, clean + evaluation_noise(count, (1, size, size), sigma, "tests")


def grid(size, low, high, count):
    """Return discs of grey 1 on 0, shape (count^3, size^2), on a grid of uniform numbers between two corners."""
    places = low[:, None] + (high - low)[:, None] * (np.arange(count) + 0.5) / count
    across, down, share = np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape(-1, 3).T
    least = max(0.1 * size, 1.5)
    radius = least + (0.4 * size - least) * share
    row, column = (radius + 0.5 + (size - 2 * radius - 1) * share for share in (across, down))
    pixels = np.arange(size) + 0.5
    distance = np.hypot(pixels[:, None] - row[:, None, None], pixels - column[:, None, None])
    return (0.5 + 0.5 * erf((radius[:, None, None] - distance) / 0.5 / 2**0.5)).reshape(count**3, -1)


def least_squares(inside, image):
    """Return the grey values in [0, 1] that fit best, by turns, and the squared error less that of black."""
    square, cross, rest = (inside**2).sum(1), (inside * (1 - inside)).sum(1), ((1 - inside) ** 2).sum(1)
    right = inside @ image, (1 - inside) @ image
    foreground = background = np.full(len(inside), 0.5)
    for _ in range(50):
        foreground = ((right[0] - cross * background) / square).clip(0, 1)
        background = ((right[1] - cross * foreground) / rest).clip(0, 1)
    return foreground, background, (square, cross, rest, *right)


def loss(statistics, foreground, background):
    square, cross, rest, inner, outer = (values[:, None, None] for values in statistics)
    quadratic = square * foreground**2 + 2 * cross * foreground * background + rest * background**2
    return quadratic - 2 * inner * foreground - 2 * outer * background


def brute_force(image, sigma, size):
    """Return posterior mean and trace of one image by a grid of all five parameters, refined where the mass is."""
    low, high, count = np.zeros(3), np.ones(3), 18
    for _ in range(2):
        inside = grid(size, low, high, count)
        foreground, background, statistics = least_squares(inside, image)
        exponents = -loss(statistics, foreground[:, None, None], background[:, None, None])[:, 0, 0] / (2 * sigma**2)
        cells = np.argwhere((exponents > exponents.max() - 30).reshape(count, count, count))
        width = (high - low) / count
        low, high = (low + (cells.min(0) - 1) * width).clip(0, 1), (low + (cells.max(0) + 2) * width).clip(0, 1)
    inside = grid(size, low, high, 24)
    foreground, background, statistics = least_squares(inside, image)
    exponents = -loss(statistics, foreground[:, None, None], background[:, None, None])[:, 0, 0] / (2 * sigma**2)
    likely = exponents > exponents.max() - 20
    inside, statistics = inside[likely], [values[likely] for values in statistics]
    nodes = []
    for values, energy in ((foreground[likely], statistics[0]), (background[likely], statistics[2])):
        reach = 6 * sigma / energy.min() ** 0.5
        start, end = max(0, values.min() - reach), min(1, values.max() + reach)
        nodes.append(start + (end - start) * (np.arange(40) + 0.5) / 40)
    inner, outer = np.meshgrid(*nodes, indexing="ij")
    total, mean, energy = 0, np.zeros(size**2), 0
    for first in range(0, len(inside), 512):
        some, of_some = inside[first : first + 512], [values[first : first + 512] for values in statistics]
        weights = np.exp(-loss(of_some, inner, outer) / (2 * sigma**2) - exponents.max())
        sums = [np.einsum("kfb,fb->k", weights, values) for values in (inner, outer)]
        total += weights.sum()
        mean += sums[0] @ some + sums[1] @ (1 - some)
        square, cross, rest = of_some[:3]
        energy += np.einsum("kfb,fb,k->", weights, inner**2, square, optimize=True)
        energy += np.einsum("kfb,fb,k->", weights, 2 * inner * outer, cross, optimize=True)
        energy += np.einsum("kfb,fb,k->", weights, outer**2, rest, optimize=True)
    mean /= total
    return mean, energy / total - mean @ mean


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_posterior_agrees_with_brute_force(sigma, monkeypatch):
    # More draws than usual make the trace of a single image exact to about 1/2 %.
    monkeypatch.setattr(importance, "DRAWS", 2**14)
    _, noisy = noisy_images(12, 2, sigma)
    posterior = Discs(12).posterior(noisy, sigma)
    for image, mean, trace in zip(noisy, posterior.mean.flatten(1).numpy(), posterior.trace, strict=True):
        expected, spread = brute_force(image.double().flatten().numpy(), sigma, 12)
        assert np.linalg.norm(mean - expected) < 0.01 * np.linalg.norm(expected)
        assert np.linalg.norm(mean - expected) < 0.03 * spread**0.5
        assert trace.item() == pytest.approx(spread, rel=0.01)


def test_noise_beyond_all_leaves_the_prior():
    # Of grey values uniform in [0, 1] every pixel is one: the mean is 1/2, the variance of each pixel at most 1/12.
    posterior = Discs(8).posterior(torch.full((1, 1, 8, 8), 0.5), 1e4)
    torch.testing.assert_close(posterior.mean, torch.full((1, 1, 8, 8), 0.5), atol=5e-3, rtol=0)
    prior = Discs(8).images("train", 4096).double()
    assert posterior.trace.item() == pytest.approx(prior.var(0).sum().item(), rel=0.05)


@pytest.mark.parametrize("sigma", [1e-4, 1e-3])
def test_at_very_low_noise_the_trace_is_five_sigma_squared(sigma):
    dataset = Discs(32)
    clean = dataset.images("test", 4)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    posterior = dataset.posterior(clean + sigma * noise, sigma)
    torch.testing.assert_close(posterior.trace / (5 * sigma**2), torch.ones(4).double(), rtol=0.03, atol=0)
