import pytest
import torch
from known_filters import Filters, evaluation, on_images, table


def error_of_mean(values):
    return float(values.std()) / len(values) ** 0.5


@pytest.mark.parametrize("sigma", [0.03, 0.2])
def test_it_is_1_for_the_best_denoiser_of_gaussian_images(sigma):
    parts = table("self-consistency", evaluation("optimal", "gaussian-field[size=12]", (sigma,), count=200))
    ratio = parts["ratio", sigma]
    assert abs(float(ratio.mean()) - 1) < 4 * error_of_mean(ratio)
    assert error_of_mean(ratio) < 0.05


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_so_it_is_where_the_error_is_known_from_the_trace_on_average_alone(sigma):
    """On a ray: the squared error is that of one number, and varies as its square."""
    ratio = table("self-consistency", evaluation("optimal", "rays[discs[size=8]]", (sigma,), count=400))["ratio", sigma]
    assert ratio.std() > 1
    assert abs(float(ratio.mean()) - 1) < 4 * error_of_mean(ratio)


@pytest.mark.parametrize("reference", ["lower-bound", "gaussian-blur[0.7]", "threshold[haar,rule=soft,k=1.5]"])
@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_steins_estimate_agrees_with_the_error_on_average(reference, sigma):
    parts = table("self-consistency", evaluation(reference, "c-alpha[size=12]", (sigma,), count=100))
    differences = parts["sure", sigma] - parts["realised", sigma]
    assert abs(float(differences.mean())) < 4 * error_of_mean(differences)
    # Of single images they differ by about sqrt(2 / d).
    assert 0.5 < float(differences.std()) / (2 / 144) ** 0.5 < 1.5


def test_a_blur_that_is_too_narrow_or_too_wide_is_not_self_consistent():
    """By hand: of a fraction a of the noisy image tr J is a d, the error (1 - a)^2 |x|^2 + a^2 sigma^2 d."""
    sigma, clean = 0.1, torch.rand(300, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    for fraction in (0.3, 0.9):
        parts = table("self-consistency", on_images(Filters(fraction * torch.eye(36)[None]), clean, (sigma,)))
        energy = clean.double().flatten(1).square().sum(1)
        expected = ((1 - fraction) ** 2 * energy / sigma**2 + fraction**2 * 36) / (36 * fraction)
        differences = parts["ratio", sigma] - expected
        assert abs(float(differences.mean())) < 4 * error_of_mean(differences)
        assert error_of_mean(differences) < 0.1


def test_the_noisy_image_has_1_everywhere():
    parts = table("self-consistency", evaluation("identity", "c-alpha[size=16]", count=50))
    assert parts["sure", 0.1].tolist() == pytest.approx([1] * 50, abs=1e-6)
    torch.testing.assert_close(parts["ratio", 0.1], parts["realised", 0.1])
    assert abs(float(parts["ratio", 0.1].mean()) - 1) < 4 * (2 / 256 / 50) ** 0.5


def test_without_a_positive_trace_there_is_no_ratio_but_the_errors():
    clean = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    matrices = torch.stack([torch.zeros(16, 16), -torch.eye(16), torch.eye(16)])
    evaluated = on_images(Filters(matrices), clean)
    parts = table("self-consistency", evaluated)
    assert len(parts["ratio", 0.1]) == 1
    noisy = evaluated.noisy(0.1).double().flatten(1)
    rows = clean.double().flatten(1)
    realised = [float(error.square().mean()) / 0.01 for error in (rows[0], -noisy[1] - rows[1])]
    assert parts["realised", 0.1][:2].tolist() == pytest.approx(realised, rel=1e-5)
    sure = [float(noisy[0].square().mean()) / 0.01 - 1, -2 + 4 * float(noisy[1].square().mean()) / 0.01 - 1]
    assert parts["sure", 0.1][:2].tolist() == pytest.approx(sure, rel=1e-5)


def test_entrants_without_a_jacobian_have_no_values():
    assert table("self-consistency", evaluation("tv", "c-alpha[size=8]")) == {}
