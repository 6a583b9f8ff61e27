import math

import pytest
from pydantic import ValidationError

from gahbench.training.recipe import Training, epoch_size


def training(**settings):
    return Training.model_validate(settings)


def test_paper_is_the_published_recipe():
    """The recipe is from Kadkhodaie et al. 2024."""
    paper = training(recipe="paper")
    assert (paper.optimizer, paper.learning_rate, paper.batch_size, paper.epochs) == ("adam", 1e-3, 512, 1000)
    assert paper.initialisation == "published"
    assert (paper.noise, paper.weighting, paper.sigma_min, paper.sigma_max) == ("quadratic", "uniform", 0.0, 1.0)
    # Small sets are repeated, so that an epoch has about 250,000 images.
    assert paper.total_steps(1000) == 1000 * 250_000 // 512
    # The rate is halved every 100 of 1000 epochs.
    rates = [paper.rate(10**6, epoch / 1000) for epoch in (0, 99, 100, 250, 999)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4, 1e-3 / 2**9])


def test_kl_weights_by_the_inverse_variance():
    kl = training(recipe="kl", sigma_min=0.02)
    assert (kl.noise, kl.weighting, kl.schedule) == ("log-uniform", "inverse-variance", "cosine")
    assert kl.rate(10**6, 0.0) == pytest.approx(kl.learning_rate)
    assert kl.rate(10**6, 0.5) == pytest.approx(kl.learning_rate / 2)
    assert kl.rate(10**6, 1.0) == pytest.approx(0.0, abs=1e-12)


def test_the_rate_warms_up_linearly():
    kl = training(schedule="constant", warmup=10, learning_rate=1.0)
    assert [kl.rate(step, 0.0) for step in (0, 4, 9, 20)] == pytest.approx([0.1, 0.5, 1.0, 1.0])


def test_a_given_budget_replaces_the_budget_of_the_recipe():
    assert training(recipe="paper", steps=7).total_steps(10) == 7
    assert training(recipe="kl", epochs=2, batch_size=100, epoch_images=1000).total_steps(None) == 20
    growing = training(recipe="paper", steps={"per_image": 2.5, "minimum": 30})
    assert [growing.total_steps(count) for count in (1, 10, 100, 1000)] == [30, 30, 250, 2500]
    assert Training.model_validate(growing.model_dump(mode="json")) == growing
    with pytest.raises(ValueError, match="this dataset is endless; accepted: a number for train_images"):
        growing.total_steps(None)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 3, "epochs": 4},
        {"sigma_min": 2.0},
        {"sigma_min": 0.0},
        {"ema": 1.0},
        {"sigma_data": 0.3},
        {"learning_rate": 0.0},
        {"steps": 2.5},
        {"steps": {"per_image": 0.0}},
        {"steps": {"per_image": 1.0, "most": 3}},
        {"steps": {"per_image": 1.0}, "epochs": 2},
        {"batch_size": "4"},
        {"unknown": 1},
    ],
)
def test_invalid_settings_are_rejected(settings):
    with pytest.raises(ValidationError):
        training(**settings)


@pytest.mark.parametrize(("images", "size"), [(1, 250_000), (3, 249_999), (200_000, 200_000), (10**6, 10**6)])
def test_sets_are_repeated_a_whole_number_of_times(images, size):
    assert epoch_size(images, 250_000) == size
    assert math.gcd(size, images) == images
