"""Peak signal-to-noise ratio and structural similarity."""

import pytest
import torch
from constructing import construct

from gahbench.contracts.truth import Truth
from gahbench.evaluation.evaluation import Evaluation
from gahbench_plugins.metrics.psnr import Psnr
from gahbench_plugins.metrics.ssim import Ssim, ssim
from gahbench_plugins.references.bayes_shrink import BayesShrink
from gahbench_plugins.references.identity import Identity
from gahbench_plugins.references.oracle import OracleShrink


class Shift:
    """Misses every pixel of image i by (i + 1) sigma."""

    kind = "oracle"

    def denoise(self, noisy, sigma, truth):
        return truth.clean + sigma * torch.arange(1, len(truth) + 1)[:, None, None, None]

    def risk(self, truth, sigma):
        return None


CLEAN = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_is_minus_ten_log_of_the_mean_squared_error():
    scores = Psnr().score(Evaluation(Shift(), CLEAN, [0.1, 0.01]))
    assert scores.sigma == [0.1] * 3 + [0.01] * 3
    assert scores.image == [0, 1, 2, 0, 1, 2]
    decibels = [20, 20 - 6.0206, 20 - 9.5424]
    assert scores.value == pytest.approx(decibels + [d + 20 for d in decibels], abs=1e-3)


def test_uses_the_expected_error_where_it_is_known():
    assert Psnr().score(Evaluation(Identity(), CLEAN, [0.1])).value == pytest.approx([20.0] * 3, abs=1e-12)
    oracle = construct(OracleShrink)
    expected = -10 * oracle.risk(Truth(CLEAN), 0.1).log10()
    assert Psnr().score(Evaluation(oracle, CLEAN, [0.1])).value == pytest.approx(expected.tolist())


def test_psnr_agrees_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    evaluation = Evaluation(construct(BayesShrink), CLEAN, [0.2])
    expected = [
        metrics.peak_signal_noise_ratio(clean.numpy(), denoised.numpy(), data_range=1)
        for clean, denoised in zip(CLEAN, evaluation.denoised(0.2), strict=True)
    ]
    assert Psnr().score(evaluation).value == pytest.approx(expected, abs=1e-4)


def pair(*shape, sigma=0.1):
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(*shape, generator=generator), 5, stride=1, padding=2)
    return smooth, smooth + sigma * torch.randn(*shape, generator=generator)


@pytest.mark.parametrize("shape", [(4, 1, 32, 32), (2, 3, 24, 40), (2, 1, 11, 11)])
@pytest.mark.parametrize("sigma", [0.01, 0.3])
def test_ssim_agrees_with_scikit_image(shape, sigma):
    metrics = pytest.importorskip("skimage.metrics")
    clean, other = pair(*shape, sigma=sigma)
    options = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 1,
        "channel_axis": 0,
    }
    expected = [
        metrics.structural_similarity(a.double().numpy(), b.double().numpy(), **options)
        for a, b in zip(clean, other, strict=True)
    ]
    assert ssim(clean, other).tolist() == pytest.approx(expected, abs=1e-6)


def test_identical_images_score_one_and_the_measure_is_symmetric():
    clean, other = pair(3, 1, 20, 20)
    assert ssim(clean, clean).tolist() == pytest.approx([1] * 3)
    torch.testing.assert_close(ssim(clean, other), ssim(other, clean))
    assert (ssim(clean, other) < 0.99).all()


def test_constant_images_compare_their_means_alone():
    first, second = torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.6)
    assert ssim(first, second).item() == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), abs=1e-6)


def test_measures_the_denoised_image_though_the_error_has_a_closed_form():
    clean, _ = pair(3, 1, 16, 16)
    evaluation = Evaluation(Identity(), clean, [0.05, 0.2])
    scores = Ssim().score(evaluation)
    assert scores.value[3:] == pytest.approx(ssim(evaluation.noisy(0.2), clean).tolist())
    assert scores.sigma == [0.05] * 3 + [0.2] * 3


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="at least 11 pixels, not 10x12"):
        ssim(torch.zeros(1, 1, 10, 12), torch.zeros(1, 1, 10, 12))
