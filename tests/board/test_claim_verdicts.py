"""Verdicts on claims: regions, simultaneous intervals, and queries on tables with known answers."""

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
from gahbench.report.claims import export_claims, summary

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
def test_an_interval_holds_fails_or_is_undecided_as_its_points_are_in_the_region(region, first, second):
    low, high = min(first, second), max(first, second)
    # The ends of regions are multiples of 1/4, so multiples of 1/8 lie at all ends and between them.
    points = [number / 8 for number in range(int(low * 8), int(high * 8) + 1)]
    start, above, end, below = region.start, region.above, region.end, region.below
    inside = [
        (start is None or start <= point) and (above is None or above < point)
        and (end is None or point <= end) and (below is None or point < below)
        for point in points
    ]  # fmt: skip
    expected = "holds" if all(inside) else "undecided" if any(inside) else "fails"
    assert region.outcome(low, high) == expected
    assert region.outcome(low, math.nan) == "undecided"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"start": 0, "above": 0},
        {"start": 1, "end": 0},
        {"above": 1, "end": 1},
    ],
)
def test_invalid_regions_are_refused(fields):
    with pytest.raises(ValueError, match="one end on each side"):
        Region(**fields)


# --- Simultaneous intervals ---


def test_the_simultaneous_interval_of_one_value_is_the_percentile_interval():
    draws = np.random.default_rng(0).gamma(2.0, size=(2000, 1))
    low, high = simultaneous_intervals(draws.mean(axis=0), draws)
    assert np.allclose([low, high], interval(draws), atol=0.02)


def test_simultaneous_intervals_hold_together_in_95_percent_of_draws():
    draws = np.random.default_rng(0).normal(size=(4000, 12)) * np.arange(1, 13) + 5
    low, high = simultaneous_intervals(np.full(12, 5.0), draws)
    share = ((draws >= low) & (draws <= high)).all(axis=1).mean()
    assert abs(share - 0.95) < 0.005
    # Independent values need the normal quantile of 0.95^(1/12), 2.86, instead of 1.96.
    assert np.allclose((high - low) / 2 / np.arange(1, 13), 2.86, rtol=0.08)


def test_constant_and_unknown_values_do_not_widen_simultaneous_intervals():
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
    result = verdict(claim(region), table(rows("net", [20.0, 10.0, 0.0], spread=spread)))
    assert result.outcome == outcome
    assert result.decisive.at == "σ = 1"
    low, high = result.decisive.estimate.low, result.decisive.estimate.high
    assert (low < region.low < high) is (outcome == "undecided")


def test_a_claim_fails_if_one_case_fails_and_the_verdict_names_the_case():
    scores = table(rows("net", [9, 9, 9], dataset="discs[size=8]"), rows("net", [1, 9, 9], dataset="discs[size=16]"))
    result = verdict(claim(Region(above=5)), scores)
    assert result.outcome == "fails"
    assert (result.decisive.dataset, result.decisive.at) == ("discs[size=16]", "σ = 0.01")
    assert [case.outcome for case in result.cases] == ["fails", "holds"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"datasets": ("rays",)}, "no results of net on rays"),
        ({"metric": "ssim"}, "no ssim on discs"),
        ({"split": "train"}, "no psnr on discs, split train"),
        ({"sigma": Levels(at=(0.5,))}, "not known at σ = 0.5; it is at 0.01, 0.1, 1"),
        ({"number": Levels(at=(10,))}, "no results of net on discs"),
        ({"minus": Compared(entrant="other")}, "no other on discs to compare with"),
        ({"requires": (Condition(Region(start=24), "images"),)}, "images of net on discs: 20, needed ≥ 24"),
        ({"requires": (Condition(Region(start=50), "decibels"),)}, "decibels of net on discs: 40, needed ≥ 50"),
        ({"requires": (Condition(Region(start=1), "steps"),)}, "steps of net on discs: unknown"),
        (
            {"requires": (Condition(Region(start=0.9), measure=Measure("psnr", slope="input-psnr")),)},
            "slope of psnr of net on discs: 0.5, needed",
        ),
    ],
)
def test_a_claim_that_is_not_measured_has_a_reason(fields, reason):
    tested = claim(Region(above=0), **fields)
    result = verdict(tested, table(rows("net", 3 + 0.5 * NOISY)))
    assert result.outcome == "not measured"
    assert reason in result.decisive.reason
    assert verdict(tested).decisive.reason.startswith("no results of net")
    unmeasurable = replace(tested, missing="needs the reference pspc")
    assert verdict(unmeasurable).decisive.reason.startswith("needs the reference pspc")


# --- Queries, on tables with known answers ---


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"sigma": Levels("mean")}, 10.0),
        ({"sigma": Levels("lowest"), "metric": "line"}, 3 + 0.7 * NOISY[0]),
        ({"sigma": Levels("highest"), "metric": "line"}, 3 + 0.7 * NOISY[2]),
        ({"sigma": Levels(at=(0.1,)), "metric": "line"}, 3 + 0.7 * NOISY[1]),
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
def test_levels_slopes_and_comparisons(fields, value):
    scores = table(
        rows("net", 3 + 0.7 * NOISY, metric="line"),
        rows("net", [9e-4] * 3, metric="optimum-distance"),
        rows("net", [1e-4] * 3, metric="optimum-distance.optimal-error"),
        rows("net", [10.0] * 3),
        rows("other", [8.0] * 3),
        rows("net", [1.0] * 3, metric="ssim"),
        rows("net", [5.0] * 3, dataset="shuffled[discs]"),
        rows("net", [13.0] * 3, split="train"),
    )
    assert verdict(claim(exactly(value), **fields), scores).outcome == "holds"
    assert verdict(claim(exactly(value + 0.1), **fields), scores).outcome == "fails"


def test_a_value_is_compared_with_each_of_several_metrics():
    scores = table(
        rows("net", [5.0] * 3, metric="direction[graph,controlling_for=haar]"),
        rows("net", [3.0] * 3, metric="direction[haar]"),
        rows("net", [6.0] * 3, metric="direction[dct]"),
        rows("net", [9.0] * 3, metric="direction[dct].ceiling"),
    )
    compared = claim(
        Region(above=0), "direction[graph*]", minus=Compared(metrics=("direction[haar]", "direction[dct]"))
    )
    case = verdict(compared, scores).decisive
    assert (case.outcome, case.at, case.count) == ("fails", "σ = 0.01, minus direction[dct]", 6)
    measure = replace(compared.measure, minus=Compared(metrics=("direction[haar]",)))
    assert verdict(replace(compared, measure=measure), scores).outcome == "holds"


def test_a_difference_of_metrics_is_taken_image_by_image():
    shared = np.random.default_rng(1).normal(30, 5, (3, 20))
    scores = table(
        fake_results.rows("discs", "net", "trained", shared + 1, sigmas=SIGMAS),
        fake_results.rows("discs", "net", "trained", shared, sigmas=SIGMAS, metric="ssim"),
    )
    assert verdict(claim(Region(above=0.99), minus=Compared(metrics=("ssim",))), scores).outcome == "holds"
    assert verdict(claim(Region(above=30.99)), scores).outcome != "holds"


def sweep(values_by_number, metric="psnr", **fields):
    return [
        rows(f"net N={number}", [mean], sigmas=[0.1], metric=metric, **fields)
        for number, mean in values_by_number.items()
    ]


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"number": Levels("highest")}, 1000.0),
        ({"number": Levels(at=(10,))}, 10.0),
        ({"number": Levels("mean", at=(1, 10))}, 5.5),
        ({"number": Levels(), "scale": "log10", "slope": "log10-N"}, 1.0),
        ({"number": Levels("highest"), "minus": Compared(entrant="bayes")}, 993.0),
        ({"number": Levels("highest"), "minus": Compared(entrant="bound")}, 998.0),
    ],
)
def test_levels_select_rows_of_sweeps(fields, value):
    others = [rows("bayes N=1000", [7.0], sigmas=[0.1]), rows("bound", [2.0], sigmas=[0.1])]
    scores = table(*sweep({1: 1.0, 10: 10.0, 1000: 1000.0}), *others)
    assert verdict(claim(exactly(value), **fields), scores).outcome == "holds"


def test_values_on_a_single_training_image_vary_only_with_training_runs():
    runs = [rows("net N=1", [mean], sigmas=[0.1], split="train", images=1, seed=seed) for seed, mean in
                 enumerate((10.0, 10.5, 9.5))]  # fmt: skip
    result = verdict(claim(Region(above=5), split="train", number=Levels(at=(1,))), table(*runs))
    assert result.outcome == "holds"
    # The half width is t with 2 degrees of freedom, 4.30, times the standard error of three runs, 0.5 / sqrt(3). The
    # quantile of 2000 draws has a standard error of 7 %.
    half = (result.decisive.estimate.high - result.decisive.estimate.low) / 2
    assert half == pytest.approx(4.30 * 0.5 / math.sqrt(3), rel=0.22)


def test_ratios_of_metrics_are_ratios_of_means():
    parts = [
        fake_results.rows("discs", "net", "trained", np.array([[1.0, 9.0]]), sigmas=[0.1], metric="share.above"),
        fake_results.rows("discs", "net", "trained", np.array([[1.0, 4.0]]), sigmas=[0.1], metric="share.below"),
    ]
    scores = table(*parts, ratios=["share", "share.above", "share.below"])
    assert verdict(claim(Region(above=0), "share"), scores).decisive.estimate.value == pytest.approx(2.0)


def test_patterns_and_exceptions_choose_entrants():
    scores = table(rows("net[bias=false]", [9.0] * 3), rows("net[bias=true]", [1.0] * 3), rows("nets", [1.0] * 3))
    assert verdict(claim(Region(above=5), entrants=("net",)), scores).outcome == "fails"
    assert verdict(claim(Region(above=5), entrants=("net",), without=("*bias=true*",)), scores).outcome == "holds"


def test_seed_effects_of_two_splits_are_independent():
    """Runs shift both splits equally here, but effects of seeds on different splits are drawn independently."""
    runs = [
        rows("net", [10.0 + shift], sigmas=[0.1], seed=seed, split=split)
        for split in ("train", "test")
        for seed, shift in enumerate((-1.0, 0.0, 1.0))
    ]
    widths = []
    for minus in (None, Compared(split="train")):
        result = verdict(claim(Region(above=-50), minus=minus), table(*runs)).decisive.estimate
        widths.append(result.high - result.low)
    assert widths[1] == pytest.approx(math.sqrt(2) * widths[0], rel=0.2)


# --- Missing values ---


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_claim_about_all_noise_levels_needs_a_value_at_each(value):
    broken = rows("net", [30.0, 20.0, 10.0])
    broken[-1]["value"] = value
    result = verdict(claim(Region(above=5)), table(broken))
    assert result.outcome == "not measured"
    assert "net on discs is left out, diverged: not finite at σ = 1" in result.decisive.reason


def test_a_missing_noise_level_leaves_a_claim_not_measured():
    scores = table(rows("net", [30.0, 20.0], sigmas=SIGMAS[:2]), rows("other", [9.0] * 3))
    result = verdict(claim(Region(above=5)), scores)
    assert result.outcome == "not measured"
    assert "no finite value at σ = 1" in result.decisive.reason


def test_noise_levels_at_which_a_metric_leaves_out_all_images_do_not_count():
    values = [rows("other", [9.0] * 3, metric="direction[dct]"), rows("net", [9.0, 9.0], metric="direction[dct]",
             sigmas=SIGMAS[:2])]  # fmt: skip
    parts = [rows(name, [0.0, 0.0, 1.0], metric="direction[dct].left-out") for name in ("other", "net")]
    result = verdict(claim(Region(above=5), "direction[dct]"), table(*values, *parts))
    assert result.outcome == "holds"
    assert result.decisive.count == 2


def test_a_ratio_whose_denominator_may_be_zero_has_no_interval():
    parts = [rows("net", [1.0], sigmas=[0.1], metric="share.above"), rows("net", [0.1], sigmas=[0.1], spread=1.0,
             metric="share.below")]  # fmt: skip
    result = verdict(claim(Region(above=0), "share"), table(*parts, ratios=["share", "share.above", "share.below"]))
    assert result.outcome == "undecided"
    assert "the denominator may be 0" in result.decisive.reason


def test_few_images_have_no_interval_and_the_verdict_says_how_many_are_needed():
    scores = table(rows("net", [30, 20, 10], spread=1.0, images=12), sources={"discs": "0 0 0 1 1 1 2 2 2 3 3 3"})
    result = verdict(claim(Region(above=0)), scores)
    assert result.outcome == "undecided"
    assert "4 independent images, and 5 are needed" in result.decisive.reason


# --- Logarithms ---


def times(spread, seeds=3, exponent=0.9):
    """Return times in proportion to a power of N, with a random factor for each training run, and without images."""
    draw = np.random.default_rng(0)
    factors = {(n, seed): math.exp(spread * draw.normal()) for n in (10, 100, 1000) for seed in range(seeds)}
    return [
        rows(f"net N={n}", [n**exponent * factor], sigmas=[math.nan], metric="time", images=1, spread=0.0, seed=seed)
        for (n, seed), factor in factors.items()
    ]


def test_logarithms_of_means_have_slopes_and_intervals():
    exponent = claim(Region(start=0.4, end=1.4), "time", number=Levels(), scale="log10", slope="log10-N")
    result = verdict(exponent, table(*times(spread=0.1)))
    assert result.outcome == "holds"
    low, high = result.decisive.estimate.low, result.decisive.estimate.high
    # Three numbers of images with three runs each: t with 6 degrees of freedom times the standard error of a slope.
    error = 0.1 / math.log(10) / math.sqrt(3) / math.sqrt(2)
    assert (high - low) / 2 == pytest.approx(2.45 * error, rel=0.7)
    assert low < 0.9 < high


def test_logarithms_need_a_mean_above_zero():
    exponent = claim(Region(above=0), "time", number=Levels(), scale="log10", slope="log10-N")
    zero = rows("net N=1", [0.0], sigmas=[math.nan], metric="time", images=1)
    result = verdict(exponent, table(*times(0.1), zero))
    assert result.outcome == "not measured"
    assert "time of net on discs has no finite value" in result.decisive.reason
    with pytest.raises(ValueError, match="cannot be combined with minus"):
        claim(Region(above=0), minus=Compared(entrant="other"), scale="log10")


def test_unverified_claims_are_listed_separately_and_not_counted():
    measured = verdict(claim(Region(above=-1)), table(rows("net", NOISY)))
    unverified = replace(measured, name="unseen/one", claim=replace(measured.claim, checked="unverified"))
    failed = verdict(claim(Region(above=90)), table(rows("net", NOISY)))
    assert summary([measured, measured, failed, unverified]) == "3 claims: 2 hold, 1 fails; 1 unverified, not counted"
    counted, _, unverified_part = export_claims([unverified, measured], "markdown").partition("## Unverified claims")
    assert counted.startswith("1 claim: 1 holds; 1 unverified, not counted")
    assert "unseen" not in counted
    assert "### unseen: " in unverified_part
