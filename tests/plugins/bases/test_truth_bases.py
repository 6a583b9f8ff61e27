"""Bases that depend on the truth: ``true-basis`` and ``true-flow``."""

import math

import pytest
import torch
from constructing import construct
from given_images import GivenImages
from random_images import normal

import gahbench
from gahbench._util.errors import BasisError
from gahbench.contracts.datasets import Dataset, TrueBasis
from gahbench.contracts.truth import Truth
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.bases.true_basis import FamilyBasis
from gahbench_plugins.bases.true_flow import TrueFlow
from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.oracle import OracleShrink, OracleThreshold


def truth_of(name, count=2, start=5):
    dataset = gahbench.create("dataset", name)
    return Truth(dataset.images("test", count, start).double(), dataset, "test", start)


def risk(basis, truth, sigma):
    return basis.adapt_to(truth, sigma).analysis(truth.clean).square().clamp(max=sigma**2).flatten(1).mean(1)


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


def test_larger_squares_and_flows_do_not_increase_the_error():
    """The minimum over more squares is at most as large, and here it decreases with each larger side."""
    truth, sigma = truth_of("c-alpha[size=256,contour=disc,background_alpha=flat,render_size=256]", count=1), 0.02
    risks = [risk(Wavelet("haar"), truth, sigma)]
    for cap in (8, 16, None):
        risks.append(risk(TrueFlow("haar", largest=cap, moments=1), truth, sigma))
        assert risks[-1] < 0.99 * risks[-2]
    assert risks[-1] < 0.92 * risks[0]


def test_true_flow_is_the_bandlet_along_the_level_sets_of_each_image():
    truth = truth_of("c-alpha[size=16,contour=closed]", count=3)
    result = TrueFlow("haar", moments=1).adapt_to(truth, 0.05)
    coefficients = result.analysis(truth.clean)
    plain = Bandlet("haar", largest=None, directions="fine", moments=1)
    for index, lines in enumerate(truth.dataset.level_sets("test", 3, 5)):
        image = truth.clean[index : index + 1]
        adapted = plain.adapt(image, 0.05, lines=lines)
        torch.testing.assert_close(coefficients[index : index + 1], adapted.analysis(image))
    torch.testing.assert_close(result.synthesis(coefficients), truth.clean)
    assert not torch.allclose(
        TrueFlow("haar", moments=1).adapt_to(truth_of("c-alpha[size=16]", 3), 0.05).analysis(truth.clean), coefficients
    )
    with pytest.raises(ValueError, match="accepted: 3 images, not 2"):
        result.analysis(truth.clean[:2])


def test_oracles_accept_true_flow_by_name():
    truth = truth_of("c-alpha[size=16,render_size=32]")
    result = construct(OracleThreshold, "true-flow[haar,largest=8,moments=1]").risk(truth, 0.05)
    torch.testing.assert_close(result, risk(TrueFlow("haar", largest=8, moments=1), truth, 0.05))


def oracle_risk(basis, truth, sigma):
    energy = basis.adapt_to(truth, sigma).analysis(truth.clean.double()).square()
    return (sigma**2 * energy / (energy + sigma**2)).flatten(1).mean(1)


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


def test_oracle_shrinkage_has_smaller_errors_than_in_a_wavelet_basis():
    """Wavelets ignore contours, and an oracle that also knows the coefficients has a smaller error than the genie."""
    truth = truth_of("c-alpha[size=20]", count=8)
    for sigma in (0.02, 0.1):
        true = oracle_risk(FamilyBasis(), truth, sigma)
        assert true.mean() < 0.6 * oracle_risk(Wavelet("sym4"), truth, sigma).mean()
        assert true.mean() < truth.dataset.lower_bound("test", 8, sigma, 5).mean()
        torch.testing.assert_close(construct(OracleShrink, "true-basis").risk(truth, sigma), true)


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
        (Announced(), "returned None, although"),
    ):
        with pytest.raises(BasisError, match=message):
            basis.adapt_to(Truth(images, dataset), 0.1)
    # Support is decided without computing a basis.
    for method in ("true_basis", "level_sets"):
        monkeypatch.setattr(CAlpha, method, lambda *_: pytest.fail("computed"))
    assert basis.supports(CAlpha(2.0, 256))
    assert not basis.supports(paper)
    assert not basis.supports(discs)


def test_the_last_adapted_basis_is_cached_for_its_images_only():
    basis, truth = FamilyBasis(), truth_of("c-alpha[size=8]")
    result = basis.adapt_to(truth, 0.1)
    assert basis.adapt_to(truth, 0.7) is result
    other = basis.adapt_to(truth_of("c-alpha[size=8]", start=6), 0.1)
    # Image 6 is the second image from 5 on, and the first image from 6 on.
    torch.testing.assert_close(other.vectors[0], result.vectors[1])
    assert not torch.equal(other.vectors[0], result.vectors[0])
