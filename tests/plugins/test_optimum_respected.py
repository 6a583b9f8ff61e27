"""Practical denoisers are not significantly better than the optimum."""

import functools
import itertools

import pytest
import torch

import gahbench
from gahbench._util.noise import evaluation_noise
from gahbench.evaluation.evaluation import Evaluation

FAMILIES = [
    "gaussian-field[size=16]",
    "gaussian-faces[faces=faces[size=16]]",
    "finite[dataset=faces[size=16],count=32]",
    "shuffled[dataset=gaussian-field[size=16]]",
    "discs[size=8]",
    "rays[c-alpha[size=16]]",
    "sinusoids[size=16]",
    "c-alpha[alpha=1,size=16]",
    "c-alpha[alpha=4,size=16,contour=closed]",
]
SIGMAS = (0.03, 0.1, 0.3)
COUNT = 40
DENOISERS = ("identity", "bayes-shrink[haar]", "bayes-shrink[dct]")
STANDARD_ERRORS = 4.0  # in 100 comparisons, deviations above 3 are rare and above 4 practically impossible


def squared_errors(denoiser, dataset, sigma):
    """Return squared errors per pixel of the first test images, under the noise of runs."""
    evaluation = Evaluation(denoiser, dataset.images("test", COUNT), [sigma], dataset=dataset)
    risk = evaluation.risk(sigma)
    if risk is not None:
        return risk.double()
    return (evaluation.denoised(sigma).double() - evaluation.clean).square().flatten(1).mean(1)


@functools.cache
def optimum(family):
    """Return the dataset, and by noise level its optimal errors, shape (N,), and known posteriors."""
    dataset = gahbench.create("dataset", family)
    if dataset.optimum.kind == "bracket":
        return dataset, {sigma: dataset.lower_bound("test", COUNT, sigma) for sigma in SIGMAS}, {}
    clean = dataset.images("test", COUNT)
    noisy = {sigma: clean + evaluation_noise(COUNT, dataset.shape, sigma, 0, "test") for sigma in SIGMAS}
    posteriors = {sigma: dataset.posterior(noisy[sigma], sigma) for sigma in SIGMAS}
    best = {sigma: (posteriors[sigma].mean.double() - clean).square().flatten(1).mean(1) for sigma in SIGMAS}
    return dataset, best, posteriors


def excess(denoiser, family, sigma):
    """Return the mean excess over the optimal error, and its standard error."""
    dataset, best, _ = optimum(family)
    difference = squared_errors(denoiser, dataset, sigma) - best[sigma]
    return float(difference.mean()), float(difference.std() / COUNT**0.5)


class Better:
    """A denoiser with errors 3 % below the optimum."""

    kind = "oracle"

    def __init__(self, posteriors):
        self.posteriors = posteriors

    def denoise(self, noisy, sigma, truth):
        return (truth.clean + 0.97**0.5 * (self.posteriors[sigma].mean - truth.clean)).float()

    def risk(self, truth, sigma):
        return None


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("family", FAMILIES)
def test_no_practical_reference_is_better_than_the_optimum(family):
    """Posteriors are slow, and cached per process, so all comparisons of a family share a test."""
    dataset, best, posteriors = optimum(family)
    for name, sigma in itertools.product(DENOISERS, SIGMAS):
        mean, error = excess(gahbench.create("reference", name), family, sigma)
        assert mean > -STANDARD_ERRORS * error, (name, sigma, mean / error)
    for sigma, posterior in posteriors.items():
        # The mean trace of the posterior is the mean error of its mean (Kadkhodaie 2024, equation 10).
        difference = best[sigma] - posterior.trace / torch.Size(dataset.shape).numel()
        error = float(difference.std() / COUNT**0.5)
        assert abs(float(difference.mean())) < STANDARD_ERRORS * error + 1e-12, sigma
    if family in ("gaussian-field[size=16]", "discs[size=8]", "sinusoids[size=16]"):
        for sigma in SIGMAS:
            mean, error = excess(Better(posteriors), family, sigma)
            assert mean < -STANDARD_ERRORS * error
