import numpy as np
import pytest
import torch
from constructing import construct

from gahbench.evaluation.evaluation import Evaluation
from gahbench_plugins.metrics.local_slope import LocalSlope
from gahbench_plugins.metrics.psnr import psnr_per_image
from gahbench_plugins.metrics.slope import Slope
from gahbench_plugins.references.bayes_shrink import BayesShrink
from gahbench_plugins.references.identity import Identity

CLEAN = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
SIGMAS = [0.3, 0.1, 0.03, 0.01]


class PowerLaw:
    """Mean squared error (i + 1) sigma^(2 rate_i) on image i."""

    kind = "oracle"
    rates = torch.tensor([0.5, 2 / 3, 0.8, 1.0], dtype=torch.float64)

    def denoise(self, noisy, sigma, truth):
        return noisy

    def risk(self, truth, sigma):
        return torch.arange(1, 5) * sigma ** (2 * self.rates)


def test_recovers_the_rate_of_a_power_law():
    scores = Slope().score(Evaluation(PowerLaw(), CLEAN, SIGMAS))
    assert scores.value == pytest.approx(PowerLaw.rates.tolist())
    assert scores.image == [0, 1, 2, 3]
    assert scores.sigma is None


def test_mean_of_slopes_is_the_slope_of_the_mean_curve():
    evaluation = Evaluation(construct(BayesShrink), CLEAN, SIGMAS)
    curve = [psnr_per_image(evaluation, sigma).mean().item() for sigma in SIGMAS]
    expected = np.polyfit(-20 * np.log10(SIGMAS), curve, 1)[0]
    assert np.mean(Slope().score(evaluation).value) == pytest.approx(expected)


class Bends:
    """Slope 1/2 above sigma = 0.1, and 1 below it."""

    kind = "oracle"

    def denoise(self, noisy, sigma, truth):
        return noisy

    def risk(self, truth, sigma):
        error = sigma if sigma >= 0.1 else 10 * sigma**2
        return torch.full((len(truth.clean),), error, dtype=torch.float64)


def test_each_level_has_its_slope():
    scores = LocalSlope().score(Evaluation(Bends(), CLEAN[:3], [1.0, 0.4, 0.1, 0.02, 0.01]))
    assert scores.sigma == [sigma for sigma in (0.01, 0.02, 0.1, 0.4, 1.0) for _ in range(3)]
    assert scores.image == [0, 1, 2] * 5
    by_level = torch.tensor(scores.value).reshape(5, 3)
    assert by_level[[0, 1, 3, 4], 0].tolist() == pytest.approx([1, 1, 0.5, 0.5])
    assert 0.5 < by_level[2, 0] < 1


def test_of_a_line_they_are_its_slope():
    evaluation = Evaluation(Identity(), CLEAN[:3], [0.3, 0.1, 0.03])
    assert LocalSlope().score(evaluation).value == pytest.approx([1] * 9)
    assert Slope().score(evaluation).value == pytest.approx([1] * 3)
