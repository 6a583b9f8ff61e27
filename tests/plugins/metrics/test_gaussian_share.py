"""The share of a score that is that of a Gaussian."""

import pytest
import torch
from known_filters import Filters, create, evaluation, table


def shares(parts, sigma):
    size = parts["size", sigma].mean()
    return float(parts["explained", sigma].mean() / size), float(parts["explained-by-mean", sigma].mean() / size)


@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_it_is_1_for_the_best_denoiser_of_gaussian_images(sigma):
    parts = table("gaussian-share", evaluation("optimal", "gaussian-field[size=12]", (sigma,), count=100))
    share, null = shares(parts, sigma)
    assert share > 0.99
    assert null < share


def test_it_is_exactly_1_for_the_linear_denoiser_of_the_training_images():
    share, _ = shares(table("gaussian-share", evaluation("wiener-linear", "discs[size=12]", (0.2,))), 0.2)
    assert share == pytest.approx(1, abs=1e-9)


def test_the_mean_image_explains_itself_and_nothing_else():
    class Mean(Filters):
        def fit(self, examples):
            self.offset = examples.training(4096).mean(0)

    reference = Mean(torch.zeros(1, 144, 144))
    found = evaluation("identity", "discs[size=12]", (0.2,))
    from gahbench import TrainingData

    reference.fit(TrainingData(found.dataset))
    found.denoiser = reference
    assert shares(table("gaussian-share", found), 0.2)[1] == pytest.approx(1, abs=1e-5)


def test_a_denoiser_that_moves_away_has_a_negative_share():
    found = evaluation(Filters(2 * torch.eye(144)[None]), "discs[size=12]", (0.2,))
    assert shares(table("gaussian-share", found), 0.2)[0] < 0


def test_the_best_denoiser_of_discs_is_gaussian_at_high_noise_alone():
    parts = table("gaussian-share", evaluation("optimal", "discs[size=12]", (0.05, 3.0), count=32))
    assert shares(parts, 3.0)[0] > 0.99 > 0.9 > shares(parts, 0.05)[0]


def test_on_images_of_no_dataset_there_is_none():
    found = evaluation("identity", "discs[size=12]")
    found.dataset = found.learned_from = None
    assert table("gaussian-share", found) == {}


def test_images_too_large_for_a_covariance_are_refused_before_anything_is_trained():
    create("metric", "gaussian-share").check((1, 64, 64), [0.1])
    with pytest.raises(ValueError, match="wiener-linear needs the covariance"):
        create("metric", "gaussian-share").check((1, 65, 64), [0.1])
