"""The cost section of a report: the Pareto front, charts and remarks."""

from dataclasses import replace

import numpy as np
import pandas as pd
from fake_results import dataset, fit, results, rows
from hypothesis import given
from hypothesis import strategies as st

from gahbench.report.page.charts import Source
from gahbench.report.page.costs import cost_section, pareto_front


# Coarse values give ties in cost, in gain and in both.
@given(st.dictionaries(st.sampled_from("abcdefghijkl"), st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_the_front_has_the_points_that_no_other_point_beats(points):

    def beats(other, point):
        return other != point and other[0] <= point[0] and other[1] >= point[1]

    expected = {label for label, point in points.items() if not any(beats(other, point) for other in points.values())}
    front = pareto_front(points)
    assert set(front) == expected
    assert [points[label][0] for label in front] == sorted(points[label][0] for label in front)


def make_results(seconds=(0.2, 0.4, float("nan"))):
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
            "seconds": seconds,
            "machine": ["A processor", "A processor", ""],
        }
    )
    board_results = results(scores, fits, datasets=[dataset("d")], entrants=[*levels], baseline="oracle")
    return replace(board_results, costs=costs)


def test_charts_show_practical_denoisers_with_known_and_differing_costs(tmp_path, builtin):
    section = cost_section(Source(tmp_path, make_results(), builtin))
    ((heading, charts),) = section.charts.items()
    assert heading == "d"
    titles = [chart.title.partition(" against ")[2] for chart in charts]
    # All networks saw equally many images, which a sentence says instead.
    assert titles == ["multiply-adds per pixel", "parameters", "seconds per megapixel"]
    sentence = "Every network saw 640 noisy images in training."
    assert section.remarks == ["Seconds were measured on A processor.", sentence]
    assert section.entrants == {"d": ["small", "large"]}
    points = {series.name: (series.x[0], series.points[0]) for series in charts[2].series.values()}
    assert points == {"small": (0.2, "0.20 seconds per megapixel"), "large": (0.4, "0.40 seconds per megapixel")}
    assert charts[0].note == "Front: small, large"


def test_boards_without_measured_seconds_say_so(tmp_path, builtin):
    section = cost_section(Source(tmp_path, make_results((None, None, None)), builtin))
    assert len(section.charts["d"]) == 2
    assert section.remarks[0] == "Seconds per megapixel were not measured on this board; a new run measures them."


def test_the_board_has_the_columns_of_cost(builtin):
    wide = make_results().leaderboard(full=True).set_index("entrant")
    assert wide.loc["small", ["multiply_adds_per_pixel", "seconds_per_megapixel", "training_images"]].tolist() == [
        50.0, 0.2, 640,
    ]  # fmt: skip
    assert wide.loc["large", "measured_on"] == "A processor"
    assert wide.loc["oracle", ["seconds_per_megapixel", "training_images"]].isna().all()
