"""Poisson-Gaussian noise: moments of samples, stabilised variance, the unbiased inverse, and estimates."""

import math

import pytest
import torch
from scipy import integrate, stats

from gahbench import DataError, ParameterError, create
from gahbench.noise import PoissonGaussian, Stabilisation, estimate_from_image, estimate_from_pairs

CASES = [(0.01, 0.0), (0.01, 4e-4), (0.05, 0.001), (0.002, 0.002), (0.1, 0.0), (0.0, 0.01)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("a", "b"), CASES)
@pytest.mark.parametrize("intensity", [0.0, 0.3, 1.0])
def test_mean_and_variance_of_samples(a, b, intensity):
    noise, count = PoissonGaussian(a, b), 200_000
    clean = torch.full((count,), intensity, dtype=torch.float64)
    noisy, variance = noise.sample(clean, seeded()), float(noise.variance(clean[0]))
    assert abs(float(noisy.mean()) - intensity) <= 4.5 * math.sqrt(variance / count)
    # The kurtosis is 3 for a Gaussian, and 3 + 1 / lambda for Poisson noise in counts.
    kurtosis = 3 + (a**3 * intensity / variance**2 if variance else 0)
    assert abs(float(noisy.var()) - variance) <= 4.5 * variance * math.sqrt((kurtosis - 1) / count)


def test_negative_intensities_count_as_0_and_precision_is_kept():
    noise = PoissonGaussian(0.1, 0.0)
    assert noise.sample(torch.full((8,), -0.5)).abs().max() == 0
    for dtype in (torch.float32, torch.float64):
        assert noise.sample(torch.rand(2, 1, 4, 4, dtype=dtype)).dtype == dtype


def exact_moments(a, b, intensity):
    """Return mean and variance of 2 sqrt(max(z + 3/8 + s^2, 0)) by adaptive quadrature and a sum over counts."""
    rate, std = intensity / a, math.sqrt(b) / a
    counts = range(int(rate + 12 * math.sqrt(rate) + 12))
    first = second = 0.0
    for count in counts:
        centre = count + 3 / 8 + std**2
        probability = stats.poisson.pmf(count, rate)
        if std == 0:
            root = 2 * math.sqrt(centre)
        else:

            def root_at(t, centre=centre):
                return 2 * math.sqrt(max(centre + std * t, 0)) * stats.norm.pdf(t)

            root = integrate.quad(root_at, max(-centre / std, -10), 10)[0]
        square = 4 * (centre * stats.norm.cdf(centre / std) + std * stats.norm.pdf(centre / std)) if std else 4 * centre
        first, second = first + probability * root, second + probability * square
    return first, second - first**2


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.0), (0.05, 0.001), (0.2, 0.05)])
def test_expected_transform_and_deviation_against_adaptive_quadrature(a, b):
    stabilisation = Stabilisation(PoissonGaussian(a, b))
    intensities = [0.0, 0.02, 0.35, 1.0]
    clean = torch.tensor(intensities, dtype=torch.float64)
    means, variances = zip(*(exact_moments(a, b, x) for x in intensities), strict=True)
    expected = [(mean - means[0]) / (means[-1] - means[0]) for mean in means]
    assert stabilisation.sigma == pytest.approx(1 / (means[-1] - means[0]), rel=1e-6)
    assert stabilisation.expected(clean).tolist() == pytest.approx(expected, abs=2e-6)
    assert stabilisation.deviation(clean).square().tolist() == pytest.approx(list(variances), abs=1e-4)


@pytest.mark.parametrize(("a", "b"), CASES)
def test_variance_is_stable_above_the_stated_intensity(a, b):
    noise = PoissonGaussian(a, b)
    stabilisation = Stabilisation(noise)
    assert stabilisation.stable_from < 0.7
    clean = torch.linspace(stabilisation.stable_from, 1, 8, dtype=torch.float64)[:, None].expand(-1, 100_000)
    variances = (stabilisation.forward(noise.sample(clean, seeded())) / stabilisation.sigma).var(1)
    # The standard error of a variance over 100,000 values is 0.0045.
    assert (variances - 1).abs().max() <= 0.02 + 3 * 0.0045
    assert (stabilisation.deviation(clean[:, 0]).square() - 1).abs().max() <= 0.02


@pytest.mark.parametrize(("a", "b"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_inverse_is_unbiased(a, b, dtype):
    # A perfect denoiser returns the expected stabilised image; its inverse is the clean image.
    stabilisation = Stabilisation(PoissonGaussian(a, b))
    clean = torch.linspace(0, 1, 20_001, dtype=dtype)
    restored = stabilisation.inverse(stabilisation.expected(clean))
    assert restored.dtype == dtype
    assert (restored - clean).abs().max() < (1e-5 if dtype == torch.float64 else 1e-4)


def test_the_inverse_of_the_average_stabilised_image_is_the_clean_image():
    # Monte Carlo: independent of the table. The algebraic inverse would be off by a quarter of a count.
    noise, count = PoissonGaussian(0.05, 0.0005), 2_000_000
    stabilisation = Stabilisation(noise)
    for intensity in (0.0, 0.05, 0.5):
        clean = torch.full((count,), intensity, dtype=torch.float64)
        average = stabilisation.forward(noise.sample(clean, seeded())).mean()
        assert abs(float(stabilisation.inverse(average)) - intensity) < 1e-3


def test_the_inverse_increases_beyond_the_range_of_images():
    for a, b in CASES:
        stabilised = torch.linspace(-3, 4, 5_001, dtype=torch.float64)
        assert (Stabilisation(PoissonGaussian(a, b)).inverse(stabilised).diff() > 0).all()


@pytest.mark.parametrize("a", [1e-4, 1e-6, 1e-9, 1e-12, 0.0])
def test_without_photon_noise_stabilisation_is_the_identity(a):
    stabilisation, images = Stabilisation(PoissonGaussian(a, 0.01)), torch.linspace(-0.5, 1.5, 101, dtype=torch.float64)
    tolerance = 60 * a + 1e-12
    assert stabilisation.sigma == pytest.approx(0.1, abs=tolerance)
    assert (stabilisation.forward(images) - images).abs().max() <= tolerance
    assert (stabilisation.inverse(images) - images).abs().max() <= tolerance


@pytest.mark.parametrize(("a", "b"), [(0.01, 0.0004), (0.05, 0.0), (0.0, 0.01), (0.3, 0.0)])
@pytest.mark.parametrize("family", ["discs", "c-alpha"])
def test_estimates_from_pairs_are_within_their_errors(a, b, family):
    clean = create("dataset", family, size=64).images("test", 16)
    estimate = estimate_from_pairs(clean, PoissonGaussian(a, b).sample(clean, seeded(1)))
    assert abs(estimate.noise.a - a) <= 4 * estimate.a_error <= 0.05 * a + 0.005
    assert abs(estimate.noise.b - b) <= 4 * estimate.b_error <= 0.05 * b + 0.008


def test_estimates_from_pairs_withstand_defective_pixels_and_noise_of_the_reference():
    clean, noise = create("dataset", "discs", size=64).images("test", 16), PoissonGaussian(0.01, 0.0004)
    captures = torch.stack([noise.sample(clean, seeded(seed)) for seed in range(5)])
    defective = captures[0].clone()
    defective.view(-1)[::1000] = 2.0
    estimate = estimate_from_pairs(clean, defective)
    assert estimate.noise.a == pytest.approx(0.01, abs=4 * estimate.a_error)
    estimate = estimate_from_pairs(captures[1:].mean(0), captures[0], reference_variance=1 / 4)
    assert estimate.noise.a == pytest.approx(0.01, rel=0.02)
    assert estimate.noise.b == pytest.approx(0.0004, rel=0.1)


def test_clipped_pixels_are_left_out():
    clean, noise = create("dataset", "discs", size=64).images("test", 16), PoissonGaussian(0.02, 0.002)
    clipped = noise.sample(clean, seeded()).clamp(0, 1)
    assert estimate_from_pairs(clean, clipped).noise.b < 0.8 * 0.002
    estimate = estimate_from_pairs(clean, clipped, is_clipped=True)
    assert abs(estimate.noise.a - 0.02) <= 4 * estimate.a_error
    assert abs(estimate.noise.b - 0.002) <= 4 * estimate.b_error


@pytest.mark.parametrize(("a", "b"), [(0.01, 0.0004), (0.05, 0.0), (0.0, 0.01)])
@pytest.mark.parametrize("family", ["discs", "c-alpha"])
def test_estimates_from_images_alone(a, b, family):
    clean = create("dataset", family, size=64).images("test", 16)
    estimate = estimate_from_image(PoissonGaussian(a, b).sample(clean, seeded(2)))
    assert abs(estimate.noise.a - a) <= 4 * estimate.a_error + 0.03 * a
    assert abs(estimate.noise.b - b) <= 4 * estimate.b_error + 0.05 * b


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [(-0.1, 0.1, "a=-0.1; accepted"), (0.1, -1, "b=-1; accepted"), (0, 0, "no noise"), (math.nan, 1, "a=nan")],
)
def test_invalid_parameters(a, b, message):
    with pytest.raises(ParameterError, match=message):
        PoissonGaussian(a, b)


@pytest.mark.parametrize("value", [255.0, -3.0, math.nan, math.inf])
def test_intensities_out_of_range(value):
    images = torch.zeros(2, 1, 4, 4)
    images[1, 0, 2, 2] = value
    noise = PoissonGaussian(0.1, 0.1)
    for function in (noise.sample, Stabilisation(noise).expected):
        with pytest.raises(DataError, match="accepted: finite numbers in"):
            function(images)


def test_images_that_determine_no_noise():
    images = torch.rand(1, 1, 32, 32, generator=seeded())
    constant = torch.full_like(images, 0.5)
    for call, message in (
        (lambda: estimate_from_pairs(images, images[..., :16]), "equal shapes"),
        (lambda: estimate_from_pairs(images, images), "equal their references"),
        (lambda: estimate_from_pairs(constant, constant + 0.1 * images), "all intensities are equal"),
        (lambda: estimate_from_pairs(images, images * math.nan), "not finite"),
        (lambda: estimate_from_image(images[..., :8]), "sides of 16 or more"),
        (lambda: estimate_from_image(images), "smooth values; accepted"),
        (lambda: estimate_from_image(torch.zeros(8, 1, 64, 64)), "noise"),
    ):
        with pytest.raises(DataError, match=message):
            call()
