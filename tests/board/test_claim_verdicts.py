"""Verdicts on claims: regions, simultaneous intervals, and queries on tables with known answers."""

import math
from dataclasses import replace

import fake_results
import numpy as np
import pytest
from fake_claims import NOISY, SIGMAS, claim, exactly, rows, table, verdict
from hypothesis import assume, given
from hypothesis import strategies as st

from gahbench.board.statistics import simultaneous_intervals
from gahbench.contracts.claims import Compared, Condition, Levels, Measure, Region
from gahbench.report.claims import export_claims, summary

# --- Regions ---


pairs = st.lists(st.integers(-8, 8), min_size=2, max_size=2).map(sorted)


@given(pairs, st.sampled_from(("start", "above", "")), st.sampled_from(("end", "below", "")), pairs)
def test_an_interval_holds_fails_or_is_undecided_as_its_points_are_in_the_region(ends, lower, upper, interval):
    assume((lower or upper) and (ends[0] < ends[1] or (lower, upper) == ("start", "end")))
    region = Region(**{name: end for name, end in zip((lower, upper), ends, strict=True) if name})
    # The ends of regions are integers, so multiples of 1/2 lie at all ends and between them.
    inside = [
        {"start": point >= ends[0], "above": point > ends[0]}.get(lower, True)
        and {"end": point <= ends[1], "below": point < ends[1]}.get(upper, True)
        for point in np.arange(interval[0], interval[1] + 0.5, 0.5)
    ]
    assert region.outcome(*interval) == ("holds" if all(inside) else "undecided" if any(inside) else "fails")
    assert region.outcome(interval[0], math.nan) == "undecided"


# --- Simultaneous intervals ---


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


def test_a_claim_fails_if_one_case_fails_and_the_verdict_names_the_case():
    scores = table(rows("net", [9, 9, 9], dataset="discs[size=8]"), rows("net", [1, 9, 9], dataset="discs[size=16]"))
    result = verdict(claim(Region(above=5)), scores)
    assert (result.outcome, result.decisive.dataset, result.decisive.at) == ("fails", "discs[size=16]", "σ = 0.01")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"datasets": ("rays",)}, "rays"),
        ({"metric": "ssim"}, "no ssim on discs"),
        ({"split": "train"}, "split train"),
        ({"sigma": Levels(at=(0.5,))}, "not known at σ = 0.5; it is at 0.01, 0.1, 1"),
        ({"number": Levels(at=(10,))}, "no results of net on discs"),
        ({"minus": Compared(entrant="other")}, "no other on discs"),
        ({"requires": (Condition(Region(start=24), "images"),)}, "20, needed ≥ 24"),
        ({"requires": (Condition(Region(start=4), "levels"),)}, "3, needed ≥ 4"),
        ({"requires": (Condition(Region(start=1), "steps"),)}, "unknown"),
        ({"requires": (Condition(Region(start=0.9), measure=Measure("psnr", sigma=Levels("slope"))),)}, "0.5, needed"),
    ],
)
def test_a_claim_that_is_not_measured_has_a_reason(fields, reason):
    tested = claim(Region(above=0), **fields)
    result = verdict(tested, table(rows("net", 3 + 0.5 * NOISY)))
    assert result.outcome == "not measured"
    assert reason in result.decisive.reason
    missing = replace(tested, missing="needs the reference pspc")
    assert verdict(missing).decisive.reason.startswith("needs the reference pspc")


# --- Queries, on tables with known answers ---


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"sigma": Levels("mean")}, 10.0),
        ({"sigma": Levels("lowest"), "metric": "line"}, 3 + 0.7 * NOISY[0]),
        ({"sigma": Levels("highest"), "metric": "line"}, 3 + 0.7 * NOISY[2]),
        ({"sigma": Levels(at=(0.1,)), "metric": "line"}, 3 + 0.7 * NOISY[1]),
        ({"sigma": Levels("mean", start=0.05), "metric": "line"}, 3 + 0.7 * NOISY[1:].mean()),
        ({"sigma": Levels("slope"), "metric": "line"}, 0.7),
        ({"metric": "deficit"}, 10.0),
        ({"minus": Compared(entrant="other")}, 2.0),
        ({"minus": Compared(metrics=("ssim",))}, 9.0),
        ({"minus": Compared(dataset="shuffled[{dataset}]")}, 5.0),
        ({"minus": Compared(split="train")}, -3.0),
        ({"over": Compared(entrant="other")}, 1.25),
        ({"over": Compared(entrant="other"), "scale": "log10"}, math.log10(1.25)),
        ({"metric": "line", "number": Levels("highest")}, 1000.0),
        ({"metric": "line", "number": Levels(at=(10,))}, 10.0),
        ({"metric": "line", "number": Levels("mean", at=(1, 10))}, 5.5),
        ({"metric": "line", "number": Levels("slope"), "scale": "log10"}, 1.0),
        ({"metric": "line", "number": Levels("highest"), "minus": Compared(entrant="bayes")}, 993.0),
        ({"metric": "line", "number": Levels("highest"), "minus": Compared(entrant="bound")}, 998.0),
    ],
)
def test_levels_slopes_and_comparisons(fields, value):
    sweep = {"net N=1": 1.0, "net N=10": 10.0, "net N=1000": 1000.0, "bayes N=1000": 7.0, "bound": 2.0}
    scores = table(
        rows("net", 3 + 0.7 * NOISY, metric="line"),
        rows("net", [9e-4] * 3, metric="optimum-distance"),
        rows("net", [1e-4] * 3, metric="optimum-distance.optimal-error"),
        rows("net", [10.0] * 3),
        rows("other", [8.0] * 3),
        rows("net", [1.0] * 3, metric="ssim"),
        rows("net", [5.0] * 3, dataset="shuffled[discs]"),
        rows("net", [13.0] * 3, split="train"),
        *(rows(label, [mean] * 3, metric="line") for label, mean in sweep.items()),
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
    noise = np.random.default_rng(1).normal(30, 5, (3, 20))
    parts = [fake_results.rows("discs", "net", "trained", noise + shift, sigmas=SIGMAS, metric=metric)
             for shift, metric in ((1, "psnr"), (0, "ssim"))]  # fmt: skip
    assert verdict(claim(Region(above=0.99), minus=Compared(metrics=("ssim",))), table(*parts)).outcome == "holds"


def test_values_on_a_single_training_image_vary_only_with_training_runs():
    runs = [rows("net N=1", [mean], sigmas=[0.1], split="train", images=1, seed=seed) for seed, mean in
                 enumerate((10.0, 10.5, 9.5))]  # fmt: skip
    result = verdict(claim(Region(above=5), split="train", number=Levels(at=(1,))), table(*runs))
    assert result.outcome == "holds"
    # The half width is t with 2 degrees of freedom, 4.30, times the standard error of three runs, 0.5 / sqrt(3). The
    # quantile of 2000 draws has a standard error of 7 %.
    half = (result.decisive.estimate.high - result.decisive.estimate.low) / 2
    assert half == pytest.approx(4.30 * 0.5 / math.sqrt(3), rel=0.22)


def test_ratios_of_metrics_are_ratios_of_means_without_an_interval_if_the_denominator_may_be_zero():
    parts = [rows("net", [3.0], sigmas=[0.1], metric="share.above"), rows("net", [0.1], sigmas=[0.1], spread=1.0,
             metric="share.below")]  # fmt: skip
    result = verdict(claim(Region(above=0), "share"), table(*parts, ratios=["share", "share.above", "share.below"]))
    assert result.decisive.estimate.value == pytest.approx(30.0)
    assert (result.outcome, math.isnan(result.decisive.estimate.low)) == ("undecided", True)


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


@pytest.mark.parametrize(("value", "reason"), [(math.nan, "left out"), (-math.inf, "left out"), (None, "σ = 1")])
def test_a_claim_about_all_noise_levels_needs_a_value_at_each(value, reason):
    broken = rows("net", [30.0, 20.0, 10.0])
    broken[-1]["value"] = value
    broken = broken if value is not None else [row for row in broken if row["sigma"] < 1]
    result = verdict(claim(Region(above=5)), table(broken, rows("other", [9.0] * 3)))
    assert result.outcome == "not measured"
    assert reason in result.decisive.reason


def test_noise_levels_at_which_a_metric_leaves_out_all_images_do_not_count():
    values = [rows("other", [9.0] * 3, metric="direction[dct]"), rows("net", [9.0, 9.0], metric="direction[dct]",
             sigmas=SIGMAS[:2])]  # fmt: skip
    parts = [rows(name, [0.0, 0.0, 1.0], metric="direction[dct].left-out") for name in ("other", "net")]
    result = verdict(claim(Region(above=5), "direction[dct]"), table(*values, *parts))
    assert (result.outcome, result.decisive.count) == ("holds", 2)


def test_few_images_have_no_interval_and_the_verdict_says_how_many_are_needed():
    scores = table(rows("net", [30, 20, 10], spread=1.0, images=12), sources={"discs": "0 0 0 1 1 1 2 2 2 3 3 3"})
    result = verdict(claim(Region(above=0)), scores)
    assert result.outcome == "undecided"
    assert "4 independent images, and 5 are needed" in result.decisive.reason


# --- Logarithms ---


@pytest.mark.parametrize("images", [3, 20])
def test_claims_about_these_images_are_decided_by_their_mean_and_by_seeds(images):
    region = Region(start=9.9, end=10.1)
    scores = table(rows("net", [10, 10, 10], spread=3.0, images=images))
    assert verdict(claim(region), scores).outcome == "undecided"
    estimate = verdict(claim(region, these_images=True), scores).decisive.estimate
    assert [estimate.low, estimate.value, estimate.high] == pytest.approx([10, 10, 10])
    runs = [rows("net", [mean] * 3, seed=seed, images=20) for seed, mean in enumerate((9, 11))]
    assert verdict(claim(region, these_images=True), table(*runs)).outcome == "undecided"


def test_logarithms_of_means_have_slopes_and_intervals_and_need_a_mean_above_zero():
    """Times of three training runs are proportional to a power of N, up to random factors."""
    draw = np.random.default_rng(0)
    options = {"sigmas": [math.nan], "metric": "time", "images": 1}
    times = [
        rows(f"net N={n}", [n**0.9 * math.exp(0.1 * draw.normal())], seed=seed, **options)
        for n in (10, 100, 1000) for seed in range(3)
    ]  # fmt: skip
    exponent = claim(Region(start=0.4, end=1.4), "time", number=Levels("slope"), scale="log10")
    result = verdict(exponent, table(*times))
    low, high = result.decisive.estimate.low, result.decisive.estimate.high
    # Three numbers of images with three runs each: t with 6 degrees of freedom times the standard error of a slope.
    error = 0.1 / math.log(10) / math.sqrt(3) / math.sqrt(2)
    assert (high - low) / 2 == pytest.approx(2.45 * error, rel=0.7)
    assert low < 0.9 < high
    assert "no finite value" in verdict(exponent, table(*times, rows("net N=1", [0.0], **options))).decisive.reason


def test_unverified_claims_are_listed_separately_and_not_counted():
    measured = verdict(claim(Region(above=-1)), table(rows("net", NOISY)))
    unverified = replace(measured, name="unseen/one", claim=replace(measured.claim, checked="unverified"))
    failed = verdict(claim(Region(above=90)), table(rows("net", NOISY)))
    assert summary([measured, measured, failed, unverified]) == "3 claims: 2 hold, 1 fails; 1 unverified, not counted"
    counted, _, rest = export_claims([unverified, measured], "markdown").partition("## Unverified claims")
    assert ("unseen" in counted, "### unseen: " in rest) == (False, True)
