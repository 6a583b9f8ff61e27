import pytest
import torch
from constructing import construct

from gahbench.contracts.truth import Truth
from gahbench.evaluation.evaluation import Evaluation
from gahbench_plugins.metrics.psnr import Psnr
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


def test_no_error_at_all_is_140_decibels():
    class Perfect(Shift):
        def denoise(self, noisy, sigma, truth):
            return truth.clean

    assert Psnr().score(Evaluation(Perfect(), CLEAN, [0.1])).value == pytest.approx([140.0] * 3)


def test_uses_the_expected_error_where_it_is_known():
    assert Psnr().score(Evaluation(Identity(), CLEAN, [0.1])).value == pytest.approx([20.0] * 3, abs=1e-12)
    oracle = construct(OracleShrink)
    expected = -10 * oracle.risk(Truth(CLEAN), 0.1).log10()
    assert Psnr().score(Evaluation(oracle, CLEAN, [0.1])).value == pytest.approx(expected.tolist())


def test_agrees_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    evaluation = Evaluation(construct(BayesShrink), CLEAN, [0.2])
    expected = [
        metrics.peak_signal_noise_ratio(clean.numpy(), denoised.numpy(), data_range=1)
        for clean, denoised in zip(CLEAN, evaluation.denoised(0.2), strict=True)
    ]
    assert Psnr().score(evaluation).value == pytest.approx(expected, abs=1e-4)
