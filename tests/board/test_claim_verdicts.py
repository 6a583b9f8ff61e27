"""Verdicts on claims: regions, simultaneous intervals, and queries on tables whose answers are known."""

import math
from dataclasses import replace

import fake_results
import numpy as np
import pytest
from fake_claims import NOISY, SIGMAS, claim, exactly, rows, table, verdict
from hypothesis import given
from hypothesis import strategies as st

from gahbench.board.statistics import interval, simultaneous_intervals
from gahbench.contracts.claims import Compared, Condition, Levels, Measure, Region

# --- Regions ---

quarters = st.integers(-8, 8).map(lambda number: number / 4)


@st.composite
def regions(draw):
    low, high = sorted((draw(quarters), draw(quarters)))
    lower = draw(st.sampled_from(("start", "above", None)))
    upper = draw(st.sampled_from(("end", "below", None) if lower else ("end", "below")))
    if low == high and {lower, upper} & {"above", "below"}:
        lower, upper = ("start", "end")
    return Region(**{name: value for name, value in ((lower, low), (upper, high)) if name})


@given(regions(), quarters, quarters)
def test_an_interval_holds_fails_or_is_undecided_as_its_points_are_in_the_region(region, one, other):
    low, high = min(one, other), max(one, other)
    # Ends are at quarters, so that points at eighths meet every piece.
    points = [number / 8 for number in range(int(low * 8), int(high * 8) + 1)]
    inside = [region.contains(point) for point in points]
    expected = "holds" if all(inside) else "undecided" if any(inside) else "fails"
    assert region.outcome(low, high) == expected
    assert region.outcome(low, math.nan) == "undecided"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "one side at least"),
        ({"start": math.inf}, "finite end"),
        ({"start": 0, "above": 0}, "one end on a side"),
        ({"start": 1, "end": 0}, "empty"),
        ({"above": 1, "end": 1}, "empty"),
    ],
)
def test_a_region_that_is_none_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Region(**fields)


# --- Simultaneous intervals ---


def test_of_one_value_they_are_the_percentile_interval():
    draws = np.random.default_rng(0).gamma(2.0, size=(2000, 1))
    low, high = simultaneous_intervals(draws.mean(axis=0), draws)
    assert np.allclose([low, high], interval(draws), atol=0.02)


def test_of_many_values_they_hold_at_once_in_as_many_draws_as_one_alone():
    draws = np.random.default_rng(0).normal(size=(4000, 12)) * np.arange(1, 13) + 5
    low, high = simultaneous_intervals(np.full(12, 5.0), draws)
    share = ((draws >= low) & (draws <= high)).all(axis=1).mean()
    assert abs(share - 0.95) < 0.005
    # Independent ones need the normal quantile of .95^(1/12), 2.86 rather than 1.96.
    assert np.allclose((high - low) / 2 / np.arange(1, 13), 2.86, rtol=0.08)


def test_values_that_do_not_vary_or_are_not_known_leave_the_others_alone():
    draws = np.random.default_rng(0).normal(size=(2000, 1))
    joined = np.concatenate([draws, np.full((2000, 1), 3.0), np.full((2000, 1), np.nan)], axis=1)
    low, high = simultaneous_intervals([0.0, 3.0, 1.0], joined)
    alone = simultaneous_intervals([0.0], draws)
    assert (low[0], high[0]) == (alone[0][0], alone[1][0])
    assert (low[1], high[1]) == (3.0, 3.0)
    assert math.isnan(low[2])


# --- Verdicts ---


@pytest.mark.parametrize(
    ("spread", "region", "outcome"),
    [
        (1.0, Region(above=-5), "holds"),
        (1.0, Region(above=5), "fails"),
        (1.0, Region(above=-0.1), "undecided"),
        (0.0, Region(above=0), "fails"),
        (0.0, Region(start=0), "holds"),
    ],
)
def test_a_claim_holds_fails_or_is_undecided_by_its_interval(spread, region, outcome):
    found = verdict(claim(region), table(rows("net", [20.0, 10.0, 0.0], spread=spread)))
    assert found.outcome == outcome
    assert found.decisive.at == "σ = 1"
    low, high = found.decisive.estimate.low, found.decisive.estimate.high
    assert (low < region.low < high) is (outcome == "undecided")


def test_as_many_images_as_it_takes_decide_what_is_undecided():
    few = verdict(claim(Region(above=9.8)), table(rows("net", [30, 20, 10], spread=1.0, images=12)))
    assert few.outcome == "undecided"
    assert few.decisive.needs.of == "images"
    assert few.decisive.needs.count == math.ceil(few.decisive.needs.factor * 12)
    # A little more, since a bootstrap is random.
    many = rows("net", [30, 20, 10], spread=1.0, images=math.ceil(1.1 * few.decisive.needs.count))
    assert verdict(claim(Region(above=9.8)), table(many)).outcome == "holds"


def test_seeds_are_asked_for_where_trainings_differ_more_than_images():
    trainings = [rows("net", [10 + shift] * 3, spread=0.1, seed=seed) for seed, shift in enumerate((-1, 0, 1))]
    found = verdict(claim(Region(above=9)), table(*trainings))
    assert found.outcome == "undecided"
    assert found.decisive.needs.of == "seeds"
    assert str(found.decisive.needs).startswith("up to ")


def test_a_value_on_the_end_of_the_region_is_never_decided():
    found = verdict(claim(Region(above=10)), table(rows("net", [10, 20, 30], spread=1.0)))
    assert found.outcome == "undecided"
    assert "more than 1000" in str(found.decisive.needs)


def test_a_claim_fails_if_one_case_does_and_names_it():
    known = table(rows("net", [9, 9, 9], dataset="discs[size=8]"), rows("net", [1, 9, 9], dataset="discs[size=16]"))
    found = verdict(claim(Region(above=5)), known)
    assert found.outcome == "fails"
    assert (found.decisive.dataset, found.decisive.at) == ("discs[size=16]", "σ = 0.01")
    assert found.counted() == {"holds": 1, "fails": 1, "undecided": 0, "not measured": 0}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"datasets": ("rays",)}, "no dataset rays"),
        ({"entrants": ("bm3d",)}, "no row of bm3d on discs"),
        ({"metric": "ssim"}, "no ssim on discs"),
        ({"split": "train"}, "no psnr on discs, split train"),
        ({"sigma": Levels(at=(0.5,))}, "not known at σ = 0.5; it is at 0.01, 0.1, 1"),
        ({"number": Levels(at=(10,))}, "for several numbers of training images"),
        ({"minus": Compared(entrant="other")}, "no other on discs to compare with"),
        ({"requires": (Condition("images", Region(start=24)),)}, "images of net on discs: 20, needed ≥ 24"),
        ({"requires": (Condition("decibels", Region(start=50)),)}, "decibels of net on discs: 40, needed ≥ 50"),
        ({"requires": (Condition("steps", Region(start=1)),)}, "steps of net on discs: unknown"),
        (
            {"requires": (Condition(Measure("psnr", ("*",), ("*",), slope="input-psnr"), Region(start=0.9)),)},
            "slope of psnr of net on discs: 0.5",
        ),
    ],
)
def test_what_is_not_measured_says_why(given, reason):
    found = verdict(claim(Region(above=0), **given), table(rows("net", 3 + 0.5 * NOISY)))
    assert found.outcome == "not measured"
    assert reason in found.reason
    assert verdict(claim(Region(above=0), **given)).reason == "no results"
    lacking = replace(claim(Region(above=0), **given), missing="needs the reference pspc")
    assert verdict(lacking).reason == "needs the reference pspc"


# --- Queries, on tables with known answers ---


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"sigma": Levels("mean")}, 10.0),
        ({"sigma": Levels("lowest"), "metric": "line"}, 3 + 0.7 * NOISY[0]),
        ({"sigma": Levels("highest"), "metric": "line"}, 3 + 0.7 * NOISY[2]),
        ({"sigma": Levels(at=(0.102,)), "metric": "line"}, 3 + 0.7 * NOISY[1]),
        ({"sigma": Levels("mean", start=0.05), "metric": "line"}, 3 + 0.7 * NOISY[1:].mean()),
        ({"slope": "input-psnr", "metric": "line"}, 0.7),
        ({"metric": "deficit"}, 10.0),
        ({"minus": Compared(entrant="other")}, 2.0),
        ({"minus": Compared(metrics=("ssim",))}, 9.0),
        ({"minus": Compared(dataset="shuffled[{dataset}]")}, 5.0),
        ({"minus": Compared(split="train")}, -3.0),
        ({"over": Compared(entrant="other")}, 1.25),
        ({"over": Compared(entrant="other"), "scale": "log10"}, math.log10(1.25)),
    ],
)
def test_levels_slopes_and_comparisons(given, value):
    known = table(
        rows("net", 3 + 0.7 * NOISY, metric="line"),
        rows("net", [9e-4] * 3, metric="optimum-distance"),
        rows("net", [1e-4] * 3, metric="optimum-distance.optimal-error"),
        rows("net", [10.0] * 3),
        rows("other", [8.0] * 3),
        rows("net", [1.0] * 3, metric="ssim"),
        rows("net", [5.0] * 3, dataset="shuffled[discs]"),
        rows("net", [13.0] * 3, split="train"),
    )
    assert verdict(claim(exactly(value), **given), known).outcome == "holds"
    assert verdict(claim(exactly(value + 0.1), **given), known).outcome == "fails"


def test_a_comparison_with_several_is_with_each():
    known = table(
        rows("net", [5.0] * 3, metric="direction[graph,given=haar]"),
        rows("net", [3.0] * 3, metric="direction[haar]"),
        rows("net", [6.0] * 3, metric="direction[dct]"),
        rows("net", [9.0] * 3, metric="direction[dct].ceiling"),
    )
    one = claim(Region(above=0), "direction[graph*]", minus=Compared(metrics=("direction[haar]", "direction[dct]")))
    found = verdict(one, known)
    assert (found.outcome, found.decisive.at, found.decisive.count) == (
        "fails", "σ = 0.01, minus direction[dct]", 6,
    )  # fmt: skip
    both = replace(one.measure, minus=Compared(metrics=("direction[haar]",)))
    assert verdict(replace(one, measure=both), known).outcome == "holds"


def test_a_difference_of_metrics_is_taken_image_by_image():
    shared = np.random.default_rng(1).normal(30, 5, (3, 20))
    known = table(
        fake_results.rows("discs", "net", "trained", shared + 1, sigmas=SIGMAS),
        fake_results.rows("discs", "net", "trained", shared, sigmas=SIGMAS, metric="ssim"),
    )
    assert verdict(claim(Region(above=0.99), minus=Compared(metrics=("ssim",))), known).outcome == "holds"
    assert verdict(claim(Region(above=30.99)), known).outcome != "holds"


def swept(means, metric="psnr", **fields):
    return [rows(f"net N={number}", [mean], sigmas=[0.1], metric=metric, **fields) for number, mean in means.items()]


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"number": Levels("highest")}, 1000.0),
        ({"number": Levels(at=(10,))}, 10.0),
        ({"number": Levels("mean", at=(1, 10))}, 5.5),
        ({"number": Levels(), "scale": "log10", "slope": "log10-N"}, 1.0),
        ({"number": Levels("highest"), "minus": Compared(number=Levels("lowest"))}, 999.0),
        ({"number": Levels("highest"), "minus": Compared(entrant="bayes")}, 993.0),
        ({"number": Levels("highest"), "minus": Compared(entrant="bound")}, 998.0),
    ],
)
def test_sweeps(given, value):
    others = [rows("bayes N=1000", [7.0], sigmas=[0.1]), rows("bound", [2.0], sigmas=[0.1])]
    known = table(*swept({1: 1.0, 10: 10.0, 1000: 1000.0}), *others)
    assert verdict(claim(exactly(value), **given), known).outcome == "holds"


def test_a_single_image_of_a_training_set_varies_with_its_trainings_alone():
    trainings = [rows("net N=1", [mean], sigmas=[0.1], split="train", images=1, seed=seed) for seed, mean in
                 enumerate((10.0, 10.5, 9.5))]  # fmt: skip
    found = verdict(claim(Region(above=5), split="train", number=Levels(at=(1,))), table(*trainings))
    assert found.outcome == "holds"
    # t of 2 degrees of freedom, 4.30, times the standard error of three, .5 / sqrt(3); its quantile of 2000 draws has a
    # standard error of 7 %.
    half = (found.decisive.estimate.high - found.decisive.estimate.low) / 2
    assert half == pytest.approx(4.30 * 0.5 / math.sqrt(3), rel=0.22)


def test_a_ratio_that_a_metric_defines_is_one_of_means():
    parts = [
        fake_results.rows("discs", "net", "trained", np.array([[1.0, 9.0]]), sigmas=[0.1], metric="share.above"),
        fake_results.rows("discs", "net", "trained", np.array([[1.0, 4.0]]), sigmas=[0.1], metric="share.below"),
    ]
    known = table(*parts, ratios=["share", "share.above", "share.below"])
    assert verdict(claim(Region(above=0), "share"), known).decisive.estimate.value == pytest.approx(2.0)


def test_patterns_and_exceptions_choose_entrants():
    known = table(rows("net[bias=false]", [9.0] * 3), rows("net[bias=true]", [1.0] * 3), rows("nets", [1.0] * 3))
    assert verdict(claim(Region(above=5), entrants=("net",)), known).outcome == "fails"
    assert verdict(claim(Region(above=5), entrants=("net",), without=("*bias=true*",)), known).outcome == "holds"


def test_seeds_of_two_splits_vary_apart():
    """Trainings shift both alike here, which nothing in the means shows: their difference is as if they did not."""
    trainings = [
        rows("net", [10.0 + shift], sigmas=[0.1], seed=seed, split=split)
        for split in ("train", "test")
        for seed, shift in enumerate((-1.0, 0.0, 1.0))
    ]
    widths = []
    for minus in (None, Compared(split="train")):
        found = verdict(claim(Region(above=-50), minus=minus), table(*trainings)).decisive.estimate
        widths.append(found.high - found.low)
    assert widths[1] == pytest.approx(math.sqrt(2) * widths[0], rel=0.2)


# --- Missing values ---


@pytest.mark.parametrize("lost", [math.nan, -math.inf])
def test_a_claim_about_all_noise_levels_needs_a_value_at_each(lost):
    broken = rows("net", [30.0, 20.0, 10.0])
    broken[-1]["value"] = lost
    found = verdict(claim(Region(above=5)), table(broken))
    assert found.outcome == "not measured"
    assert found.reason == "net on discs is left out, diverged: not finite at σ = 1"


def test_a_noise_level_that_other_rows_have_may_not_be_absent():
    known = table(rows("net", [30.0, 20.0], sigmas=SIGMAS[:2]), rows("other", [9.0] * 3))
    found = verdict(claim(Region(above=5)), known)
    assert found.outcome == "not measured"
    assert "σ = 1" in found.reason


def test_a_metric_that_leaves_images_out_has_no_value_where_it_says_so():
    shown = [rows("other", [9.0] * 3, metric="direction[dct]"), rows("net", [9.0, 9.0], metric="direction[dct]",
             sigmas=SIGMAS[:2])]  # fmt: skip
    parts = [rows(name, [0.0, 0.0, 1.0], metric="direction[dct].left-out") for name in ("other", "net")]
    found = verdict(claim(Region(above=5), "direction[dct]"), table(*shown, *parts))
    assert found.outcome == "holds"
    assert found.decisive.count == 2


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


# --- Logarithms ---


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


def test_logarithms_need_a_value_above_zero_of_every_training():
    exponent = claim(Region(above=0), "time", number=Levels(), scale="log10", slope="log10-N")
    zero = rows("net N=1", [0.0], sigmas=[math.nan], metric="time", images=1)
    # Without the last training a mean over the others alone would be too small.
    for known, number in (([*times(0.1), zero], 1), (times(0.1)[:-1], 1000)):
        found = verdict(exponent, table(*known))
        assert found.outcome == "not measured"
        assert f"no time above 0 in every training of net N={number}" in found.reason
    with pytest.raises(ValueError, match="not of differences"):
        claim(Region(above=0), minus=Compared(entrant="other"), scale="log10")


@pytest.mark.parametrize("given", [{"metric": "distance[pspc*"}, {"over": Compared(metrics=("distance[wiener",))}])
def test_brackets_of_metrics_are_closed(given):
    with pytest.raises(ValueError, match=r"not closed; a pattern closes them"):
        claim(Region(above=0), **given)
