"""The transfer gap against closed forms, and against a Monte Carlo that does not use the metric's code."""

import numpy as np
import pytest
import torch
from scipy import ndimage

import gahbench
from gahbench.board.statistics import sampled_means
from gahbench.contracts.datasets import Captured
from gahbench.evaluation import Evaluation

SIGMA, COUNT = 0.1, 40
BLUR = "gaussian-blur[width=0.8]"


@pytest.fixture(scope="module")
def clean():
    return gahbench.create("dataset", "photos[size=64]").images("test", COUNT)


def white(shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def captures(clean, noise, variance=0.0):
    sigma = torch.full((len(clean),), SIGMA, dtype=torch.float64)
    return Captured(clean + torch.from_numpy(noise).float(), sigma, torch.full_like(sigma, variance))


def gap(reference, clean, captured):
    """Return the interval of the mean gap, and the values by part."""
    evaluation = Evaluation(gahbench.create("reference", reference), clean, [SIGMA], captured=captured)
    scores = gahbench.create("metric", "transfer-gap").score(evaluation)
    values = {}
    for value, part in zip(scores.value, scores.part, strict=True):
        values.setdefault(part, []).append(value)
    arrays = {part: np.array(column) for part, column in values.items()}
    (interval,) = sampled_means(arrays[""][None, None]).intervals()
    return interval, arrays


@pytest.mark.parametrize("reference", ["identity", "bayes-shrink[sym4]", "nl-means[h=0.06]", "tv[weight=0.08]", BLUR])
def test_the_gap_is_0_for_white_gaussian_noise(clean, reference):
    interval, parts = gap(reference, clean, captures(clean, SIGMA * white(clean.shape, 1)))
    # Five intervals of 95 % are checked, so each is widened by 4/3.
    margin = (interval.high - interval.low) / 6
    assert interval.low - margin < 0 < interval.high + margin
    assert interval.high - interval.low < 0.4
    assert all(abs(parts[f"{axis}-{lag}"].mean()) < 0.01 for axis in ("rows", "columns") for lag in (1, 2, 3, 4))


KERNEL = np.array([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])


def correlated(shape, seed):
    """Return noise of standard deviation SIGMA with the autocorrelation of the kernel."""
    draw = white((shape[0], shape[2] + 2, shape[3] + 2), seed)
    filtered = np.stack([ndimage.convolve(image, KERNEL)[1:-1, 1:-1] for image in draw])
    return SIGMA * filtered[:, None] / np.sqrt((KERNEL**2).sum())


def test_the_gap_under_noise_of_a_known_kernel_is_that_of_a_monte_carlo(clean):
    """The errors of a linear filter under both kinds of noise are simulated, with noise of numpy and scipy."""
    reference = gahbench.create("reference", BLUR)
    interval, parts = gap(BLUR, clean, captures(clean, correlated(clean.shape, 2)))

    def psnr(noise):
        noisy = clean + torch.from_numpy(noise).float()
        denoised = reference.denoise(noisy, SIGMA, None).numpy()
        return -10 * np.log10(np.mean((denoised - clean.numpy()) ** 2, (1, 2, 3)))

    draws = [
        (psnr(correlated(clean.shape, seed)) - psnr(SIGMA * white(clean.shape, seed))).mean() for seed in range(10, 26)
    ]
    error = float(np.std(draws, ddof=1))
    assert interval.value == pytest.approx(float(np.mean(draws)), abs=4 * error)
    assert interval.high < -1
    # The correlations are those of the kernel (1, 2, 1) along each axis: 4/6 and 1/6 of the variance, then 0.
    for axis in ("rows", "columns"):
        measured = [parts[f"{axis}-{lag}"].mean() for lag in (1, 2, 3, 4)]
        assert measured == pytest.approx([4 / 6, 1 / 6, 0, 0], abs=0.02)


def test_the_noise_that_is_left_in_a_reference_does_not_change_the_gap(clean):
    """Bursts of white noise have the PSNR and the gap of exact references, within their intervals."""
    noisy = clean + torch.from_numpy(SIGMA * white(clean.shape, 4)).float()
    for frames in (6, 20):
        residual = torch.from_numpy(SIGMA * white(clean.shape, 5) / np.sqrt(frames)).float()
        sigma = torch.full((COUNT,), SIGMA, dtype=torch.float64)
        captured = Captured(noisy, sigma, torch.full_like(sigma, SIGMA**2 / frames))
        for reference in ("bayes-shrink[sym4]", BLUR):
            interval, parts = gap(reference, clean + residual, captured)
            _, exact = gap(reference, clean, Captured(noisy, sigma, torch.zeros_like(sigma)))
            assert interval.value == pytest.approx(0, abs=0.15)
            # With six captures, the reference is noisier than some of the denoised images.
            if frames == 20:
                assert (parts["drawn"] - exact["drawn"]).mean() == pytest.approx(0, abs=0.1)


def test_drawn_noise_and_small_images_are_refused(clean):
    metric = gahbench.create("metric", "transfer-gap")
    with pytest.raises(gahbench.ParameterError, match="sigmas: measured"):
        metric.score(Evaluation(gahbench.create("reference", "identity"), clean, [SIGMA]))
    with pytest.raises(ValueError, match="more than 8 pixels"):
        metric.check((1, 8, 64), [SIGMA])
