"""Every value with an interval on a page of published results is on its board.

People write these pages. The tests search the pages for numbers, and assert nothing about sentences.
"""

import dataclasses
import importlib
import re
from collections.abc import Iterator
from itertools import permutations, product, starmap

import numpy as np
import pytest
from published_pages import PUBLISHED, ROOT, load_results, margin, mean_and_half_width, page

from gahbench.board.generalization import find_sweeps, metrics_of, sweep_curves
from gahbench.board.metric_names import parse_agreement
from gahbench.board.statistics import Interval, with_mean
from gahbench.contracts.row_labels import base_label
from gahbench.report.cells import format_interval

_NUMBER = r"[+−]?\d+(?:\.\d+)?"
VALUE = re.compile(rf"{_NUMBER} ±\d+(?:\.\d+)?|{_NUMBER} \[{_NUMBER}, {_NUMBER}\]")
#: Exponents and differences of rows that no board has, with how they were computed.
COMPUTED = {
    "attention": {
        "0.59 [0.06, 1.14]": "a claim, with two digits",
        "0.95 ±0.74": "difference of two gaps between training and test images",
    },
    "classic": {"0.41 [0.33, 0.50]": "difference of two noise levels"},
    "classic-colour": {"−0.02 ±0.02": "difference of the boards of colour and of grey images"},
    "dynamics": dict.fromkeys(
        ("0.79 ±0.35", "0.63 ±0.08", "0.10 ±0.11", "0.50 ±0.45"), "exponents of times in the number of images"
    ),
    "rates": {"0.07 [0.05, 0.09]": "difference of two noise levels"},
}
#: Sections on experiments whose results are not published.
UNPUBLISHED = ("## Faces\n\nThe experiment was repeated", "## Weaker and stronger noise")


def values_of(results) -> Iterator[Interval]:
    """Yield the values of the board, and of its sweeps."""
    frame = results.board.frame
    yield from (Interval(row.value, row.low, row.high) for row in frame.itertuples())
    is_sweep = any(base_label(label) != label for label in results.entrants)
    for dataset, entrant in find_sweeps(results) if is_sweep else ():
        for metric in metrics_of(results, dataset, entrant):
            for split in ("train", "test"):
                for levels in sweep_curves(results, dataset, entrant, metric, split).values():
                    yield from levels.values()


def gains_of(results) -> Iterator[Interval]:
    """Yield the paired differences of PSNR between entrants."""
    for cube in results.psnr_cubes.values():
        for index in range(len(cube.entrants)):
            baseline = cube.shared_sample.apply(lambda array, own=[index]: with_mean(array - array[..., own, :]))
            yield from starmap(Interval, zip(*map(np.ravel, (baseline.values, *baseline.ends())), strict=True))


def margins_of(results) -> Iterator[Interval]:
    """Yield the paired differences between directions with the graph and with other bases."""
    bases = {name[1] for name in map(parse_agreement, results.scores["metric"].unique()) if name}
    for dataset, entrant, basis, sigma in product(results.facts, results.entrants, bases, (None, 0.05, 0.2)):
        if (ends := margin(results, dataset, entrant, "graph-laplacian", basis, sigma)) is not None:
            yield from (Interval(*ends), Interval(-ends[0], -ends[2], -ends[1]))


def texts_of(name: str) -> Iterator[str]:
    """Yield the texts of all values with intervals, with up to three digits, and without the sign of a loss."""
    yield from VALUE.findall((ROOT / "results" / "claims.md").read_text(encoding="utf-8"))
    results = load_results(name)
    for values in (values_of, margins_of, gains_of):
        for value in values(results):
            for shown in (value, Interval(-value.value, -value.high, -value.low)) if value.is_known else ():
                yield from (format_interval(shown, sign, digits) for digits in range(4) for sign in (False, True))
                text = "{:+.2f} [{:.2f}, {:.2f}]".format(*dataclasses.astuple(shown)).replace("-", "−")
                yield from (text, text.removeprefix("+"))
    gaps = results.scores.query("metric == 'transfer-gap'").pivot_table("value", ["dataset", "image"], "entrant")
    for entrant, other in permutations(gaps, 2):
        yield from (mean_and_half_width(rows) for _, rows in (gaps[entrant] - gaps[other]).groupby("dataset"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_value_on_the_page_is_on_the_board(name):
    text = page(name)
    for start in UNPUBLISHED:
        head, _, section = text.partition(start)
        text = head + section.partition("\n## ")[2]
    missing = set(VALUE.findall(" ".join(text.split()))) - set(COMPUTED.get(name, ()))
    for known in texts_of(name):
        missing.discard(known)
        if not missing:
            return
    assert missing == set()


def test_the_readme_shows_rows_of_the_published_board():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    board = (ROOT / "results" / "quick" / "leaderboard.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| ") and "| trained" in line]
    assert len(rows) == 2
    assert all(row in board.splitlines() for row in rows)


@pytest.mark.parametrize("name", ["classic", "classic-colour"])
def test_measured_and_published_psnr_on_the_page_are_those_of_the_script(monkeypatch, name):
    monkeypatch.syspath_prepend(ROOT / "tests" / "bench")
    lines = list(importlib.import_module("published_psnr").table(load_results(name)))
    assert "\n".join(lines) in page(name)
    # The page says why these differ.
    explained = ("| bm3d |", "| DnCNN 0-30 |", "| CDnCNN-S |")
    assert all(any(entrant in line for entrant in explained) for line in lines if " *" in line)


def test_the_table_of_the_tutorial_on_direction_has_the_values_of_the_board():
    results = load_results("basis")
    discs, metrics = results.board.select(["discs[size=24]"]), set(results.scores["metric"])
    (graph,) = {metric for metric in metrics if metric.startswith("direction[graph-laplacian") and metric.endswith("]")}
    columns = [("psnr", ""), ("truth-direction", ""), (graph, ""), (graph, "ceiling")]
    labels = {label.split("[")[0]: label for label in results.entrants}
    tutorial = (ROOT / ".docs" / "tutorials" / "direction.md").read_text(encoding="utf-8")
    lines = tutorial.split("results/basis/README.md):\n\n")[1].split("\n\n")[0].splitlines()[2:]
    assert len(lines) == 6
    for line in lines:
        name, *cells = [cell.strip().strip("`") for cell in line.strip("| ").split(" | ")]
        values = [discs.estimate(labels[name], *column, 0.05).value for column in columns]
        assert cells == [f"{round(float(value), 2) + 0.0:.2f}" for value in values]
