"""Metrics against the best denoiser: distance, optimal rate, consistency, dimension and Gaussian share."""

import numpy as np
import pytest
import torch
from known_filters import Filters, create, evaluate_images, evaluation, table

import gahbench
from gahbench import OptimumError
from gahbench.board.rate_curves import DeficitCurve
from gahbench.board.statistics import sampled_means
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation import Evaluation
from gahbench.evaluation.evaluation import _optimal_batch
from gahbench_plugins.datasets.c_alpha import CAlpha

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


@pytest.mark.parametrize("weight", [0.2, 0.8])
def test_the_distance_on_gaussian_images_has_a_closed_form(weight):
    """For white images of variance v, f = w y has squared distance |w - v / (v + s^2)|^2 (v + s^2) from the optimum."""
    sigma = 0.2
    result = evaluation(Filters(weight * torch.eye(64)[None]), "gaussian-field[size=8]", (sigma,), 400)
    noisy, best = result.noisy(sigma).double(), result.optimum(sigma)
    expected = (weight * noisy - best.mean).square().flatten(1).mean(1)
    torch.testing.assert_close(table("optimum-distance", result)["", sigma], expected, rtol=1e-5, atol=1e-9)


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


def test_a_dataset_that_cannot_be_a_key_has_an_optimum_too():
    result = evaluation("identity", "gaussian-field[size=8]")
    expected = table("optimum-distance", result)["", 0.1]

    class Unhashable(type(result.dataset)):
        __hash__ = None

    again = evaluation("identity", "gaussian-field[size=8]")
    again.dataset.__class__ = Unhashable
    torch.testing.assert_close(table("optimum-distance", again)["", 0.1], expected)


def test_the_optimum_is_computed_once_for_all_entrants(monkeypatch):
    computed_levels = []
    name = "gahbench.evaluation.evaluation._optimal_batch"
    monkeypatch.setattr(name, lambda *arguments: computed_levels.append(arguments[2]) or _optimal_batch(*arguments))
    sigmas = tuple(0.02 * 1.3**step for step in range(20))
    dataset = gahbench.create("dataset", "gaussian-field[size=8]")
    for entrant in ("identity", "gaussian-blur[1.0]"):
        result = Evaluation(gahbench.create("reference", entrant), dataset.images("test", 3), sigmas, dataset=dataset)
        assert {sigma for _, sigma in table("optimum-distance", result)} == set(sigmas)
    assert sorted(computed_levels) == sorted(sigmas)


def error_of_mean(values):
    return float(values.std()) / len(values) ** 0.5


def ratio(parts, sigma):
    """Return the ratio of means and its standard error, by the delta method."""
    realised, expected = parts["realised", sigma], parts["expected", sigma]
    value = float(realised.mean() / expected.mean())
    return value, error_of_mean(realised - value * expected) / float(expected.mean())


@pytest.mark.parametrize(("family", "sigma"), [
    ("gaussian-field[size=12]", 0.03), ("gaussian-field[size=12]", 0.2),
    # On a ray the squared error is that of a single number, and has a large variance.
    ("rays[discs[size=8]]", 0.02), ("rays[discs[size=8]]", 0.1),
])  # fmt: skip
def test_the_ratio_of_means_is_1_for_the_best_denoiser(family, sigma):
    value, error = ratio(table("self-consistency", evaluation("optimal", family, (sigma,), count=300)), sigma)
    assert abs(value - 1) < 4 * error < 0.5


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


def test_a_blur_that_is_too_narrow_or_too_wide_is_not_self_consistent():
    """The denoiser a y has tr J = a d, and error (1 - a)^2 |x|^2 + a^2 sigma^2 d."""
    sigma, clean = 0.1, torch.rand(300, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    for fraction in (0.3, 0.9):
        parts = table("self-consistency", evaluate_images(Filters(fraction * torch.eye(36)[None]), clean, (sigma,)))
        energy = clean.double().square().flatten(1).mean(1)
        expected = ((1 - fraction) ** 2 * energy / sigma**2 + fraction**2).mean() / fraction
        value, error = ratio(parts, sigma)
        assert abs(value - float(expected)) < 4 * error
        assert parts["expected", sigma].tolist() == pytest.approx([fraction] * 300)


def test_steins_estimate_for_a_single_image_is_not_corrected():
    clean = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    result = evaluate_images(Filters(-torch.eye(16)[None]), clean)
    noisy = float(result.noisy(0.1).double().square().mean()) / 0.01
    assert float(table("self-consistency", result)["sure", 0.1]) == pytest.approx(-2 + 4 * noisy - 1, rel=1e-5)


@pytest.mark.usefixtures("figures_not_rendered")
def test_boards_have_the_ratio_of_means_with_its_interval(tmp_path):
    suite = """
name: consistent
datasets: [{gaussian-field: {size: 8}}]
entrants: [optimal, identity, {gaussian-blur: {width: 0.7}}]
scoring: {sigmas: [0.1, 0.4], images: 200, metrics: [psnr, self-consistency]}
"""
    (tmp_path / "consistent.yaml").write_text(suite)
    outcome = gahbench.run(tmp_path / "consistent.yaml", out=tmp_path / "out", engine="inline")
    (board,) = outcome.results.board.datasets
    for sigma in (0.1, 0.4):
        result = board.estimate("optimal", "self-consistency", "ratio", sigma)
        assert result.low < 1 < result.high
        assert result.high - result.low < 0.2
        parts = ("realised", "expected", "ratio")
        estimates = {part: board.estimate("identity", "self-consistency", part, sigma).value for part in parts}
        assert estimates["ratio"] == pytest.approx(estimates["realised"] / estimates["expected"])
    # Missing values are equal to themselves only as text.
    assert gahbench.load_results(tmp_path / "out").board.frame.equals(outcome.results.board.frame)
    assert "ratio" in (tmp_path / "out" / "leaderboard.csv").read_text()


@pytest.mark.parametrize(("dataset", "dimension"), [("discs[size=8]", 5), ("rays[discs[size=8]]", 1)])
def test_the_best_denoiser_has_the_dimension_of_the_manifold_and_of_the_data(few_draws, dataset, dimension):
    parts = table("local-dimension", evaluation("optimal", dataset, (0.01,), count=12))
    assert len(parts["", 0.01]) == 12
    for part in ("", "data"):
        assert parts[part, 0.01].median() == pytest.approx(dimension, abs=0.1)
    # The trace of the optimum is computed by another integral.
    torch.testing.assert_close(parts["", 0.01], parts["data", 0.01], rtol=0, atol=0.3)
    assert not parts["memorized", 0.01].any()


def test_a_denoiser_that_memorizes_has_dimension_0_at_training_images_only(few_draws):
    dataset = create("dataset", "discs[size=8]")
    data = TrainingData(dataset, count=12)
    memory = create("reference", "empirical-bayes")
    memory.fit(data)
    for split, clean in (("train", data.training(12)), ("test", dataset.images("test", 12))):
        parts = table("local-dimension", Evaluation(memory, clean, [0.01], split=split, dataset=dataset))
        torch.testing.assert_close(parts["excess", 0.01], parts["", 0.01] - parts["data", 0.01])
        if split == "train":
            assert parts["", 0.01].max() < 1e-6
            assert parts["excess", 0.01].median() == pytest.approx(-5, abs=0.1)
            assert parts["memorized", 0.01].all()
        else:
            assert parts["", 0.01].min() > 100
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


def test_networks_that_depend_on_the_noise_level_have_values():
    network = "untrained[ffdnet[width=4,layers=3],initialisation=kaiming]"
    result = table("local-dimension", evaluation(network, "c-alpha[size=8]", count=3))
    assert len(result["", 0.1]) == 3
    assert result["", 0.1].isfinite().all()


def band_ratios(parts, sigma):
    """Return the ratio of means of each band, and its standard error by the delta method, by the first rank."""
    ratios = {}
    for name, level in parts:
        if level == sigma and name.startswith("error-"):
            first = name.removeprefix("error-")
            error, variance = parts[name, sigma], parts[f"variance-{first}", sigma]
            ratio = error.mean() / variance.mean()
            ratios[int(first)] = (
                float(ratio),
                float((error - ratio * variance).std() / variance.mean() / len(error) ** 0.5),
            )
    return ratios


@pytest.mark.parametrize(
    ("family", "count"), [("gaussian-field[size=8]", 300), ("discs[size=8]", 24), ("sinusoids[size=8]", 100)]
)
def test_the_best_denoiser_is_calibrated_along_every_band_of_eigenvectors(few_draws, family, count):
    result = evaluation("optimal", family, (0.1, 0.4), count)
    parts = table("calibration", result)
    for sigma in result.sigmas:
        ratios = band_ratios(parts, sigma)
        assert list(ratios) == [1, 2, 4, 8, 16, 32, 64][: len(ratios)]
        assert len(ratios) >= 3
        for first, (ratio, error) in ratios.items():
            # Beyond the dimension of a manifold, eigenvalues are only rounding errors.
            if parts[f"variance-{first}", sigma].mean() > 1e-3:
                assert abs(ratio - 1) < 4 * error, (first, ratio, error)


@pytest.mark.parametrize("weight", [0.3, 0.9])
def test_calibration_of_a_multiple_of_the_noisy_image_has_a_closed_form(weight):
    """f = w y has the variance w sigma^2 and, for white images of variance v, the error (1 - w)^2 v + w^2 sigma^2."""
    sigma, variance = 0.2, 0.25
    clean = torch.randn(500, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * variance**0.5
    parts = table("calibration", evaluate_images(Filters(weight * torch.eye(16)[None]), clean, (sigma,)))
    expected = ((1 - weight) ** 2 * variance + weight**2 * sigma**2) / (weight * sigma**2)
    for ratio, error in band_ratios(parts, sigma).values():
        assert abs(ratio - expected) < 4 * error


def test_the_bands_of_calibration_add_up_to_self_consistency():
    result = evaluation("heat-kernel", "c-alpha[size=8]", (0.1,), 5)
    bands, total = table("calibration", result), table("self-consistency", result)
    for name, whole in (("error", "realised"), ("variance", "expected")):
        added = sum(value for (part, _), value in bands.items() if part.startswith(name))
        torch.testing.assert_close(added, 64 * total[whole, 0.1], rtol=1e-4, atol=1e-6)


def test_eigenvalues_that_predict_no_variance_are_left_out():
    diagonal = torch.tensor([0.9, 0.5, 0.0, *[-0.2] * 13])
    clean = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    result = evaluate_images(Filters(torch.diag(diagonal)[None]), clean)
    parts = table("calibration", result)
    assert {part for part, _ in parts} == {"error-1", "error-2", "variance-1", "variance-2"}
    assert parts["variance-2", 0.1].tolist() == pytest.approx([0.5] * 6)
    error = (clean - result.denoised(0.1)).double().flatten(1)[:, 1]
    assert parts["error-2", 0.1].tolist() == pytest.approx((error / 0.1).square().tolist(), rel=1e-4)


def test_large_images_have_the_leading_bands_and_eigenvalues():
    size = 2352
    diagonal = torch.cat([torch.linspace(1, 0.5, 20), torch.full((size - 20,), 0.01)])
    clean = torch.rand(2, 1, 49, 48, generator=torch.Generator().manual_seed(0))
    result = evaluate_images(Filters(torch.diag(diagonal)[None]), clean)
    parts, errors = table("calibration", result), ((clean - result.denoised(0.1)).double().flatten(1) / 0.1).square()
    assert {part for part, _ in parts} == {
        f"{name}-{first}" for name in ("error", "variance") for first in (1, 2, 4, 8)
    }
    for first in (1, 2, 4, 8):
        band = slice(first - 1, 2 * first - 1)
        torch.testing.assert_close(parts[f"error-{first}", 0.1], errors[:, band].sum(1), rtol=1e-2, atol=1e-4)
        expected = diagonal[band].double().sum().expand(2)
        torch.testing.assert_close(parts[f"variance-{first}", 0.1], expected, rtol=1e-3, atol=1e-4)
    assert table("eigenvalue[k=5]", result)["", 0.1].tolist() == pytest.approx([float(diagonal[4])] * 2, rel=1e-3)


def test_eigenvalues_of_the_symmetric_part_are_in_descending_order():
    matrix = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    result = evaluate_images(Filters(matrix), torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1)))
    expected = torch.linalg.eigvalsh((matrix + matrix.mT)[0] / 2).flip(0)
    for k in (1, 5, 16):
        assert table(f"eigenvalue[k={k}]", result)["", 0.1].tolist() == pytest.approx([float(expected[k - 1])] * 3)
    with pytest.raises(ValueError, match="eigenvalue: k=17; accepted: 1 to 16, the number of values of images 1x4x4"):
        create("metric", "eigenvalue[k=17]").check((1, 4, 4), [0.1])


def shares(parts, sigma):
    size = parts["size", sigma].mean()
    return float(parts["explained", sigma].mean() / size), float(parts["explained-by-mean", sigma].mean() / size)


@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_the_gaussian_share_is_1_for_the_optimum_of_gaussian_images(sigma):
    parts = table("gaussian-share", evaluation("optimal", "gaussian-field[size=12]", (sigma,), count=100))
    share, null = shares(parts, sigma)
    assert share > 0.99
    assert null < share


def test_the_gaussian_share_is_1_for_wiener_linear():
    share, _ = shares(table("gaussian-share", evaluation("wiener-linear", "discs[size=12]", (0.2,))), 0.2)
    assert share == pytest.approx(1, abs=1e-9)


def test_the_mean_image_explains_itself_and_nothing_else():
    result = evaluation("identity", "discs[size=12]", (0.2,))
    mean = gahbench.TrainingData(result.dataset).training(4096).mean(0)
    result.denoiser = Filters(torch.zeros(1, 144, 144), mean)
    assert shares(table("gaussian-share", result), 0.2)[1] == pytest.approx(1, abs=1e-5)


def test_a_denoiser_that_moves_away_has_a_negative_share():
    result = evaluation(Filters(2 * torch.eye(144)[None]), "discs[size=12]", (0.2,))
    assert shares(table("gaussian-share", result), 0.2)[0] < 0


def test_the_best_denoiser_of_discs_is_gaussian_at_high_noise_alone(few_draws):
    parts = table("gaussian-share", evaluation("optimal", "discs[size=8]", (0.05, 3.0), count=16))
    assert shares(parts, 3.0)[0] > 0.99 > 0.9 > shares(parts, 0.05)[0]


def test_there_is_no_gaussian_share_without_a_dataset():
    result = evaluation("identity", "discs[size=12]")
    result.dataset = result.learned_from = None
    assert table("gaussian-share", result) == {}


SIGMAS = [0.02 * 2**octave for octave in range(5)]
FAMILY = "c-alpha[alpha=4,size=16]"


class WrongGenie(Reference):
    """The filter of the genie with the noise overestimated by half."""

    kind = "optimal"

    def denoise(self, noisy, sigma, truth):
        return truth.dataset.genie(noisy, 1.5 * sigma, truth.split, truth.start)


def slope_of(reference, size):
    """Return the slope of D on C^4 images as if all levels had collapsed."""
    result = table("optimality-slope", evaluation(reference, f"c-alpha[alpha=4,size={size}]", SIGMAS, 6))
    error, bound = (
        torch.stack([result[part, sigma] for sigma in SIGMAS]).numpy()[None, :, None] for part in ("error", "bound")
    )
    draws = sampled_means(np.concatenate([error, bound]), relative=True).draws()
    middle = 10 * np.log10(error.mean(-1) / bound.mean(-1))[0, :, 0]
    everywhere = np.full(len(SIGMAS), True)
    drawn = 10 * np.log10(draws[:, 0] / draws[:, 1])
    return DeficitCurve(np.array(SIGMAS) / size, middle, drawn, everywhere).slope


def test_the_genie_keeps_its_distance_even_with_errors_in_its_filter():
    assert slope_of("lower-bound", 16).value == pytest.approx(0, abs=1e-9)
    wrong = slope_of(WrongGenie(), 16)
    assert 1e-4 < abs(wrong.value) < max(abs(wrong.low), abs(wrong.high)) < 0.15


def test_wavelets_fall_behind_even_with_an_oracle():
    assert slope_of("oracle-shrink[haar]", 32).low > 0.1


@pytest.mark.parametrize("family", ["gaussian-field[size=12]", FAMILY])
def test_errors_are_the_optimal_error_plus_the_distance(family):
    result = evaluation("bayes-shrink[haar]", family, SIGMAS[2:5], 6)
    own, distance = table("optimality-slope", result), table("optimum-distance", result)
    for sigma in SIGMAS[2:5]:
        torch.testing.assert_close(own["bound", sigma], distance["optimal-error", sigma])
        torch.testing.assert_close(own["error", sigma], distance["", sigma] + distance["optimal-error", sigma])
        assert (own["error", sigma] > own["bound", sigma]).all()


def test_errors_are_measured_on_images_if_the_genie_is_unavailable(monkeypatch):
    result = evaluation("bayes-shrink[haar]", FAMILY, SIGMAS[2:5], 6)
    fails, genie = SIGMAS[3], CAlpha.genie

    def failing(self, noisy, sigma, split, start=0):
        if sigma == fails:
            raise OptimumError("did not converge")
        return genie(self, noisy, sigma, split, start)

    monkeypatch.setattr(CAlpha, "genie", failing)
    own = table("optimality-slope", result)
    squared = (result.denoised(fails).double() - result.clean.double()).square().flatten(1).mean(1)
    torch.testing.assert_close(own["error", fails], squared)
    assert len(own["", fails]) == 6


def test_slopes_are_computed_from_decibels_between_levels():
    result = table("optimality-slope", evaluation("oracle-threshold[haar]", FAMILY, SIGMAS[:3], 4))
    first, _, last = (10 * torch.log10(result["error", sigma] / result["bound", sigma]) for sigma in SIGMAS[:3])
    # With three equally spaced levels the middle slope is the slope between the ends; D grows as the noise decreases.
    torch.testing.assert_close(result["", SIGMAS[1]], (first - last) / (40 * np.log10(2)))
    oracle = create("reference", "oracle-threshold[haar]")
    again = evaluation(oracle, FAMILY, SIGMAS[:3], 4)
    torch.testing.assert_close(result["error", SIGMAS[0]], oracle.risk(again.truth, SIGMAS[0]).double())


def test_images_above_max_size_have_errors_only():
    metric = create("metric", "optimality-slope[max_size=15]")
    result = evaluation("bayes-shrink[haar]", FAMILY, SIGMAS[:3], 4)
    parts = table(metric, result)
    assert {part for part, _ in parts} == {"error"}
    realised = (result.denoised(SIGMAS[0]).double() - result.clean).square().flatten(1).mean(1)
    torch.testing.assert_close(parts["error", SIGMAS[0]], realised)
