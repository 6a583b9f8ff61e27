import pytest
import torch
from constructing import construct

import gahbench
from gahbench._util.errors import BasisError
from gahbench.contracts.datasets import Dataset, TrueBasis
from gahbench.contracts.truth import Truth
from gahbench_plugins.bases.true_basis import FamilyBasis
from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.oracle import OracleShrink


def truth_of(name, count=3, start=5):
    dataset = gahbench.create("dataset", name)
    return Truth(dataset.images("test", count, start), dataset, "test", start)


def oracle_risk(basis, truth, sigma):
    energy = basis.adapt_to(truth, sigma).analysis(truth.clean.double()).square()
    return (sigma**2 * energy / (energy + sigma**2)).flatten(1).mean(1)


@pytest.mark.parametrize("name", ["c-alpha[size=16]", "shuffled[c-alpha[size=16]]"])
@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_shrinking_as_the_energies_say_is_the_genie(name, sigma):
    truth = truth_of(name)
    energies = truth.dataset.true_basis("test", 3, 5).energies
    weights = energies / (energies + sigma**2)
    basis = FamilyBasis().adapt_to(truth, sigma)
    noisy = truth.clean + sigma * torch.randn(truth.clean.shape, generator=torch.Generator().manual_seed(0))
    shrunk = 0.5 + basis.synthesis(basis.analysis(noisy.double() - 0.5) * weights.reshape(3, 1, 16, 16))
    torch.testing.assert_close(truth.dataset.genie(noisy, sigma, "test", 5).double(), shrunk, atol=1e-4, rtol=0)
    bound = truth.dataset.lower_bound("test", 3, sigma, 5)
    torch.testing.assert_close(sigma**2 * weights.mean(1), bound)


@pytest.mark.parametrize("name", ["gaussian-field[size=8]", "gaussian-field[size=8,colour=rgb]", "gaussian-faces"])
def test_gaussian_families_have_one_basis_in_which_coefficients_have_the_energies(name):
    dataset = gahbench.create("dataset", name)
    count = 2000
    basis = FamilyBasis().adapt_to(Truth(dataset.images("test", 4), dataset), 0.1)
    centred = dataset.images("train", count).double() - dataset.mean
    found = basis.analysis(centred).flatten(1)
    # Variances over 2000 images have a standard error of 3 %; far under the largest one float32 pixels are too coarse.
    ratios = found.square().mean(0) / dataset.energies
    known = dataset.energies > 1e-7 * dataset.energies[0]
    assert known.sum() > 40
    assert (ratios[known] - 1).abs().max() < 5 * (2 / count) ** 0.5
    torch.testing.assert_close(basis.synthesis(found.view_as(centred)), centred, atol=1e-12, rtol=0)


def test_oracle_shrinkage_errs_less_than_in_a_wavelet_basis():
    """Contours are what wavelets miss; and an oracle that also uses the coefficients errs less than the genie."""
    truth = truth_of("c-alpha[size=20]", count=8)
    for sigma in (0.02, 0.1):
        true = oracle_risk(FamilyBasis(), truth, sigma)
        assert true.mean() < 0.6 * oracle_risk(Wavelet("sym4"), truth, sigma).mean()
        assert true.mean() < truth.dataset.lower_bound("test", 8, sigma, 5).mean()
        torch.testing.assert_close(construct(OracleShrink, "true-basis").risk(truth, sigma), true)


class Incomplete(Dataset):
    """Images with a basis of few vectors, or none where it said that there is one."""

    shape = (1, 3, 4)
    has_true_basis = True

    def __init__(self, vectors):
        self.vectors = vectors

    def images(self, split, count, start=0):
        return torch.zeros(count, *self.shape)

    def true_basis(self, split, count, start=0):
        return None if self.vectors is None else TrueBasis(self.vectors, torch.ones(1, 2))


def test_few_vectors_are_completed():
    vectors = torch.linalg.qr(torch.randn(1, 12, 2, generator=torch.Generator().manual_seed(0)))[0]
    dataset = Incomplete(vectors)
    basis = FamilyBasis().adapt_to(Truth(dataset.images("test", 1), dataset), 0.1)
    inside = (vectors[0] @ torch.tensor([2.0, -3.0])).reshape(1, 1, 3, 4)
    coefficients = basis.analysis(inside).flatten()
    assert coefficients[:2].tolist() == pytest.approx([2, -3], abs=1e-5)
    assert coefficients[2:].abs().max() < 1e-5
    with pytest.raises(BasisError, match="returned none"):
        FamilyBasis().adapt_to(Truth(dataset.images("test", 1), Incomplete(None)), 0.1)


def test_it_is_for_oracles_on_families_that_have_one(monkeypatch):
    basis, truth = FamilyBasis(), truth_of("discs[size=8]")
    assert basis.oracle
    assert basis.adaptive
    # Whether it exists is found without computing it.
    monkeypatch.setattr(CAlpha, "true_basis", lambda *_: pytest.fail("computed"))
    assert basis.supports(CAlpha(2.0, 256))
    assert not basis.supports(truth.dataset)
    with pytest.raises(BasisError, match="dataset"):
        basis.adapt_to(Truth(truth.clean), 0.1)
    with pytest.raises(BasisError, match="Discs does not provide"):
        basis.adapt_to(truth, 0.1)


def test_the_last_is_remembered_and_no_other_is_mistaken_for_it():
    basis, truth = FamilyBasis(), truth_of("c-alpha[size=8]")
    found = basis.adapt_to(truth, 0.1)
    assert basis.adapt_to(truth, 0.7) is found
    other = basis.adapt_to(truth_of("c-alpha[size=8]", start=6), 0.1)
    # Image 6 is the second of those from 5 on, and the first of those from 6 on.
    torch.testing.assert_close(other.vectors[0], found.vectors[1])
    assert not torch.equal(other.vectors[0], found.vectors[0])
