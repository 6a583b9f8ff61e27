import pytest
import torch
from constructing import construct

import gahbench
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.registry.registry import Registry
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.bandlet_selection import BandletSelection
from gahbench_plugins.references.threshold import Threshold

DATASET = CAlpha(4.0, 64)
CLEAN = DATASET.images("test", 16)
BLIND = Truth(torch.full_like(CLEAN, torch.nan))
SIGMA = 0.1


def noisy(clean=CLEAN, seed=0):
    return clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


def test_thresholds_in_the_bandlets_of_the_noisy_image():
    images = noisy()[:4]
    basis = Bandlet("sym4").adapt(images, 3 * SIGMA, noisy=True)
    coefficients = basis.analysis(images)
    kept = (coefficients.abs() > 3 * SIGMA) | (basis.bands((1, 64, 64)) == 0)
    expected = basis.synthesis(coefficients * kept)
    torch.testing.assert_close(BandletSelection("sym4", 3.0).denoise(images, SIGMA, BLIND), expected)


def test_beats_thresholding_of_the_wavelet_underneath():
    clean, sigma = DATASET.images("test", 32), 0.03
    images = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    wavelet, bandlet = (
        -10 * (reference.denoise(images, sigma, BLIND) - clean).square().flatten(1).mean(1).log10()
        for reference in (construct(Threshold, "sym4", k=3.25), BandletSelection("sym4"))
    )
    gains = bandlet - wavelet
    assert gains.mean() > 0.4
    assert gains.mean() > 4 * gains.std() / len(gains) ** 0.5


def test_is_the_threshold_in_the_basis_of_that_name():
    reference = gahbench.create("reference", "threshold[bandlet,k=3.25]")
    assert torch.equal(reference.denoise(noisy(), SIGMA, BLIND), BandletSelection().denoise(noisy(), SIGMA, BLIND))
    assert Registry().configure("reference", "bandlet").label == "bandlet[sym5]"


def test_every_image_and_channel_is_denoised_alone():
    images = noisy()[:6]
    together = BandletSelection().denoise(images, SIGMA, BLIND)
    assert together.dtype == torch.float32
    apart = torch.cat([BandletSelection().denoise(image[None], SIGMA, BLIND) for image in images])
    torch.testing.assert_close(together, apart)
    colour = images.reshape(2, 3, 64, 64)
    torch.testing.assert_close(BandletSelection().denoise(colour, SIGMA, BLIND).reshape(6, 1, 64, 64), together)


@pytest.mark.parametrize("shape", [(25, 25), (24, 31)])
@pytest.mark.parametrize("wavelet", ["haar", None])
def test_takes_any_size(shape, wavelet):
    clean = CLEAN[:2, :, : shape[0], : shape[1]]
    reference = BandletSelection(wavelet)
    reference.check_shape((1, *shape))
    error = (reference.denoise(noisy(clean), SIGMA, BLIND) - clean).square().mean()
    assert error < SIGMA**2 / 2
    torch.testing.assert_close(reference.denoise(clean, 1e-6, BLIND), clean, atol=1e-4, rtol=0)


def test_k_is_tuned_and_there_is_no_closed_form():
    reference = BandletSelection(k=None)
    reference.fit(TrainingData(DATASET))
    denoised = reference.denoise(noisy()[:2], SIGMA, BLIND)
    k = reference.value(SIGMA)
    assert torch.equal(denoised, BandletSelection(k=k).denoise(noisy()[:2], SIGMA, BLIND))
    assert reference.notes[0].startswith("k tuned on 16 validation images")
    assert reference.risk(Truth(CLEAN), SIGMA) is None
    assert reference.kind == "classical"
