import pytest
import torch

from gahbench.evaluation.evaluation import Evaluation
from gahbench_plugins.metrics.ssim import Ssim, ssim
from gahbench_plugins.references.identity import Identity


def pair(*shape, sigma=0.1):
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(*shape, generator=generator), 5, stride=1, padding=2)
    return smooth, smooth + sigma * torch.randn(*shape, generator=generator)


@pytest.mark.parametrize("shape", [(4, 1, 32, 32), (2, 3, 24, 40), (2, 1, 11, 11)])
@pytest.mark.parametrize("sigma", [0.01, 0.3])
def test_agrees_with_scikit_image(shape, sigma):
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
