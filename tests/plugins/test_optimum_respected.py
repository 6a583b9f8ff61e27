"""Practical denoisers are not significantly better than the optimum."""

import pytest

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
COUNT = 40


def error_of_mean(values):
    return float(values.std() / COUNT**0.5)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_practical_reference_is_better_than_the_optimum(family, sigma):
    """In 100 comparisons, deviations above 3 standard errors are rare, and above 4 practically impossible."""
    dataset = gahbench.create("dataset", family)
    clean = dataset.images("test", COUNT)
    if dataset.optimum.kind == "bracket":
        best = dataset.lower_bound("test", COUNT, sigma)
    else:
        posterior = dataset.posterior(clean + evaluation_noise(COUNT, dataset.shape, sigma, 0, "test"), sigma)
        best = (posterior.mean.double() - clean).square().flatten(1).mean(1)
        # The mean trace of the posterior is the mean error of its mean (Kadkhodaie 2024, equation 10).
        difference = best - posterior.trace / clean[0].numel()
        assert abs(float(difference.mean())) < 4 * error_of_mean(difference) + 1e-12
    for name in ("identity", "bayes-shrink[haar]", "bayes-shrink[dct]"):
        evaluation = Evaluation(gahbench.create("reference", name), clean, [sigma], dataset=dataset)
        errors = evaluation.risk(sigma)
        if errors is None:
            errors = (evaluation.denoised(sigma).double() - clean).square().flatten(1).mean(1)
        assert (errors - best).mean() > -4 * error_of_mean(errors - best), name
