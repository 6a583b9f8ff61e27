import importlib.util

import pytest
import torch

from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.discs import Discs
from gahbench_plugins.references.bm3d import BM3D
from gahbench_plugins.references.gaussian_blur import GaussianBlur

CLEAN = Discs(32).images("test", 4)


installed = pytest.mark.extras("deepinv", "ptwt")


def noisy(clean, sigma):
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


@installed
@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_denoises_better_than_any_blur(sigma):
    images = noisy(CLEAN, sigma)
    error = (BM3D().denoise(images, sigma, Truth(CLEAN)) - CLEAN).square().mean()
    assert error < sigma**2 / 5
    for width in (0.3, 0.5, 0.8, 1.2, 2.0):
        blurred = GaussianBlur(width).denoise(images, sigma, Truth(CLEAN))
        assert error < 0.8 * (blurred - CLEAN).square().mean()


@installed
def test_colours_are_denoised_together():
    """Three channels of one grey image under independent noise: their mean has a third of the variance."""
    clean, sigma = CLEAN.expand(-1, 3, -1, -1), 0.1
    images = noisy(clean, sigma)
    found = BM3D().denoise(images, sigma, Truth(clean))
    grey = BM3D().denoise(images.mean(1, keepdim=True), sigma / 3**0.5, Truth(CLEAN))
    # The differences of the channels are noise alone, of which hardly any is left.
    assert (found - grey).square().mean() < 0.02 * sigma**2
    # Rounding changes which patches are matched, here and there.
    assert (found.mean(1, keepdim=True) - grey).square().mean() < 1e-5 * sigma**2


@installed
def test_limits_batches_and_dtypes():
    flat = torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64)
    found = BM3D().denoise(flat, 0.1, Truth(flat))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, flat, atol=1e-5, rtol=0)
    assert BM3D().denoise(flat, 0.0, Truth(flat)) is flat
    small = CLEAN[:, :, :12, :12]
    torch.testing.assert_close(BM3D().denoise(small, 1e-5, Truth(small)), small, atol=1e-4, rtol=0)
    together = BM3D().denoise(noisy(small, 0.1), 0.1, Truth(small))
    torch.testing.assert_close(BM3D().denoise(noisy(small, 0.1)[1:], 0.1, Truth(small)), together[1:])


@pytest.mark.parametrize("missing", ["deepinv", "ptwt"])
def test_without_the_extra_it_names_it(monkeypatch, missing):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name) or True)
    with pytest.raises(ValueError, match=rf'{missing} is not installed: pip install "gahbench\[bm3d\]"'):
        BM3D()


@installed
def test_images_smaller_than_a_patch_are_continued():
    tiny = torch.rand(1, 1, 7, 9)
    found = BM3D().denoise(tiny, 0.1, Truth(tiny))
    whole = BM3D().denoise(torch.cat([tiny, tiny[..., -1:, :]], 2), 0.1, Truth(tiny))
    assert torch.equal(found, whole[..., :7, :])
