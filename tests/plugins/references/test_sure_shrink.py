import math

import pytest
import torch
from constructing import construct
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench.contracts.truth import Truth
from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references._shrinkage import soft, soft_risk
from gahbench_plugins.references.sure_shrink import SureShrink, sure_thresholds
from gahbench_plugins.references.visu_shrink import VisuShrink

CLEAN = CAlpha(2.0, 32).images("test", 6)
BLIND = Truth(torch.full_like(CLEAN, torch.nan))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sure(coefficients, threshold):
    """Stein's estimate of the error of soft thresholding, from its divergence and residual."""
    residual = soft(coefficients, threshold) - coefficients
    divergence = (coefficients.abs() > threshold).sum()
    return float(len(coefficients) * -1.0 + residual.square().sum() + 2 * divergence)


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 40), scale=st.floats(0.3, 5), seed=st.integers(0, 9999), rounded=st.booleans())
def test_no_threshold_has_less_sure(count, scale, seed, rounded):
    coefficients = scale * draw(3, count, seed=seed)
    if rounded:
        # Many are equal then, and some 0.
        coefficients = coefficients.round()
    largest = math.sqrt(2 * math.log(count))
    for row, threshold in zip(coefficients, sure_thresholds(coefficients, hybrid=False), strict=True):
        assert 0 <= threshold <= largest
        least = sure(row, threshold)
        tried = torch.cat([torch.linspace(0, largest, 301, dtype=torch.float64), row.abs()[row.abs() <= largest]])
        assert least <= min(sure(row, other) for other in tried) + 1e-9


def test_sure_is_unbiased():
    clean, threshold, draws = 2 * draw(50), 1.2, 4000
    estimates = torch.tensor([sure(clean + draw(50, seed=seed), threshold) for seed in range(draws)])
    expected = float(soft_risk(clean, threshold).sum())
    assert abs(estimates.mean() - expected) < 4 * estimates.std() / draws**0.5


def test_threshold_is_nearly_the_best_in_hindsight():
    # In a large band with signal in a third of its coefficients, the estimate is nearly the error itself.
    count = 20000
    clean = 6 * draw(count) * (draw(count, seed=1) > 0.43)
    coefficients = clean + draw(count, seed=2)
    threshold = float(sure_thresholds(coefficients[None]))
    errors = [(soft(coefficients, k) - clean).square().mean() for k in torch.linspace(0, 4, 81)]
    assert (soft(coefficients, threshold) - clean).square().mean() < 1.01 * min(errors)


def test_sparse_bands_get_the_universal_threshold():
    count = 1024
    universal = math.sqrt(2 * math.log(count))
    limit = math.log2(count) ** 1.5 / math.sqrt(count)
    below, above = (torch.full((1, count), math.sqrt(1 + limit + step), dtype=torch.float64) for step in (-1e-6, 1e-6))
    assert sure_thresholds(below).item() == pytest.approx(universal)
    # All coefficients are alike, and killing all, at SURE d (x^2 - 1), is best while x^2 < 2.
    assert sure_thresholds(above).item() == pytest.approx(math.sqrt(1 + limit))
    assert sure_thresholds(below, hybrid=False).item() == pytest.approx(math.sqrt(1 + limit))
    # The excess of pure noise has a standard deviation of sqrt(2 / d), a fraction of the limit.
    assert (sure_thresholds(draw(200, count)) == sure_thresholds(below)).all()


def test_every_band_channel_and_image_has_its_own_threshold():
    sigma = 0.05
    clean = CLEAN.reshape(3, 2, 32, 32).double()
    images = clean + sigma * draw(*clean.shape)
    basis = Wavelet("haar", 2)
    labels = basis.bands((2, 32, 32))
    expected = basis.analysis(images)
    for image in range(3):
        for channel in range(2):
            for band in range(1, 7):
                values = expected[image, channel][labels == band]
                threshold = float(sure_thresholds(values[None] / sigma)) * sigma
                expected[image, channel][labels == band] = soft(values, threshold)
    denoised = construct(SureShrink, "wavelet[haar,levels=2]").denoise(images, sigma, BLIND)
    torch.testing.assert_close(basis.analysis(denoised), expected)


def test_dtype_and_limits():
    images = CLEAN + 0.1 * draw(*CLEAN.shape).float()
    denoised = construct(SureShrink).denoise(images, 0.1, BLIND)
    assert denoised.dtype == torch.float32
    torch.testing.assert_close(
        denoised.double(), construct(SureShrink).denoise(images.double(), 0.1, BLIND), atol=1e-4, rtol=0
    )
    assert torch.equal(construct(SureShrink).denoise(images, 0.0, BLIND), images)
    torch.testing.assert_close(construct(SureShrink).denoise(images, 1e-6, BLIND), images, atol=1e-4, rtol=0)
    assert construct(SureShrink).risk(Truth(CLEAN), 0.1) is None
    pixel = torch.full((1, 1, 1, 1), 0.3)
    assert torch.equal(construct(SureShrink, "pixel").denoise(pixel, 0.1, Truth(pixel)), pixel)


@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_beats_the_universal_threshold(sigma):
    images = CLEAN + sigma * draw(*CLEAN.shape).float()
    ours, universal = (
        (reference.denoise(images, sigma, BLIND) - CLEAN).square().flatten(1).mean(1)
        for reference in (construct(SureShrink), construct(VisuShrink))
    )
    assert (ours < universal).all()
