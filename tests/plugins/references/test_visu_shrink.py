import math

import pytest
import torch
from constructing import construct

from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.oracle import OracleThreshold
from gahbench_plugins.references.threshold import Threshold
from gahbench_plugins.references.visu_shrink import VisuShrink

CLEAN = CAlpha(2.0, 32).images("test", 6)


def noise(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rule", ["hard", "soft"])
@pytest.mark.parametrize("channels", [1, 3])
def test_thresholds_at_the_universal_threshold_of_a_channel(rule, channels):
    clean = CLEAN.reshape(-1, channels, 32, 32)
    images = clean + 0.1 * noise(clean.shape)
    # Two levels of 32x32 leave 64 of 1024 coefficients to the coarse scale.
    same = construct(Threshold, "wavelet[sym4,levels=2]", rule, math.sqrt(2 * math.log(960)))
    reference = construct(VisuShrink, "wavelet[sym4,levels=2]", rule)
    assert torch.equal(reference.denoise(images, 0.1, Truth(clean)), same.denoise(images, 0.1, Truth(clean)))
    assert torch.equal(reference.risk(Truth(clean), 0.1), same.risk(Truth(clean), 0.1))


@pytest.mark.parametrize("rule", ["hard", "soft"])
def test_agrees_with_scikit_image_where_borders_do_not_matter(rule):
    restoration = pytest.importorskip("skimage.restoration")
    sigma = 0.05
    images = (CLEAN + sigma * noise(CLEAN.shape)).double().clamp(0, 1)
    # Theirs counts all pixels; ours the details. A sigma of their size makes the thresholds equal.
    details = math.sqrt(math.log(1024 - 16) / math.log(1024))
    ours = construct(VisuShrink, "wavelet[haar,levels=3]", rule).denoise(images, sigma, Truth(CLEAN))
    for image, denoised in zip(images[:, 0].numpy(), ours[:, 0], strict=True):
        theirs = restoration.denoise_wavelet(
            image, sigma=sigma * details, wavelet="haar", mode=rule, wavelet_levels=3, method="VisuShrink"
        )
        torch.testing.assert_close(denoised.clamp(0, 1), torch.from_numpy(theirs), atol=1e-8, rtol=0)


def test_pure_noise_hardly_ever_exceeds_it():
    sigma = 0.1
    flat = torch.full((400, 1, 32, 32), 0.5)
    images = flat + sigma * noise(flat.shape)
    details = construct(VisuShrink, "pixel").denoise(images - 0.5, sigma, Truth(flat))
    # P(max of d > t) is below d P(|z| > t) = 0.18 at d = 1024, and near 1 - exp(-0.18).
    share = float((details.flatten(1) != 0).any(1).double().mean())
    d = 1024
    expected = 1 - (1 - math.erfc(math.sqrt(math.log(d)))) ** d
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 400)


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.2, 1.0])
def test_keeps_the_oracle_inequality(sigma):
    # Donoho & Johnstone 1994, theorem 1, for soft thresholding of all coefficients: pixels have no coarse scale.
    d = 1024
    generator = torch.Generator().manual_seed(0)
    sparse = torch.rand(4, 1, 32, 32, generator=generator) * (torch.rand(4, 1, 32, 32, generator=generator) < 0.05)
    for clean in (sparse, CLEAN):
        risk = construct(VisuShrink, "pixel").risk(Truth(clean), sigma)
        oracle = construct(OracleThreshold, "pixel").risk(Truth(clean), sigma)
        assert (risk <= (2 * math.log(d) + 1) * (sigma**2 / d + oracle)).all()


def test_an_image_of_one_pixel_is_left_alone():
    pixel = torch.tensor([[[[0.3]]]])
    assert torch.equal(construct(VisuShrink, "pixel").denoise(pixel, 0.1, Truth(pixel)), pixel)
