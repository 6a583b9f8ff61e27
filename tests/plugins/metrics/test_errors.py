"""Errors of images, their slopes over noise levels, and exponents of decays."""

import pytest
import torch
from constructing import construct
from known_filters import group_by_part
from skimage.metrics import structural_similarity

import gahbench
from gahbench.evaluation import Evaluation
from gahbench_plugins.metrics.psnr import Psnr
from gahbench_plugins.metrics.rates import Decay, LocalSlope, Rate, Slope
from gahbench_plugins.metrics.ssim import ssim
from gahbench_plugins.references.identity import Identity


class WithError:
    """A denoiser whose squared error at every pixel is a given function of the noise level, for all or each image."""

    kind = "oracle"

    def __init__(self, error):
        self.error = error

    def denoise(self, noisy, sigma, truth):
        errors = torch.as_tensor(self.error(sigma), dtype=torch.float64).expand(len(truth))
        return truth.clean + errors.sqrt()[:, None, None, None]

    def risk(self, truth, sigma):
        return None


CLEAN = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()


def test_psnr_is_minus_ten_log10_of_the_mean_squared_error():
    shifts = WithError(lambda sigma: (torch.arange(1, 4) * sigma) ** 2)
    scores = Psnr().score(Evaluation(shifts, CLEAN[:3], [0.1, 0.01]))
    assert scores.sigma == [0.1] * 3 + [0.01] * 3
    assert scores.image == [0, 1, 2, 0, 1, 2]
    decibels = [20, 20 - 6.0206, 20 - 9.5424]
    assert scores.value == pytest.approx(decibels + [d + 20 for d in decibels], abs=1e-3)


@pytest.mark.parametrize("shape", [(4, 1, 32, 32), (2, 3, 24, 40), (2, 1, 11, 11)])
@pytest.mark.parametrize("sigma", [0.01, 0.3])
def test_ssim_agrees_with_scikit_image(shape, sigma):
    generator = torch.Generator().manual_seed(0)
    clean = torch.nn.functional.avg_pool2d(torch.rand(*shape, generator=generator), 5, stride=1, padding=2)
    other = clean + sigma * torch.randn(*shape, generator=generator)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    expected = [
        structural_similarity(a.double().numpy(), b.double().numpy(), channel_axis=0, **options)
        for a, b in zip(clean, other, strict=True)
    ]
    assert ssim(clean, other).tolist() == pytest.approx(expected, abs=1e-6)


SIGMAS = [0.3, 0.1, 0.03, 0.01]


def test_slope_recovers_the_rate_of_a_power_law():
    rates = torch.tensor([0.5, 2 / 3, 0.8, 1.0], dtype=torch.float64)
    power_law = WithError(lambda sigma: torch.arange(1, 5) * sigma ** (2 * rates))
    scores = Slope().score(Evaluation(power_law, CLEAN, SIGMAS))
    assert scores.value == pytest.approx(rates.tolist())
    assert list(scores.image) == [0, 1, 2, 3]
    assert scores.sigma is None


def test_local_slope_has_a_value_at_each_level():
    # The slope is 1/2 above sigma = 0.1, and 1 below.
    two_slopes = WithError(lambda sigma: sigma if sigma >= 0.1 else 10 * sigma**2)
    scores = LocalSlope().score(Evaluation(two_slopes, CLEAN[:3], [1.0, 0.4, 0.1, 0.02, 0.01]))
    assert scores.sigma == [sigma for sigma in (0.01, 0.02, 0.1, 0.4, 1.0) for _ in range(3)]
    assert scores.image == [0, 1, 2] * 5
    by_level = torch.tensor(scores.value).reshape(5, 3)
    assert by_level[[0, 1, 3, 4], 0].tolist() == pytest.approx([1, 1, 0.5, 0.5])
    assert 0.5 < by_level[2, 0] < 1


SIDE = 64


def images(alpha, count=1):
    """Return images whose sorted pixels have squares that fall as k^-(alpha+1)."""
    values = torch.arange(1, SIDE * SIDE + 1, dtype=torch.float64) ** (-(alpha + 1) / 2)
    generator = torch.Generator().manual_seed(0)
    indices = torch.stack([torch.randperm(SIDE * SIDE, generator=generator) for _ in range(count)])
    return values[indices].reshape(count, 1, SIDE, SIDE).float()


@pytest.mark.parametrize("entrant", ["oracle-threshold[pixel]", "bayes-shrink[pixel]"])
@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_decay_uses_the_basis_of_the_entrant(entrant, alpha):
    reference = gahbench.create("reference", entrant)
    scores = Decay().score(Evaluation(reference, images(alpha, 2), [0.1, 0.2]))
    assert scores.value == pytest.approx([alpha] * 4, abs=1e-3)
    assert list(scores.image) == [0, 1, 0, 1]


#: Squares of pixels fall as k^-2, k = 1 ... 4096: at threshold sigma, 1/sigma of them are kept.
POWER_LAW = images(1.0)
#: Noise levels that keep 8, 33, 50, 63, 100 and 4096 pixels.
LEVELS = [1 / 8.5, 1 / 33.5, 1 / 50.5, 1 / 63.5, 1 / 100.5, 1e-5]


def rates(rate, denoiser, sigmas):
    return group_by_part(rate.score(Evaluation(denoiser, POWER_LAW, sigmas)))


def test_the_slope_is_fitted_to_the_levels_in_the_window():
    rate = construct(Rate, "pixel", max_terms=1)
    assert rate.levels(POWER_LAW, LEVELS) == sorted(LEVELS[1:4])
    # The slope is 1/2 in the window, and 1 elsewhere.
    two_slopes = WithError(lambda sigma: sigma if 1 / 64 < sigma < 1 / 32 else sigma**2)
    assert rates(rate, two_slopes, LEVELS) == {"": pytest.approx([0.5]), "levels": [3]}
    assert rates(rate, Identity(), LEVELS) == {"": pytest.approx([1]), "levels": [3]}


def test_without_three_levels_there_is_no_rate():
    rate = construct(Rate, "pixel", max_terms=1)
    assert rate.levels(POWER_LAW, [LEVELS[1], LEVELS[-1]]) == [LEVELS[1]]
    for few, count in (([LEVELS[1], LEVELS[-1]], 1), (LEVELS[1:3], 2)):
        assert rates(rate, Identity(), few) == {"levels": [count]}
    # The same holds for images that are too small for any window.
    assert rates(construct(Rate, "pixel"), Identity(), LEVELS) == {"levels": [0]}
    construct(Rate, "pixel").check((1, 32, 32), LEVELS)
