"""Local intrinsic dimension."""

import pytest
import torch
from known_filters import Filters, create, evaluation, on_images, table

from gahbench.evaluation.evaluation import Evaluation


@pytest.mark.parametrize(("dataset", "dimension"), [("discs[size=16]", 5), ("rays[discs[size=8]]", 1)])
def test_the_best_denoiser_finds_the_dimension_of_the_manifold(dataset, dimension):
    found = table("local-dimension", evaluation("optimal", dataset, (0.01,), count=12))["", 0.01]
    assert len(found) == 12
    assert found.median() == pytest.approx(dimension, abs=0.1)


def test_on_gaussian_images_it_is_that_of_the_closed_form():
    """By hand from J = C (C + sigma^2)^-1, C the covariance, and f(x) - x = (J - 1)(x - m)."""
    sigma, evaluated = 0.2, evaluation("optimal", "gaussian-field[size=8]", (0.2,), count=5)
    matrix = evaluated.local.matrices(sigma)[0].double()
    # What it adds to J y is the same for all images.
    noisy = evaluated.noisy(sigma).double().flatten(1)
    added = (evaluated.denoised(sigma).double().flatten(1) - noisy @ matrix)[0]
    clean = evaluated.clean.double().flatten(1)
    expected = matrix.trace() + (clean @ matrix + added - clean).square().sum(1) / sigma**2
    torch.testing.assert_close(table("local-dimension", evaluated)["", sigma], expected, rtol=1e-3, atol=1e-3)
    # In the mean over images: tr J + tr (1 - J) C (1 - J) / sigma^2.
    many = table("local-dimension", evaluation("optimal", "gaussian-field[size=8]", (sigma,), count=400))["", sigma]
    residual = torch.eye(64) - matrix
    covariance = sigma**2 * matrix @ torch.linalg.inv(residual)
    mean = matrix.trace() + (residual @ covariance @ residual).trace() / sigma**2
    assert abs(float(many.mean() - mean)) < 4 * float(many.std()) / 20


def test_blind_denoisers_and_oracles_have_no_value():
    network = "untrained[bf-cnn[width=4,layers=3],initialisation=kaiming]"
    for name in ("identity", network, "oracle-shrink[haar]", "lower-bound", "tv"):
        assert table("local-dimension", evaluation(name, "c-alpha[size=8]", count=3)) == {}
    blind = Filters(0.5 * torch.eye(64)[None])
    assert table("local-dimension", on_images(blind, torch.rand(3, 1, 8, 8))) == {}


def test_networks_that_depend_on_the_noise_level_have_values():
    network = create("reference", "untrained[ffdnet[width=4,layers=3],initialisation=kaiming]")
    dataset = create("dataset", "c-alpha[size=8]")
    found = table("local-dimension", Evaluation(network, dataset.images("test", 3), [0.1], dataset=dataset))
    assert len(found["", 0.1]) == 3
    assert found["", 0.1].isfinite().all()
