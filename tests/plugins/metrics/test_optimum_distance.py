"""Distance from the best denoiser: Pythagoras, and who is beyond it."""

import pytest
import torch
from known_filters import Filters, evaluation, table

import gahbench
from gahbench.contracts.references import Reference
from gahbench.evaluation import Evaluation, optimum

FAMILIES = ["gaussian-field[size=12]", "sinusoids[size=8]", "rays[discs[size=8]]", "c-alpha[size=16]"]


def in_standard_errors(values):
    return float(values.mean() / values.std() * len(values) ** 0.5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["bayes-shrink[haar]", "gaussian-blur[1.0]", "identity"])
def test_the_error_is_the_optimal_one_and_the_distance(family, name):
    found = evaluation(name, family, (0.05, 0.3), 150)
    distances, crosses = table("optimum-distance", found), table("optimum-cross", found)
    for sigma in found.sigmas:
        error = (found.denoised(sigma).double() - found.clean).square().flatten(1).mean(1)
        sums = distances["", sigma] + distances["optimal-error", sigma]
        assert (distances["", sigma] >= 0).all()
        assert abs(in_standard_errors(error - sums)) < 4
        assert abs(in_standard_errors(crosses["", sigma])) < 4


def test_it_varies_less_than_a_difference_of_errors():
    found = evaluation("bayes-shrink[haar]", "c-alpha[size=16]", (0.1,), 150)
    distances = table("optimum-distance", found)
    error = (found.denoised(0.1).double() - found.clean).square().flatten(1).mean(1)
    assert distances["", 0.1].std() < (error - distances["optimal-error", 0.1]).std()


@pytest.mark.parametrize("weight", [0.2, 0.8])
def test_of_gaussian_images_it_is_the_closed_form(weight):
    """White images of variance v: f = w y is |w - v / (v + s^2)|^2 (v + s^2) from the best, v / (v + s^2) y."""
    sigma = 0.2
    found = evaluation(Filters(weight * torch.eye(64)[None]), "gaussian-field[size=8]", (sigma,), 400)
    noisy, best = found.noisy(sigma).double(), found.optimum(sigma)
    expected = (weight * noisy - best.mean).square().flatten(1).mean(1)
    torch.testing.assert_close(table("optimum-distance", found)["", sigma], expected, rtol=1e-5, atol=1e-9)


class Sees(Reference):
    """Goes a share of the way from the best denoiser, or from a poor one, to the clean image."""

    kind = "oracle"

    def __init__(self, share):
        self.share = share

    def denoise(self, noisy, sigma, truth):
        best = truth.dataset.posterior(noisy, sigma).mean.float()
        return best + self.share * (truth.clean - best)


@pytest.mark.parametrize(("share", "beyond"), [(0.1, True), (-0.1, False)])
def test_who_sees_the_clean_image_has_a_cross_term(share, beyond):
    found = evaluation(Sees(share), "gaussian-field[size=12]", (0.1,), 64)
    assert table("optimum-cross", found) == {}
    # As one that only claims not to see it.
    denoised = found.denoised(0.1)
    found.denoiser = Filters(torch.eye(144)[None])
    found._denoised[0.1] = denoised
    assert (in_standard_errors(table("optimum-cross", found)["", 0.1]) > 3) is beyond


@pytest.mark.parametrize("name", ["oracle-threshold[haar]", "lower-bound"])
def test_what_sees_more_than_the_noisy_image_has_none(name):
    found = evaluation(name, "c-alpha[size=16]")
    assert table("optimum-distance", found) == table("optimum-cross", found) == {}


def test_where_nothing_is_known_there_is_none():
    assert table("optimum-distance", evaluation("identity", "faces[size=12]")) == {}


def test_the_optimum_itself_is_at_distance_0():
    parts = table("optimum-distance", evaluation("optimal", "gaussian-field[size=12]", (0.1,)))
    assert parts["", 0.1].max() < 1e-12
    assert (parts["optimal-error", 0.1] > 0).all()


def test_a_dataset_that_cannot_be_a_key_has_an_optimum_too():
    found = evaluation("identity", "gaussian-field[size=8]")
    expected = table("optimum-distance", found)["", 0.1]

    class Unhashable(type(found.dataset)):
        __hash__ = None

    again = evaluation("identity", "gaussian-field[size=8]")
    again.dataset.__class__ = Unhashable
    torch.testing.assert_close(table("optimum-distance", again)["", 0.1], expected)


def test_the_optimum_is_found_once_for_all_entrants_at_any_number_of_levels(monkeypatch):
    asked, find = [], optimum._of_batch
    monkeypatch.setattr(optimum, "_of_batch", lambda *of: asked.append(of[2]) or find(*of))
    sigmas = tuple(0.02 * 1.3**step for step in range(20))
    dataset = gahbench.create("dataset", "gaussian-field[size=8]")
    for entrant in ("identity", "gaussian-blur[1.0]"):
        found = Evaluation(gahbench.create("reference", entrant), dataset.images("test", 3), sigmas, dataset=dataset)
        assert {sigma for _, sigma in table("optimum-distance", found)} == set(sigmas)
    assert sorted(asked) == sorted(sigmas)
