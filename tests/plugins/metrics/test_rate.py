import numpy as np
import pytest
import torch
from constructing import construct

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.evaluation.evaluation import Evaluation
from gahbench_plugins.metrics.rate import Rate
from gahbench_plugins.references.identity import Identity

SIZE = 64
#: Pixels whose squares fall as k^-2, k = 1 ... 4096: at threshold sigma, 1/sigma of them are kept.
VALUES = 1 / torch.arange(1, SIZE * SIZE + 1, dtype=torch.float64)
CLEAN = VALUES[torch.randperm(SIZE * SIZE, generator=torch.Generator().manual_seed(0))].reshape(1, 1, SIZE, SIZE)
#: They keep 8, 33, 50, 63, 100 and 4096 pixels.
SIGMAS = [1 / 8.5, 1 / 33.5, 1 / 50.5, 1 / 63.5, 1 / 100.5, 1e-5]


class Bends:
    """An error of slope 1/2 where the rate is, and of slope 1 elsewhere."""

    kind = "oracle"

    def denoise(self, noisy, sigma, truth):
        return noisy

    def risk(self, truth, sigma):
        inside = 1 / 64 < sigma < 1 / 32
        return torch.full((len(truth.clean),), sigma if inside else sigma**2, dtype=torch.float64)


def values(rate, denoiser, sigmas):
    """Values by part, each of all images."""
    found = {}
    scores = rate.score(Evaluation(denoiser, CLEAN.float(), sigmas))
    for value, part in zip(scores.value, scores.part, strict=True):
        found.setdefault(part, []).append(value)
    return found


def test_the_slope_is_that_of_the_levels_in_the_window():
    rate = construct(Rate, "pixel", max_terms=1)
    assert rate.levels(CLEAN, SIGMAS) == sorted(SIGMAS[1:4])
    assert values(rate, Bends(), SIGMAS) == {"": pytest.approx([0.5]), "levels": [3]}
    assert values(rate, Identity(), SIGMAS) == {"": pytest.approx([1]), "levels": [3]}


def test_the_window_ends_at_a_quarter_of_the_side():
    # Of 256 pixels a side: between 32 and 64.
    large = torch.zeros(1, 1, 256, 256, dtype=torch.float64)
    large[..., :SIZE, :SIZE] = CLEAN
    assert construct(Rate, "pixel").levels(large, SIGMAS) == sorted(SIGMAS[1:4])
    assert construct(Rate, "pixel").levels(CLEAN, SIGMAS) == []


def test_the_window_can_be_chosen():
    rate = construct(Rate, "pixel", min_terms=5, max_terms=2)
    assert rate.levels(CLEAN, SIGMAS) == sorted(SIGMAS[:5])


def test_colour_is_counted_by_channel():
    rate = construct(Rate, "pixel", max_terms=1)
    assert rate.levels(CLEAN.expand(2, 3, SIZE, SIZE), SIGMAS) == sorted(SIGMAS[1:4])


def test_without_three_levels_there_is_no_rate():
    rate = construct(Rate, "pixel", max_terms=1)
    assert rate.levels(CLEAN, [SIGMAS[1], SIGMAS[-1]]) == [SIGMAS[1]]
    for few, count in (([SIGMAS[1], SIGMAS[-1]], 1), (SIGMAS[1:3], 2)):
        assert values(rate, Identity(), few) == {"levels": [count]}
    # As on images that are too small for any.
    assert values(construct(Rate, "pixel"), Identity(), SIGMAS) == {"levels": [0]}
    construct(Rate, "pixel").check((1, 32, 32), SIGMAS)


@pytest.mark.parametrize("basis", ["bandlet", "pca", "wavelet[bior2.2]"])
def test_the_window_is_counted_in_a_fixed_orthonormal_basis(basis):
    with pytest.raises(ParameterError, match="fixed orthonormal"):
        gahbench.create("metric", f"rate[basis={basis}]")


def test_an_oracle_on_the_power_law_has_slope_one_half():
    oracle = gahbench.create("reference", "oracle-threshold[pixel]")
    sigmas = np.geomspace(1 / 60, 1 / 34, 6).tolist()
    found = values(construct(Rate, "pixel", max_terms=1), oracle, sigmas)
    assert found == {"": pytest.approx([0.5], abs=0.01), "levels": [6]}
