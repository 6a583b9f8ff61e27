import itertools
import math

import numpy as np
import pytest
import torch
from constructing import construct
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import normal

from gahbench.contracts.datasets import SPLITS
from gahbench_plugins.datasets import finite
from gahbench_plugins.datasets.faces import Faces
from gahbench_plugins.datasets.finite import Finite, empirical_bayes


def brute_force(points, noisy, sigma):
    """Return means and traces, computed from differences in extended precision, image by image."""
    points = points.double().numpy().astype(np.longdouble)
    means, traces = [], []
    for image in noisy.double().numpy().astype(np.longdouble):
        distances = ((image - points) ** 2).sum(1)
        weights = np.exp(-(distances - distances.min()) / (2 * np.longdouble(sigma) ** 2))
        weights /= weights.sum()
        mean = (weights[:, None] * points).sum(0)
        likeliest = weights.argmax()
        # Differences from the likeliest point make its own term exactly 0 instead of a rounding error.
        offset = (weights[:, None] * (points - points[likeliest])).sum(0)
        spread = ((points - points[likeliest] - offset) ** 2).sum(1)
        means.append(mean)
        traces.append((weights * spread).sum())
    return torch.from_numpy(np.array(means, dtype=np.float64)), torch.from_numpy(np.array(traces, dtype=np.float64))


def cloud(count, pixels, seed=0):
    return torch.rand(count, pixels, generator=torch.Generator().manual_seed(seed))


def noisy_of(points, sigma, count=6, seed=1):
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(points), (count,), generator=draw)
    return points[chosen].double() + sigma * torch.randn(count, points.shape[1], generator=draw).double()


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 30),
    pixels=st.integers(1, 40),
    log_sigma=st.floats(-3.5, 1),
    seed=st.integers(0, 10**6),
    elements=st.integers(1, 300),
)
def test_the_mean_is_the_weighted_average_for_all_chunk_sizes(count, pixels, log_sigma, seed, elements):
    sigma = 10**log_sigma
    points = cloud(count, pixels, seed)
    noisy = noisy_of(points, sigma, seed=seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finite, "ELEMENTS", elements)
        result = empirical_bayes(points, noisy, sigma)
    mean, trace = brute_force(points, noisy, sigma)
    torch.testing.assert_close(result.mean, mean, atol=1e-8, rtol=0)
    torch.testing.assert_close(result.trace, trace, atol=1e-15, rtol=1e-6)


def test_near_points_are_resolved_at_little_noise():
    """Images that differ by 2 sigma in a few pixels, at sigma = 1e-3: their distances are from 2 to 8 sigma."""
    sigma, pixels = 1e-3, 1600
    base = cloud(1, pixels)
    points = base.repeat(17, 1)
    for index in range(16):
        points[1 + index, : 1 + index] += 1 / 500
    noisy = noisy_of(points, sigma, 64)
    result = empirical_bayes(points, noisy, sigma)
    mean, trace = brute_force(points, noisy, sigma)
    # Several points have weight, and the weights differ.
    assert trace.median() > sigma**2 / 10
    torch.testing.assert_close(result.mean, mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(result.trace, trace, atol=0, rtol=1e-5)


@pytest.mark.parametrize("separation", [10.0, 25.0, 37.0])
def test_trace_keeps_its_relative_accuracy_if_one_point_has_all_the_weight(separation):
    """For data at a point, a second point at distance D has weight exp(-D^2 / 2 sigma^2)."""
    sigma, pixels = 1e-2, 100
    points = 0.5 * torch.ones(2, pixels, dtype=torch.float64)
    points[1] += separation * sigma / pixels**0.5
    posterior = empirical_bayes(points, points[:1], sigma)
    weight = math.exp(-(separation**2) / 2) / (1 + math.exp(-(separation**2) / 2))
    distance = separation * sigma
    assert posterior.trace.item() == pytest.approx(weight * (1 - weight) * distance**2, rel=1e-9, abs=0)
    assert 0 < posterior.trace.item() < 1e-20


@pytest.mark.parametrize("sigma", [1e-12, 1.0, 1e6])
def test_a_single_image_is_returned_exactly(sigma):
    dataset = construct(Finite, "faces", count=1)
    image = dataset.images("test", 1)
    posterior = dataset.posterior(image + sigma * normal(3, *dataset.shape), sigma)
    assert torch.equal(posterior.mean.float(), image.expand(3, -1, -1, -1))
    assert posterior.trace.tolist() == [0, 0, 0]


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0])
def test_score_and_spread_are_derivatives_of_the_density(sigma):
    """Tweedie, to first and second order (Kadkhodaie 2024, equations 3 and 9)."""
    points = 0.4 * cloud(7, 12)
    noisy = noisy_of(points, sigma, 1)

    def log_density(image):
        return torch.logsumexp(-(image - points.double()).square().sum(1) / (2 * sigma**2), 0)

    image = noisy[0]
    score = torch.autograd.functional.jacobian(log_density, image)
    posterior = empirical_bayes(points, noisy, sigma)
    torch.testing.assert_close((posterior.mean[0] - image) / sigma**2, score, atol=1e-9, rtol=1e-9)
    jacobian = torch.autograd.functional.jacobian(lambda y: empirical_bayes(points, y[None], sigma).mean[0], image)
    torch.testing.assert_close(sigma**2 * jacobian.trace(), posterior.trace[0], atol=1e-14, rtol=1e-9)
    torch.testing.assert_close(jacobian, jacobian.mT)
    hessian = torch.autograd.functional.hessian(log_density, image)
    identity = torch.eye(12).double()
    torch.testing.assert_close(jacobian, identity + sigma**2 * hessian, atol=1e-9, rtol=1e-9)


def test_every_split_draws_uniformly_from_the_same_images():
    dataset = construct(Finite, "faces[size=8]", count=5)
    members = Faces(size=8).images("train", 5)
    assert torch.equal(dataset.members, members)
    drawn = []
    for split in SPLITS:
        images = dataset.images(split, 1000)
        drawn.append(torch.cdist(images.flatten(1), members.flatten(1)).argmin(1))
        assert torch.equal(images, members[drawn[-1]])
        counts = torch.bincount(drawn[-1], minlength=5).double()
        # Chi square with 4 degrees of freedom: above 23.5 once in 10,000 times.
        assert ((counts - 200).square() / 200).sum() < 23.5
    # Splits are independent, so they agree in a fifth of the draws, by chance.
    for first, second in itertools.combinations(drawn, 2):
        assert (first == second).double().mean().item() == pytest.approx(0.2, abs=4 * 0.4 / 1000**0.5)
    other = construct(Finite, "faces[size=8]", count=5, seed=1)
    assert torch.equal(other.members, members)
    assert not torch.equal(other.images("test", 64), dataset.images("test", 64))


@settings(deadline=None, max_examples=8)
@given(sigma=st.floats(0.02, 3), count=st.integers(1, 30), seed=st.integers(0, 99))
def test_optimal_filters_are_covariances_of_weighted_members(sigma, count, seed):
    dataset = construct(Finite, "discs[size=8]", count)
    noisy = dataset.images("test", 2).double() + sigma * normal(2, 1, 8, 8, seed=seed)
    result = dataset.optimal_filters(noisy, sigma, "test").matrices().double()
    members = dataset.members.double().flatten(1)
    for image, matrix in zip(noisy.flatten(1), result, strict=True):
        weights = torch.softmax(-(image - members).square().sum(1) / (2 * sigma**2), 0)
        mean = weights @ members
        second = members.mT @ (weights[:, None] * members)
        expected = (second - torch.outer(mean, mean)) / sigma**2
        torch.testing.assert_close(matrix, expected, atol=1e-10 / sigma**2, rtol=1e-6)
