"""Oracles and optima."""

import pytest
import torch
from constructing import construct
from learned_references import with_noise
from random_images import uniform as random

import gahbench
from gahbench import Basis, OptimumError, Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.oracle import OracleBestBasis, OracleShrink, OracleThreshold

ORACLES = pytest.mark.parametrize(("rule", "oracle"), [("threshold", OracleThreshold), ("shrink", OracleShrink)])
CLEAN = CAlpha(2.0, 16).images("test", 4)


@ORACLES
def test_without_orthonormality_noise_levels_differ_and_risk_has_no_closed_form(rule, oracle):
    reference, noisy = construct(oracle, "wavelet[bior2.2,levels=2]"), CLEAN + 0.1
    assert reference.risk(Truth(CLEAN), 0.1) is None
    clean = reference.basis.analysis(CLEAN)
    levels = 0.1 * reference.basis.noise_levels((1, 16, 16)).float()
    kept = clean.abs() > levels if rule == "threshold" else clean**2 / (clean**2 + levels**2)
    expected = reference.basis.synthesis(reference.basis.analysis(noisy) * kept)
    torch.testing.assert_close(reference.denoise(noisy, 0.1, Truth(CLEAN)), expected)


class Turned(Basis):
    """An adaptive basis of pixels, with negative sign for dark images."""

    adaptive = True

    def __init__(self, signs=None):
        self.signs = signs

    def max_batch(self, shape):
        return 3

    def adapt(self, images, threshold, noisy=False):
        assert len(images) <= 3
        return Turned(torch.where(images.mean((1, 2, 3), keepdim=True) > 0.5, -1.0, 1.0))

    def analysis(self, images):
        return images * self.signs

    synthesis = analysis


@ORACLES
def test_a_basis_is_adapted_to_the_clean_images_in_batches_that_it_can_take(rule, oracle):
    clean, noisy = random(7, 1, 4, 4), random(7, 1, 4, 4, seed=1)
    turned, plain = construct(oracle, "pixel"), construct(oracle, "pixel")
    turned.basis = Turned()
    torch.testing.assert_close(turned.denoise(noisy, 0.2, Truth(clean)), plain.denoise(noisy, 0.2, Truth(clean)))
    torch.testing.assert_close(turned.risk(Truth(clean), 0.2), plain.risk(Truth(clean), 0.2))


@ORACLES
@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_every_image_has_its_best_basis(rule, oracle, sigma):
    """A few pixels, a wave, and images that are neither."""
    spikes = torch.zeros(1, 1, 16, 16)
    spikes[0, 0, [3, 9], [5, 14]] = 1
    wave = torch.cos(torch.pi / 16 * 5 * (torch.arange(16) + 0.5)).expand(1, 1, 16, 16)
    clean, names = torch.cat([spikes, wave, CLEAN]), ("pixel", "dct", "sym4")
    best, truth, noisy = construct(OracleBestBasis, names, rule), Truth(clean), clean + sigma
    oracles = [construct(oracle, name) for name in names]
    risks = torch.stack([single.risk(truth, sigma) for single in oracles])
    torch.testing.assert_close(best.risk(truth, sigma), risks.amin(0))
    choice = best.choice(truth, sigma)
    assert choice[:2].tolist() == [0, 1]
    denoised = torch.stack([single.denoise(noisy, sigma, truth) for single in oracles])
    torch.testing.assert_close(best.denoise(noisy, sigma, truth), denoised[choice, torch.arange(len(clean))])


def test_measured_risks_agree_with_the_matrices():
    clean = CLEAN[..., :13].double()
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
