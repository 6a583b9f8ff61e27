import pytest
import torch
from given_images import GivenImages

from gahbench.contracts.truth import TrainingData, Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.datasets.gaussian_field import GaussianField
from gahbench_plugins.references.gaussian_blur import GaussianBlur
from gahbench_plugins.references.wiener_linear import WienerLinear


def fitted(dataset, images=4096):
    reference = WienerLinear(images)
    reference.fit(TrainingData(dataset))
    return reference


def test_two_images_leave_one_direction():
    """By hand: the mean, and along the difference u of the two the variance |u|^2 / 4."""
    first, second = torch.rand(2, 1, 1, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    reference, sigma = fitted(GivenImages(torch.cat([first, second]))), 0.3
    mean, along = (first + second) / 2, first - second
    variance = along.square().sum() / 4
    noisy = torch.rand(1, 1, 3, 4, generator=torch.Generator().manual_seed(1)).double()
    weight = variance / (variance + sigma**2)
    part = ((noisy - mean) * along).sum() / along.square().sum()
    expected = mean + weight * part * along
    torch.testing.assert_close(reference.denoise(noisy, sigma, Truth(noisy)), expected)
    risk = ((expected - noisy).square().sum() + (sigma * weight) ** 2) / 12
    assert reference.risk(Truth(noisy), sigma).item() == pytest.approx(risk.item())


@pytest.mark.parametrize("sigma", [0.03, 0.3])
def test_reaches_the_optimum_of_gaussian_images_as_training_images_grow(sigma):
    dataset = GaussianField(2.0, 8)
    clean = dataset.images("test", 400)
    least = float(dataset.posterior(clean[:1], sigma).trace[0]) / 64
    excess = []
    for images in (300, 4096):
        risk = fitted(dataset, images).risk(Truth(clean, dataset), sigma)
        error = float(risk.std()) / 400**0.5
        excess.append(float(risk.mean()) / least - 1)
        assert float(risk.mean()) > least - 4 * error
    assert excess[1] < 0.05
    assert excess[1] < excess[0]


def test_no_blur_errs_less_on_the_training_images():
    """Nor does any other affine filter: that is its definition."""
    clean, sigma = CAlpha(2.0, 12).images("train", 500), 0.1
    least = fitted(GivenImages(clean)).risk(Truth(clean), sigma).mean()
    for width in (0.3, 0.6, 1.0, 2.0):
        assert least < GaussianBlur(width).risk(Truth(clean), sigma).mean()


def test_limits():
    dataset = GaussianField(0.5, 8)
    reference, clean = fitted(dataset), dataset.images("test", 3)
    assert reference.denoise(clean, 0.0, Truth(clean)) is clean
    torch.testing.assert_close(reference.denoise(clean, 1e-5, Truth(clean)), clean, atol=1e-4, rtol=0)
    assert reference.risk(Truth(clean), 0.0).tolist() == [0, 0, 0]
    mean = dataset.images("train", 4096).mean(0, keepdim=True).expand(3, -1, -1, -1)
    torch.testing.assert_close(reference.denoise(clean, 1e5, Truth(clean)), mean, atol=1e-5, rtol=0)
