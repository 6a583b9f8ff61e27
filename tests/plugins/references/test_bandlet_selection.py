import torch
from constructing import construct

import gahbench
from gahbench.contracts.truth import Truth
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
