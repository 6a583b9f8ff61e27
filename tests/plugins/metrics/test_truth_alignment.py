import numpy as np
import pytest
import torch
from known_filters import Filters, evaluation, table

from gahbench_plugins.datasets.c_alpha import CAlpha

COUNT = 28


@pytest.mark.parametrize(("reference", "dataset"), [("lower-bound", "c-alpha[size=12]"), ("optimal", "discs[size=8]")])
def test_the_best_denoiser_scores_1(reference, dataset):
    parts = table("truth-alignment", evaluation(reference, dataset, (0.1, 0.3), COUNT))
    assert set(parts) == {(part, sigma) for part in ("", "share", "left-out", "direction") for sigma in (0.1, 0.3)}
    for sigma in (0.1, 0.3):
        for part in ("", "direction"):
            own = parts[part, sigma]
            assert own.tolist() == pytest.approx([1] * len(own), abs=1e-4)
            assert len(own) >= 24


def test_the_cosine_is_that_of_residuals_on_the_strength():
    """By hand: the genie's filters from the true basis, and others that share half of them."""
    dataset, sigma = CAlpha(2.0, 8), 0.1
    known = dataset.true_basis("test", COUNT)
    weights = known.energies / (known.energies + sigma**2)
    best = (known.vectors * weights[:, None]) @ known.vectors.mT
    noise = torch.randn(COUNT, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = best + 0.02 * noise
    found = table("truth-alignment", evaluation(Filters(given), "c-alpha[size=8]", count=COUNT))["", sigma]
    ones = (given + given.mT) / 2
    logarithms = given.diagonal(dim1=1, dim2=2).sum(1).log().numpy()

    def residuals(matrices):
        flat = matrices.flatten(1).numpy()
        return flat - np.stack([np.polyval(column, logarithms) for column in np.polyfit(logarithms, flat, 3).T], 1)

    one, other = residuals(ones), residuals(best)
    cosines = (one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
    np.testing.assert_allclose(found, cosines, atol=1e-4)
    assert 0.2 < cosines.mean() < 0.98


@pytest.mark.parametrize("reference", ["low-pass", "wiener-linear", "untrained[bf-cnn[width=8,layers=6]]"])
def test_filters_that_ignore_the_image_score_about_0(reference):
    own = table("truth-alignment", evaluation(reference, "c-alpha[size=12]", count=COUNT))["", 0.1]
    assert len(own) == COUNT
    assert own.mean().abs() < 0.05


def test_shuffled_images_have_the_same_truth():
    own = table("truth-alignment", evaluation("lower-bound", "shuffled[c-alpha[size=8]]", count=COUNT))["", 0.1]
    assert own.tolist() == pytest.approx([1] * len(own), abs=1e-4)
    assert len(own) >= 24


@pytest.mark.parametrize(
    ("reference", "dataset"),
    [
        ("heat-kernel", "c-alpha[construction=paper,size=12]"),
        ("heat-kernel", "faces[size=12,test=30]"),
        ("heat-kernel", "gaussian-field[size=8]"),
        ("optimal", "gaussian-field[size=8]"),
    ],
)
def test_there_is_no_value_without_a_truth_or_where_the_truth_is_the_same_for_all(reference, dataset):
    assert table("truth-alignment", evaluation(reference, dataset, count=COUNT)) == {}


def test_on_large_images_it_is_an_estimate_with_its_error(monkeypatch):
    exact = table("truth-alignment", evaluation("heat-kernel[kept=0.2]", "c-alpha[size=12]", count=COUNT))
    for module in ("gahbench.jacobian.maps", "gahbench_plugins.datasets.c_alpha"):
        monkeypatch.setattr(f"{module}.LARGEST_EXACT", 100)
    found = table("truth-alignment", evaluation("heat-kernel[kept=0.2]", "c-alpha[size=12]", count=COUNT))
    assert ("error", 0.1) not in exact
    assert (found["error", 0.1] > 0).all()
    assert ((found["", 0.1] - exact["", 0.1]).abs() < 4 * found["error", 0.1] + 0.02).all()
