"""SURE and the error at unseen pixels, which need no clean images, against errors that are known here."""

import numpy as np
import pytest
import torch
from scipy import ndimage

import gahbench
from gahbench.contracts.datasets import Captured
from gahbench.evaluation import Evaluation

SIGMA, COUNT = 0.1, 32
DENOISERS = ["bayes-shrink[sym4]", "gaussian-blur[width=0.8]", "tv[weight=0.08]", "threshold[sym4]"]


@pytest.fixture(scope="module")
def clean():
    return gahbench.create("dataset", "photos[size=64]").images("test", COUNT)


def white(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def evaluate(reference, clean, noisy, sigma=None):
    """Return an evaluation that sees only noisy images, which stand in for the clean images."""
    levels = torch.full((len(noisy),), SIGMA, dtype=torch.float64) if sigma is None else sigma
    captured = Captured(noisy, levels, torch.zeros_like(levels))
    return Evaluation(gahbench.create("reference", reference), noisy, [SIGMA], captured=captured)


def scores_of(metric, evaluation, part=""):
    scores = gahbench.create("metric", metric).score(evaluation)
    parts = scores.part or [""] * len(scores.value)
    return np.array([value for value, name in zip(scores.value, parts, strict=True) if name == part])


def assert_mean_is_zero(differences):
    """Check that the mean of the images' differences is 0 within four standard errors."""
    assert abs(differences.mean()) < 4 * differences.std(ddof=1) / np.sqrt(len(differences))


@pytest.mark.parametrize("reference", DENOISERS)
def test_sure_is_the_squared_error(clean, reference):
    noisy = clean + SIGMA * white(clean.shape, 1)
    evaluation = evaluate(reference, clean, noisy)
    error = (evaluation.denoised(SIGMA).double() - clean).square().mean((1, 2, 3)).numpy() / SIGMA**2
    # The noise of an image is not exactly as strong as sigma. For a denoiser of trace t, SURE exceeds the error by
    # (1 - 2 t) times the excess, which is subtracted here, since the clean images are known.
    excess = (noisy - clean).double().square().mean((1, 2, 3)).numpy() / SIGMA**2 - 1
    estimate = scores_of("sure", evaluation) - (1 - 2 * scores_of("sure", evaluation, "trace")) * excess
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
        noisy = clean + SIGMA * (draw.sign() if kind == "signs" else draw)
        sigma = None
    evaluation = evaluate("bayes-shrink[sym4]", clean, noisy, sigma)
    levels = evaluation.captured.sigma
    denoised = unseen(lambda images: evaluation.apply(images, SIGMA, evaluation.truth), noisy, 4)
    error = np.mean((denoised - clean[:, 0].numpy()) ** 2, (1, 2)) / levels.numpy() ** 2
    estimate = scores_of("masked-error", evaluation)
    assert_mean_is_zero(estimate - error)
    assert estimate.mean() == pytest.approx(error.mean(), abs=0.06)
    # The same images are compared with the noisy images.
    blind = np.mean((denoised - noisy[:, 0].numpy()) ** 2, (1, 2)) / levels.numpy() ** 2 - 1
    assert estimate == pytest.approx(blind, abs=1e-4)
