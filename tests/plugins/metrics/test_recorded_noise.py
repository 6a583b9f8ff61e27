"""Metrics of recorded noise: the transfer gap, SURE and the error at unseen pixels, against errors known here.

The Monte Carlo and the loops over grids do not use the metrics' code.
"""

import numpy as np
import pytest
import torch
from known_filters import group_by_part
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
    return SIGMA * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def evaluate(reference, clean, noisy, sigma=SIGMA, variance=0.0):
    """Return an evaluation on captures with given noise levels, and a given variance of the noise in the references."""
    levels = torch.as_tensor(sigma, dtype=torch.float64).expand(COUNT)
    captured = Captured(noisy, levels, torch.full_like(levels, variance))
    return Evaluation(gahbench.create("reference", reference), clean, [SIGMA], captured=captured)


def scores_of(metric, evaluation):
    """Return the values of a metric by part."""
    scores = group_by_part(gahbench.create("metric", metric).score(evaluation))
    return {part: np.array(values) for part, values in scores.items()}


def gap(*given, **options):
    """Return the interval of the mean gap, and the values by part."""
    parts = scores_of("transfer-gap", evaluate(*given, **options))
    (interval,) = sampled_means(parts[""][None, None]).intervals()
    return interval, parts


def assert_gap_is_0(interval):
    """Check that an interval of 95 %, widened by 4/3 since several are checked, contains 0."""
    margin = (interval.high - interval.low) / 6
    assert interval.low - margin < 0 < interval.high + margin
    assert interval.high - interval.low < 0.4


@pytest.mark.parametrize("reference", ["identity", "bayes-shrink[sym4]", "nl-means[h=0.06]", "tv[weight=0.08]", BLUR])
def test_the_gap_is_0_for_white_gaussian_noise(clean, reference):
    interval, parts = gap(reference, clean, clean + white(clean.shape, 1))
    assert_gap_is_0(interval)
    assert all(abs(parts[f"{axis}-{lag}"].mean()) < 0.01 for axis in ("rows", "columns") for lag in (1, 2, 3, 4))


KERNEL = np.array([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])


def correlated(shape, seed):
    """Return noise of standard deviation SIGMA with the autocorrelation of the kernel."""
    draw = white((shape[0], shape[2] + 2, shape[3] + 2), seed).numpy()
    filtered = np.stack([ndimage.convolve(image, KERNEL)[1:-1, 1:-1] for image in draw])
    return torch.from_numpy(filtered[:, None] / np.sqrt((KERNEL**2).sum())).float()


def test_the_gap_under_noise_of_a_known_kernel_is_that_of_a_monte_carlo(clean):
    """The errors of a linear filter under both kinds of noise are simulated, with noise of numpy and scipy."""
    reference = gahbench.create("reference", BLUR)
    interval, parts = gap(BLUR, clean, clean + correlated(clean.shape, 2))

    def psnr(noise):
        denoised = reference.denoise(clean + noise, SIGMA, None).numpy()
        return -10 * np.log10(np.mean((denoised - clean.numpy()) ** 2, (1, 2, 3)))

    draws = [(psnr(correlated(clean.shape, seed)) - psnr(white(clean.shape, seed))).mean() for seed in range(10, 26)]
    error = float(np.std(draws, ddof=1))
    assert interval.value == pytest.approx(float(np.mean(draws)), abs=4 * error)
    assert interval.high < -1
    # The correlations are those of the kernel (1, 2, 1) along each axis: 4/6 and 1/6 of the variance, then 0.
    for axis in ("rows", "columns"):
        measured = [parts[f"{axis}-{lag}"].mean() for lag in (1, 2, 3, 4)]
        assert measured == pytest.approx([4 / 6, 1 / 6, 0, 0], abs=0.02)


def test_the_noise_that_is_left_in_a_reference_does_not_change_the_gap(clean):
    """Bursts of white noise have the PSNR and the gap of exact references, within their intervals."""
    noisy = clean + white(clean.shape, 4)
    for frames in (6, 20):
        averaged = clean + white(clean.shape, 5) / np.sqrt(frames)
        for reference in ("bayes-shrink[sym4]", BLUR):
            interval, parts = gap(reference, averaged, noisy, variance=SIGMA**2 / frames)
            _, exact = gap(reference, clean, noisy)
            assert_gap_is_0(interval)
            # With six captures, the reference is noisier than some of the denoised images.
            if frames == 20:
                assert (parts["drawn"] - exact["drawn"]).mean() == pytest.approx(0, abs=0.1)


def test_drawn_noise_and_small_images_are_refused(clean):
    metric = gahbench.create("metric", "transfer-gap")
    with pytest.raises(gahbench.ParameterError, match="sigmas: measured"):
        metric.score(Evaluation(gahbench.create("reference", "identity"), clean, [SIGMA]))
    with pytest.raises(ValueError, match="more than 8 pixels"):
        metric.check((1, 8, 64), [SIGMA])


def assert_mean_is_zero(differences):
    """Check that the mean of the images' differences is 0 within four standard errors."""
    assert abs(differences.mean()) < 4 * differences.std(ddof=1) / np.sqrt(len(differences))


@pytest.mark.parametrize("reference", ["bayes-shrink[sym4]", BLUR, "tv[weight=0.08]", "threshold[sym4]"])
def test_sure_is_the_squared_error(clean, reference):
    noisy = clean + white(clean.shape, 1)
    evaluation = evaluate(reference, noisy, noisy)
    error = (evaluation.denoised(SIGMA).double() - clean).square().mean((1, 2, 3)).numpy() / SIGMA**2
    # The noise of an image is not exactly as strong as sigma. For a denoiser of trace t, SURE exceeds the error by
    # (1 - 2 t) times the excess, which is subtracted here, since the clean images are known.
    excess = (noisy - clean).double().square().mean((1, 2, 3)).numpy() / SIGMA**2 - 1
    parts = scores_of("sure", evaluation)
    estimate = parts[""] - (1 - 2 * parts["trace"]) * excess
    assert_mean_is_zero(estimate - error)
    assert estimate.mean() == pytest.approx(error.mean(), abs=0.02)


def unseen(denoise, noisy, spacing):
    """Return images whose pixels are denoised without being seen, by loops over grids that do not use the metric."""
    weights = np.array([[0.5, 1, 0.5], [1, 0, 1], [0.5, 1, 0.5]])
    ones = ndimage.convolve(np.ones(noisy.shape[2:]), weights, mode="constant")
    means = np.stack([ndimage.convolve(image, weights, mode="constant") / ones for image in noisy[:, 0].numpy()])
    result, rows, columns = np.zeros_like(means), *np.indices(means.shape[1:])
    for grid in range(spacing**2):
        is_masked = (rows % spacing == grid // spacing) & (columns % spacing == grid % spacing)
        masked = np.where(is_masked, means, noisy[:, 0].numpy())
        denoised = denoise(torch.from_numpy(masked).float()[:, None])[:, 0].numpy()
        result[:, is_masked] = denoised[:, is_masked]
    return result


@pytest.mark.parametrize("kind", ["white", "photons", "signs"])
def test_the_masked_error_minus_the_noise_is_the_error_at_unseen_pixels(clean, kind):
    """The noise may have any distribution, if its mean is 0 and pixels are independent."""
    if kind == "photons":
        noisy = 0.02 * torch.poisson(clean / 0.02, torch.Generator().manual_seed(4))
        sigma = clean.double().mul(0.02).mean((1, 2, 3)).sqrt()
    else:
        draw = white(clean.shape, 5)
        noisy = clean + (SIGMA * draw.sign() if kind == "signs" else draw)
        sigma = SIGMA
    evaluation = evaluate("bayes-shrink[sym4]", noisy, noisy, sigma)
    levels = evaluation.captured.sigma
    denoised = unseen(lambda images: evaluation.apply(images, SIGMA, evaluation.truth), noisy, 4)
    error = np.mean((denoised - clean[:, 0].numpy()) ** 2, (1, 2)) / levels.numpy() ** 2
    estimate = scores_of("masked-error", evaluation)[""]
    assert_mean_is_zero(estimate - error)
    assert estimate.mean() == pytest.approx(error.mean(), abs=0.06)
    # The same images are compared with the noisy images.
    blind = np.mean((denoised - noisy[:, 0].numpy()) ** 2, (1, 2)) / levels.numpy() ** 2 - 1
    assert estimate == pytest.approx(blind, abs=1e-4)
