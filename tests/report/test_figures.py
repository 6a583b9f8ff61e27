"""Figures of results: the values and intervals that they draw, which of them are published, and their files."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from fake_results import SIGMAS, dataset, failure, fit, realistic, results, rows
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, PathCollection

from gahbench._util.errors import GahbenchError
from gahbench.board.generalization import sweep_curves
from gahbench.planning.plan import metric_titles
from gahbench.report.board_figures import pareto_front, transition_metrics
from gahbench.report.figures import render_figures

NAME = "c-alpha[alpha=2,size=32]"
ENTRANTS = [
    ("net $x_", "trained", 0.3, 0.66, 2),
    ("base", "oracle", 1.6, 0.58, 1),
    ("optimal", "optimal", -0.4, 0.68, 1),
    ("<b>a|b", "classical", 3.5, 0.5, 1),
]


def make_results(sigmas=SIGMAS, baseline="base", names=(NAME,)):
    parts = [realistic(ENTRANTS, name, sigmas, 6, seed=index) for index, name in enumerate(names)]
    scores, fits, described = ([row for part in parts for row in part[number]] for number in range(3))
    return results(scores, fits, (), described, [entrant[0] for entrant in ENTRANTS], baseline)


def board_values(board_results, metric, entrant, sigmas):
    board = board_results.board.select([NAME])
    return [board.estimate(entrant, metric, sigma=sigma) for sigma in sigmas]


def dots(ax):
    return sorted(x for item in ax.collections if isinstance(item, PathCollection) for x, _ in item.get_offsets())


def curves(ax):
    return [line.get_xydata().round(6).tolist() for line in ax.get_lines()]


def test_dots_are_at_the_values_of_the_board_and_bars_are_its_intervals():
    board_results = make_results(sigmas=(0.05, 0.2))
    (ax,) = board_results.figure("gains").axes
    expected = [
        value
        for name in ("net $x_", "optimal", "<b>a|b")
        for value in board_values(board_results, "gain_over_baseline", name, (0.05, 0.2))
    ]
    assert dots(ax) == pytest.approx(sorted(value.value for value in expected))
    bars = [line[:, 0] for item in ax.collections if isinstance(item, LineCollection) for line in item.get_segments()]
    np.testing.assert_allclose(sorted(map(tuple, bars)), sorted((value.low, value.high) for value in expected))


def test_curves_and_bands_are_those_of_the_board():
    board_results = make_results()
    (ax,) = board_results.figure("psnr").axes
    expected = board_values(board_results, "psnr", "<b>a|b", SIGMAS)
    assert [[s, round(v.value, 6)] for s, v in zip(SIGMAS, expected, strict=True)] in curves(ax)
    outlines = [{round(float(y), 6) for _, y in patch.get_xy()} for patch in ax.patches if hasattr(patch, "get_xy")]
    assert {round(end, 6) for value in expected for end in (value.low, value.high)} in outlines


def test_published_figures_depend_on_what_the_results_have():
    three = make_results(names=("a", "b", "c"))
    assert [name for name, _ in render_figures(three)] == ["gains.svg", "heat-map.svg", "distances.svg"]
    nothing = results([], failures=[failure("d", "x", 0, "no")], datasets=[dataset("d")], entrants=["x"])
    assert list(render_figures(nothing)) == []


def test_files_are_equal_for_equal_results_and_text_stays_text():
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    first = dict(render_figures(make_results()))
    assert [*first] == ["gains.svg", "distances.svg"]
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert dict(render_figures(make_results())) == first
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before
    text = "".join(ET.fromstring(first["gains.svg"]).itertext())
    assert {"net $x_", "<b>a|b"} <= set(re.findall(r"net \$x_|<b>a\|b", text))
    assert b"date>" not in first["gains.svg"]


@pytest.mark.parametrize(("name", "width"), [("gains", 85), ("heat-map", 85), ("distances", 180), ("psnr", 180)])
def test_nothing_is_beyond_the_edge_of_a_figure(name, width):
    drawing = make_results(names=("a", "b", "c")).figure(name, width=width)
    assert drawing.get_figwidth() == pytest.approx(width / 25.4)
    drawing.draw_without_rendering()
    box, page = drawing.get_tightbbox(), drawing.bbox_inches
    assert min(box.x0, box.y0) >= -0.02
    assert (box.x1, box.y1) <= (page.x1 + 0.02, page.y1 + 0.02)


def test_a_notebook_shows_figures_of_chosen_datasets_and_entrants():
    drawing = make_results(names=("a", "b")).figure("psnr", dataset="b", entrants=["base", "net*"])
    (ax,) = drawing.axes
    assert len(ax.get_lines()) == 2
    assert drawing._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "gain"}, "did you mean 'gains'"),
        ({"name": "psnr", "dataset": "disks"}, "disks"),
        ({"name": "psnr", "entrants": "nobody"}, "nobody"),
        ({"name": "psnr", "rate": "rate"}, "no rate; accepted: .*width"),
        ({"name": "transfer"}, "transfer-gap"),
        ({"name": "bases"}, r"direction\[BASIS\]"),
        ({"name": "transitions"}, "train_images"),
        ({"name": "optimality"}, "optimality-slope"),
        ({"name": "heat-map"}, "at least 3"),
        ({"name": "training"}, "folder of a run"),
    ],
)
def test_invalid_choices_of_a_figure_are_errors(arguments, message):
    with pytest.raises(GahbenchError, match=message):
        make_results().figure(**arguments)


# Coarse values give ties in cost, in gain and in both.
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_the_front_has_the_points_that_no_other_point_beats(points):
    expected = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)}
    front = pareto_front(pd.DataFrame(points, columns=["x", "value"]))
    assert list(front.itertuples(index=False, name=None)) == sorted(expected)


def test_costs_are_of_practical_entrants_and_differ():
    levels = {"small": 24.0, "large": 25.0, "classical": 22.0, "oracle": 27.0}
    kinds = dict.fromkeys(levels, "trained") | {"classical": "classical", "oracle": "oracle"}
    noise = np.random.default_rng(0).normal(size=(6, 5))
    scores = [
        row
        for label, level in levels.items()
        for row in rows("d", label, kinds[label], level + noise, 0 if kinds[label] == "trained" else None)
    ]
    fits = [fit("d", "small", 0, parameters=100), fit("d", "large", 0, parameters=1000)]
    columns = ["dataset", "entrant", "multiply_adds", "training_images", "seconds", "machine"]
    costs = [("d", "small", 50.0, 640, 0.2, "A"), ("d", "large", 500.0, 640, 0.4, "A"), ("d", "classical", *[None] * 4)]
    board_results = results(scores, fits, datasets=[dataset("d")], entrants=[*levels], baseline="oracle")
    board_results = replace(board_results, costs=pd.DataFrame(costs, columns=columns))
    axes = board_results.figure("cost").axes
    # All networks saw equally many images, so the panels are seconds, parameters and multiply-adds.
    assert len(axes) == 3
    assert dots(axes[0]) == [0.2, 0.4]
    wide = board_results.leaderboard(full=True).set_index("entrant")
    names = ["multiply_adds_per_pixel", "seconds_per_megapixel", "training_images"]
    assert wide.loc["small", names].tolist() == [50.0, 0.2, 640]


def test_a_table_of_bases_has_the_cosines_of_the_board():
    spread = 0.05 * (-1.0) ** np.arange(24)
    values = {"near": (0.6, 0.2), "zero": (0.0, 0.0)}
    scores = [
        row
        for entrant, means in values.items()
        for metric, mean in zip(("direction[haar]", "direction[dct]"), means, strict=True)
        for row in rows("a", entrant, "classical", [mean + spread] * len(SIGMAS), metric=metric)
    ]
    board_results = results([*scores, *rows("a", "near", "classical", [20 + spread] * len(SIGMAS))])
    (ax,) = board_results.figure("bases").axes
    assert [text.get_text() for text in ax.texts] == ["0.20", "0.60", "0.00", "0.00"]
    # An agreement is grey where its interval holds 0.
    colours = [matplotlib.colors.to_hex(text.get_color()) for text in ax.texts]
    assert colours[2] == colours[3] != colours[0]


def test_distances_from_the_optimum_are_drawn_against_noise_over_side():
    epsilons, deficits = np.array([1.0, 2.0, 4.0, 8.0]) / 256, np.array([4.0, 3.0, 2.0, 1.0])
    scores, facts = [], []
    for size in (16, 32):
        name = f"c-alpha[alpha=4,size={size},render_size=64]"
        bound = np.outer(epsilons, [1.0, 2.0] * 3)
        for label, kind, distance in (("lower-bound", "bound", 0 * deficits), ("net", "classical", deficits)):
            error = bound * 10 ** (distance[:, None] / 10)
            metrics = {"optimality-slope.error": error, "optimality-slope.bound": bound, "psnr": -10 * np.log10(error)}
            for metric, values in metrics.items():
                scores += rows(name, label, kind, values, None, tuple(epsilons * size), metric)
        facts.append(dataset(name, 0.8, "bracket") | {"height": size, "width": size})
    axes = results(scores, datasets=facts).figure("optimality", entrants="net").axes
    assert len(axes) == 2
    np.testing.assert_allclose(axes[0].get_lines()[0].get_xydata(), np.stack([epsilons, deficits], 1))


VALUES = {
    "sample-prediction[empirical-bayes,max_samples=12]": 0.7,
    "sample-prediction[empirical-bayes,max_samples=12].null": 0.1,
    "distance[cycle-spin[threshold[sym4]]]": 0.2,
    "distance[bm3d].r2": 0.9,
}


def test_transitions_are_drawn_against_the_number_of_training_images_in_the_order_of_the_suite(builtin):
    numbers = ("10", "100", "all")
    scores = []
    for number, (metric, value), seed in ((n, m, s) for n in numbers for m in VALUES.items() for s in (0, 1)):
        # The chance level has no value at 100 images.
        if not (metric.endswith("null") and number == "100"):
            sigmas = [float("nan")] if metric.startswith("sample") else [0.1]
            scores += rows("faces", f"unet N={number}", "trained", [[value] * 5], seed, sigmas, metric)
    fits = [fit("faces", f"unet N={number}", seed) for number in numbers for seed in (0, 1)]
    labels = dict.fromkeys(name.removesuffix(".r2").removesuffix(".null") for name in VALUES)
    titles = pd.DataFrame(metric_titles(builtin.configure("metric", label) for label in labels))
    sweep = replace(results(scores, fits, datasets=[dataset("faces")]), metrics=titles)
    shown = [name for name in VALUES if not name.endswith("null")]
    assert transition_metrics(sweep, "faces", "unet") == shown
    axes = sweep.figure("transitions", metrics=shown).axes
    for ax, name in zip(axes, shown, strict=True):
        assert [[10, VALUES[name]], [100, VALUES[name]], [1000, VALUES[name]]] in curves(ax)
    assert [[10, 0.1], [1000, 0.1]] in curves(axes[0])
    # Panels of one unit share their scale.
    assert len({tuple(ax.get_ylim()) for ax in axes}) == 1


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
