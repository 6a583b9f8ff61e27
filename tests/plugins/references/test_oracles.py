"""Oracles and optima."""

import pytest
import torch
from constructing import construct
from random_images import uniform as random

from gahbench import Basis, Dataset, Optimum, OptimumError, Posterior, Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.optimal import LowerBound, Optimal
from gahbench_plugins.references.oracle import OracleShrink, OracleThreshold
from gahbench_plugins.references.oracle_best_basis import OracleBestBasis

ORACLES = pytest.mark.parametrize(("rule", "oracle"), [("threshold", OracleThreshold), ("shrink", OracleShrink)])
CLEAN = CAlpha(2.0, 16).images("test", 4)


@pytest.mark.parametrize("sigma", [1e-3, 0.1, 1.0])
def test_thresholding_is_within_a_factor_two_of_shrinkage(sigma):
    threshold, shrink = (construct(oracle).risk(Truth(CLEAN), sigma) for oracle in (OracleThreshold, OracleShrink))
    assert (shrink <= threshold).all()
    assert (threshold <= (2 * shrink).clamp(max=sigma**2)).all()


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
    for oracle, result in zip(best.oracles, best._risks(truth, 0.1), strict=True):
        bias = (oracle.denoise(clean, 0.1, truth) - clean).square().flatten(1).sum(1)
        variance = 0.01 * oracle.jacobian(clean, 0.1, truth).matrices().square().sum((1, 2))
        # With four noise images the variance has an error of several per cent on so few pixels.
        torch.testing.assert_close(result, (bias + variance) / 208, rtol=0.35, atol=1e-6)


class Known(Dataset):
    """White Gaussian images of variance 0.01 around 1/2, with a given kind of optimum."""

    shape = (1, 8, 8)
    optimum = Optimum("none")

    def __init__(self, kind):
        self.optimum = Optimum(kind)

    def images(self, split, count, start=0):
        return (0.5 + 0.1 * random(start + count, *self.shape).float())[start:]

    def posterior(self, noisy, sigma):
        weight = 0.01 / (0.01 + sigma**2)
        return Posterior((0.5 + weight * (noisy - 0.5)).double(), torch.full((len(noisy),), 64 * sigma**2 * weight))

    def lower_bound(self, split, count, sigma, start=0):
        return torch.arange(start, start + count).double() / 100

    def genie(self, noisy, sigma, split, start=0):
        return noisy + start


@pytest.mark.parametrize("kind", ["exact", "bracket", "rate", "none"])
def test_optima_follow_from_the_dataset(kind):
    dataset = Known(kind)
    assert (Optimal().supports(dataset), LowerBound().supports(dataset)) == (kind == "exact", kind == "bracket")
    truth = Truth(dataset.images("test", 5, 2), dataset, "test", 2)
    denoised = Optimal().denoise(truth.clean + 0.1, 0.1, truth)
    assert denoised.dtype == torch.float32
    torch.testing.assert_close(denoised, 0.5 + 0.5 * (truth.clean - 0.4))
    assert LowerBound().risk(truth, 0.1).tolist() == pytest.approx([0.02, 0.03, 0.04, 0.05, 0.06])
    # Batches have the correct start index.
    starts = [float((LowerBound().denoise(part.clean, 0.1, part) - part.clean).mean()) for part in truth.batches(2)]
    assert starts == pytest.approx([2, 4, 6], abs=1e-5)
    for reference in (Optimal(), LowerBound()):
        with pytest.raises(OptimumError, match="dataset"):
            reference.denoise(truth.clean, 0.1, Truth(truth.clean))
