import itertools
import math

import numpy as np
import pytest
import torch
from constructing import construct
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from gahbench._util.errors import DataError
from gahbench.contracts.bases import Basis
from gahbench.contracts.truth import TrainingData, Truth
from gahbench_plugins.bases.pixel import Pixel
from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references._shrinkage import hard, hard_risk, soft, soft_risk
from gahbench_plugins.references.threshold import Threshold

CLEAN = CAlpha(2.0, 32).images("test", 4)
BLIND = Truth(torch.full_like(CLEAN, torch.nan))
RULES = pytest.mark.parametrize(("rule", "risk"), [(hard, hard_risk), (soft, soft_risk)], ids=["hard", "soft"])
NAMES = pytest.mark.parametrize("rule", ["hard", "soft"])


def noisy(sigma, seed=0, clean=CLEAN):
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed), dtype=clean.dtype)


def error(denoised):
    return (denoised - CLEAN).square().flatten(1).mean(1)


def test_rules_by_hand():
    coefficients = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    assert hard(coefficients, 1.0).tolist() == [-2, 0, 0, 0, 0, 0, 3]
    assert soft(coefficients, 1.0).tolist() == [-1, 0, 0, 0, 0, 0, 2]


@RULES
@settings(deadline=None, max_examples=40)
@given(clean=st.floats(-12, 12), threshold=st.floats(0, 6))
def test_risk_is_the_integral_over_the_noise(rule, risk, clean, threshold):
    def expected_between(low, high):
        # The rule is smooth within a piece, and which side of the threshold that lies on is seen at its middle.
        middle = (low + high) / 2
        kept, shift = abs(middle) > threshold, np.copysign(threshold if rule is soft else 0.0, middle)

        def integrand(value):
            return ((value - shift if kept else 0.0) - clean) ** 2 * stats.norm.pdf(value - clean)

        return integrate.quad(integrand, low, high, epsabs=1e-10)[0]

    kinks = [place for place in (-threshold, threshold) if abs(place - clean) < 12]
    ends = [clean - 12, *kinks, clean + 12]
    expected = sum(expected_between(*piece) for piece in itertools.pairwise(ends))
    got = float(risk(torch.tensor(clean, dtype=torch.float64), threshold))
    assert got == pytest.approx(expected, rel=1e-7, abs=1e-9)


@RULES
@pytest.mark.parametrize("threshold", [0.0, 1.0, 4.0])
def test_limits_of_the_risks(rule, risk, threshold):
    far = risk(torch.tensor([1e3, 1e9, 1e200, -1e200], dtype=torch.float64), threshold)
    expected = 1.0 if rule is hard else 1 + threshold**2
    assert far.tolist() == pytest.approx([expected] * 4, rel=1e-12)
    grid = torch.linspace(-5, 5, 11, dtype=torch.float64)
    torch.testing.assert_close(risk(grid, 0.0), torch.ones_like(grid))
    # A threshold that nothing exceeds loses the coefficient.
    torch.testing.assert_close(risk(grid, 60.0), grid.square(), atol=1e-12, rtol=1e-12)


def test_soft_risk_of_nothing_is_small_and_positive():
    for threshold in (3.0, 6.0, 9.0):
        # The leading term of the tail of E max(|z| - t, 0)^2.
        leading = 4 * stats.norm.pdf(threshold) / threshold**3
        risk = float(soft_risk(torch.zeros((), dtype=torch.float64), threshold))
        assert 0.3 * leading < risk < leading


@NAMES
def test_risk_in_the_limits_of_the_noise(rule):
    reference = construct(Threshold, "wavelet[sym4,levels=2]", rule)
    assert reference.risk(Truth(CLEAN), 0.0).tolist() == [0] * 4
    generic = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    # Without noise to speak of, all details exceed the threshold; an 16th of the coefficients is left alone.
    detail = 1.0 if rule == "hard" else 10.0
    expected = torch.full((2,), (15 * detail + 1) / 16 * 1e-14, dtype=torch.float64)
    torch.testing.assert_close(reference.risk(Truth(generic), 1e-7), expected, rtol=1e-3, atol=0)


@NAMES
def test_shrinks_the_details_and_nothing_else(rule):
    basis = Wavelet("haar", 2)
    sigma, k = 0.1, 2.0
    images = noisy(sigma).double()
    before = basis.analysis(images)
    after = basis.analysis(construct(Threshold, "wavelet[haar,levels=2]", rule, k).denoise(images, sigma, BLIND))
    coarse = torch.zeros(32, 32, dtype=torch.bool)
    coarse[:8, :8] = True
    torch.testing.assert_close(after[..., coarse], before[..., coarse])
    details = before[..., ~coarse]
    expected = torch.where(details.abs() > k * sigma, details - (rule == "soft") * k * sigma * details.sign(), 0)
    torch.testing.assert_close(after[..., ~coarse], expected)
    assert 0.5 < (expected == 0).double().mean() < 1


def test_usual_thresholds_are_nearly_the_best_of_their_rule():
    for rule, usual, others in (("hard", 3.0, (2.0, 4.5)), ("soft", 1.5, (0.8, 2.8))):
        best = construct(Threshold, rule=rule, k=usual).risk(Truth(CLEAN), 0.05).mean()
        for k in others:
            assert best < construct(Threshold, rule=rule, k=k).risk(Truth(CLEAN), 0.05).mean()


class Doubled(Basis):
    """Two copies of the Haar coefficients at other scales, and atoms that are 0: a frame with known noise."""

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
        return Wavelet("haar", 1).bands(shape)


def test_frames_are_thresholded_by_their_noise_levels():
    images = noisy(0.1)
    for rule in ("hard", "soft"):
        expected = construct(Threshold, "wavelet[haar,levels=1]", rule).denoise(images, 0.1, BLIND)
        reference = construct(Threshold, "pixel", rule)
        reference.basis = Doubled()
        torch.testing.assert_close(reference.denoise(images, 0.1, BLIND), expected)
        assert reference.risk(Truth(CLEAN), 0.1) is None


class Adapted(Pixel):
    """Remembers what it was adapted to."""

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
    images = noisy(0.1)
    denoised = reference.denoise(images, 0.1, BLIND)
    assert torch.equal(denoised, construct(Threshold, "pixel", "hard", 2.5).denoise(images, 0.1, BLIND))
    assert basis.calls == [(3, 0.25, True), (1, 0.25, True)]
    assert reference.risk(Truth(CLEAN), 0.1) is None
    assert basis.calls == [(3, 0.25, True), (1, 0.25, True)]


def test_what_only_oracles_may_use_is_refused(monkeypatch):
    monkeypatch.setattr(Pixel, "oracle", True)
    with pytest.raises(ValueError, match=r"'pixel'.*for oracles only"):
        construct(Threshold, "pixel")


def test_parameters_are_checked():
    assert construct(Threshold).kind == "classical"
    with pytest.raises(ValueError, match=r"rule='firm'.*hard and soft"):
        construct(Threshold, rule="firm")
    for k in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="k="):
            construct(Threshold, k=k)
    assert torch.equal(construct(Threshold).denoise(CLEAN, 0.0, BLIND), CLEAN)


def test_k_is_tuned_on_validation_images():
    dataset = CAlpha(2.0, 32)
    reference = construct(Threshold, k=None)
    with pytest.raises(DataError, match="call fit"):
        reference.denoise(noisy(0.1), 0.1, BLIND)
    reference.fit(TrainingData(dataset))
    denoised = reference.denoise(noisy(0.1), 0.1, BLIND)
    k = reference.value(0.1)
    assert torch.equal(denoised, construct(Threshold, k=k).denoise(noisy(0.1), 0.1, BLIND))
    assert torch.equal(reference.risk(Truth(CLEAN), 0.1), construct(Threshold, k=k).risk(Truth(CLEAN), 0.1))
    # On the validation images the expected error is nearly the least there.
    validation = Truth(dataset.images("validation", 16))
    least = min(
        construct(Threshold, k=other).risk(validation, 0.1).mean() for other in torch.linspace(1, 6, 51).tolist()
    )
    assert reference.risk(validation, 0.1).mean() < 1.05 * least
    assert reference.notes == (f"k tuned on 16 validation images: {k:.2g} at σ 0.1",)
    assert construct(Threshold).notes == ()
