import math

import pytest
import torch
from constructing import construct

import gahbench
from gahbench._util.errors import BasisError
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import Truth
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.bases.true_flow import TrueFlow
from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.oracle import OracleThreshold


def truth_of(name, count=2, start=5):
    dataset = gahbench.create("dataset", name)
    return Truth(dataset.images("test", count, start).double(), dataset, "test", start)


def risk(basis, truth, sigma):
    return basis.adapt_to(truth, sigma).analysis(truth.clean).square().clamp(max=sigma**2).flatten(1).mean(1)


@pytest.mark.parametrize("contour", ["line", "closed", "disc"])
def test_an_edge_is_a_step_in_the_order_of_the_flow(contour):
    """In a Haar cascade of L^2 samples it has a coefficient a scale and a mean; without an edge, a mean."""
    size = 32
    truth = truth_of(f"c-alpha[alpha=2,size={size},contour={contour}]")
    inside = truth.dataset.level_sets("test", 2, 5) < 0
    edges = Truth(inside.double()[:, None], truth.dataset, "test", 5)
    for side in (4, 8, size):
        basis = TrueFlow(wavelet=None, largest=None if side == size else side, moments=1)
        # All are far above the threshold, so that no choice of squares has fewer.
        counts = (basis.adapt_to(edges, 0.001).analysis(edges.clean).abs() > 1e-9).flatten(1).sum(1)
        squares = inside.unfold(1, side, side).unfold(2, side, side).flatten(3).flatten(1, 2)
        cut = (squares.any(2) & ~squares.all(2)).sum(1)
        assert (cut > 0).all()
        assert (counts <= (2 * math.log2(side) + 1) * cut + squares.shape[1] - cut).all()


def test_no_cap_errs_more_than_a_smaller_one_or_the_wavelet():
    """A larger choice of squares has a least sum that is no larger, and here with each that is larger a smaller one."""
    truth, sigma = truth_of("c-alpha[size=256,contour=disc,background_alpha=flat,master=256]", count=1), 0.02
    risks = [risk(Wavelet("haar"), truth, sigma)]
    for cap in (8, 16, None):
        risks.append(risk(TrueFlow("haar", largest=cap, moments=1), truth, sigma))
        assert risks[-1] < 0.99 * risks[-2]
    assert risks[-1] < 0.92 * risks[0]


def test_it_is_the_bandlet_along_the_level_sets_of_each_image():
    truth = truth_of("c-alpha[size=16,contour=closed]", count=3)
    found = TrueFlow("haar", moments=1).adapt_to(truth, 0.05)
    coefficients = found.analysis(truth.clean)
    plain = Bandlet("haar", largest=None, directions="fine", moments=1)
    for place, lines in enumerate(truth.dataset.level_sets("test", 3, 5)):
        one = plain.adapt(truth.clean[place : place + 1], 0.05, lines=lines)
        torch.testing.assert_close(coefficients[place : place + 1], one.analysis(truth.clean[place : place + 1]))
    torch.testing.assert_close(found.synthesis(coefficients), truth.clean)
    assert not torch.allclose(
        TrueFlow("haar", moments=1).adapt_to(truth_of("c-alpha[size=16]", 3), 0.05).analysis(truth.clean), coefficients
    )
    with pytest.raises(ValueError, match="takes 3, not 2"):
        found.analysis(truth.clean[:2])


def test_oracles_take_it_by_name():
    truth = truth_of("c-alpha[size=16,master=32]")
    found = construct(OracleThreshold, "true-flow[haar,largest=8,moments=1]").risk(truth, 0.05)
    torch.testing.assert_close(found, risk(TrueFlow("haar", largest=8, moments=1), truth, 0.05))


class Announced(Dataset):
    shape = (1, 16, 16)
    has_level_sets = True

    def images(self, split, count, start=0):
        return torch.zeros(count, *self.shape)


def test_it_is_for_oracles_on_families_that_know_their_contours():
    basis, images = TrueFlow(), torch.zeros(1, 1, 16, 16)
    assert basis.oracle
    assert basis.adaptive
    assert basis.supports(CAlpha(2.0, 16))
    paper, discs = CAlpha(2.0, 16, "paper"), gahbench.create("dataset", "discs[size=16]")
    assert not basis.supports(paper)
    assert not basis.supports(discs)
    assert paper.level_sets("test", 1) is discs.level_sets("test", 1) is None
    for dataset, says in (
        (None, "that names its 'dataset'"),
        (paper, "CAlpha does not"),
        (Announced(), "none, though"),
    ):
        with pytest.raises(BasisError, match=says):
            basis.adapt_to(Truth(images, dataset), 0.1)
