"""Metrics against the number of training images."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from fake_results import dataset, fit, results, rows

from gahbench._util.errors import GahbenchError
from gahbench.board.generalization import find_sweeps, sweep_curves
from gahbench.planning.plan import metric_titles
from gahbench.report.board_figures import transition_metrics

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
    return results.figure("transitions", metrics=metrics).axes


def test_panels_have_the_titles_of_the_metrics_in_the_order_of_the_suite(sweep):
    assert transition_metrics(sweep, "faces", "unet") == SHOWN
    axes = panels(sweep, SHOWN)
    assert [ax.get_title("left").replace("\n", "") for ax in axes] == [
        "r² of samples, empirical-bayes", "distance from cycle-spin[threshold[sym4]]", "r² of scores, bm3d"
    ]  # fmt: skip
    for ax in axes:
        assert [10, 100, 1000] in [list(line.get_xdata()) for line in ax.get_lines()]
        assert ax.get_xticklabels()[-1].get_text() == "all"
    # The chance level has no value at 100 images.
    assert [10, 1000] in [list(line.get_xdata()) for line in axes[0].get_lines()]


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


def test_panels_of_one_unit_share_their_scale(sweep):
    limits = [tuple(ax.get_ylim()) for ax in panels(sweep, SHOWN)]
    # Values between 0 and 1 have this scale, with a margin.
    assert limits == [pytest.approx((-0.05, 1.05))] * 3
