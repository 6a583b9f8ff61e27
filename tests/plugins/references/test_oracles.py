"""Oracles and optima."""

import pytest
import torch
from constructing import construct

from gahbench._util.errors import OptimumError
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset, Optimum, Posterior
from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.optimal import LowerBound, Optimal
from gahbench_plugins.references.oracle import OracleShrink, OracleThreshold
from gahbench_plugins.references.oracle_best_basis import OracleBestBasis

ORACLES = pytest.mark.parametrize("oracle", [OracleThreshold, OracleShrink])
CLEAN = CAlpha(2.0, 16).images("test", 4)


def test_closed_forms_on_a_known_image():
    clean = torch.tensor([[[[0.0, 0.1], [0.3, 1.0]]]])
    threshold, shrink = construct(OracleThreshold, "pixel"), construct(OracleShrink, "pixel")
    assert threshold.risk(Truth(clean), 0.2).item() == pytest.approx((0 + 0.01 + 0.04 + 0.04) / 4)
    terms = [0, 0.04 * 0.01 / 0.05, 0.04 * 0.09 / 0.13, 0.04 * 1 / 1.04]
    assert shrink.risk(Truth(clean), 0.2).item() == pytest.approx(sum(terms) / 4)
    noisy = torch.full((1, 1, 2, 2), 0.5)
    assert threshold.denoise(noisy, 0.2, Truth(clean)).flatten().tolist() == [0, 0, 0.5, 0.5]
    weights = [0, 0.01 / 0.05, 0.09 / 0.13, 1 / 1.04]
    assert shrink.denoise(noisy, 0.2, Truth(clean)).flatten().tolist() == pytest.approx([0.5 * w for w in weights])


@pytest.mark.parametrize("sigma", [1e-3, 0.02, 0.1, 1.0])
def test_thresholding_is_within_a_factor_two_of_shrinkage(sigma):
    threshold, shrink = (
        construct(OracleThreshold).risk(Truth(CLEAN), sigma),
        construct(OracleShrink).risk(Truth(CLEAN), sigma),
    )
    assert (shrink <= threshold).all()
    assert (threshold <= 2 * shrink).all()
    assert (threshold <= sigma**2).all()


@ORACLES
def test_without_orthonormality_noise_levels_differ_and_risk_has_no_closed_form(oracle):
    reference = construct(oracle, "wavelet[bior2.2,levels=2]")
    noisy = CLEAN + 0.1
    assert reference.risk(Truth(CLEAN), 0.1) is None
    clean = reference.basis.analysis(CLEAN)
    levels = 0.1 * reference.basis.noise_levels((1, 16, 16)).float()
    kept = clean.abs() > levels if oracle is OracleThreshold else clean**2 / (clean**2 + levels**2)
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
def test_a_basis_is_adapted_to_the_clean_images_in_batches_that_it_can_take(oracle):
    clean = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    noisy = clean + 0.2 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    turned, plain = construct(oracle, "pixel"), construct(oracle, "pixel")
    turned.basis = Turned()
    torch.testing.assert_close(turned.denoise(noisy, 0.2, Truth(clean)), plain.denoise(noisy, 0.2, Truth(clean)))
    torch.testing.assert_close(turned.risk(Truth(clean), 0.2), plain.risk(Truth(clean), 0.2))


RULES = pytest.mark.parametrize(("rule", "oracle"), [("threshold", OracleThreshold), ("shrink", OracleShrink)])
#: A few pixels, a wave, and an image that is neither.
SPIKES = torch.zeros(1, 1, 16, 16)
SPIKES[0, 0, [3, 9], [5, 14]] = 1
WAVE = torch.cos(torch.pi / 16 * 5 * (torch.arange(16) + 0.5)).expand(1, 1, 16, 16)
MIXED = torch.cat([SPIKES, WAVE, CLEAN])


@RULES
@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_every_image_has_its_best_basis(rule, oracle, sigma):
    best = construct(OracleBestBasis, ("pixel", "dct", "sym4"), rule)
    oracles = [construct(oracle, basis) for basis in ("pixel", "dct", "sym4")]
    risks = torch.stack([single.risk(Truth(MIXED), sigma) for single in oracles])
    torch.testing.assert_close(best.risk(Truth(MIXED), sigma), risks.amin(0))
    choice = best.choice(Truth(MIXED), sigma)
    assert choice[:2].tolist() == [0, 1]
    noisy = MIXED + sigma
    denoised = torch.stack([single.denoise(noisy, sigma, Truth(MIXED)) for single in oracles])
    torch.testing.assert_close(best.denoise(noisy, sigma, Truth(MIXED)), denoised[choice, torch.arange(len(MIXED))])


class Known(Dataset):
    """White Gaussian images of variance 0.01 around 1/2, with a given kind of optimum."""

    shape = (1, 8, 8)
    variance = 0.01

    def __init__(self, kind):
        self.kind = kind

    @property
    def optimum(self):
        return Optimum(self.kind)

    def images(self, split, count, start=0):
        draw = torch.Generator().manual_seed(0)
        return (0.5 + 0.1 * torch.randn(start + count, *self.shape, generator=draw))[start:]

    def weight(self, sigma):
        return self.variance / (self.variance + sigma**2)

    def posterior(self, noisy, sigma):
        mean = 0.5 + self.weight(sigma) * (noisy - 0.5)
        return Posterior(mean.double(), torch.full((len(noisy),), 64 * sigma**2 * self.weight(sigma)))

    def lower_bound(self, split, count, sigma, start=0):
        return torch.arange(start, start + count).double() / 100

    def genie(self, noisy, sigma, split, start=0):
        return noisy + start


def truth_of(dataset, count=3, start=0):
    return Truth(dataset.images("test", count, start), dataset, "test", start)


def test_optimal_is_the_posterior_mean():
    truth = truth_of(Known("exact"))
    denoised = Optimal().denoise(truth.clean + 0.1, 0.1, truth)
    assert denoised.dtype == torch.float32
    torch.testing.assert_close(denoised, 0.5 + 0.5 * (truth.clean - 0.4))
    assert Optimal().risk(truth, 0.1) is None


def test_lower_bound_uses_the_indices_of_the_images():
    truth = truth_of(Known("bracket"), count=5, start=2)
    assert LowerBound().risk(truth, 0.1).tolist() == pytest.approx([0.02, 0.03, 0.04, 0.05, 0.06])
    parts = [LowerBound().denoise(part.clean, 0.1, part) for part in truth.batches(2)]
    assert [len(part) for part in parts] == [2, 2, 1]
    # Batches have the correct start index.
    starts = [float((part - clean.clean).mean()) for part, clean in zip(parts, truth.batches(2), strict=True)]
    assert starts == pytest.approx([2, 4, 6], abs=1e-5)


@pytest.mark.parametrize("kind", ["exact", "bracket", "rate", "none"])
def test_optimal_references_support_datasets_with_a_known_optimum(kind):
    assert Optimal().supports(Known(kind)) == (kind == "exact")
    assert LowerBound().supports(Known(kind)) == (kind == "bracket")


def test_without_a_dataset_there_is_no_optimum():
    clean = torch.zeros(1, 1, 8, 8)
    for reference in (Optimal(), LowerBound()):
        with pytest.raises(OptimumError, match="dataset"):
            reference.denoise(clean, 0.1, Truth(clean))


def test_datasets_without_an_optimum_raise_an_error():
    class Unknown(Known):
        posterior, lower_bound, genie = Dataset.posterior, Dataset.lower_bound, Dataset.genie

    dataset = Unknown("rate")
    for ask in (
        lambda: dataset.posterior(dataset.images("test", 1), 0.1),
        lambda: dataset.lower_bound("test", 1, 0.1),
        lambda: dataset.genie(dataset.images("test", 1), 0.1, "test"),
    ):
        with pytest.raises(OptimumError, match="optimum is 'rate'"):
            ask()
    assert dataset.true_basis("test", 1) is None
