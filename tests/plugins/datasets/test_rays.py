import numpy as np
import pytest
import torch
from constructing import construct
from scipy.stats import truncnorm

from gahbench._util.errors import DataError, PluginError
from gahbench._util.noise import evaluation_noise
from gahbench.registry.registry import Registry
from gahbench.testing import check_configured
from gahbench_plugins.datasets.rays import Rays

RAYS = construct(Rays, "discs[size=12]")


def noisy_images(count, sigma):
    clean = RAYS.images("test", count)
    return clean, clean + evaluation_noise(count, RAYS.shape, sigma, "tests")


def test_images_are_scales_of_one():
    images = RAYS.images("train", 2000).flatten(1).double()
    scales = images @ RAYS.image.flatten().double() / RAYS.image.double().square().sum()
    torch.testing.assert_close(scales[:, None] * RAYS.image.flatten(), images, atol=1e-6, rtol=0)
    # Kolmogorov-Smirnov, beyond the 1e-4 quantile.
    assert (scales.sort().values - torch.linspace(0, 1, 2000)).abs().max() < 2.2 / 2000**0.5


@pytest.mark.parametrize("sigma", [0.01, 0.3, 5.0])
def test_posterior_is_a_truncated_normal(sigma):
    _, noisy = noisy_images(12, sigma)
    posterior = RAYS.posterior(noisy, sigma)
    assert posterior.ess_fraction is None
    image = RAYS.image.double().flatten().numpy()
    energy = image @ image
    seen, std = noisy.double().flatten(1).numpy() @ image / energy, sigma / energy**0.5
    law = truncnorm(-seen / std, (1 - seen) / std, loc=seen, scale=std)
    np.testing.assert_allclose(posterior.mean.flatten(1).numpy(), law.mean()[:, None] * image, atol=1e-6)
    np.testing.assert_allclose(posterior.trace.numpy(), energy * law.var(), rtol=1e-4)


def test_trace_is_the_expected_error_and_tends_to_the_variance_of_the_noise():
    for sigma in (1e-3, 0.1, 1.0):
        clean, noisy = noisy_images(2000, sigma)
        posterior = RAYS.posterior(noisy, sigma)
        excess = (posterior.mean - clean).double().square().flatten(1).sum(1) - posterior.trace
        assert excess.mean().abs() < 4 * excess.std() / 2000**0.5
    small = RAYS.posterior(noisy_images(200, 1e-3)[1], 1e-3)
    # A few scales are so near 0 or 1 that the border still matters.
    assert small.trace.mean().item() == pytest.approx(1e-6, rel=0.01)


def test_trace_is_the_derivative_of_the_mean():
    # sigma^2 times the divergence of the posterior mean (Kadkhodaie 2024, equations 9 and 10).
    _, noisy = noisy_images(3, 0.5)
    moved, step = noisy.double(), 1e-4
    for image, trace in zip(moved, RAYS.posterior(moved, 0.5).trace, strict=True):
        units = step * torch.eye(144, dtype=torch.float64).reshape(144, *RAYS.shape)
        ahead, behind = (RAYS.posterior(image + sign * units, 0.5).mean for sign in (1, -1))
        divergence = torch.diagonal((ahead - behind).flatten(1)).sum() / (2 * step)
        assert trace.item() == pytest.approx(0.25 * divergence.item(), rel=1e-4)


def test_true_basis_is_the_image():
    vectors = RAYS.true_basis("test", 3).vectors
    direction = RAYS.image.flatten().double() / RAYS.image.double().norm()
    assert vectors.shape == (3, 144, 1)
    torch.testing.assert_close((vectors[..., 0] @ direction).abs(), torch.ones(3).double())
    assert RAYS.dimension == 1


def test_colour_and_files_pass_through(tmp_path):
    file = tmp_path / "colours.npz"
    np.savez(file, images=np.random.default_rng(0).integers(0, 256, (10, 9, 9, 3), dtype=np.uint8))
    rays = construct(Rays, f"faces[path={file},colour=rgb]", index=2)
    assert rays.shape == (3, 9, 9)
    assert rays.images("test", 2).shape == (2, 3, 9, 9)
    noisy = rays.images("test", 2) + 0.1
    assert rays.posterior(noisy, 0.1).mean.shape == noisy.shape
    assert rays.fingerprint() == rays.dataset.fingerprint() is not None
    assert RAYS.fingerprint() is None


def test_contract_and_parameters():
    registry = Registry()
    for text in ("rays", "rays[image=discs[size=16],index=3]"):
        report = check_configured(registry.configure("dataset", text))
        assert report.passed, str(report)
    with pytest.raises(PluginError, match="rays"):
        registry.configure("dataset", "rays[image=nothing]")


def test_a_black_image_is_refused(tmp_path):
    file = tmp_path / "black.npz"
    np.savez(file, images=np.zeros((10, 9, 9), dtype=np.uint8))
    with pytest.raises(DataError, match="black"):
        construct(Rays, f"faces[path={file}]")
