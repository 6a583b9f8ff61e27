"""Evaluations of some images of a split, and of a single image."""

import torch

import gahbench
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation import Evaluation
from gahbench.jacobian import DenseMaps
from gahbench.sampling.settings import Sampling

DATASET = gahbench.create("dataset", "c-alpha[size=12]")
SIGMA = 0.1


class Counting:
    """A denoiser with a risk and a Jacobian that records its calls."""

    kind = "oracle"

    def __init__(self):
        self.calls = []

    def denoise(self, noisy, sigma, truth):
        self.calls.append("denoise")
        return 0.5 * noisy + 0.01 * truth.start

    def risk(self, truth, sigma):
        self.calls.append("risk")
        return truth.clean.square().flatten(1).mean(1)

    def jacobian(self, noisy, sigma, truth):
        self.calls.append("jacobian")
        matrices = 0.5 * torch.eye(144) + noisy.mean((1, 2, 3)).view(-1, 1, 1)
        return DenseMaps(matrices, (1, 12, 12))


def evaluation(denoiser, start, count, **options):
    return Evaluation(denoiser, DATASET.images("test", count, start), [SIGMA], dataset=DATASET, start=start, **options)


def lower_bound():
    reference = gahbench.create("reference", "lower-bound")
    reference.fit(TrainingData(DATASET))
    return reference


def test_later_images_have_the_values_that_they_have_among_all_images():
    whole, later = evaluation(lower_bound(), 0, 9), evaluation(lower_bound(), 2, 7)
    for draw in (0, 1):
        assert torch.equal(later.noisy(SIGMA, draw), whole.noisy(SIGMA, draw)[2:])
    assert (later.truth.start, later.truth.split) == (2, "test")
    torch.testing.assert_close(later.denoised(SIGMA), whole.denoised(SIGMA)[2:])
    torch.testing.assert_close(later.risk(SIGMA), whole.risk(SIGMA)[2:])
    later.redraws, later.sampling = False, Sampling(count=7)
    along = later.with_denoiser(lower_bound())
    assert torch.equal(along.noisy(SIGMA), later.noisy(SIGMA))
    assert (along.redraws, along.sampling, along.partner) == (False, later.sampling, None)


def test_a_single_image_has_the_values_that_it_has_among_all_images():
    denoiser = Counting()
    whole = evaluation(denoiser, 3, 5)
    for index in range(5):
        single = whole.select(index)
        assert single.truth.start == 3 + index
        assert torch.equal(single.clean[0], whole.clean[index])
        assert torch.equal(single.noisy(SIGMA)[0], whole.noisy(SIGMA)[index])
        assert torch.equal(single.denoised(SIGMA)[0], whole.denoised(SIGMA)[index])
        assert torch.equal(single.risk(SIGMA)[0], whole.risk(SIGMA)[index])
        assert torch.equal(single.local_filters.matrices(SIGMA)[0], whole.local_filters.matrices(SIGMA)[index])
    assert denoiser.calls.count("denoise") == 1
