"""Metrics against the number of training images."""

import dataclasses

import pandas as pd
import pytest
from fake_results import dataset, fit, results, rows

from gahbench._util.errors import GahbenchError
from gahbench.board.generalization import swept
from gahbench.board.schemas import empty
from gahbench.planning.metric_titles import metric_titles
from gahbench.report.generalization import transition_metrics, transitions_figure

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


def test_titles_are_those_of_the_metrics_in_the_order_of_the_suite(sweep):
    assert transition_metrics(sweep, "faces", "unet") == SHOWN
    axes = panels(sweep, SHOWN)
    assert [ax.get_title("left") for ax in axes] == [
        "r² of samples, empirical-bayes", "distance from cycle-spin[threshold[sym4]]", "r² of scores, bm3d"
    ]  # fmt: skip
    for ax in axes:
        assert list(ax.get_lines()[0].get_xdata()) == [10, 100, 1000]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["10", "100", "all"]
    chance = [line for line in axes[0].get_lines() if line.get_label() == "chance"]
    # With no value at 100 images.
    assert list(chance[0].get_xdata()) == [10, 1000]


def test_results_without_titles_show_metrics_by_their_names(sweep):
    old = dataclasses.replace(sweep, metrics=empty("metrics"))
    shown = transition_metrics(old, "faces", "unet")
    assert shown == ["distance[cycle-spin[threshold[sym4]]]", "sample-prediction[empirical-bayes,max_samples=12]"]
    axes = panels(old, shown)
    # Long ones are folded.
    assert [ax.get_title("left").replace("\n", "") for ax in axes] == shown
    assert not [line for ax in axes for line in ax.get_lines() if line.get_label() == "chance"]


def test_results_without_a_sweep_are_refused():
    with pytest.raises(GahbenchError, match="a suite that lists train_images under 'training' has"):
        swept(results(rows("d", "e", "trained", [[20.0, 21.0]] * 6)))
