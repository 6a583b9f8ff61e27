"""Bases that depend on the truth: ``true-basis`` and ``true-flow``."""

import math

import pytest
import torch
from given_images import GivenImages
from random_images import normal

import gahbench
from gahbench._util.errors import BasisError
from gahbench.contracts.datasets import Dataset, TrueBasis
from gahbench.contracts.truth import Truth
from gahbench_plugins.bases.truth import FamilyBasis, TrueFlow
from gahbench_plugins.datasets.c_alpha import CAlpha


def truth_of(name, count=2, start=5):
    dataset = gahbench.create("dataset", name)
    return Truth(dataset.images("test", count, start).double(), dataset, "test", start)


@pytest.mark.parametrize("contour", ["line", "closed", "disc"])
def test_an_edge_is_a_step_in_the_order_of_the_flow(contour):
    """A Haar cascade of L^2 samples of a step has a mean and a coefficient per scale; a constant has only a mean."""
    size = 32
    truth = truth_of(f"c-alpha[alpha=2,size={size},contour={contour}]")
    inside = truth.dataset.level_sets("test", 2, 5) < 0
    edges = Truth(inside.double()[:, None], truth.dataset, "test", 5)
    for side in (4, 8, size):
        basis = TrueFlow(wavelet=None, largest=None if side == size else side, moments=1)
        # All coefficients are far above the threshold, so no choice of squares has fewer.
        counts = (basis.adapt_to(edges, 0.001).analysis(edges.clean).abs() > 1e-9).flatten(1).sum(1)
        squares = inside.unfold(1, side, side).unfold(2, side, side).flatten(3).flatten(1, 2)
        cut = (squares.any(2) & ~squares.all(2)).sum(1)
        assert (cut > 0).all()
        assert (counts <= (2 * math.log2(side) + 1) * cut + squares.shape[1] - cut).all()


@pytest.mark.parametrize("name", ["gaussian-field[size=8]", "gaussian-field[size=8,colour=rgb]", "gaussian-faces"])
def test_gaussian_families_have_one_basis_in_which_coefficients_have_the_energies(name):
    dataset = gahbench.create("dataset", name)
    count = 2000
    basis = FamilyBasis().adapt_to(Truth(dataset.images("test", 4), dataset), 0.1)
    centred = dataset.images("train", count).double() - dataset.mean
    result = basis.analysis(centred).flatten(1)
    # Variances over 2000 images have a standard error of 3 %; float32 pixels are too coarse for the smallest energies.
    ratios = result.square().mean(0) / dataset.energies
    known = dataset.energies > 1e-7 * dataset.energies[0]
    assert known.sum() > 40
    assert (ratios[known] - 1).abs().max() < 5 * (2 / count) ** 0.5
    torch.testing.assert_close(basis.synthesis(result.view_as(centred)), centred, atol=1e-12, rtol=0)


def test_an_incomplete_true_basis_is_completed():
    vectors = torch.linalg.qr(normal(1, 12, 2))[0]
    known = TrueBasis(vectors, torch.ones(1, 2))
    family = type("Incomplete", (GivenImages,), {"has_true_basis": True, "true_basis": lambda *_: known})
    clean = torch.zeros(1, 1, 3, 4)
    basis = FamilyBasis().adapt_to(Truth(clean, family(clean)), 0.1)
    inside = (vectors[0] @ torch.tensor([2.0, -3.0]).double()).reshape(1, 1, 3, 4)
    coefficients = basis.analysis(inside).flatten()
    assert coefficients[:2].tolist() == pytest.approx([2, -3], abs=1e-5)
    assert coefficients[2:].abs().max() < 1e-5


class Announced(Dataset):
    """A family that announces a true basis and contours without providing them."""

    shape = (1, 16, 16)
    has_true_basis = has_level_sets = True

    def images(self, split, count, start=0):
        return torch.zeros(count, *self.shape)


@pytest.mark.parametrize("name", ["true-basis", "true-flow"])
def test_true_bases_need_oracles_and_families_that_know_the_truth(name, monkeypatch):
    basis, images = gahbench.create("basis", name), torch.zeros(1, 1, 16, 16)
    assert basis.oracle
    assert basis.adaptive
    paper, discs = CAlpha(2.0, 16, "paper"), gahbench.create("dataset", "discs[size=16]")
    assert paper.level_sets("test", 1) is discs.level_sets("test", 1) is None
    for dataset, message in (
        (None, "that names its 'dataset'"),
        (paper, "CAlpha does not"),
        (discs, "Discs does not"),
        (Announced(), "returned None, although it announces"),
    ):
        with pytest.raises(BasisError, match=message):
            basis.adapt_to(Truth(images, dataset), 0.1)
    # Support is decided without computing a basis.
    for method in ("true_basis", "level_sets"):
        monkeypatch.setattr(CAlpha, method, lambda *_: pytest.fail("computed"))
    assert basis.supports(CAlpha(2.0, 64))
    assert not basis.supports(paper)
    assert not basis.supports(discs)
