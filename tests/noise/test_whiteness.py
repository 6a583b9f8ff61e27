"""The test of noisy images alone: white noise, noise of a known kernel, photon noise, and images without noise."""

import numpy as np
import pytest
import torch
from scipy import ndimage

import gahbench
from gahbench._util.errors import DataError
from gahbench.noise import PoissonGaussian, Stabilisation, estimate_from_image, examine_noise

COUNT, SIGMA = 24, 0.1


@pytest.fixture(scope="module")
def clean():
    return gahbench.create("dataset", "photos[size=64]").images("test", COUNT)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def white(shape, seed):
    return torch.randn(shape, generator=seeded(seed))


def filtered(shape, kernel, seed):
    """Return noise of standard deviation 1 whose spectrum is that of a kernel, without borders."""
    kernel = np.asarray(kernel, dtype=float)
    draws = white(shape, seed)[:, 0].numpy()
    noise = np.stack([ndimage.convolve(draw, kernel, mode="wrap") for draw in draws])
    return torch.from_numpy(noise / np.sqrt((kernel**2).sum())).float()[:, None]


def examine(images):
    return examine_noise(list(images))


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2])
def test_white_noise_on_photographs_is_recognised_with_its_level(clean, sigma):
    examination = examine(clean + sigma * white(clean.shape, 1))
    assert examination.is_white_gaussian, str(examination)
    # Texture adds to small levels.
    assert float(examination.sigma.median()) == pytest.approx(sigma, rel=0.05)


def test_the_statistics_of_white_noise_are_those_of_theory():
    examination = examine(0.5 + SIGMA * white((COUNT, 1, 64, 64), 2))
    # Each level is estimated from 4 groups of 4 blocks with 28 coefficients.
    error = SIGMA / np.sqrt(2 * 4 * 4 * 28)
    assert examination.sigma.mean().item() == pytest.approx(SIGMA, abs=4 * error / np.sqrt(COUNT))
    assert examination.sigma.std().item() == pytest.approx(error, rel=0.5)
    assert max(map(abs, examination.correlations)) < 4 * examination.correlation_error
    assert abs(examination.kurtosis) < 0.5
    assert examination.clipped == pytest.approx(2 / 64**2)


@pytest.mark.parametrize(("row", "column"), [(0.1, 0.0), (0.0, 0.1), (-0.1, 0.0), (0.05, 0.05)])
def test_weak_correlations_are_those_of_the_kernel(row, column):
    kernel = [[0, column, 0], [row, 1, row], [0, column, 0]]
    examination = examine(0.5 + SIGMA * filtered((COUNT, 1, 128, 128), kernel, 3))
    power = 1 + 2 * row**2 + 2 * column**2
    # Correlations over two pixels, which are not fitted, are of second order.
    tolerance = 4 * examination.correlation_error + 2 * (row**2 + column**2)
    assert examination.correlations == pytest.approx((2 * row / power, 2 * column / power), abs=tolerance)


@pytest.mark.parametrize(
    "kernel",
    [[[1, 2, 1], [2, 4, 2], [1, 2, 1]], [[0, 0, 0], [0.1, 1, 0.1], [0, 0, 0]], [[0, -0.1, 0], [0, 1, 0], [0, 0, 0]]],
)
def test_noise_of_a_kernel_is_not_white(clean, kernel):
    examination = examine(clean + SIGMA * filtered(clean.shape, kernel, 4))
    assert not examination.is_uncorrelated
    assert not examination.is_white_gaussian


def test_photon_noise_is_uncorrelated_and_white_once_stabilised(clean):
    noisy = PoissonGaussian(a=0.01, b=0.0004).sample(clean, seeded(5))
    before = examine(noisy)
    assert before.is_uncorrelated
    assert not before.is_white_gaussian
    stabilisation = Stabilisation(estimate_from_image(noisy).noise)
    after = examine(stabilisation.forward(noisy.double()))
    assert after.is_white_gaussian, str(after)
    assert float(after.sigma.median()) == pytest.approx(stabilisation.sigma, rel=0.05)


@pytest.mark.parametrize(("name", "kurtosis"), [("uniform", -1.2), ("laplace", 3.0)])
def test_the_kurtosis_of_other_distributions_is_theirs(name, kurtosis):
    draw = np.random.default_rng(6)
    noise = (
        draw.uniform(-(3**0.5), 3**0.5, (48, 1, 64, 64))
        if name == "uniform"
        else draw.laplace(0, 0.5**0.5, (48, 1, 64, 64))
    )
    examination = examine(torch.from_numpy(0.5 + SIGMA * noise))
    # Blocks with outliers are chosen less often, so heavy tails are underestimated.
    assert kurtosis - (0.5 if kurtosis < 0 else 1.5) < examination.kurtosis < kurtosis + 0.5
    assert examination.is_uncorrelated
    assert not examination.is_white_gaussian


def test_a_clean_image_is_recognised():
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    scene = (0.5 + 0.3 * torch.sin(rows / 20) * torch.cos(columns / 17))[None, None]
    assert examine(scene).is_noise_free
    assert examine(scene.mul(255).round() / 255).is_noise_free
    assert not examine(scene + 0.01 * white(scene.shape, 7)).is_noise_free


def test_texture_of_photographs_is_not_taken_for_white_noise(clean):
    assert not examine(clean).is_white_gaussian


def test_clipped_noise_is_not_white_gaussian():
    noisy = (torch.linspace(0, 0.5, 128)[None, None, :, None] + SIGMA * white((4, 1, 128, 128), 8)).clamp(0, 1)
    examination = examine(noisy)
    assert examination.clipped > 0.05
    assert not examination.is_white_gaussian


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        ([], "no images"),
        ([torch.rand(1, 8, 64)], "sides of 16 pixels or more"),
        ([torch.full((1, 64, 64), float("nan"))], "finite numbers"),
        ([torch.zeros(1, 64, 64)], "too few blocks without clipped pixels"),
    ],
)
def test_images_that_cannot_be_examined_are_refused(images, problem):
    with pytest.raises(DataError, match=problem):
        examine_noise(images)
