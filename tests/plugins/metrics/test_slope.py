import numpy as np
import pytest
import torch
from constructing import construct

from gahbench.evaluation.evaluation import Evaluation
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


def test_identity_has_slope_one():
    assert Slope().score(Evaluation(Identity(), CLEAN, SIGMAS)).value == pytest.approx([1] * 4)


def test_mean_of_slopes_is_the_slope_of_the_mean_curve():
    evaluation = Evaluation(construct(BayesShrink), CLEAN, SIGMAS)
    curve = [psnr_per_image(evaluation, sigma).mean().item() for sigma in SIGMAS]
    expected = np.polyfit(-20 * np.log10(SIGMAS), curve, 1)[0]
    assert np.mean(Slope().score(evaluation).value) == pytest.approx(expected)


@pytest.mark.parametrize("sigmas", [[], [0.1], [0.1, 0.1]])
def test_needs_two_noise_levels(sigmas):
    with pytest.raises(ValueError, match="at least 2 different noise levels"):
        Slope().score(Evaluation(Identity(), CLEAN, sigmas))
