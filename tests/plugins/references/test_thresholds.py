"""Thresholding references: fixed, tuned, universal and adaptive thresholds."""

import itertools
import math

import numpy as np
import pytest
import torch
from constructing import construct
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_references import with_noise
from random_images import normal as draw
from scipy import integrate, stats

import gahbench
from gahbench._util.errors import DataError
from gahbench.contracts.bases import Basis
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.registry.registry import Registry
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.bases.pixel import Pixel
from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references._shrinkage import hard, hard_risk, soft, soft_risk
from gahbench_plugins.references.bandlet_selection import BandletSelection
from gahbench_plugins.references.bayes_shrink import BayesShrink
from gahbench_plugins.references.oracle import OracleThreshold
from gahbench_plugins.references.sure_shrink import SureShrink, sure_thresholds
from gahbench_plugins.references.threshold import Threshold
from gahbench_plugins.references.visu_shrink import VisuShrink

CLEAN = CAlpha(2.0, 32).images("test", 6)
BLIND = Truth(torch.full_like(CLEAN, torch.nan))
RULES = pytest.mark.parametrize(("rule", "risk"), [(hard, hard_risk), (soft, soft_risk)], ids=["hard", "soft"])
NAMES = pytest.mark.parametrize("rule", ["hard", "soft"])


@RULES
@settings(deadline=None, max_examples=40)
@given(clean=st.floats(-12, 12), threshold=st.floats(0, 6))
def test_risk_is_the_integral_over_the_noise(rule, risk, clean, threshold):
    def expected_between(low, high):
        # The rule is smooth within a piece, and the middle shows on which side of the threshold the piece lies.
        middle = (low + high) / 2
        kept, shift = abs(middle) > threshold, np.copysign(threshold if rule is soft else 0.0, middle)

        def integrand(value):
            return ((value - shift if kept else 0.0) - clean) ** 2 * stats.norm.pdf(value - clean)

        return integrate.quad(integrand, low, high, epsabs=1e-10)[0]

    kinks = [kink for kink in (-threshold, threshold) if abs(kink - clean) < 12]
    ends = [clean - 12, *kinks, clean + 12]
    expected = sum(expected_between(*piece) for piece in itertools.pairwise(ends))
    result = float(risk(torch.tensor(clean, dtype=torch.float64), threshold))
    assert result == pytest.approx(expected, rel=1e-7, abs=1e-9)


@RULES
@pytest.mark.parametrize("threshold", [0.0, 1.0, 4.0])
def test_limits_of_the_risks(rule, risk, threshold):
    far = risk(torch.tensor([1e3, 1e9, 1e200, -1e200], dtype=torch.float64), threshold)
    expected = 1.0 if rule is hard else 1 + threshold**2
    assert far.tolist() == pytest.approx([expected] * 4, rel=1e-12)
    grid = torch.linspace(-5, 5, 11, dtype=torch.float64)
    torch.testing.assert_close(risk(grid, 0.0), torch.ones_like(grid))
    # A threshold above the coefficient removes it.
    torch.testing.assert_close(risk(grid, 60.0), grid.square(), atol=1e-12, rtol=1e-12)


def test_the_soft_risk_at_zero_is_small_and_positive():
    for threshold in (3.0, 6.0, 9.0):
        # This is the leading term of the tail of E max(|z| - t, 0)^2.
        leading = 4 * stats.norm.pdf(threshold) / threshold**3
        risk = float(soft_risk(torch.zeros((), dtype=torch.float64), threshold))
        assert 0.3 * leading < risk < leading


@NAMES
def test_thresholding_changes_only_detail_coefficients(rule):
    basis = Wavelet("haar", 2)
    sigma, k = 0.1, 2.0
    images = with_noise(CLEAN, sigma).double()
    before = basis.analysis(images)
    after = basis.analysis(construct(Threshold, "wavelet[haar,levels=2]", rule, k).denoise(images, sigma, BLIND))
    coarse = torch.zeros(32, 32, dtype=torch.bool)
    coarse[:8, :8] = True
    torch.testing.assert_close(after[..., coarse], before[..., coarse])
    details = before[..., ~coarse]
    expected = torch.where(details.abs() > k * sigma, details - (rule == "soft") * k * sigma * details.sign(), 0)
    torch.testing.assert_close(after[..., ~coarse], expected)
    assert 0.5 < (expected == 0).double().mean() < 1


def test_the_usual_thresholds_are_nearly_optimal():
    for rule, usual, others in (("hard", 3.0, (2.0, 4.5)), ("soft", 1.5, (0.8, 2.8))):
        best = construct(Threshold, rule=rule, k=usual).risk(Truth(CLEAN), 0.05).mean()
        for k in others:
            assert best < construct(Threshold, rule=rule, k=k).risk(Truth(CLEAN), 0.05).mean()


class Doubled(Basis):
    """A frame with known noise levels: two scaled copies of Haar coefficients, and atoms that are 0."""

    orthonormal = False

    def analysis(self, images):
        coefficients = Wavelet("haar", 1).analysis(images)
        return torch.stack([2 * coefficients, coefficients / 2, 0 * coefficients], dim=2)

    def synthesis(self, coefficients):
        mean = (coefficients[:, :, 0] / 2 + coefficients[:, :, 1] * 2) / 2
        return Wavelet("haar", 1).synthesis(mean)

    def noise_levels(self, shape):
        return torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)[:, None, None]

    def bands(self, shape):
        labels = Wavelet("haar", 1).bands(shape)
        return torch.stack([labels, labels, labels + 10])


@pytest.mark.parametrize(("shrink", "rule"), [(Threshold, ["hard"]), (Threshold, ["soft"]), (BayesShrink, [])])
def test_in_frames_coefficients_are_compared_with_their_noise_levels(shrink, rule):
    reference, images = construct(shrink, "wavelet[haar,levels=1]", *rule), with_noise(CLEAN, 0.1)
    expected = reference.denoise(images, 0.1, BLIND)
    reference.basis = Doubled()
    torch.testing.assert_close(reference.denoise(images, 0.1, BLIND), expected)
    assert reference.risk(Truth(CLEAN), 0.1) is None


class Adapted(Pixel):
    """A basis that records the images to which it was adapted."""

    adaptive = True

    def __init__(self):
        self.calls = []

    def max_batch(self, shape):
        return 3

    def adapt(self, images, threshold, noisy=False):
        self.calls.append((len(images), threshold, noisy))
        return Pixel()


def test_adaptive_bases_are_adapted_to_the_noisy_images_in_batches():
    basis = Adapted()
    reference = construct(Threshold, "pixel", "hard", 2.5)
    reference.basis = basis
    images = with_noise(CLEAN, 0.1)
    denoised = reference.denoise(images, 0.1, BLIND)
    assert torch.equal(denoised, construct(Threshold, "pixel", "hard", 2.5).denoise(images, 0.1, BLIND))
    assert reference.risk(Truth(CLEAN), 0.1) is None
    assert basis.calls == [(3, 0.25, True)] * 2


def test_bases_for_oracles_only_are_refused(monkeypatch):
    monkeypatch.setattr(Pixel, "oracle", True)
    with pytest.raises(ValueError, match=r"'pixel'.*for oracles only"):
        construct(Threshold, "pixel")


def test_k_is_tuned_on_validation_images():
    dataset = CAlpha(2.0, 32)
    reference = construct(Threshold, k=None)
    with pytest.raises(DataError, match="call fit"):
        reference.denoise(with_noise(CLEAN, 0.1), 0.1, BLIND)
    reference.fit(TrainingData(dataset))
    denoised = reference.denoise(with_noise(CLEAN, 0.1), 0.1, BLIND)
    k = reference.value(0.1)
    assert torch.equal(denoised, construct(Threshold, k=k).denoise(with_noise(CLEAN, 0.1), 0.1, BLIND))
    assert torch.equal(reference.risk(Truth(CLEAN), 0.1), construct(Threshold, k=k).risk(Truth(CLEAN), 0.1))
    # The expected error on the validation images is nearly minimal at this value.
    validation = Truth(dataset.images("validation", 16))
    minimum = min(
        construct(Threshold, k=other).risk(validation, 0.1).mean() for other in torch.linspace(1, 6, 51).tolist()
    )
    assert reference.risk(validation, 0.1).mean() < 1.05 * minimum
    assert reference.notes == (f"k tuned on 16 validation images: {k:.2g} at σ 0.1",)
    assert construct(Threshold).notes == ()


@pytest.mark.parametrize(("shrink", "rule"), [(VisuShrink, "hard"), (VisuShrink, "soft"), (BayesShrink, "soft")])
@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_shrinkage_agrees_with_scikit_image_away_from_borders(shrink, rule, sigma):
    restoration = pytest.importorskip("skimage.restoration")
    # Haar on sides that are powers of two never looks beyond the border, so the boundary rules agree.
    images = with_noise(CLEAN, sigma).double().clamp(0, 1)
    reference = construct(shrink, "wavelet[haar,levels=3]", *([rule] if shrink is VisuShrink else []))
    # scikit-image counts all pixels, VisuShrink only details; scaling sigma makes the thresholds equal.
    details = math.sqrt(math.log(1024 - 16) / math.log(1024)) if shrink is VisuShrink else 1.0
    ours = reference.denoise(images, sigma, BLIND)
    options = {"wavelet": "haar", "wavelet_levels": 3, "method": shrink.__name__, "rescale_sigma": True}
    for image, denoised in zip(images[:, 0].numpy(), ours[:, 0].numpy(), strict=True):
        theirs = restoration.denoise_wavelet(image, sigma=sigma * details, mode=rule, **options)
        np.testing.assert_allclose(denoised.clip(0, 1), theirs, atol=1e-8)


@pytest.mark.parametrize("rule", ["hard", "soft"])
@pytest.mark.parametrize("channels", [1, 3])
def test_visu_shrink_uses_the_universal_threshold_of_a_channel(rule, channels):
    clean = CLEAN.reshape(-1, channels, 32, 32)
    images = clean + 0.1 * draw(*clean.shape).float()
    # Two levels of 32x32 leave 64 of 1024 coefficients to the coarse scale.
    same = construct(Threshold, "wavelet[sym4,levels=2]", rule, math.sqrt(2 * math.log(960)))
    reference = construct(VisuShrink, "wavelet[sym4,levels=2]", rule)
    assert torch.equal(reference.denoise(images, 0.1, Truth(clean)), same.denoise(images, 0.1, Truth(clean)))
    assert torch.equal(reference.risk(Truth(clean), 0.1), same.risk(Truth(clean), 0.1))


def test_noise_rarely_exceeds_the_universal_threshold():
    sigma = 0.1
    flat = torch.full((400, 1, 32, 32), 0.5)
    images = flat + sigma * draw(*flat.shape).float()
    details = construct(VisuShrink, "pixel").denoise(images - 0.5, sigma, Truth(flat))
    # P(max of d > t) is below d P(|z| > t) = 0.18 at d = 1024, and near 1 - exp(-0.18).
    share = float((details.flatten(1) != 0).any(1).double().mean())
    d = 1024
    expected = 1 - (1 - math.erfc(math.sqrt(math.log(d)))) ** d
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 400)


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.2, 1.0])
def test_visu_shrink_satisfies_the_oracle_inequality(sigma):
    # Donoho & Johnstone 1994, theorem 1, for soft thresholding of all coefficients: pixels have no coarse scale.
    d = 1024
    generator = torch.Generator().manual_seed(0)
    sparse = torch.rand(4, 1, 32, 32, generator=generator) * (torch.rand(4, 1, 32, 32, generator=generator) < 0.05)
    for clean in (sparse, CLEAN):
        risk = construct(VisuShrink, "pixel").risk(Truth(clean), sigma)
        oracle = construct(OracleThreshold, "pixel").risk(Truth(clean), sigma)
        assert (risk <= (2 * math.log(d) + 1) * (sigma**2 / d + oracle)).all()


def sure(coefficients, threshold):
    """Stein's estimate of the error of soft thresholding, from its divergence and residual."""
    residual = soft(coefficients, threshold) - coefficients
    divergence = (coefficients.abs() > threshold).sum()
    return float(len(coefficients) * -1.0 + residual.square().sum() + 2 * divergence)


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 40), scale=st.floats(0.3, 5), seed=st.integers(0, 9999), rounded=st.booleans())
def test_no_threshold_has_a_lower_risk_estimate(count, scale, seed, rounded):
    coefficients = scale * draw(3, count, seed=seed)
    if rounded:
        # Many coefficients are then equal, and some are 0.
        coefficients = coefficients.round()
    largest = math.sqrt(2 * math.log(count))
    for row, threshold in zip(coefficients, sure_thresholds(coefficients, hybrid=False), strict=True):
        assert 0 <= threshold <= largest
        minimum = sure(row, threshold)
        tried = torch.cat([torch.linspace(0, largest, 301, dtype=torch.float64), row.abs()[row.abs() <= largest]])
        assert minimum <= min(sure(row, other) for other in tried) + 1e-9


def test_sure_is_unbiased():
    clean, threshold, draws = 2 * draw(50), 1.2, 4000
    estimates = torch.tensor([sure(clean + draw(50, seed=seed), threshold) for seed in range(draws)])
    expected = float(soft_risk(clean, threshold).sum())
    assert abs(estimates.mean() - expected) < 4 * estimates.std() / draws**0.5


def test_sparse_bands_get_the_universal_threshold():
    count = 1024
    universal = math.sqrt(2 * math.log(count))
    limit = math.log2(count) ** 1.5 / math.sqrt(count)
    below, above = (torch.full((1, count), math.sqrt(1 + limit + step), dtype=torch.float64) for step in (-1e-6, 1e-6))
    assert sure_thresholds(below).item() == pytest.approx(universal)
    # For equal coefficients x, setting all to 0, with SURE d (x^2 - 1), is best if x^2 < 2.
    assert sure_thresholds(above).item() == pytest.approx(math.sqrt(1 + limit))
    assert sure_thresholds(below, hybrid=False).item() == pytest.approx(math.sqrt(1 + limit))
    # The excess of pure noise has a standard deviation of sqrt(2 / d), a fraction of the limit.
    assert (sure_thresholds(draw(200, count)) == sure_thresholds(below)).all()


@pytest.mark.parametrize("shrink", [BayesShrink, SureShrink])
@pytest.mark.parametrize("basis", ["sym4", "dct", "haar"])
def test_shrinkage_denoises_less_well_than_the_oracle_in_the_same_basis(shrink, basis):
    sigma = 0.1
    error = (construct(shrink, basis).denoise(with_noise(CLEAN, sigma), sigma, BLIND) - CLEAN).square().mean()
    oracle = gahbench.create("reference", f"oracle-shrink[{basis}]").risk(Truth(CLEAN), sigma).mean()
    assert oracle < error < sigma**2 / 3


def bayes_threshold(values, sigma):
    signal = max(float(values.square().mean()) - sigma**2, 0) ** 0.5
    return sigma**2 / signal if signal > 0 else torch.inf


@pytest.mark.parametrize(("shrink", "threshold", "name"), [
    (SureShrink, lambda values, sigma: float(sure_thresholds(values[None] / sigma)) * sigma, "wavelet[haar,levels=2]"),
    *((BayesShrink, bayes_threshold, name) for name in ("wavelet[sym4,levels=2]", "dct", "pixel")),
])  # fmt: skip
def test_thresholds_are_separate_for_bands_channels_and_images(shrink, threshold, name):
    sigma, basis = 0.1, gahbench.create("basis", name)
    images = with_noise(CLEAN, sigma).double().reshape(3, 2, 32, 32)
    labels, expected = basis.bands((2, 32, 32)), basis.analysis(images).clone()
    for coefficients in expected.flatten(0, 1):
        for band in labels[labels > 0].unique():
            values = coefficients[labels == band]
            coefficients[labels == band] = soft(values, threshold(values, sigma))
    shrunk = basis.analysis(construct(shrink, name).denoise(images, sigma, BLIND))
    torch.testing.assert_close(shrunk, expected, atol=1e-10, rtol=0)


def test_bandlets_of_the_noisy_image_are_better_than_their_wavelet():
    clean, sigma = CAlpha(4.0, 64).images("test", 16), 0.03
    images = with_noise(clean, sigma)
    basis = Bandlet("sym4").adapt(images, 3.25 * sigma, noisy=True)
    coefficients = basis.analysis(images)
    kept = (coefficients.abs() > 3.25 * sigma) | (basis.bands((1, 64, 64)) == 0)
    bandlet, wavelet = BandletSelection("sym4"), construct(Threshold, "sym4", k=3.25)
    torch.testing.assert_close(bandlet.denoise(images, sigma, BLIND), basis.synthesis(coefficients * kept))
    decibels = [
        -10 * (reference.denoise(images, sigma, BLIND) - clean).square().flatten(1).mean(1).log10()
        for reference in (bandlet, wavelet)
    ]
    gains = decibels[0] - decibels[1]
    assert gains.mean() > max(0.4, 4 * gains.std() / len(gains) ** 0.5)
    assert Registry().configure("reference", "bandlet").label == "bandlet[sym5]"
