"""The first screen of a report: what its title may say, the cells of its heat map, and the strip of distances."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from fake_results import realistic, results
from matplotlib.figure import Figure

from gahbench.board.statistics import Interval
from gahbench.report.basis_matrix import AgreementCell, AgreementRow, BasisMatrix
from gahbench.report.drawing import HIGHLIGHTS, MUTED, EndLabel, draw_curve, label_ends
from gahbench.report.figures import draw_entrants
from gahbench.report.finding import finding
from gahbench.report.heat_map import STEPS, GainCell, distance_lines, gain_of, heat_map
from gahbench.report.page.charts import Source, board_charts
from gahbench.report.page.first_screen import basis_strip, distance_strip, first_screen, highlighted_entrants
from gahbench.report.page.readme import read_readme
from gahbench.report.page.strip import Dot, Line, draw_strip, ticks_between
from gahbench.report.page.svg import LIGHT, contrast

SIGMAS = (0.05, 0.1, 0.2)


def suite(*entrants, datasets=("a", "b"), baseline="base"):
    """Return results of entrants (label, kind, dB below the optimum, seeds) on datasets, with a baseline."""
    rows = [(label, kind, below, 2 / 3, seeds) for label, kind, below, seeds in entrants]
    parts = [
        realistic([*rows, ("base", "oracle", 3, 2 / 3, 1)], name, SIGMAS, 24, seed=index)
        for index, name in enumerate(datasets)
    ]
    scores, fits, described = ([row for part in parts for row in part[number]] for number in range(3))
    return results(scores, fits, (), described, baseline=baseline)


def test_a_title_names_a_trained_winner_only_after_several_trainings():
    repeated = finding(suite(("net", "trained", 1, 2), ("tv", "classical", 4, 1)))
    assert repeated.title == "net is first on both datasets"
    assert "net is alone at rank 1 on a (gain +" in repeated.sentences[0]
    single = finding(suite(("net", "trained", 1, 1), ("tv", "classical", 4, 1)))
    assert "net" not in single.title.split()
    assert single.sentences[0] == "net leads on a and b after a single training."
    # A denoiser that is not trained needs no seeds.
    assert finding(suite(("net", "trained", 4, 1), ("tv", "classical", 1, 1))).title == "tv is first on both datasets"


def test_a_title_says_that_nothing_is_decided():
    equal = suite(("x", "classical", 2, 1), ("y", "classical", 2, 1))
    assert finding(equal).title == "No denoiser is first alone on any of 2 datasets"
    (sentence,) = finding(equal).sentences
    assert sentence.startswith("First place is undecided between ")
    oracles = suite(("x", "oracle", 2, 1))
    assert finding(oracles).title == "2 entrants on 2 datasets, without ranks"
    assert finding(oracles, "What oracles can do").title == "What oracles can do"


def test_the_distance_from_the_optimum_is_the_smallest():
    measured = suite(("net", "trained", 1, 2), ("tv", "classical", 4, 1), ("optimal", "optimal", 0, 1), datasets=("a",))
    distance = measured.board.for_dataset("a").estimate("net", "deficit").value
    assert finding(measured).title == f"net is first on a, and still {distance:.1f} dB from optimal"
    (line,) = distance_lines(measured)
    assert [item.entrant for item in line.distances] == ["net", "base", "tv"]
    assert not line.is_bound
    assert highlighted_entrants([line]) == ["net", "tv"]


@pytest.mark.parametrize(
    ("gain", "step", "is_decided"),
    [
        (Interval(0.3, 0.1, 0.5), 1, True),
        (Interval(-STEPS[0], -0.9, -0.1), -2, True),
        (Interval(50, 40, 60), len(STEPS) + 1, True),
        (Interval(0.3, -0.1, 0.7), 0, False),
        (Interval(0, 0, 0), 0, False),
        (Interval(3), 0, False),
    ],
)
def test_cells_have_a_colour_only_if_the_interval_excludes_0(gain, step, is_decided):
    cell = GainCell(gain)
    assert (cell.step, cell.is_decided) == (step, is_decided)


def test_cells_are_framed_only_if_rank_1_is_the_only_rank():
    assert GainCell(Interval(1), 1, 1).is_first
    assert not GainCell(Interval(1), 1, 2).is_first
    assert not GainCell(Interval(1)).is_first


def test_rows_are_denoisers_by_gain_and_then_oracles():
    shown = heat_map(suite(("tv", "classical", 4, 1), ("net", "trained", 1, 2), ("ideal", "oracle", 0.5, 1)))
    assert [row.entrant for row in shown.rows] == ["net", "tv", "ideal"]
    assert [row.note for row in shown.rows] == ["7.6 M", "classical", "oracle"]
    assert [column.dataset for column in shown.columns] == ["a", "b"]
    assert all(cell.is_first for cell in shown.rows[0].cells)


def test_without_a_baseline_gains_are_over_the_noisy_images():
    bare = suite(("net", "trained", 1, 2), baseline=None)
    board = bare.board.for_dataset("a")
    psnr, gain = board.estimate("net", "psnr"), gain_of(board, "net", None)
    noisy = np.mean(-20 * np.log10(SIGMAS))
    assert (gain.value, gain.low) == pytest.approx((psnr.value - noisy, psnr.low - noisy))
    assert heat_map(bare).columns[0].baseline_psnr.value == pytest.approx(noisy)


def test_facts_count_entrants_images_levels_and_trainings():
    assert first_screen(suite(("net", "trained", 1, 3), ("tv", "classical", 4, 1))).facts == [
        "2 denoisers and 1 reference",
        "2 datasets",
        "24 test images",
        "σ = 0.05 to 0.2",
        "3 training runs each",
    ]


def test_an_entrant_has_the_same_colour_in_all_strips():
    entrants = (("net", "trained", 1, 2), ("tv", "classical", 4, 1), ("bm3d", "classical", 5, 1))
    table = suite(*entrants, ("optimal", "optimal", 0, 1), datasets=("a",))
    lines = distance_lines(table)
    highlights = highlighted_entrants(lines)
    values = [AgreementRow(name, "classical", [AgreementCell(Interval(0.5, 0.4, 0.6))]) for name in ("bm3d", "tv")]
    matrix = BasisMatrix("direction", 0.1, ["a"], ["a"], values, basis="haar")
    distances, directions = (
        {text.text.split()[0]: text.get("class").split()[1] for text in ElementTree.fromstring(strip).iter("text")}
        for strip in (
            re.sub('<svg class="line scale".*?</svg>', "", str(markup))
            for markup in (distance_strip(table, lines, highlights), basis_strip(table, matrix, highlights))
        )
    )
    assert distances == {"net": "s1", "bm3d": "s2"}
    assert directions == {"bm3d": "s2", "tv": "s3"}


def test_ticks_are_round_and_within_their_ends():
    assert ticks_between(0, 18) == [0, 3, 6, 9, 12, 15, 18]
    assert ticks_between(-0.3, 1) == pytest.approx([-0.3, 0, 0.3, 0.6, 0.9])
    for high in (0.1, 0.7, 4.2, 33, 1234):
        ticks = ticks_between(0, high)
        assert 3 <= len(ticks) <= 8
        assert ticks[0] == 0
        assert ticks[-1] <= high


def test_a_strip_places_dots_and_escapes_names():
    dots = [Dot("<b>", 0, highlight=1), Dot("far", 40), Dot("mid", 5, (2, 5), highlight=2)]
    markup = draw_strip([Line("a & b", "", dots)], 0, 10, "dB")
    tree = ElementTree.fromstring(markup)
    circles = {circle.get("class"): float(circle.get("cx")[:-1]) for circle in tree.iter("circle")}
    # Positions are between margins of 2.5 %, and dots beyond the scale are at its end.
    assert circles == {"s1": 2.5, "s2": 50, "grey": 97.5}
    (bar,) = [line for line in tree.iter("line") if "bar-line" in line.get("class")]
    assert (bar.get("x1"), bar.get("x2")) == ("21.5%", "50.0%")
    assert "far: 40.00 (beyond this scale)" in [title.text for title in tree.iter("title")]
    assert [text.text for text in tree.iter("text")][:2] == ["<b> 0.00", "mid 5.00"]


def test_labels_do_not_overlap():
    dots = [Dot(f"entrant {index}", 5 + 0.1 * index, highlight=1) for index in range(4)]
    markup = draw_strip([Line("a", "", dots)], 0, 10, "dB")
    assert len(set(re.findall(r'y="(\d+)" class="label', markup))) == 4


def test_the_readme_of_a_folder_gives_its_title_and_findings(tmp_path):
    assert read_readme(tmp_path).title == ""
    text = (
        "# A `title`\n\nText.\n\n- no finding\n\n## What it shows\n\n"
        "- **Bold `code`**, [a link](x.md) <i>\n  and more.\n- *Second*, 2 * 3 * a*b*.\n\nEnd.\n"
    )
    (tmp_path / "README.md").write_text(text)
    readme = read_readme(tmp_path)
    assert readme.title == "A title"
    assert readme.findings == [
        "<strong>Bold <code>code</code></strong>, a link &lt;i&gt; and more.",
        "<em>Second</em>, 2 * 3 * a*b*.",
    ]
    (tmp_path / "README.md").write_bytes(b"\xff")
    assert read_readme(tmp_path).findings == ()


def test_up_to_six_entrants_have_a_colour_and_no_colour_is_used_twice(tmp_path, builtin):
    entrants = [(f"net-{index}", "trained", index + 1, 2) for index in range(9)]
    source = Source(tmp_path, suite(*entrants, datasets=("a",)), builtin)
    colours = [source.styles[label]["color"] for label in source.highlights]
    assert source.highlights == [f"net-{index}" for index in range(6)]
    assert colours == list(HIGHLIGHTS)
    assert all(contrast(colour, LIGHT) >= 4.5 for colour in colours)
    others = {label: style for label, style in source.styles.items() if label not in source.highlights}
    assert {style["color"] for style in others.values()} == {MUTED}
    charts = board_charts(source, source.results.board.for_dataset("a"))
    assert [chart.title for chart in charts] == ["gain over base", "output PSNR"]
    labels = {text.get_text() for text in charts[0].figure.axes[0].texts}
    assert set(source.highlights) <= labels
    assert "net-8" not in labels


def test_labels_at_the_ends_of_curves_keep_their_order_and_do_not_overlap():
    figure = Figure(figsize=(5, 3))
    ax = figure.add_axes((0.1, 0.1, 0.6, 0.8))
    ax.set_ylim(0, 1)
    values = [0.5, 0.51, 0.52, 1.0, 0.0, 7.0]
    label_ends(ax, [EndLabel(str(value), value, "black", "x") for value in values])
    heights = {float(text.get_text()): text.get_position()[1] * 0.8 * 3 * 72 for text in ax.texts}
    ordered = [heights[value] for value in sorted(values)]
    assert np.diff(ordered).min() >= 9.4
    assert min(ordered) >= 0
    # Values beyond the panel have their label at its edge.
    assert max(ordered) <= 0.8 * 3 * 72 + 5


def test_values_at_two_noise_levels_are_dots_with_bars():
    figure = Figure()
    two, three = figure.subplots(1, 2)
    for ax, count in ((two, 2), (three, 3)):
        values = np.arange(count, dtype=float)
        draw_curve(ax, values, (values, values - 1, values + 1), "x", {"color": "black"})
    assert (two.get_lines()[0].get_linestyle(), three.get_lines()[0].get_linestyle()) == ("None", "-")
    assert [type(ax.collections[0]).__name__ for ax in (two, three)] == ["LineCollection", "FillBetweenPolyCollection"]


def test_images_from_a_few_sources_have_no_bands():
    scores, fits, datasets = realistic([("net", "trained", 1, 2 / 3, 2)], "a", SIGMAS, 24)
    few = [{**row, "sources": " ".join(str(image % 2) for image in range(24))} for row in datasets]
    for described, bands in ((datasets, 1), (few, 0)):
        board = results(scores, fits, (), described).board.for_dataset("a")
        ax = Figure().subplots()
        styles = {"net": {"color": "black"}}
        draw_entrants(ax, board, board.entries, "psnr", styles, {"net": "net"})
        assert len(ax.collections) == bands
