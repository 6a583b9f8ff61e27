"""Thresholding references: fixed, tuned, universal and adaptive thresholds, means over shifts, oracles and optima."""

import functools
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
from gahbench import DataError, OptimumError, TrainingData, Truth
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.bases.pixel import Pixel
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.bayes_shrink import BayesShrink
from gahbench_plugins.references.composite import CycleSpin
from gahbench_plugins.references.oracle import OracleBestBasis, OracleShrink, OracleThreshold
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
    *((f"threshold[NAME,rule={rule.__name__},k=2]", name, lambda x, s, rule=rule: rule(x, 2 * s))
      for rule in (hard, soft) for name in ("wavelet[haar,levels=2]", "wavelet[bior2.2,levels=2]", "wavelet-ti[haar]")),
    ("sure-shrink[NAME]", "wavelet[haar,levels=2]", lambda x, s: soft(x, float(sure_thresholds(x[None] / s)) * s)),
    *(("bayes-shrink[NAME]", name, lambda x, s: soft(x, bayes_threshold(x, s)))
      for name in ("wavelet[sym4,levels=2]", "wavelet-ti[haar]", "dct", "pixel")),
])  # fmt: skip
@pytest.mark.parametrize("size", [32, 27])
def test_bands_are_shrunk_apart_relative_to_their_noise_levels_and_the_coarse_scale_is_kept(
    reference, name, shrink, size
):
    """Bands of each channel and image; at size 27 wavelets have atoms that are 0, and count as coefficients of 0."""
    basis, reference = gahbench.create("basis", name), gahbench.create("reference", reference.replace("NAME", name))
    images = NOISY.double().reshape(3, 2, 32, 32)[..., :size]
    coefficients = basis.analysis(images).clone()
    labels, levels = (each.expand(coefficients.shape[1:])[0] for each in (
        basis.bands(images.shape[1:]), basis.noise_levels(images.shape[1:])))  # fmt: skip
    for values in coefficients.flatten(0, 1):
        for band in labels[labels > 0].unique():
            part = labels == band
            scale = torch.where(levels > 0, levels, 1)[part]
            values[part] = scale * shrink(values[part] / scale, SIGMA)
    result = reference.denoise(images, SIGMA, Truth(images))
    torch.testing.assert_close(result, basis.synthesis(coefficients), atol=1e-10, rtol=0)
    assert basis.is_orthonormal(images.shape[1:]) or reference.risk(Truth(images), SIGMA) is None


def test_bandlets_of_the_noisy_image_are_better_than_their_wavelet():
    clean, sigma = CAlpha(4.0, 64).images("test", 16), 0.03
    images = with_noise(clean, sigma)
    basis = Bandlet("sym4").adapt(images, 3.25 * sigma, noisy=True)
    coefficients = basis.analysis(images).clone()
    kept = (coefficients.abs() > 3.25 * sigma) | (basis.bands((1, 64, 64)) == 0)
    denoised = [each.denoise(images, sigma, BLIND) for each in (BandletSelection("sym4"), construct(Threshold, k=3.25))]
    torch.testing.assert_close(denoised[0], basis.synthesis(coefficients * kept))
    bandlet, wavelet = ((each - clean).square().flatten(1).mean(1).log10() for each in denoised)
    gains = 10 * (wavelet - bandlet)
    assert gains.mean() > max(0.4, 4 * gains.std() / len(gains) ** 0.5)


@pytest.mark.parametrize("values", [1, 10_000, 1 << 30])
@pytest.mark.parametrize("basis", ["haar,levels=2", "sym4,levels=2"])
@RULES
def test_all_shifts_equal_thresholding_in_the_translation_invariant_frame(monkeypatch, values, basis, rule):
    monkeypatch.setattr("gahbench_plugins.references.composite.BATCH_VALUES", values)
    images = NOISY[:2].double()
    spun = construct(CycleSpin, f"threshold[wavelet[{basis}],rule={rule}]", 4).denoise(images, SIGMA, BLIND)
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


ORACLES = pytest.mark.parametrize(("rule", "oracle"), [("threshold", OracleThreshold), ("shrink", OracleShrink)])
SMALL = CAlpha(2.0, 16).images("test", 4)


@ORACLES
def test_without_orthonormality_noise_levels_differ_and_risk_has_no_closed_form(rule, oracle):
    reference, noisy = construct(oracle, "wavelet[bior2.2,levels=2]"), SMALL + 0.1
    assert reference.risk(Truth(SMALL), 0.1) is None
    clean = reference.basis.analysis(SMALL)
    levels = 0.1 * reference.basis.noise_levels((1, 16, 16)).float()
    kept = clean.abs() > levels if rule == "threshold" else clean**2 / (clean**2 + levels**2)
    expected = reference.basis.synthesis(reference.basis.analysis(noisy) * kept)
    torch.testing.assert_close(reference.denoise(noisy, 0.1, Truth(SMALL)), expected)


class Turned(Pixel):
    """An adaptive basis of pixels, with negative sign for dark images."""

    adaptive = True

    def __init__(self, signs=None):
        self.signs, self.calls = signs, []

    def max_batch(self, shape):
        return 3

    def adapt(self, images, threshold, noisy=False):
        self.calls.append((len(images), threshold, noisy))
        return Turned(torch.where(images.mean((1, 2, 3), keepdim=True) > 0.5, -1.0, 1.0))

    def analysis(self, images):
        return images * self.signs

    synthesis = analysis


@pytest.mark.parametrize("build", [OracleThreshold, OracleShrink, functools.partial(Threshold, rule="hard", k=2.5)])
def test_bases_are_adapted_to_clean_or_noisy_images_in_batches_that_they_can_take(build):
    turned, plain, truth, is_oracle = build(Pixel()), build(Pixel()), Truth(CLEAN), isinstance(build, type)
    turned.basis = Turned()
    torch.testing.assert_close(turned.denoise(NOISY, SIGMA, truth), plain.denoise(NOISY, SIGMA, truth))
    assert turned.basis.calls == [(3, SIGMA if is_oracle else 2.5 * SIGMA, not is_oracle)] * 2
    if is_oracle:
        torch.testing.assert_close(turned.risk(truth, SIGMA), plain.risk(truth, SIGMA))
    else:
        assert turned.risk(truth, SIGMA) is None


@ORACLES
@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_every_image_has_its_best_basis(rule, oracle, sigma):
    """A few pixels, a wave, and images that are neither."""
    spikes = torch.zeros(1, 1, 16, 16)
    spikes[0, 0, [3, 9], [5, 14]] = 1
    wave = torch.cos(torch.pi / 16 * 5 * (torch.arange(16) + 0.5)).expand(1, 1, 16, 16)
    clean, names = torch.cat([spikes, wave, SMALL]), ("pixel", "dct", "sym4")
    best, truth, noisy = construct(OracleBestBasis, names, rule), Truth(clean), clean + sigma
    oracles = [construct(oracle, name) for name in names]
    risks = torch.stack([single.risk(truth, sigma) for single in oracles])
    torch.testing.assert_close(best.risk(truth, sigma), risks.amin(0))
    choice = best.choice(truth, sigma)
    assert choice[:2].tolist() == [0, 1]
    denoised = torch.stack([single.denoise(noisy, sigma, truth) for single in oracles])
    torch.testing.assert_close(best.denoise(noisy, sigma, truth), denoised[choice, torch.arange(len(clean))])


def test_measured_risks_agree_with_the_matrices():
    clean = SMALL[..., :13].double()
    best, truth = construct(OracleBestBasis, ("pixel", "sym4", "wavelet[bior2.2]")), Truth(clean)
    assert best.risk(truth, 0.1) is None
    for oracle, result in zip(best.references, best._risks(truth, 0.1), strict=True):
        bias = (oracle.denoise(clean, 0.1, truth) - clean).square().flatten(1).sum(1)
        variance = 0.01 * oracle.jacobian(clean, 0.1, truth).matrices().square().sum((1, 2))
        # With four noise images the variance has an error of several per cent on so few pixels.
        torch.testing.assert_close(result, (bias + variance) / 208, rtol=0.35, atol=1e-6)


@pytest.mark.parametrize(("name", "supported"), [("discs[size=8]", "optimal"), ("c-alpha[size=8]", "lower-bound")])
def test_optima_are_those_of_the_dataset_and_need_it(name, supported):
    dataset = gahbench.create("dataset", name)
    truth = Truth(dataset.images("test", 2), dataset)
    for each in ("optimal", "lower-bound"):
        reference = gahbench.create("reference", each)
        assert reference.supports(dataset) == (each == supported)
        with pytest.raises(OptimumError, match="dataset"):
            reference.denoise(truth.clean, 0.1, Truth(truth.clean))
    noisy = with_noise(truth.clean, 0.3)
    result = gahbench.create("reference", supported).denoise(noisy, 0.3, truth)
    expected = dataset.posterior(noisy, 0.3).mean if supported == "optimal" else dataset.genie(noisy, 0.3, "test", 0)
    torch.testing.assert_close(result, expected.float())
