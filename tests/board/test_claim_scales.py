"""Claims about logarithms of values, as of times."""

import math

import numpy as np
import pytest
from fake_claims import claim, rows, table, verdict

from gahbench.contracts.claims import Compared, Levels, Region


def times(spread, seeds=3, exponent=0.9):
    """Times in proportion to a power of N, each training off by a factor of its own; of no image."""
    draw = np.random.default_rng(0)
    factors = {(n, seed): math.exp(spread * draw.normal()) for n in (10, 100, 1000) for seed in range(seeds)}
    return [
        rows(f"net N={n}", [n**exponent * factor], sigmas=[math.nan], metric="time", images=1, spread=0.0, seed=seed)
        for (n, seed), factor in factors.items()
    ]


def test_means_of_logarithms_have_intervals_however_far_trainings_differ():
    """Draws of means of the times themselves would be negative, where trainings differ by factors."""
    exponent = claim(Region(start=0.4, end=1.4), "time", number=Levels(), scale="log10", slope="log10-N")
    found = verdict(exponent, table(*times(spread=0.7)))
    assert found.outcome == "holds"
    low, high = found.decisive.estimate.low, found.decisive.estimate.high
    # Of three numbers of images, with three trainings each: t of 6 degrees of freedom times the error of a slope.
    error = 0.7 / math.log(10) / math.sqrt(3) / math.sqrt(2)
    assert (high - low) / 2 == pytest.approx(2.45 * error, rel=0.7)
    assert low < 0.9 < high


def test_logarithms_are_of_values_above_zero():
    exponent = claim(Region(above=0), "time", number=Levels(), scale="log10", slope="log10-N")
    found = verdict(exponent, table(*times(0.1), rows("net N=1", [0.0], sigmas=[math.nan], metric="time", images=1)))
    assert found.outcome == "not measured"
    assert "no time above 0 in every training of net N=1" in found.reason
    with pytest.raises(ValueError, match="not of differences"):
        claim(Region(above=0), minus=Compared(entrant="other"), scale="log10")


@pytest.mark.parametrize("given", [{"metric": "distance[pspc*"}, {"over": Compared(metrics=("distance[wiener",))}])
def test_brackets_of_metrics_are_closed(given):
    with pytest.raises(ValueError, match=r"not closed; a pattern closes them"):
        claim(Region(above=0), **given)
