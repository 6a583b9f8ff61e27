import numpy as np
import pytest
import torch
from constructing import construct

import gahbench
from gahbench.contracts.truth import Truth
from gahbench_plugins.bases.pixel import Pixel
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.bayes_shrink import BayesShrink

CLEAN = CAlpha(2.0, 32).images("test", 8)


def noisy(sigma, seed=0):
    return CLEAN + sigma * torch.randn(CLEAN.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_agrees_with_scikit_image_where_borders_do_not_matter(sigma):
    restoration = pytest.importorskip("skimage.restoration")
    # Haar on sides that are powers of two never looks beyond the border, so the boundary rules agree.
    images = noisy(sigma).double().clamp(0, 1)
    ours = construct(BayesShrink, "wavelet[haar,levels=3]").denoise(images, sigma, Truth(CLEAN))
    for image, denoised in zip(images[:, 0].numpy(), ours[:, 0].numpy(), strict=True):
        theirs = restoration.denoise_wavelet(
            image, sigma=sigma, wavelet="haar", mode="soft", wavelet_levels=3, method="BayesShrink", rescale_sigma=True
        )
        np.testing.assert_allclose(denoised.clip(0, 1), theirs, atol=1e-8)


@pytest.mark.parametrize("basis", ["sym4", "dct", "haar"])
def test_denoises_but_never_beats_the_oracle_in_the_same_basis(basis):
    sigma = 0.1
    error = (construct(BayesShrink, basis).denoise(noisy(sigma), sigma, Truth(CLEAN)) - CLEAN).square().mean()
    oracle = gahbench.create("reference", f"oracle-shrink[{basis}]").risk(Truth(CLEAN), sigma).mean()
    assert oracle < error < sigma**2 / 3


def test_limits():
    assert construct(BayesShrink).risk(Truth(CLEAN), 0.1) is None
    for sigma in (0.0, 1e-6):
        torch.testing.assert_close(construct(BayesShrink).denoise(CLEAN, sigma, Truth(CLEAN)), CLEAN, atol=1e-4, rtol=0)
    flat = torch.full((1, 1, 16, 16), 0.5)
    for sigma in (0.0, 0.1):
        torch.testing.assert_close(construct(BayesShrink).denoise(flat, sigma, Truth(flat)), flat)


@pytest.mark.parametrize("name", ["wavelet[sym4,levels=2]", "dct", "pixel"])
def test_is_its_definition_band_by_band(name):
    sigma = 0.1
    images = noisy(sigma).double().reshape(4, 2, 32, 32)
    basis = gahbench.create("basis", name)
    labels = basis.bands((2, 32, 32))
    expected = basis.analysis(images).clone()
    for coefficients in expected.flatten(0, 1):
        for band in labels[labels > 0].unique():
            values = coefficients[labels == band]
            signal = max(float(values.square().mean()) - sigma**2, 0) ** 0.5
            threshold = sigma**2 / signal if signal > 0 else float("inf")
            coefficients[labels == band] = values.sign() * (values.abs() - threshold).clamp(min=0)
    shrunk = basis.analysis(construct(BayesShrink, name).denoise(images, sigma, Truth(CLEAN)))
    torch.testing.assert_close(shrunk, expected, atol=1e-10, rtol=0)


def test_frames_shrink_by_the_noise_of_each_coefficient():
    class Scaled(Pixel):
        """Pixels times 4 in the left half, a fourth in the right."""

        orthonormal = False

        def noise_levels(self, shape):
            return torch.tensor([4.0, 0.25], dtype=torch.float64).repeat_interleave(shape[2] // 2)

        def analysis(self, images):
            return images * self.noise_levels(images.shape[1:]).to(images)

        def synthesis(self, coefficients):
            return coefficients / self.noise_levels(coefficients.shape[1:]).to(coefficients)

    reference = construct(BayesShrink, "pixel")
    expected = reference.denoise(noisy(0.1), 0.1, Truth(CLEAN))
    reference.basis = Scaled()
    assert torch.equal(reference.denoise(noisy(0.1), 0.1, Truth(CLEAN)), expected)
