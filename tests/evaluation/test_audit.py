"""Checks of denoisers in addition to their scores: honest denoisers are not flagged, and dishonest denoisers are."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

import gahbench
from gahbench import Reference
from gahbench.evaluation import Evaluation
from gahbench.evaluation.audit import (
    audit,
    audit_repetition,
    check_claimed_risk,
    compare_gains,
    compare_on_fresh_images,
    curves,
)

SIGMAS = [0.05, 0.2, 0.6]


class FunctionDenoiser(Reference):
    """A denoiser defined by a function of the noisy images, the noise level and the truth."""

    def __init__(self, function, risk=None):
        self.function, self.given = function, risk

    def denoise(self, noisy, sigma, truth):
        return self.function(noisy, sigma, truth)

    def risk(self, truth, sigma):
        return None if self.given is None else self.given(truth, sigma)


def evaluate(denoiser, dataset="gaussian-field[size=16]"):
    dataset = gahbench.create("dataset", dataset)
    denoiser = denoiser if isinstance(denoiser, Reference) else FunctionDenoiser(denoiser)
    denoiser.fit(gahbench.TrainingData(dataset))
    return Evaluation(denoiser, dataset.images("test", 24), SIGMAS, dataset=dataset)


def blur(noisy, sigma=None, truth=None):
    padded = torch.nn.functional.pad(noisy, (1, 1, 1, 1), mode="reflect")
    return torch.nn.functional.avg_pool2d(padded, 3, stride=1)


@pytest.mark.parametrize("dataset", ["gaussian-field[size=16]", "rays[image=discs[size=16]]"])
@pytest.mark.parametrize("name", [
    "identity", "gaussian-blur[width=3]", "low-pass[share=0.02]", "bayes-shrink", "wiener-linear[images=8]",
    "empirical-bayes[images=1]", "empirical-bayes[images=64]", "oracle-threshold",
])  # fmt: skip
def test_honest_denoisers_are_not_flagged(name, dataset):
    result = audit(evaluate(gahbench.create("reference", name), dataset))
    assert result.flags == ()
    assert result.facts["difference"] < 1e-5


def test_differences_above_one_percent_of_the_noise_and_of_most_images_are_flagged():
    calls = iter(range(1000))
    random = torch.Generator().manual_seed(0)
    for size, is_flagged in ((3e-3, False), (3e-2, True)):
        rounded = evaluate(
            lambda noisy, sigma, _, size=size: noisy + size * sigma * torch.randn(noisy.shape, generator=random)
        )
        assert bool(audit_repetition(rounded).flags) is is_flagged
    # At the middle level, the second image that is denoised alone is on the other side of a threshold.
    decides = evaluate(lambda noisy, sigma, _: noisy + (sigma if len(noisy) == 1 and next(calls) == 1 else 0.0))
    assert audit_repetition(decides).flags == ()


def test_large_and_infinite_outputs_have_diverged_and_are_not_flagged():
    """In float32, outputs of 1e5 are rounded to 0.01, which is a fifth of the noise."""
    calls = iter(range(1000))
    result = audit_repetition(evaluate(lambda noisy, *_: 1e5 + noisy + 0.01 * next(calls)))
    assert (result.flags, len(result.notes)) == ((), 1)
    assert result.notes[0].startswith("diverged: ")
    alone = evaluate(lambda noisy, *_: noisy if len(noisy) > 1 else noisy * math.nan)
    assert audit_repetition(alone).flags[0].startswith("not deterministic")
    result = audit(evaluate(lambda noisy, *_: noisy * math.nan))
    assert (result.flags, result.notes) == ((), ("diverged: its outputs are not finite at σ = 0.2",))


def blur_risk(truth, sigma):
    return torch.full((len(truth),), 0.64 * sigma**2) + (0.2 * truth.clean).square().flatten(1).mean(1)


@pytest.mark.parametrize(("shares", "wrong"), [
    ((1.0, 1.02, 1.0), None), ((0.9, 0.9, 0.9), "0.05"), ((1.0, 0.7, 1.0), "0.2"), ((1.0, 1.0, 3.0), "0.6"),
])  # fmt: skip
def test_a_claimed_risk_must_be_the_expected_error_at_every_level(shares, wrong):
    share = dict(zip(SIGMAS, shares, strict=True))
    claims = FunctionDenoiser(
        lambda noisy, *_: 0.8 * noisy, lambda truth, sigma: share[sigma] * blur_risk(truth, sigma)
    )
    evaluation = evaluate(claims)
    assert not check_claimed_risk(evaluation)
    for sigma in SIGMAS:
        evaluation.risk(sigma)
    if wrong is None:
        assert check_claimed_risk(evaluation)
    else:
        with pytest.raises(ValueError, match=rf"expected error that its 'risk' claims is wrong: at σ = {wrong} it"):
            check_claimed_risk(evaluation)


# --- New images ---


def test_gains_are_compared_by_welchs_t_test_without_what_the_oracle_explains():
    random = np.random.default_rng(0)
    scored, fresh = random.normal(1.0, 1.0, (1, 24)), random.normal(0.0, 2.0, (1, 16))
    p, advantage = compare_gains(*(np.stack([values, np.zeros_like(values)]) for values in (scored, fresh)))
    expected = scipy.stats.ttest_ind(scored[0], fresh[0], equal_var=False, alternative="greater")
    # The average over one level is that level, and each has half of the probability.
    assert p == pytest.approx(2 * expected.pvalue)
    assert advantage == pytest.approx(scored.mean() - fresh.mean())
    oracles = random.normal(20, 2, (4, 24)), random.normal(24, 2, (4, 16))
    own = [0.7 * oracle + random.normal(0, 1e-2, oracle.shape) for oracle in oracles]
    own[0][2] += 1.5
    p, advantage = compare_gains(*(np.stack(pair) for pair in zip(own, oracles, strict=True)))
    assert p < 1e-4
    assert advantage == pytest.approx(1.5, abs=0.05)


def test_p_values_of_honest_rows_are_valid():
    random, trials = np.random.default_rng(3), 2000
    p = np.array(
        [compare_gains(random.normal(size=(2, 4, 24)), random.normal(size=(2, 4, 16)))[0] for _ in range(trials)]
    )
    for level in (0.05, 0.01):
        assert (p < level).mean() < level + 4 * (level / trials) ** 0.5
    # The test is not too conservative.
    assert (p < 0.05).mean() > 0.02


def test_the_oracle_has_the_expected_error_of_thresholding_and_psnrs_are_finite():
    clean = gahbench.create("dataset", "discs[size=16]").images("test", 3)
    outputs = torch.stack([clean[0] + 0.1, clean[1] * np.nan, clean[2] + np.inf])
    own, oracle = curves(clean, {0.1: outputs})
    assert own[0] == pytest.approx([20, -100, -100], abs=1e-4)
    risk = gahbench.create("reference", "oracle-threshold[dct]").risk(gahbench.Truth(clean), 0.1)
    assert oracle[0] == pytest.approx(-10 * risk.log10().numpy(), abs=1e-4)


def test_new_images_follow_the_scored_images_of_a_stream_at_random_positions(tmp_path):
    results = [compare_on_fresh_images(evaluate(blur)) for _ in range(3)]
    assert all(result.images == "new" and result.facts["start"] >= 24 for result in results)
    assert len({result.facts["start"] for result in results}) == 3
    np.save(tmp_path / "some.npy", np.random.default_rng(0).random((99, 8, 8)))
    finite = evaluate(blur, f"images[path={tmp_path / 'some.npy'},test=60,near_duplicates=keep]")
    assert compare_on_fresh_images(finite).images == ""


def test_networks_that_memorise_training_images_are_not_flagged():
    known = gahbench.create("dataset", "c-alpha[alpha=2,size=16]").images("train", 32).flatten(1)
    nearest = lambda noisy, *_: known[torch.cdist(noisy.flatten(1), known).argmin(1)].view_as(noisy)  # noqa: E731
    assert compare_on_fresh_images(evaluate(nearest, "c-alpha[alpha=2,size=16]")).flags == ()


def test_a_denoiser_that_finds_the_new_clean_images_beats_the_optimum(monkeypatch):
    dataset = gahbench.create("dataset", "gaussian-field[size=16]")
    drawn, draw = [], type(dataset).images
    record = lambda *arguments, **keywords: drawn.append(draw(*arguments, **keywords)) or drawn[-1]  # noqa: E731
    monkeypatch.setattr(type(dataset), "images", record)

    def knows(noisy, sigma, truth):
        known = torch.cat(drawn).flatten(1)
        return known[torch.cdist(noisy.flatten(1), known).argmin(1)].view_as(noisy)

    evaluation = Evaluation(FunctionDenoiser(knows), dataset.images("test", 24), SIGMAS, dataset=dataset)
    (flag,) = compare_on_fresh_images(evaluation).flags
    assert flag == "has a smaller mean error than the optimum on 16 new images of this dataset (12 compared)"
