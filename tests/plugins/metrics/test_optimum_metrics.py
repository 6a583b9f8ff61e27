"""Metrics against the best denoiser: distance, optimal rate, consistency, dimension and Gaussian share."""

import pytest
import torch
from known_filters import Filters, create, evaluate_images, evaluation, table

from gahbench.contracts.references import Reference

FAMILIES = ["gaussian-field[size=12]", "sinusoids[size=8]", "rays[discs[size=8]]", "c-alpha[size=16]"]


def mean_in_standard_errors(values):
    return float(values.mean() / values.std() * len(values) ** 0.5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["bayes-shrink[haar]", "gaussian-blur[1.0]", "identity"])
def test_the_error_is_the_optimal_error_plus_the_distance(family, name):
    result = evaluation(name, family, (0.05, 0.3), 150)
    distances, crosses = table("optimum-distance", result), table("optimum-cross", result)
    for sigma in result.sigmas:
        error = (result.denoised(sigma).double() - result.clean).square().flatten(1).mean(1)
        sums = distances["", sigma] + distances["optimal-error", sigma]
        assert (distances["", sigma] >= 0).all()
        assert abs(mean_in_standard_errors(error - sums)) < 4
        assert abs(mean_in_standard_errors(crosses["", sigma])) < 4


class Sees(Reference):
    """A mixture of the optimal denoiser, or of a poor denoiser, with the clean image."""

    kind = "oracle"

    def __init__(self, share):
        self.share = share

    def denoise(self, noisy, sigma, truth):
        best = truth.dataset.posterior(noisy, sigma).mean.float()
        return best + self.share * (truth.clean - best)


@pytest.mark.parametrize(("share", "is_detected"), [(0.1, True), (-0.1, False)])
def test_denoisers_that_use_the_clean_image_have_a_cross_term(share, is_detected):
    result = evaluation(Sees(share), "gaussian-field[size=12]", (0.1,), 64)
    assert table("optimum-cross", result) == {}
    # The denoiser claims not to use the clean image.
    denoised = result.denoised(0.1)
    result.denoiser = Filters(torch.eye(144)[None])
    result._denoised[0.1] = denoised
    assert (mean_in_standard_errors(table("optimum-cross", result)["", 0.1]) > 3) is is_detected


def error_of_mean(values):
    return float(values.std()) / len(values) ** 0.5


@pytest.mark.parametrize(("family", "sigma"), [
    ("gaussian-field[size=12]", 0.03), ("gaussian-field[size=12]", 0.2),
    # On a ray the squared error is that of a single number, and has a large variance.
    ("rays[discs[size=8]]", 0.02), ("rays[discs[size=8]]", 0.1),
])  # fmt: skip
def test_the_ratio_of_means_is_1_for_the_best_denoiser(family, sigma):
    parts = table("self-consistency", evaluation("optimal", family, (sigma,), count=300))
    realised, expected = parts["realised", sigma], parts["expected", sigma]
    ratio = float(realised.mean() / expected.mean())
    # The standard error of a ratio of means is that of the delta method.
    assert abs(ratio - 1) < 4 * error_of_mean(realised - ratio * expected) / float(expected.mean()) < 0.5


@pytest.mark.parametrize("reference", ["lower-bound", "gaussian-blur[0.7]", "threshold[haar,rule=soft,k=1.5]"])
@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_steins_estimate_agrees_with_the_error_on_average(reference, sigma):
    result = evaluation(reference, "c-alpha[size=12]", (sigma,), count=200)
    parts = table("self-consistency", result)
    differences = parts["sure", sigma] - parts["realised", sigma]
    assert abs(float(differences.mean())) < 4 * error_of_mean(differences)
    # Without the correction by known noise the estimates would differ by about sqrt(2 / d) for single images.
    noise = (result.noisy(sigma) - result.clean).double().square().flatten(1).mean(1) / sigma**2
    plain = differences + (1 - 2 * parts["expected", sigma].mean()) * (noise - 1)
    assert 0.5 < float(plain.std()) / (2 / 144) ** 0.5 < 1.5
    # The correction removes most of the variance for filters near 0 or 1, and less in between.
    assert float(differences.std()) < float(plain.std())


@pytest.mark.parametrize(("dataset", "dimension"), [("discs[size=8]", 5), ("rays[discs[size=8]]", 1)])
def test_the_best_denoiser_has_the_dimension_of_the_manifold_and_of_the_data(few_draws, dataset, dimension):
    parts = table("local-dimension", evaluation("optimal", dataset, (0.01,), count=12))
    assert len(parts["", 0.01]) == 12
    for part in ("", "data"):
        assert parts[part, 0.01].median() == pytest.approx(dimension, abs=0.1)
    # The trace of the optimum is computed by another integral.
    torch.testing.assert_close(parts["", 0.01], parts["data", 0.01], rtol=0, atol=0.3)
    assert not parts["memorized", 0.01].any()


def test_the_local_dimension_of_gaussian_images_has_a_closed_form():
    """The closed form uses J = C (C + sigma^2)^-1 with covariance C, and f(x) - x = (J - 1)(x - m)."""
    sigma, evaluated = 0.2, evaluation("optimal", "gaussian-field[size=8]", (0.2,), count=5)
    matrix = evaluated.local_filters.matrices(sigma)[0].double()
    # The difference f(y) - J y is the same for all images.
    noisy = evaluated.noisy(sigma).double().flatten(1)
    added = (evaluated.denoised(sigma).double().flatten(1) - noisy @ matrix)[0]
    clean = evaluated.clean.double().flatten(1)
    expected = matrix.trace() + (clean @ matrix + added - clean).square().sum(1) / sigma**2
    torch.testing.assert_close(table("local-dimension", evaluated)["", sigma], expected, rtol=1e-3, atol=1e-3)
    # The mean over images is tr J + tr (1 - J) C (1 - J) / sigma^2.
    many = table("local-dimension", evaluation("optimal", "gaussian-field[size=8]", (sigma,), count=400))["", sigma]
    residual = torch.eye(64) - matrix
    covariance = sigma**2 * matrix @ torch.linalg.inv(residual)
    mean = matrix.trace() + (residual @ covariance @ residual).trace() / sigma**2
    assert abs(float(many.mean() - mean)) < 4 * float(many.std()) / 20


def test_eigenvalues_of_the_symmetric_part_are_in_descending_order():
    matrix = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    result = evaluate_images(Filters(matrix), torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1)))
    expected = torch.linalg.eigvalsh((matrix + matrix.mT)[0] / 2).flip(0)
    for k in (1, 5, 16):
        assert table(f"eigenvalue[k={k}]", result)["", 0.1].tolist() == pytest.approx([float(expected[k - 1])] * 3)
    with pytest.raises(ValueError, match="eigenvalue: k=17; accepted: 1 to 16, the number of values of images 1x4x4"):
        create("metric", "eigenvalue[k=17]").check((1, 4, 4), [0.1])


@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_the_gaussian_share_is_1_for_the_optimum_of_gaussian_images(sigma):
    parts = table("gaussian-share", evaluation("optimal", "gaussian-field[size=12]", (sigma,), count=100))
    size, explained, null = (parts[part, sigma].mean() for part in ("size", "explained", "explained-by-mean"))
    assert explained > 0.99 * size
    assert null < explained


SIGMAS = [0.02 * 2**octave for octave in range(5)]
FAMILY = "c-alpha[alpha=4,size=16]"


@pytest.mark.parametrize("family", ["gaussian-field[size=12]", FAMILY])
def test_errors_are_the_optimal_error_plus_the_distance(family):
    result = evaluation("bayes-shrink[haar]", family, SIGMAS[2:5], 6)
    own, distance = table("optimality-slope", result), table("optimum-distance", result)
    for sigma in SIGMAS[2:5]:
        torch.testing.assert_close(own["bound", sigma], distance["optimal-error", sigma])
        torch.testing.assert_close(own["error", sigma], distance["", sigma] + distance["optimal-error", sigma])
        assert (own["error", sigma] > own["bound", sigma]).all()


def test_images_above_max_size_have_errors_only():
    metric = create("metric", "optimality-slope[max_size=15]")
    result = evaluation("bayes-shrink[haar]", FAMILY, SIGMAS[:3], 4)
    parts = table(metric, result)
    assert {part for part, _ in parts} == {"error"}
    realised = (result.denoised(SIGMAS[0]).double() - result.clean).square().flatten(1).mean(1)
    torch.testing.assert_close(parts["error", SIGMAS[0]], realised)
