"""Evaluations under Poisson-Gaussian noise: noise, stabilised denoisers, oracles and the optimum."""

import pytest
import torch

from gahbench import Reference, TrainingData, create
from gahbench.contracts.truth import Truth
from gahbench.evaluation import Evaluation
from gahbench.evaluation.audit import audit
from gahbench.noise import PoissonGaussian, Stabilisation

NOISE = PoissonGaussian(0.02, 0.0004)
LEVEL = 0.1


def evaluation(denoiser, count=6, noise=NOISE, dataset=None, **fields):
    dataset = dataset or create("dataset", "discs", size=12)
    clean = dataset.images("test", count)
    return Evaluation(denoiser, clean, [LEVEL], dataset=dataset, noise={LEVEL: noise}, **fields)


class Recorder(Reference):
    """Returns the clean image, and keeps what it receives."""

    kind = "oracle"

    def denoise(self, noisy, sigma, truth):
        self.received = noisy, sigma, truth
        return truth.clean


def test_noise_is_that_of_the_model_and_belongs_to_images():
    whole = evaluation(create("reference", "identity"), count=64)
    noisy, clean = whole.noisy(LEVEL), whole.clean.double()
    ratio = (noisy - clean).square().mean() / NOISE.variance(clean).mean()
    assert ratio.item() == pytest.approx(1, abs=0.05)
    assert whole.root_mean_square(LEVEL) == pytest.approx(float(NOISE.variance(clean).mean().sqrt()))
    assert torch.equal(evaluation(create("reference", "identity"), count=3).noisy(LEVEL), noisy[:3])
    assert torch.equal(whole.select(5).noisy(LEVEL), noisy[5:6])
    assert not torch.equal(whole.noisy(LEVEL, 1), noisy)


@pytest.mark.parametrize("reference", ["bayes-shrink", "oracle-threshold[sym4]", "low-pass", "wiener-linear"])
def test_without_photon_noise_denoisers_run_as_under_white_noise(reference):
    denoiser = create("reference", reference)
    denoiser.fit(TrainingData(create("dataset", "discs", size=12), count=64))
    limit = evaluation(denoiser, noise=PoissonGaussian(0.0, LEVEL**2))
    expected = denoiser.denoise(limit.noisy(LEVEL), LEVEL, limit.truth)
    assert (limit.denoised(LEVEL) - expected).abs().max() < 1e-5


def test_oracles_see_the_expected_stabilised_image_at_the_stabilised_level():
    recorder, stabilisation = Recorder(), Stabilisation(NOISE)
    scored = evaluation(recorder)
    denoised = scored.denoised(LEVEL)
    noisy, sigma, truth = recorder.received
    assert sigma == stabilisation.sigma
    torch.testing.assert_close(noisy, stabilisation.forward(scored.noisy(LEVEL)))
    torch.testing.assert_close(truth.clean, stabilisation.expected(scored.clean))
    assert truth.noise is None
    # A perfect denoiser of stabilised images is inverted to the clean intensities.
    assert (denoised - scored.clean).abs().max() < 1e-4
    assert (noisy - truth.clean).std().item() == pytest.approx(sigma, rel=0.1)


def test_risks_and_jacobians_are_unknown():
    scored = evaluation(create("reference", "oracle-threshold[sym4]"))
    assert scored.risk(LEVEL) is None
    assert scored.jacobian(LEVEL) is None


def test_the_optimum_is_the_posterior_of_intensities_where_it_is_known():
    optimal = evaluation(create("reference", "optimal"), count=3, dataset=create("dataset", "discs", size=8))
    best = optimal.optimum(LEVEL)
    posterior = optimal.dataset.posterior_under(optimal.noisy(LEVEL), NOISE)
    torch.testing.assert_close(best.mean, posterior.mean.double())
    torch.testing.assert_close(best.error, posterior.trace / 64)
    torch.testing.assert_close(optimal.denoised(LEVEL), posterior.mean)
    other = evaluation(create("reference", "identity"), dataset=create("dataset", "gaussian-field", size=8))
    assert other.optimum(LEVEL) is None


def test_the_stabilised_optimal_denoiser_is_worse_than_the_optimum():
    # By Pythagoras, its expected error is the optimal error plus its distance from the optimum.
    dataset, noise = create("dataset", "discs", size=8), PoissonGaussian(0.1, 0.001)
    scored = evaluation(create("reference", "stabilised-optimal"), count=8, noise=noise, dataset=dataset)
    best = scored.optimum(LEVEL)
    distance = (scored.denoised(LEVEL) - best.mean).square().flatten(1).mean(1)
    # Importance sampling alone leaves about 0.2 %.
    assert distance.mean() > 0.02 * best.error.mean()


def test_audits_accept_honest_denoisers_and_flag_dishonest_denoisers():
    dataset = create("dataset", "c-alpha", size=16)
    assert audit(evaluation(create("reference", "bayes-shrink"), count=24, dataset=dataset)).flags == ()

    class Remembers(Reference):
        def denoise(self, noisy, sigma, truth):
            clean = dataset.images("test", 24)
            stabilised = Stabilisation(NOISE).expected(clean)
            if len(noisy) == 24:
                return stabilised
            return noisy

    assert any(flag.startswith("knows the noise") for flag in audit(evaluation(Remembers(), 24, dataset=dataset)).flags)


def test_the_optimum_needs_its_noise():
    truth = Truth(torch.zeros(1, 1, 8, 8), create("dataset", "gaussian-field", size=8), noise=NOISE)
    with pytest.raises(Exception, match="no posterior is known"):
        create("reference", "optimal").denoise(torch.zeros(1, 1, 8, 8), LEVEL, truth)
