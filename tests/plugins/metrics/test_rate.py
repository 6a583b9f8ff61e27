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


def test_the_slope_is_that_of_the_levels_in_the_window():
    rate = construct(Rate, "pixel")
    assert rate.levels(CLEAN, SIGMAS) == sorted(SIGMAS[1:4])
    assert rate.score(Evaluation(Bends(), CLEAN.float(), SIGMAS)).value == pytest.approx([0.5])
    assert rate.score(Evaluation(Identity(), CLEAN.float(), SIGMAS)).value == pytest.approx([1])


def test_the_window_can_be_chosen():
    rate = construct(Rate, "pixel", min_terms=5, max_terms=2)
    assert rate.levels(CLEAN, SIGMAS) == sorted(SIGMAS[:5])


def test_colour_is_counted_by_channel():
    assert construct(Rate, "pixel").levels(CLEAN.expand(2, 3, SIZE, SIZE), SIGMAS) == sorted(SIGMAS[1:4])


def test_without_three_levels_there_is_no_rate():
    assert construct(Rate, "pixel").levels(CLEAN, [SIGMAS[1], SIGMAS[-1]]) == [SIGMAS[1]]
    for few in ([SIGMAS[1], SIGMAS[-1]], SIGMAS[1:3]):
        assert list(construct(Rate, "pixel").score(Evaluation(Identity(), CLEAN.float(), few)).value) == []
    with pytest.raises(ValueError, match="at least 3 different noise levels"):
        construct(Rate, "pixel").check((1, SIZE, SIZE), [0.1])
    with pytest.raises(ValueError, match=r"where 32 to 32 coefficients .* too narrow"):
        construct(Rate, "pixel").check((1, 32, 32), SIGMAS)
    construct(Rate, "pixel", min_terms=4).check((1, 32, 32), SIGMAS)


@pytest.mark.parametrize("basis", ["bandlet", "pca", "wavelet[bior2.2]"])
def test_the_window_is_counted_in_a_fixed_orthonormal_basis(basis):
    with pytest.raises(ParameterError, match="fixed orthonormal"):
        gahbench.create("metric", f"rate[basis={basis}]")


def test_an_oracle_on_the_power_law_has_slope_one_half():
    oracle = gahbench.create("reference", "oracle-threshold[pixel]")
    sigmas = np.geomspace(1 / 60, 1 / 34, 6).tolist()
    (value,) = construct(Rate, "pixel").score(Evaluation(oracle, CLEAN.float(), sigmas)).value
    assert value == pytest.approx(0.5, abs=0.01)
