"""Metrics against the number of training images."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from fake_results import dataset, fit, results, rows

from gahbench._util.errors import GahbenchError
from gahbench.board.generalization import find_sweeps, sweep_curves
from gahbench.board.statistics import Interval
from gahbench.planning.plan import metric_titles
from gahbench.report.page.charts import Source
from gahbench.report.page.svg import inline_svg
from gahbench.report.page.sweeps import sweep_charts
from gahbench.report.training import shared_limits, transition_metrics, transitions_figure

VALUES = {
    "sample-prediction[empirical-bayes,max_samples=12]": 0.7,
    "sample-prediction[empirical-bayes,max_samples=12].null": 0.1,
    "distance[cycle-spin[threshold[sym4]]]": 0.2,
    "distance[bm3d].r2": 0.9,
}
SHOWN = [name for name in VALUES if not name.endswith("null")]


@pytest.fixture
def sweep(builtin):
    scores = [
        row
        for number in ("10", "100", "all")
        for metric, value in VALUES.items()
        if not (metric.endswith("null") and number == "100")
        for seed in (0, 1)
        for row in rows(
            "faces", f"unet N={number}", "architecture", [[value] * 5], seed,
            [float("nan")] if metric.startswith("sample") else [0.1], metric,
        )
    ]  # fmt: skip
    fits = [fit("faces", f"unet N={number}", seed) for number in ("10", "100", "all") for seed in (0, 1)]
    labels = dict.fromkeys(name.removesuffix(".r2").removesuffix(".null") for name in VALUES)
    titles = metric_titles(builtin.configure("metric", label) for label in labels)
    return dataclasses.replace(results(scores, fits, datasets=[dataset("faces")]), metrics=pd.DataFrame(titles))


def panels(results, metrics):
    return [ax for ax in transitions_figure(results, "faces", "unet", metrics).axes if ax.get_visible()]


def test_panels_have_the_titles_of_the_metrics_in_the_order_of_the_suite(sweep):
    assert transition_metrics(sweep, "faces", "unet") == SHOWN
    axes = panels(sweep, SHOWN)
    assert [ax.get_title("left") for ax in axes] == [
        "r² of samples, empirical-bayes", "distance from cycle-spin[threshold[sym4]]", "r² of scores, bm3d"
    ]  # fmt: skip
    for ax in axes:
        assert list(ax.get_lines()[0].get_xdata()) == [10, 100, 1000]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["10", "100", "all"]
    chance = [line for line in axes[0].get_lines() if line.get_label() == "chance"]
    # The chance level has no value at 100 images.
    assert list(chance[0].get_xdata()) == [10, 1000]


def test_results_without_a_sweep_are_an_error():
    with pytest.raises(GahbenchError, match="if it lists train_images under 'training'"):
        find_sweeps(results(rows("d", "e", "trained", [[20.0, 21.0]] * 6)))


def test_seed_spreads_are_pooled_over_numbers_of_images():
    generator = np.random.default_rng(0)
    scores = []
    for number in (1, 10, 100, 1000):
        for seed in (0, 1):
            values = 20 + number / 100 + generator.normal() + np.zeros((1, 12))
            scores += rows("d", f"net N={number}", "trained", values, seed, (0.1,))
    points_by_number = sweep_curves(results(scores, datasets=[dataset("d")]), "d", "net", "psnr")
    widths = {number: points[0.1].high - points[0.1].low for number, points in points_by_number.items()}
    assert list(widths) == [1, 10, 100, 1000]
    # Unpooled intervals, with one degree of freedom, would be ±12.7 standard errors and differ by chance.
    assert max(widths.values()) < 2 * 3.5 * 2 * np.sqrt(1 / 2)
    assert min(widths.values()) > 0


def test_the_curves_of_a_report_hold_the_values(sweep, builtin, tmp_path):
    (sweep_of_entrant,) = sweep_charts(Source(tmp_path, sweep, builtin))
    assert (sweep_of_entrant.dataset, sweep_of_entrant.entrant) == ("faces", "unet")
    assert [chart.title for chart in sweep_of_entrant.panels] == [
        sweep.metrics.set_index("metric")["title"][metric] for metric in SHOWN
    ]
    (samples,) = sweep_of_entrant.panels[0].series.values()
    assert samples.name == "samples"
    assert samples.points == ["N = 10", "N = 100", "N = all"]
    assert {text.split()[0] for text in samples.values} == {"0.700"}
    (scores,) = sweep_of_entrant.panels[1].series.values()
    assert (scores.name, [text.split()[0] for text in scores.values]) == ("σ = 0.1", ["0.200"] * 3)
    assert sweep_of_entrant.panels[1].note == "lower is better"
    svg, indices = inline_svg(sweep_of_entrant.panels[1], 3)
    # The three markers are equally spaced, since the axis of numbers of images is logarithmic.
    x = [
        float(position)
        for position in re.findall(r'<use href="#f3-\d+" x="([\d.]+)"[^>]*/>', svg.partition("data-v")[2])
    ]
    assert x[:3] == pytest.approx(indices, abs=0.11)
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.11)


def test_panels_of_one_unit_share_their_scale(sweep):
    limits = [tuple(ax.get_ylim()) for ax in panels(sweep, SHOWN)]
    # Both r² have the scale of shares, with a margin, and the distance has its own.
    assert limits[0] == limits[2] == pytest.approx((-0.05, 1.05))
    assert limits[1] != limits[0]


def test_scales_are_shared_by_all_entrants_of_a_dataset():
    first, second = ({"psnr": {10: {0.1: Interval(value)}}} for value in (20.0, 30.0))
    assert shared_limits({"psnr": "PSNR (dB)"}, [first, second]) == {"psnr": (19.5, 30.5)}
    cosines = {"a": {10: {0.1: Interval(-0.5, -3, 3)}}, "b": {10: {0.1: Interval(0.2)}}}
    limits = shared_limits({"a": "cosine of scores", "b": "memorized samples (share)"}, [cosines])
    assert limits["a"] == limits["b"] == pytest.approx((-0.575, 1.075))
