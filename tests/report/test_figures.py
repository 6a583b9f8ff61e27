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

from gahbench._util.errors import GahbenchError, ParameterError, ResultsError
from gahbench.report.board_figures import board_frame, pareto_front
from gahbench.report.drawing import COLOURS, draw_curves
from gahbench.report.figures import FIGURES, render_figures

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
    board = board_results.board.for_dataset(NAME)
    return [board.estimate(entrant, metric, sigma=sigma) for sigma in sigmas]


def test_dots_are_at_the_values_of_the_board_and_bars_are_its_intervals():
    board_results = make_results(sigmas=(0.05, 0.2))
    (ax,) = board_results.figure("gains").axes
    expected = [
        value for name in ("net $x_", "optimal", "<b>a|b") for value in board_values(
            board_results, "gain_over_baseline", name, (0.05, 0.2)
        )
    ]  # fmt: skip
    dots = [x for item in ax.collections if isinstance(item, PathCollection) for x, _ in item.get_offsets()]
    assert sorted(dots) == pytest.approx(sorted(value.value for value in expected))
    bars = [line[:, 0] for item in ax.collections if isinstance(item, LineCollection) for line in item.get_segments()]
    np.testing.assert_allclose(sorted(map(tuple, bars)), sorted((value.low, value.high) for value in expected))


def test_curves_and_bands_are_those_of_the_board():
    board_results = make_results()
    (ax,) = board_results.figure("psnr").axes
    expected = board_values(board_results, "psnr", "<b>a|b", SIGMAS)
    curves = [line.get_xydata().round(6).tolist() for line in ax.get_lines()]
    assert [[s, round(v.value, 6)] for s, v in zip(SIGMAS, expected, strict=True)] in curves
    outlines = [{round(float(y), 6) for _, y in patch.get_xy()} for patch in ax.patches if hasattr(patch, "get_xy")]
    assert {round(end, 6) for value in expected for end in (value.low, value.high)} in outlines


def test_entrants_are_in_the_order_of_their_means_after_the_optimum():
    frame = board_frame(make_results(), [NAME], [entrant[0] for entrant in ENTRANTS], "psnr")
    assert list(dict.fromkeys(frame["entrant"])) == ["optimal", "net $x_", "base", "<b>a|b"]
    assert len(frame) == len(SIGMAS) * len(ENTRANTS)
    lower = board_frame(make_results(), [NAME], ["<b>a|b", "net $x_"], "deficit")
    assert list(dict.fromkeys(lower["entrant"])) == ["net $x_", "<b>a|b"]


def test_only_as_many_labels_as_there_are_colours_have_one():
    frame = pd.DataFrame(
        [("", f"label {i}", x, i, np.nan, np.nan) for i in range(12) for x in (1, 2)],
        columns=["panel", "label", "x", "value", "low", "high"],
    )
    (ax,) = draw_curves(frame, "x", "y", log="").axes
    colours = [matplotlib.colors.to_hex(line.get_color()) for line in ax.get_lines()]
    assert set(COLOURS) <= set(colours)
    assert len(colours) == 12
    assert len(set(colours)) == len(COLOURS) + 1


def test_published_figures_depend_on_what_the_results_have():
    assert [name for name, _ in render_figures(make_results())] == ["gains.svg", "distances.svg"]
    three = make_results(names=("a", "b", "c"))
    assert [name for name, _ in render_figures(three)] == ["gains.svg", "heat-map.svg", "distances.svg"]
    nothing = results([], failures=[failure("d", "x", 0, "no")], datasets=[dataset("d")], entrants=["x"])
    assert list(render_figures(nothing)) == []
    with pytest.raises(ResultsError, match="no entrant has a PSNR on d"):
        nothing.figure()


def test_files_are_equal_for_equal_results_and_text_stays_text():
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    first = dict(render_figures(make_results()))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert dict(render_figures(make_results())) == first
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before
    text = "".join(ET.fromstring(first["gains.svg"]).itertext())
    assert {"net $x_", "<b>a|b"} <= set(re.findall(r"net \$x_|<b>a\|b", text))
    assert b"date>" not in first["gains.svg"]


@pytest.mark.parametrize("width", [85, 180])
@pytest.mark.parametrize("name", ["gains", "heat-map", "distances", "psnr"])
def test_nothing_is_beyond_the_edge_of_a_figure(name, width):
    board_results = make_results(names=("a", "b", "c"))
    drawing = board_results.figure(name, width=width)
    assert drawing.get_figwidth() == pytest.approx(width / 25.4)
    drawing.draw_without_rendering()
    box, page = drawing.get_tightbbox(), drawing.bbox_inches
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= page.x1 + 0.02
    assert box.y1 <= page.y1 + 0.02


def test_a_notebook_shows_figures_of_chosen_datasets_and_entrants():
    drawing = make_results(names=("a", "b")).figure("psnr", dataset="b", entrants=["base", "net*"])
    assert [ax.get_title(loc="left") for ax in drawing.axes] == ["b"]
    assert len(drawing.axes[0].get_lines()) == 2
    assert drawing._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "gain"}, "no figure 'gain'; did you mean 'gains'"),
        ({"name": "psnr", "dataset": "disks"}, "datasets disks are not in the results"),
        ({"name": "psnr", "entrants": "nobody"}, "entrants nobody are not in the results"),
        ({"name": "psnr", "rate": "rate"}, "figure 'psnr' has no rate; accepted: .*width"),
        ({"name": "transfer"}, "suite with the metric transfer-gap"),
        ({"name": "bases"}, r"metrics direction\[BASIS\]"),
        ({"name": "transitions"}, "if it lists train_images under 'training'"),
        ({"name": "optimality"}, "suite with the metric optimality-slope"),
        ({"name": "heat-map"}, "a heat map accepts at least 3"),
        ({"name": "training"}, "in the folder of a run"),
    ],
)
def test_invalid_choices_of_a_figure_are_errors(arguments, message):
    with pytest.raises(GahbenchError, match=message):
        make_results().figure(**arguments)


def test_every_kind_has_a_title_and_a_caption():
    assert all(kind.title and kind.caption.endswith(".") for kind in FIGURES.values())


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
    costs = pd.DataFrame(
        {
            "dataset": "d",
            "entrant": ["small", "large", "classical"],
            "multiply_adds": [50.0, 500.0, None],
            "training_images": [640, 640, None],
            "seconds": [0.2, 0.4, None],
            "machine": ["A processor", "A processor", ""],
        }
    )
    board_results = results(scores, fits, datasets=[dataset("d")], entrants=[*levels], baseline="oracle")
    board_results = replace(board_results, costs=costs)
    axes = board_results.figure("cost").axes
    # All networks saw equally many images.
    titles = ["seconds per megapixel", "parameters", "multiply-adds per pixel"]
    assert [ax.get_title(loc="left") for ax in axes] == titles
    dots = [x for item in axes[0].collections if isinstance(item, PathCollection) for x, _ in item.get_offsets()]
    assert sorted(dots) == [0.2, 0.4]
    wide = board_results.leaderboard(full=True).set_index("entrant")
    assert wide.loc["small", ["multiply_adds_per_pixel", "seconds_per_megapixel", "training_images"]].tolist() == [
        50.0, 0.2, 640,
    ]  # fmt: skip


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
    with pytest.raises(ParameterError, match="no figure 'direction"):
        board_results.figure("direction[sym4]")
