"""Metrics of probability flows, whose values are known for Gaussian images and for denoisers that memorize."""

import math

import pytest
import torch
from known_filters import Filters, create, group_by_part, table

import gahbench
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.sampling import Sampling
from gahbench.sampling.drawing import starting_noise
from gahbench_plugins.datasets.gaussian import hartley

FIELD = gahbench.create("dataset", "gaussian-field", size=8, std=0.2)
OTHER = gahbench.create("dataset", "gaussian-field", size=8, std=0.1, alpha=1.0)
SHIFT = 0.05
START, END = 20.0, 0.01
FLOW = Sampling(sampler="flow", count=8, sigma_start=START, sigma_end=END, levels=400)


class Wiener(Reference):
    """The best denoiser of other Gaussian images than those of the dataset, with a shifted mean."""

    def denoise(self, noisy, sigma, truth):
        return (OTHER.posterior(noisy - SHIFT, sigma).mean + SHIFT).to(noisy)


def evaluation(denoiser, dataset=FIELD, learned=None, sampling=FLOW, sigmas=(0.1, 0.4)):
    if isinstance(denoiser, str):
        denoiser = create("reference", denoiser)
        denoiser.fit(learned)
    return Evaluation(
        denoiser, dataset.images("test", 2), list(sigmas), dataset=dataset, learned_from=learned, sampling=sampling
    )


def values(metric, evaluated):
    return group_by_part(create("metric", metric).score(evaluated))


def flow_gain(dataset, end, final_step):
    """Return the factor of each coefficient by which the flow from START to a noise level multiplies white noise."""
    energies = dataset.spectrum()
    gain = START * ((energies + end**2) / (energies + START**2)).sqrt()
    return gain * energies / (energies + end**2) if final_step else gain


def test_the_distance_of_the_flows_of_two_gaussians_has_a_closed_form():
    result = values("flow-distance", evaluation(Wiener()))
    white = hartley(starting_noise(8, FIELD.shape).double())[:, 0]
    # The flow of the other Gaussian starts from noise whose mean is not its own.
    constant = hartley(torch.ones(1, 1, 8, 8, dtype=torch.float64))[0, 0]
    first = flow_gain(FIELD, END, True) * white
    shift = SHIFT * constant * (1 - flow_gain(OTHER, END, True) / START)
    second = flow_gain(OTHER, END, True) * white + shift
    square = (first - second).square().flatten(1).mean(1)
    assert result["square"] == pytest.approx(square.tolist(), rel=5e-3)
    assert result[""] == pytest.approx(square.sqrt().tolist(), rel=5e-3)


def test_the_flow_to_the_training_images_is_the_error_of_memorization():
    data = TrainingData(FIELD, count=5)
    memorizing, best = evaluation("empirical-bayes", learned=data), evaluation("optimal", learned=data)
    assert values("flow-distance[empirical-bayes]", memorizing)[""] == [0.0] * 8
    distances = values("flow-distance[empirical-bayes]", best)[""]
    assert distances == values("flow-distance[optimal]", memorizing)[""]
    assert min(distances) > 0.05


def test_the_optimum_needs_no_training_images_and_flows_that_diverge_have_no_value():
    assert len(values("flow-distance[optimal]", evaluation(Wiener()))[""]) == 8
    assert values("flow-distance[empirical-bayes]", evaluation(Wiener())) == {}
    unknown = evaluation("identity", create("dataset", "c-alpha[size=8]"), TrainingData(FIELD, count=2))
    assert values("flow-distance[optimal]", unknown) == {}
    growing = Filters(-100 * torch.eye(64)[None])
    assert values("flow-distance[optimal]", evaluation(growing)) == {}
    parts = table("selective-underfitting", evaluation(growing, learned=TrainingData(FIELD, count=2)))
    assert {part for part, _ in parts} == {"supervision"}


def test_the_errors_of_the_optimum_given_one_training_image_have_a_closed_form():
    """The empirical denoiser returns the training image, and the optimum is linear along the eigenvectors."""
    count = 400
    settings = Sampling(sampler="flow", count=count, sigma_start=START, sigma_end=END, levels=120)
    data = TrainingData(FIELD, count=1)
    parts = table("selective-underfitting", evaluation("optimal", learned=data, sampling=settings))
    (image,) = hartley(data.training(1).double() - 0.5)[:, 0]
    energies = FIELD.spectrum()
    for sigma in (0.1, 0.4):
        gain = energies / (energies + sigma**2)
        expected = {
            "supervision": ((1 - gain) * image).square() + (sigma * gain).square(),
            "extrapolation": image.square() + (gain * flow_gain(FIELD, sigma, False)).square(),
        }
        for part, squares in expected.items():
            errors = parts[part, sigma]
            mean = float(squares.mean()) / sigma**2
            assert abs(float(errors.mean()) - mean) < 4 * float(errors.std()) / math.sqrt(count) + 2e-3 * mean
