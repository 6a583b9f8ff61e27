"""Verdicts on the optimal rate for curves with known answers, and for curves that lack data."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench.board.rate_verdicts import (
    MAX_DEVIATION,
    MIN_SPAN,
    DeficitCurve,
    judge,
    longest_run,
    simultaneous_half_widths,
)

#: Noise levels in octaves, 6 dB each.
EPSILONS = np.array([0.02, 0.04, 0.08, 0.16, 0.32, 0.64]) / 32
#: A UNet on C^4 images: slope -0.007 over all levels, and 0.19 over the lowest three.
UNET = np.array([9.3, 7.4, 7.0, 7.6, 7.9, 9.2])
OPTIMAL = 0.8  # The optimal rate for alpha = 4, for which slopes within 0.15 of 0 are near-optimal.
DB = -20 * np.log10(EPSILONS)


def make_curve(deficits, error=0.02, collapsed=True, own_collapsed=True, count=2000, **fields):
    """Return a curve with draws that have a standard error (dB), independent between levels."""
    values = np.asarray(deficits, dtype=float)
    draws = values + error * np.random.default_rng(0).normal(size=(count, len(values)))
    full = np.full(len(values), True)
    return DeficitCurve(EPSILONS[: len(values)], values, draws, full & collapsed, full & own_collapsed, **fields)


def line(slope, height=3.0):
    return height + slope * (DB - DB.mean())


def test_constant_distances_from_the_optimum_are_near_optimal():
    for deficits in (np.zeros(6), np.full(6, 10 * np.log10(1.1)), line(0.01)):
        verdict = judge(make_curve(deficits), OPTIMAL)
        assert verdict.answer == "near-optimal"
        assert verdict.span == pytest.approx(20 * np.log10(32))
    assert judge(make_curve(np.zeros(6), error=0.0), OPTIMAL).answer == "near-optimal"


def test_the_rate_of_wavelets_is_not_near_optimal():
    verdict = judge(make_curve(line(OPTIMAL - 0.5, 5)), OPTIMAL)
    assert verdict.answer == "not near-optimal"
    assert verdict.slope.value == pytest.approx(0.3)
    assert "slope of D +0.30" in verdict.reasons[0]


def test_a_distance_that_is_large_at_both_ends_is_not_near_optimal_though_its_slope_is_0():
    verdict = judge(make_curve(UNET), OPTIMAL)
    assert verdict.slope.value == pytest.approx(-0.0076, abs=1e-4)
    assert verdict.slope.high < 0.15
    assert verdict.answer == "not near-optimal"
    (reason,) = verdict.reasons
    assert reason.startswith("D deviates from its mean by 1.23")
    # Over the lowest three levels, 12 dB, D already varies too much for any further level to help.
    low = judge(make_curve(UNET[:3]), OPTIMAL)
    assert low.slope.value == pytest.approx(0.191, abs=1e-3)
    assert low.answer == "not near-optimal"
    assert "deviates from any mean by 1.15" in low.reasons[0]
    # With the wider interval of the measurement, [0.15, 0.23], three levels are not enough for a verdict.
    wide = judge(make_curve(UNET[:3], error=0.25 / np.sqrt(2)), OPTIMAL)
    assert (round(wide.slope.low, 2), round(wide.slope.high, 2)) == (0.15, 0.23)
    assert wide.answer == "undecided"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"collapsed": False}, "the bound has collapsed at no level"),
        (
            {"collapsed": np.arange(6) < 3},
            "at 3 levels, which span 12.0 dB; at least 3 levels that span 15 dB are needed",
        ),
        ({"collapsed": np.array([1, 1, 1, 0, 1, 1]) > 0}, "at 3 levels, which span 12.0 dB"),
        ({"own_collapsed": np.arange(6) > 3}, "bound and denoiser have both collapsed at 2 levels, which span 6.0 dB"),
        ({"error": 3.0}, "the interval is not within ±0.15"),
        ({"error": np.nan}, "too few images for intervals"),
        ({"is_trained": True}, "the effect of twice the training is unknown"),
        ({"why_not": "there is one size"}, "there is one size"),
    ],
)
def test_an_undecided_verdict_names_what_is_missing(fields, reason):
    verdict = judge(make_curve(np.ones(6), **fields), OPTIMAL)
    assert verdict.answer == "undecided"
    assert reason in "; ".join(verdict.reasons)


def test_a_rate_no_better_than_that_of_wavelets_leaves_the_verdict_undecided():
    assert "not above that of wavelets" in judge(make_curve(np.zeros(6)), 0.5).reasons[0]
    assert "not known" in judge(make_curve(np.zeros(6)), np.nan).reasons[0]


@pytest.mark.parametrize(("change", "answer"), [(-0.1, "near-optimal"), (-0.3, "undecided"), (0.3, "undecided")])
def test_twice_the_training_must_not_change_the_distance(change, answer):
    changes = np.array([0, 0, change, 0, 0, 0])
    draws = changes + 0.01 * np.random.default_rng(1).normal(size=(2000, 6))
    trained = make_curve(np.ones(6), is_trained=True, changes=changes, change_draws=draws)
    assert judge(trained, OPTIMAL).answer == answer
    # Training does not matter for a network that is not near-optimal.
    assert judge(replace(trained, deficits=line(0.3), draws=line(0.3) + draws), OPTIMAL).answer == "not near-optimal"


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_the_longest_run_is_of_neighbours_that_are_all_chosen_and_longest_in_decibels(chosen):
    run = longest_run(chosen, 2.0 ** np.arange(len(chosen)))
    assert all(chosen[run])
    runs = [len(part) for part in "".join("x" if is_chosen else " " for is_chosen in chosen).split()]
    assert run.stop - run.start == max(runs, default=0)
    assert longest_run([True, True, True, False, True, True], [1, 2, 4, 8, 16, 200]) == slice(4, 6)


@settings(max_examples=40)
@given(
    st.lists(st.floats(-1.5, 1.5), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.floats(0.001, 0.5),
    st.floats(-5, 5),
)
def test_verdicts_follow_from_slope_deviation_and_span(bumps, bound_collapsed, own_collapsed, error, height):
    curve = make_curve(np.array(bumps) + 5, error, np.array(bound_collapsed), np.array(own_collapsed), count=200)
    verdict = judge(curve, OPTIMAL)
    is_enough = len(verdict.epsilons) >= 3 and verdict.span >= MIN_SPAN
    slope, deviation = verdict.slope, verdict.deviation
    if verdict.answer == "near-optimal":
        assert is_enough
        assert -0.15 <= slope.low <= slope.high <= 0.15
        assert deviation.value <= deviation.high <= MAX_DEVIATION
    if verdict.answer == "not near-optimal" and is_enough:
        assert slope.low > 0.15 or slope.high < -0.15 or deviation.low > MAX_DEVIATION
    # A constant factor of the error does not matter.
    higher = replace(curve, deficits=curve.deficits + height, draws=curve.draws + height)
    assert judge(higher, OPTIMAL).answer == verdict.answer
    # If the denoiser has not collapsed, it is never near-optimal, and "not near-optimal" stays.
    blind = judge(replace(curve, own_collapsed=np.zeros(6, dtype=bool)), OPTIMAL).answer
    assert blind == ("not near-optimal" if verdict.answer == "not near-optimal" else "undecided")
    # Wider intervals decide less, and a higher optimal slope accepts more.
    wide = replace(curve, draws=curve.deficits + 3 * (curve.draws - curve.deficits))
    assert judge(wide, OPTIMAL).answer in (verdict.answer, "undecided")
    if verdict.answer == "near-optimal":
        assert judge(curve, 0.99).answer == "near-optimal"


def test_simultaneous_intervals_hold_at_all_levels_at_once():
    generator = np.random.default_rng(2)
    errors = np.array([0.1, 0.2, 0.4, 0.1, 0.1, 1.0])
    widths = simultaneous_half_widths(np.zeros(6), errors * generator.normal(size=(4000, 6)))
    share = (np.abs(errors * generator.normal(size=(4000, 6))) <= widths).all(axis=1).mean()
    assert share == pytest.approx(0.95, abs=0.012)
    # With a single level the interval is the usual pointwise interval.
    assert simultaneous_half_widths(np.zeros(1), generator.normal(size=(4000, 1)))[0] == pytest.approx(1.96, abs=0.08)
