import pytest
import torch
from known_filters import Filters, evaluation, on_images, table


def error_of_mean(values):
    return float(values.std()) / len(values) ** 0.5


def ratio(parts, sigma):
    """Return the ratio of means and its standard error, by the delta method."""
    realised, expected = parts["realised", sigma], parts["expected", sigma]
    value = float(realised.mean() / expected.mean())
    return value, error_of_mean(realised - value * expected) / float(expected.mean())


@pytest.mark.parametrize(("family", "sigma"), [("gaussian-field[size=12]", 0.03), ("gaussian-field[size=12]", 0.2)])
def test_it_is_1_for_the_best_denoiser(family, sigma):
    value, error = ratio(table("self-consistency", evaluation("optimal", family, (sigma,), count=200)), sigma)
    assert abs(value - 1) < 4 * error
    assert error < 0.1


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_so_it_is_where_the_error_is_known_from_the_trace_on_average_alone(sigma):
    """On a ray: the squared error is that of one number, and varies as its square."""
    parts = table("self-consistency", evaluation("optimal", "rays[discs[size=8]]", (sigma,), count=400))
    value, error = ratio(parts, sigma)
    assert (parts["realised", sigma] / parts["expected", sigma]).std() > 1
    assert abs(value - 1) < 4 * error


@pytest.mark.parametrize("reference", ["lower-bound", "gaussian-blur[0.7]", "threshold[haar,rule=soft,k=1.5]"])
@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_steins_estimate_agrees_with_the_error_on_average(reference, sigma):
    found = evaluation(reference, "c-alpha[size=12]", (sigma,), count=200)
    parts = table("self-consistency", found)
    differences = parts["sure", sigma] - parts["realised", sigma]
    assert abs(float(differences.mean())) < 4 * error_of_mean(differences)
    # Without the part of chance that is known they would differ by about sqrt(2 / d) of single images.
    noise = (found.noisy(sigma) - found.clean).double().square().flatten(1).mean(1) / sigma**2
    plain = differences + (1 - 2 * parts["expected", sigma].mean()) * (noise - 1)
    assert 0.5 < float(plain.std()) / (2 / 144) ** 0.5 < 1.5
    # It is most of the chance where the filter is nearly all or nearly nothing, and less of it in between.
    assert float(differences.std()) < float(plain.std())


def test_a_blur_that_is_too_narrow_or_too_wide_is_not_self_consistent():
    """By hand: of a fraction a of the noisy image tr J is a d, the error (1 - a)^2 |x|^2 + a^2 sigma^2 d."""
    sigma, clean = 0.1, torch.rand(300, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    for fraction in (0.3, 0.9):
        parts = table("self-consistency", on_images(Filters(fraction * torch.eye(36)[None]), clean, (sigma,)))
        energy = clean.double().square().flatten(1).mean(1)
        expected = ((1 - fraction) ** 2 * energy / sigma**2 + fraction**2).mean() / fraction
        value, error = ratio(parts, sigma)
        assert abs(value - float(expected)) < 4 * error
        assert parts["expected", sigma].tolist() == pytest.approx([fraction] * 300)


def test_of_one_image_steins_estimate_is_the_plain_one():
    clean = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    found = on_images(Filters(-torch.eye(16)[None]), clean)
    noisy = float(found.noisy(0.1).double().square().mean()) / 0.01
    assert float(table("self-consistency", found)["sure", 0.1]) == pytest.approx(-2 + 4 * noisy - 1, rel=1e-5)


def test_boards_have_the_ratio_of_means_with_its_interval(tmp_path):
    import gahbench

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
        found = board.estimate("optimal", "self-consistency", "ratio", sigma)
        assert found.low < 1 < found.high
        assert found.high - found.low < 0.15
        parts = ("realised", "expected", "ratio")
        of = {part: board.estimate("identity", "self-consistency", part, sigma).value for part in parts}
        assert of["ratio"] == pytest.approx(of["realised"] / of["expected"])
    assert gahbench.load_results(tmp_path / "out").board.values == outcome.results.board.values
    assert "ratio" in (tmp_path / "out" / "leaderboard.md").read_text()
