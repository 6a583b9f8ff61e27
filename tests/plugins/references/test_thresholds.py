"""Thresholding references: fixed, tuned, universal and adaptive thresholds, and their means over shifts."""

import itertools
import math

import numpy as np
import pytest
import torch
from constructing import construct
from given_images import GivenImages
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_references import with_noise
from random_images import normal as draw
from scipy import integrate, stats
from skimage.restoration import denoise_wavelet

import gahbench
from gahbench import Basis, DataError, TrainingData, Truth
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.bases.pixel import Pixel
from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.bayes_shrink import BayesShrink
from gahbench_plugins.references.composite import CycleSpin
from gahbench_plugins.references.shrinkage import hard, hard_risk, soft, soft_risk
from gahbench_plugins.references.sure_shrink import sure_thresholds
from gahbench_plugins.references.threshold import BandletSelection, Threshold, VisuShrink
from gahbench_plugins.references.tuned import Tuned

CLEAN = CAlpha(2.0, 32).images("test", 6)
BLIND = Truth(torch.full_like(CLEAN, torch.nan))
SIGMA = 0.1
NOISY = with_noise(CLEAN, SIGMA)
RULES = pytest.mark.parametrize("rule", ["hard", "soft"])


@RULES
@settings(deadline=None, max_examples=40)
@given(clean=st.floats(-12, 12), threshold=st.floats(0, 6))
def test_risk_is_the_integral_over_the_noise(rule, clean, threshold):
    def expected_between(low, high):
        # The rule is smooth within a piece, and the middle shows on which side of the threshold the piece lies.
        middle = (low + high) / 2
        kept, shift = abs(middle) > threshold, np.copysign(threshold if rule == "soft" else 0.0, middle)

        def integrand(value):
            return ((value - shift if kept else 0.0) - clean) ** 2 * stats.norm.pdf(value - clean)

        return integrate.quad(integrand, low, high, epsabs=1e-10)[0]

    kinks = [kink for kink in (-threshold, threshold) if abs(kink - clean) < 12]
    expected = sum(itertools.starmap(expected_between, itertools.pairwise([clean - 12, *kinks, clean + 12])))
    risk = hard_risk if rule == "hard" else soft_risk
    assert float(risk(torch.tensor(clean, dtype=torch.float64), threshold)) == pytest.approx(
        expected, rel=1e-7, abs=1e-9
    )


class Doubled(Basis):
    """A frame with known noise levels: two scaled copies of Haar coefficients, and atoms that are 0."""

    orthonormal = False

    def analysis(self, images):
        coefficients = Wavelet("haar", 1).analysis(images)
        return torch.stack([2 * coefficients, coefficients / 2, 0 * coefficients], dim=2)

    def synthesis(self, coefficients):
        return Wavelet("haar", 1).synthesis((coefficients[:, :, 0] / 2 + coefficients[:, :, 1] * 2) / 2)

    def noise_levels(self, shape):
        return torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)[:, None, None]

    def bands(self, shape):
        labels = Wavelet("haar", 1).bands(shape)
        return torch.stack([labels, labels, labels + 10])


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


@pytest.mark.parametrize(("shrink", "rule"), [(Threshold, ["hard"]), (Threshold, ["soft"]), (BayesShrink, [])])
def test_in_frames_coefficients_are_compared_with_their_noise_levels(shrink, rule):
    reference = construct(shrink, "wavelet[haar,levels=1]", *rule)
    expected = reference.denoise(NOISY, SIGMA, BLIND)
    reference.basis = Doubled()
    torch.testing.assert_close(reference.denoise(NOISY, SIGMA, BLIND), expected)
    assert reference.risk(Truth(CLEAN), SIGMA) is None


def test_adaptive_bases_are_adapted_to_the_noisy_images_in_batches_and_oracles_are_refused(monkeypatch):
    reference = construct(Threshold, "pixel", "hard", 2.5)
    expected = reference.denoise(NOISY, SIGMA, BLIND)
    reference.basis = Adapted()
    assert torch.equal(reference.denoise(NOISY, SIGMA, BLIND), expected)
    assert reference.risk(Truth(CLEAN), SIGMA) is None
    assert reference.basis.calls == [(3, 0.25, True)] * 2
    monkeypatch.setattr(Pixel, "oracle", True)
    with pytest.raises(ValueError, match=r"'pixel'.*for oracles only"):
        construct(Threshold, "pixel")


@pytest.mark.parametrize(("shrink", "rule"), [(VisuShrink, "hard"), (VisuShrink, "soft"), (BayesShrink, "soft")])
@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_shrinkage_agrees_with_scikit_image_away_from_borders(shrink, rule, sigma):
    # Haar on sides that are powers of two never looks beyond the border, so the boundary rules agree.
    images = with_noise(CLEAN, sigma).double().clamp(0, 1)
    reference = construct(shrink, "wavelet[haar,levels=3]", *([rule] if shrink is VisuShrink else []))
    # scikit-image counts all pixels, VisuShrink only details; scaling sigma makes the thresholds equal.
    details = math.sqrt(math.log(1024 - 16) / math.log(1024)) if shrink is VisuShrink else 1.0
    options = {"wavelet": "haar", "wavelet_levels": 3, "method": shrink.__name__, "rescale_sigma": True}
    for image, denoised in zip(images[:, 0].numpy(), reference.denoise(images, sigma, BLIND)[:, 0], strict=True):
        theirs = denoise_wavelet(image, sigma=sigma * details, mode=rule, **options)
        np.testing.assert_allclose(denoised.clip(0, 1), theirs, atol=1e-8)


def sure(coefficients, threshold):
    """Stein's estimate of the error of soft thresholding, from its divergence and residual."""
    residual = soft(coefficients, threshold) - coefficients
    return float(-len(coefficients) + residual.square().sum() + 2 * (coefficients.abs() > threshold).sum())


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 40), scale=st.floats(0.3, 5), seed=st.integers(0, 9999), rounded=st.booleans())
def test_no_threshold_has_a_lower_risk_estimate(count, scale, seed, rounded):
    coefficients = scale * draw(3, count, seed=seed)
    # Many rounded coefficients are equal, and some are 0.
    coefficients = coefficients.round() if rounded else coefficients
    largest = math.sqrt(2 * math.log(count))
    for row, threshold in zip(coefficients, sure_thresholds(coefficients, hybrid=False), strict=True):
        assert 0 <= threshold <= largest
        tried = torch.cat([torch.linspace(0, largest, 301, dtype=torch.float64), row.abs()[row.abs() <= largest]])
        assert sure(row, threshold) <= min(sure(row, other) for other in tried) + 1e-9


def test_sparse_bands_get_the_universal_threshold():
    count = 1024
    universal, limit = math.sqrt(2 * math.log(count)), math.log2(count) ** 1.5 / math.sqrt(count)
    below, above = (torch.full((1, count), math.sqrt(1 + limit + step)).double() for step in (-1e-6, 1e-6))
    assert sure_thresholds(below).item() == pytest.approx(universal)
    # For equal coefficients x, setting all to 0, with SURE d (x^2 - 1), is best if x^2 < 2.
    assert sure_thresholds(above).item() == pytest.approx(math.sqrt(1 + limit))
    assert sure_thresholds(below, hybrid=False).item() == pytest.approx(math.sqrt(1 + limit))


def bayes_threshold(values, sigma):
    signal = max(float(values.square().mean()) - sigma**2, 0) ** 0.5
    return sigma**2 / signal if signal > 0 else torch.inf


@pytest.mark.parametrize(("reference", "name", "shrink"), [
    *((f"threshold[NAME,rule={rule.__name__},k=2]", "wavelet[haar,levels=2]", lambda x, s, rule=rule: rule(x, 2 * s))
      for rule in (hard, soft)),
    ("sure-shrink[NAME]", "wavelet[haar,levels=2]", lambda x, s: soft(x, float(sure_thresholds(x[None] / s)) * s)),
    *(("bayes-shrink[NAME]", name, lambda x, s: soft(x, bayes_threshold(x, s)))
      for name in ("wavelet[sym4,levels=2]", "dct", "pixel")),
])  # fmt: skip
def test_bands_of_each_channel_and_image_are_shrunk_apart_and_the_coarse_scale_is_kept(reference, name, shrink):
    basis = gahbench.create("basis", name)
    images = NOISY.double().reshape(3, 2, 32, 32)
    labels, expected = basis.bands((2, 32, 32)), basis.analysis(images).clone()
    for coefficients in expected.flatten(0, 1):
        for band in labels[labels > 0].unique():
            coefficients[labels == band] = shrink(coefficients[labels == band], SIGMA)
    denoised = gahbench.create("reference", reference.replace("NAME", name)).denoise(images, SIGMA, BLIND)
    torch.testing.assert_close(basis.analysis(denoised), expected, atol=1e-10, rtol=0)


def test_bandlets_of_the_noisy_image_are_better_than_their_wavelet():
    clean, sigma = CAlpha(4.0, 64).images("test", 16), 0.03
    images = with_noise(clean, sigma)
    basis = Bandlet("sym4").adapt(images, 3.25 * sigma, noisy=True)
    coefficients = basis.analysis(images)
    kept = (coefficients.abs() > 3.25 * sigma) | (basis.bands((1, 64, 64)) == 0)
    denoised = [each.denoise(images, sigma, BLIND) for each in (BandletSelection("sym4"), construct(Threshold, k=3.25))]
    torch.testing.assert_close(denoised[0], basis.synthesis(coefficients * kept))
    bandlet, wavelet = ((each - clean).square().flatten(1).mean(1).log10() for each in denoised)
    gains = 10 * (wavelet - bandlet)
    assert gains.mean() > max(0.4, 4 * gains.std() / len(gains) ** 0.5)


@pytest.mark.parametrize(("values", "batches"), [(1, [6] * 9), (5 * CLEAN.numel(), [30, 24]), (1 << 30, [54])])
def test_cycle_spin_is_the_mean_over_shifts_for_every_batch_size(monkeypatch, values, batches):
    monkeypatch.setattr("gahbench_plugins.references.composite.BATCH_VALUES", values)
    inner = gahbench.create("reference", "sure-shrink")
    denoise, sizes = inner.denoise, []
    monkeypatch.setattr(inner, "denoise", lambda *arguments: sizes.append(len(arguments[2])) or denoise(*arguments))
    denoised = CycleSpin(inner, 3).denoise(NOISY, SIGMA, BLIND)
    assert sizes == batches
    expected = sum(
        denoise(NOISY.roll((down, right), (-2, -1)), SIGMA, BLIND).roll((-down, -right), (-2, -1))
        for down, right in itertools.product(range(3), repeat=2)
    )
    torch.testing.assert_close(denoised, expected / 9, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("basis", "shifts"), [("haar,levels=2", 4), ("sym4,levels=2", 4)])
@RULES
def test_all_shifts_equal_thresholding_in_the_translation_invariant_frame(basis, shifts, rule):
    images = NOISY[:2].double()
    spun = construct(CycleSpin, f"threshold[wavelet[{basis}],rule={rule}]", shifts).denoise(images, SIGMA, BLIND)
    frame = construct(Threshold, f"wavelet-ti[{basis}]", rule).denoise(images, SIGMA, BLIND)
    torch.testing.assert_close(spun, frame, atol=1e-9, rtol=0)


WHITE = 0.2 * draw(64, 1, 16, 16).float()


class Divide(Tuned):
    """A reference that divides white images of variance 0.04 by a number; the optimum is 1 + sigma^2 / 0.04."""

    tuned_parameter = "divisor"
    limits = (0.1, 50.0)

    def __init__(self, divisor=None, images=16, start=1.0):
        super().__init__(divisor, images)
        self.start, self.tried = start, []

    def filter_images(self, noisy, sigma, value):
        self.tried.append(value)
        return noisy / value

    def guess(self, sigma):
        return self.start


def fit_reference(*arguments, given=WHITE, **parameters):
    reference = Divide(*arguments, **parameters)
    reference.fit(TrainingData(GivenImages(given)))
    return reference


@pytest.mark.parametrize("start", [0.1, 3.3, 50.0])
@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_tuning_finds_the_minimum_from_any_start(start, sigma):
    reference = fit_reference(start=start)
    # Neighbouring candidates differ by the cube root of 2.
    assert abs(math.log2(reference.value(sigma) / (1 + sigma**2 / 0.04))) < 0.2
    torch.testing.assert_close(reference.denoise(WHITE, sigma, Truth(WHITE)), WHITE / reference.value(sigma))


def test_tuning_runs_once_for_each_noise_level_and_fit_on_limited_validation_images():
    dataset, reference = GivenImages(WHITE), Divide(images=5)
    reference.fit(TrainingData(dataset))
    assert reference.notes == ()
    high, tried = reference.value(0.5), len(reference.tried)
    assert (reference.value(0.5), len(reference.tried)) == (high, tried)
    low = reference.value(0.1)
    assert len(reference.tried) > tried
    assert reference.notes == (f"divisor tuned on 5 validation images: {low:.2g} at σ 0.1, {high:.2g} at σ 0.5",)
    assert set(dataset.requested_splits) == {"validation"}
    reference.fit(TrainingData(GivenImages(WHITE / 10)))
    assert reference.value(0.1) > 5 * low
    assert reference.value(10.0) == 50
    assert "50 at σ 10 (the end of its range)" in reference.notes[0]


def test_a_fixed_value_or_no_noise_needs_no_images_and_otherwise_an_error_names_the_solutions():
    assert torch.equal(Divide(4.0).denoise(WHITE, 0.1, Truth(WHITE)), WHITE / 4)
    assert Divide(4.0).notes == ()
    assert fit_reference(4.0).value(0.3) == 4
    assert Divide().denoise(WHITE, 0.0, Truth(WHITE)) is WHITE
    with pytest.raises(DataError, match=r"divisor is tuned.*call fit\(examples\) first"):
        Divide().denoise(WHITE, 0.1, Truth(WHITE))
    with pytest.raises(DataError, match="no validation images"):
        fit_reference(given=WHITE[:0]).value(0.1)


def test_a_tuned_threshold_has_nearly_the_smallest_expected_error():
    reference, dataset = construct(Threshold, k=None), CAlpha(2.0, 32)
    reference.fit(TrainingData(dataset))
    k, validation = reference.value(SIGMA), Truth(dataset.images("validation", 16))
    assert torch.equal(reference.risk(validation, SIGMA), construct(Threshold, k=k).risk(validation, SIGMA))
    risks = [construct(Threshold, k=float(other)).risk(validation, SIGMA).mean() for other in torch.linspace(1, 6, 51)]
    assert reference.risk(validation, SIGMA).mean() < 1.05 * min(risks)
