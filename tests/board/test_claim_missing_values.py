"""Claims on values that are missing, or are not finite: they are not about the others alone."""

import math

import numpy as np
import pytest
from fake_claims import SIGMAS, claim, rows, table, verdict

from gahbench.contracts.claims import Levels, Region

EVERYWHERE = claim(Region(above=5))


@pytest.mark.parametrize("lost", [math.nan, -math.inf])
def test_a_claim_about_all_noise_levels_needs_a_value_at_each(lost):
    assert verdict(EVERYWHERE, table(rows("net", [30.0, 20.0, 10.0]))).outcome == "holds"
    broken = rows("net", [30.0, 20.0, 10.0])
    broken[-1]["value"] = lost
    found = verdict(EVERYWHERE, table(broken))
    assert found.outcome == "not measured"
    assert found.reason == "net on discs is left out, diverged: not finite at σ = 1"


def test_nor_may_a_noise_level_be_absent_that_others_have():
    found = verdict(EVERYWHERE, table(rows("net", [30.0, 20.0], sigmas=SIGMAS[:2]), rows("other", [9.0] * 3)))
    assert found.outcome == "not measured"
    assert "σ = 1" in found.reason


def test_a_metric_that_leaves_images_out_has_no_value_where_it_says_so():
    shown = [rows("other", [9.0] * 3, metric="direction[dct]"), rows("net", [9.0, 9.0], metric="direction[dct]",
             sigmas=SIGMAS[:2])]  # fmt: skip
    parts = [rows(name, [0.0, 0.0, 1.0], metric="direction[dct].left-out") for name in ("other", "net")]
    found = verdict(claim(Region(above=5), "direction[dct]"), table(*shown, *parts))
    assert found.outcome == "holds"
    assert found.decisive.count == 2


def test_one_test_image_says_nothing_of_others_however_many_trainings():
    trainings = [rows("net", [mean], sigmas=[0.1], images=1, seed=seed) for seed, mean in enumerate((10.0, 10.5, 9.5))]
    found = verdict(claim(Region(above=5)), table(*trainings))
    assert found.outcome == "undecided"
    assert np.isnan(found.decisive.estimate.low)


def test_times_of_the_trainings_that_got_there_are_not_those_of_all():
    """A mean over those alone would be too small."""
    times = [
        rows(f"net N={n}", [float(n)], sigmas=[math.nan], metric="time", images=1, seed=seed)
        for n in (10, 100, 1000)
        for seed in range(3)
    ]
    slope = claim(Region(above=0), "time", number=Levels(), scale="log10", slope="log10-N")
    assert verdict(slope, table(*times)).outcome == "holds"
    found = verdict(slope, table(*times[:-1]))
    assert found.outcome == "not measured"
    assert "no time above 0 in every training of net N=1000" in found.reason


def test_a_ratio_whose_denominator_may_be_zero_has_no_interval_and_says_so():
    parts = [rows("net", [1.0], sigmas=[0.1], metric="share.above"), rows("net", [0.1], sigmas=[0.1], spread=1.0,
             metric="share.below")]  # fmt: skip
    found = verdict(claim(Region(above=0), "share"), table(*parts, ratios=["share", "share.above", "share.below"]))
    assert found.outcome == "undecided"
    assert found.decisive.reason == "no interval, as a mean that it is divided by may be 0"
    assert found.decisive.needs is None


def test_few_images_have_no_interval_and_the_verdict_says_how_many_are_needed():
    known = table(rows("net", [30, 20, 10], spread=1.0, images=12), sources={"discs": "0 0 0 1 1 1 2 2 2 3 3 3"})
    found = verdict(claim(Region(above=0)), known)
    assert (found.outcome, found.decisive.needs) == ("undecided", None)
    assert found.decisive.reason == "no interval: 4 independent sources of images, and 5 are needed"
