"""Checks of denoisers in addition to their scores: honest denoisers are not flagged, and dishonest denoisers are."""

import math

import pytest
import torch

import gahbench
from gahbench import Reference
from gahbench.evaluation import Evaluation
from gahbench.evaluation.audit import DRAWS, MIN_DRAWS, audit, audit_repetition, check_claimed_risk

SIGMAS = [0.05, 0.2, 0.6]


class FunctionDenoiser(Reference):
    """A denoiser defined by a function."""

    def __init__(self, function, kind="classical", risk=None):
        self.function, self.kind, self.given = function, kind, risk

    def denoise(self, noisy, sigma, truth):
        return self.function(noisy, sigma)

    def risk(self, truth, sigma):
        return None if self.given is None else self.given(truth, sigma)


def create_evaluation(denoiser, dataset="gaussian-field[size=16]", images=24):
    dataset = gahbench.create("dataset", dataset)
    denoiser.fit(gahbench.TrainingData(dataset))
    return Evaluation(denoiser, dataset.images("test", images), SIGMAS, dataset=dataset)


HONEST = [
    "identity",
    "gaussian-blur",
    "gaussian-blur[width=3]",
    "gaussian-blur[width=0.3]",
    "low-pass[share=0.02]",
    "visu-shrink",
    "bayes-shrink",
    "bandlet",
    "wiener-linear[images=8]",
    "empirical-bayes[images=1]",
    "empirical-bayes[images=64]",
    "oracle-threshold",
]


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("visu-shrink", "discs[size=16]"),
        *((name, dataset) for name in HONEST for dataset in ("gaussian-field[size=16]", "rays[image=discs[size=16]]")),
    ],
)
def test_honest_denoisers_are_not_flagged(name, dataset):
    result = audit(create_evaluation(gahbench.create("reference", name), dataset))
    assert result.flags == ()
    assert result.facts["difference"] < 1e-5


def test_empirical_bayes_is_not_flagged_if_test_images_are_training_images():
    evaluation = create_evaluation(gahbench.create("reference", "empirical-bayes"), "finite[discs[size=16],count=8]")
    assert audit(evaluation).flags == ()


@pytest.mark.parametrize(
    "function",
    [
        lambda noisy, sigma: noisy - 0.2 * (noisy - noisy.mean(0)),
        lambda noisy, sigma: noisy if len(noisy) > 1 else noisy * math.nan,
    ],
)
def test_outputs_that_depend_on_other_images_are_flagged(function):
    flag, *_ = audit(create_evaluation(FunctionDenoiser(function))).flags
    assert flag.startswith(
        "not deterministic: the same noisy images, denoised again one by one in another order, differ"
    )


@pytest.mark.parametrize(("size", "is_flagged"), [(3e-3, False), (3e-2, True)])
def test_differences_above_one_percent_of_the_noise_are_flagged(size, is_flagged):
    generator = torch.Generator().manual_seed(0)

    def round_output(noisy, sigma):
        return noisy + size * sigma * torch.randn(noisy.shape, generator=generator)

    assert bool(audit(create_evaluation(FunctionDenoiser(round_output))).flags) is is_flagged


def test_rounding_of_large_outputs_is_reported_as_divergence():
    """In float32, outputs of 1e5 are rounded to 0.01, which is a fifth of the noise."""
    calls = iter(range(1000))

    def diverges(noisy, sigma):
        return 1e5 + noisy + 0.01 * next(calls)

    result = audit_repetition(create_evaluation(FunctionDenoiser(diverges)))
    assert result.flags == ()
    (note,) = result.notes
    assert note.startswith("diverged: its outputs are")
    assert result.facts["size"] > 1e4


def test_one_image_on_the_other_side_of_a_threshold_is_not_flagged():
    calls = iter(range(1000))

    def decides(noisy, sigma):
        # At the middle level, the second image that is denoised alone has a different output.
        return noisy + (sigma if len(noisy) == 1 and next(calls) == 1 else 0.0)

    assert audit(create_evaluation(FunctionDenoiser(decides))).flags == ()


def test_outputs_that_are_nan_are_reported_as_divergence():
    result = audit(create_evaluation(FunctionDenoiser(lambda noisy, sigma: noisy * math.nan)))
    assert (result.flags, result.notes) == ((), ("diverged: its outputs are not finite at σ = 0.2",))


def blur_risk(truth, sigma):
    return torch.full((len(truth),), 0.64 * sigma**2) + (0.2 * truth.clean).square().flatten(1).mean(1)


@pytest.mark.parametrize(
    ("shares", "wrong"),
    [
        ((1.0, 1.0, 1.0), None),
        ((1.02, 1.02, 1.02), None),
        ((0.9, 0.9, 0.9), "0.05"),
        ((1.0, 0.7, 1.0), "0.2"),
        ((1e-4, 1.0, 1.0), "0.05"),
        ((1.0, 1.0, 3.0), "0.6"),
    ],
)
def test_a_claimed_risk_must_be_the_expected_error_at_every_level(shares, wrong):
    share = dict(zip(SIGMAS, shares, strict=True))
    evaluation = create_evaluation(
        FunctionDenoiser(
            lambda noisy, sigma: 0.8 * noisy, risk=lambda truth, sigma: share[sigma] * blur_risk(truth, sigma)
        )
    )
    for sigma in SIGMAS:
        evaluation.risk(sigma)
    if wrong is None:
        assert check_claimed_risk(evaluation)
    else:
        with pytest.raises(ValueError, match=rf"expected error that its 'risk' claims is wrong: at σ = {wrong} it"):
            check_claimed_risk(evaluation)


@pytest.mark.parametrize(("excess", "few"), [(0.0, True), (0.01, True), (0.06, False), (-0.4, False)])
def test_few_errors_are_drawn_if_they_confirm_a_claim_with_certainty(excess, few):
    drawn = []

    def shrinks(noisy, sigma):
        drawn.append(len(noisy))
        return 0.8 * noisy

    # Images have 2304 pixels, so errors vary by 3 %.
    clean = torch.rand(4, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    truthful = 0.64 * 0.3**2 + (0.2 * clean).square().flatten(1).mean(1)
    evaluation = Evaluation(FunctionDenoiser(shrinks, risk=lambda truth, sigma: truthful / (1 + excess)), clean, [0.3])
    evaluation.risk(0.3)
    if few:
        assert check_claimed_risk(evaluation)
    else:
        with pytest.raises(ValueError, match="expected error"):
            check_claimed_risk(evaluation)
    assert (MIN_DRAWS <= sum(drawn) < DRAWS) == few


def test_no_claim_is_checked_if_no_risk_was_used():
    assert not check_claimed_risk(create_evaluation(FunctionDenoiser(lambda noisy, sigma: noisy, risk=blur_risk)))
