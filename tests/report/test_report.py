"""The board as text and as figures."""

import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from fake_results import SIGMAS, dataset, failure, fit, realistic, results, rows
from rich.console import Console
from typer.testing import CliRunner

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.statistics import UNKNOWN, Interval
from gahbench.cli.app import app
from gahbench.evaluation.rates import input_psnr
from gahbench.report import cells
from gahbench.report.cells import file_stems
from gahbench.report.drawing import entrant_styles
from gahbench.report.figures import figure, render_figures
from gahbench.report.legend import legend, short_legend
from gahbench.report.publish import publish
from gahbench.report.rates import optimality_figure
from gahbench.report.tables import markdown, print_board
from gahbench.report.text_summary import text_summary

ENTRANTS = [
    ("unet[width=32,levels=3]", "trained", 0.3, 0.66, 2),
    ("oracle-threshold[basis=wavelet[sym4,levels=3]]", "oracle", 1.6, 0.58, 1),
    ("optimal", "optimal", -0.4, 0.68, 1),
    ("a|b", "classical", 3.5, 0.5, 1),
]
BASELINE = ENTRANTS[1][0]
NAME = "c-alpha[alpha=2,size=32]"


def make_results(entrants=ENTRANTS, baseline=BASELINE, **other):
    scores, fits, datasets = realistic(entrants, images=6, **other)
    failures = [failure(NAME, "gone", 0, "RuntimeError: [red]out of memory[/red]")]
    labels = [entrant[0] for entrant in entrants]
    return results(scores, fits, failures, datasets, [*labels, "gone"], baseline)


def print_to_text(board_results, width=100, terminal=True, full_legend=False):
    stream = io.StringIO()
    print_board(
        board_results, Console(file=stream, width=width, force_terminal=terminal, color_system=None), full_legend
    )
    return stream.getvalue()


KNOWN = Interval(1.306, 1.2, 1.4)


@pytest.mark.parametrize(
    ("format_value", "texts"),
    [
        (cells.count, {840: "840", 92_000: "92 k", 7_600_000: "7.6 M", 999_600: "1.0 M", 999_400: "999 k"}),
        (cells.count, {9_960: "10 k", 3 * 10**9: "3.0 G", 0: "0", None: "–"}),
        (cells.duration, {0.04: "0.0 s", 8.31: "8.3 s", 9.96: "10 s", 59.6: "1 min 00 s", 72: "1 min 12 s"}),
        (
            cells.duration,
            {3599.7: "1 h 00 min", 86399: "1 d 00 h", 273600: "3 d 04 h", np.nan: "–"},
        ),
        (lambda value: cells.number(value, sign=True), {1.256: "+1.26", -2.0: "−2.00", -0.001: "0.00", 0.0: "0.00"}),
        (cells.format_interval, {Interval(31.4, 31.1, 31.7): "31.40 ±0.30", Interval(0.5): "0.50", UNKNOWN: "–"}),
        (
            cells.format_interval,
            {
                Interval(31.4, 31.0, 31.6): "31.40 [31.00, 31.60]",
                Interval(31.4, 31.0, 31.75): "31.40 ±0.38",
                Interval(0.001, -0.011, 0.015): "0.00 ±0.01",
                Interval(-0.1, -1.0, 0.2): "−0.10 [−1.00, 0.20]",
            },
        ),
        (lambda low: cells.between(low, KNOWN), {Interval(0.8, 0.7, 0.9): "0.80 to 1.31", UNKNOWN: "1.31 ±0.10"}),
    ],
)
def test_values_are_formatted_briefly(format_value, texts):
    assert {value: format_value(value) for value in texts} == texts
    assert cells.number(np.nan) == cells.between(UNKNOWN, UNKNOWN) == "–"


@pytest.mark.parametrize("width", [4, 9, 16, 100])
def test_folding_keeps_all_characters(width):
    lines = cells.fold_label(BASELINE, width).split("\n")
    assert "".join(lines) == BASELINE
    assert max(map(len, lines)) <= width


def test_markdown_has_every_entrant_and_the_failure_in_columns_that_line_up():
    text = markdown(make_results())
    blocks = [block.split("\n") for block in text.split("\n\n") if block.startswith("| ")]
    assert len(blocks) == 6
    for lines in blocks:
        bars = [[i for i, c in enumerate(line) if c == "|" and line[i - 1] != "\\"] for line in lines]
        assert all(indices == bars[0] for indices in bars)
    assert "The optimal slope 0.67 is the limit for σ → 0; over this window, σ = 0.01 to 0.5, compare with `" in text
    assert "a\\|b" in text
    assert "- `gone`: fit failed: RuntimeError: [red]out of memory[/red]" in text
    assert f"Gain: over {BASELINE}." in text
    short = [line for line in text.split("\n") if BASELINE not in line and "|" not in line]
    assert max(map(len, short)) <= 120


def test_ranks_are_shown_with_their_intervals():
    values = np.full((6, 5), 30.0) + np.arange(5)
    board_results = results([row for label in ("a", "b") for row in rows("d", label, "classical", values)])
    text = markdown(board_results)
    assert text.count("| 1–2  |") == 2


@pytest.mark.parametrize("width", [80, 100, 120])
def test_terminal_tables_fit_their_width_and_show_every_number(width):
    board_results = make_results()
    text = print_to_text(board_results, width)
    assert max(map(len, text.split("\n"))) <= width
    assert "…" not in text
    # Markup in names and errors is printed as it is.
    assert "[red]out of memory[/red]" in " ".join(text.split())
    board = board_results.leaderboard(full=True).dropna(subset="psnr")
    for name in ("psnr", "psnr@0.01", "psnr@0.5"):
        for value in board[name]:
            assert f"{value:.2f} ±" in text or f"{value:.2f} [" in text


def test_the_short_legend_has_three_lines_and_the_full_legend_explains_every_column():
    text = print_to_text(make_results(), 80)
    legend = text[text.index("PSNR: mean in dB") :].strip().split("\n")
    assert len(legend) == 3 + (len(f"PSNR: mean in dB, with its 95 % interval. Gain: over {BASELINE}.") > 80)
    assert "`gahbench leaderboard DIR --legend`; references: `gahbench cite DIR`." in legend[-1]
    usual = make_results(
        [("oracle-threshold[sym4]", *entrant[1:]) if entrant[0] == BASELINE else entrant for entrant in ENTRANTS], None
    )
    assert max(map(len, short_legend(replace(usual, baseline="oracle-threshold[sym4]")).split("\n"))) <= 80
    for full in (
        markdown(make_results(), full_legend=True),
        " ".join(print_to_text(make_results(), full_legend=True).split()),
    ):
        for term in ("PSNR", "±", "Seeds", "Rank", "Gain", "Slope", "Deficit", "KL"):
            assert f"- {term}: " in full


def test_without_an_optimum_on_the_board_the_optimal_slope_is_unknown():
    text = markdown(make_results([entrant for entrant in ENTRANTS if entrant[1] != "optimal"]))
    assert "is the limit for σ → 0; the optimal slope over this window, σ = 0.01 to 0.5, is unknown." in text


def test_the_legend_tells_unscored_networks_from_suites_without_networks():
    fitted = results([], [fit("d", "net", 0)], datasets=[dataset("d")], entrants=["net"])
    assert "Seeds: no trained network has scores yet." in legend(fitted)
    assert "Seeds: this suite trains no network." in legend(results(rows("d", "a", "classical", np.ones((6, 5)))))


def test_the_summary_of_several_datasets_has_gains_and_ranks():
    values = np.full((6, 5), 30.0) + np.linspace(0, 1, 6)[:, None]
    noise = np.random.default_rng(0).normal(size=(6, 5))
    levels = {"base": values, "above": values + 9, "below": values - 1.5, "undecided": values + noise}
    scores = [row for name in "cd" for label, level in levels.items() for row in rows(name, label, "classical", level)]
    board_results = results(scores, datasets=[dataset("c"), dataset("d")], entrants=[*levels], baseline="base")
    summary = text_summary(board_results)
    assert summary.entrants.texts == ["above", "undecided", "below"]
    for column, board in zip(summary.datasets, board_results.board.datasets, strict=True):
        entries = {entry.entrant: entry for entry in board.entries}
        for name, text in zip(summary.entrants.texts, column.texts, strict=True):
            gain = board.estimate(name, "gain_over_baseline").value
            assert text.split() == [cells.number(gain, 1, sign=True), cells.rank_text(entries[name])]
    # Colours show what intervals decide.
    styles = dict(zip(summary.entrants.texts, summary.styles[0], strict=True))
    assert styles["above"] == "bold black on rgb(90,155,216)"
    assert styles["below"].startswith("black on rgb(2")
    assert styles["undecided"] == "dim"
    stream = io.StringIO()
    summary.print(Console(file=stream, width=30, force_terminal=True, color_system=None))
    assert max(map(len, stream.getvalue().split("\n"))) <= 30
    assert stream.getvalue().count("entrant") == 2
    assert text_summary(make_results()) is None


def test_outside_a_terminal_the_board_is_plain_markdown():
    board_results = make_results()
    assert print_to_text(board_results, width=40, terminal=False) == markdown(board_results)


def test_many_metrics_make_several_tables():
    scores = rows("d", "a", "classical", np.full((6, 2), 30.0))
    for index in range(12):
        scores += rows("d", "a", "classical", np.full((6, 2), index), metric=f"measurement-{index}")
    board_results = results(scores)
    text = markdown(board_results)
    assert max(map(len, text.split("\n"))) <= 120
    assert all(f"measurement-{index} |" in text for index in range(12))
    assert text.count("11.000") == 1


def test_file_names_are_safe_and_unique():
    labels = ["c-alpha[alpha=2,size=32]", "A", "a", "a-ca978112", "a-559aead0", "x/../y", "x:..:y", "..", "λ", "<>"]
    labels += ["b" * 300, "b" * 301]
    stems = file_stems(labels)
    assert stems["c-alpha[alpha=2,size=32]"] == "c-alpha_alpha=2_size=32"
    assert len({stem.lower() for stem in stems.values()}) == len(labels)
    for stem in stems.values():
        assert len(stem) <= 110
        assert not set(stem) & set('/\\:*?"<>| ')
        assert not stem.startswith(".")


def labelled_lines(ax):
    return {line.get_label().replace("\n", ""): line for line in ax.get_lines() if line.get_label()[0] != "_"}


def test_figure_shows_every_scored_entrant():
    board_results = make_results()
    board = board_results.leaderboard(full=True)
    left, right, deficits = figure(board_results.board.for_dataset(NAME), board_results.entrants, BASELINE).axes
    drawn = labelled_lines(left)
    assert set(drawn) == {entrant[0] for entrant in ENTRANTS}
    row = board.set_index("entrant").loc["optimal"]
    np.testing.assert_allclose(drawn["optimal"].get_ydata(), [row[f"psnr@{sigma}"] for sigma in SIGMAS])
    np.testing.assert_allclose(drawn["optimal"].get_xdata(), -20 * np.log10(SIGMAS))
    np.testing.assert_allclose(labelled_lines(right)[BASELINE].get_ydata(), 0, atol=1e-9)
    assert set(labelled_lines(deficits)) == {entrant[0] for entrant in ENTRANTS} - {"optimal"}
    row = board.set_index("entrant").loc["a|b"]
    np.testing.assert_allclose(
        labelled_lines(deficits)["a|b"].get_ydata(), [row[f"deficit@{sigma}"] for sigma in SIGMAS]
    )
    assert deficits.get_ylim()[0] > deficits.get_ylim()[1]
    assert "optimal slope 0.67" in [text.get_text() for text in left.texts]
    (x0, x1), (y0, y1) = left.get_lines()[-1].get_data()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(2 / 3)
    styles = {drawn[entrant].get_linestyle() for entrant in (BASELINE, "optimal", "a|b")}
    assert len(styles) == 3


def test_an_entrant_has_the_same_style_in_all_figures():
    board_results, fewer = make_results(), make_results(ENTRANTS[2:], baseline=None)
    styles = [
        [
            (line.get_color(), line.get_marker())
            for line in (labelled_lines(figure(board, board_results.entrants).axes[0])["a|b"],)
        ]
        for board in (board_results.board.for_dataset(NAME), fewer.board.for_dataset(NAME))
    ]
    assert styles[0] == styles[1]


def test_the_figure_of_a_single_noise_level_lists_the_entrants():
    board_results = make_results(sigmas=(0.1,))
    axes = figure(board_results.board.for_dataset(NAME), board_results.entrants, BASELINE).axes
    names = [label.get_text().replace("\n", "") for label in axes[0].get_yticklabels()]
    assert names == board_results.leaderboard(full=True)["entrant"].tolist()[:-1]


def test_without_scores_there_is_no_figure():
    board_results = results([], failures=[failure("d", "gone", 0, "no")], datasets=[dataset("d")], entrants=["gone"])
    assert list(render_figures(board_results, board_results.board)) == []


def test_figures_are_reproducible_and_leave_pyplot_alone():
    import matplotlib
    from matplotlib import pyplot

    board_results = make_results(ENTRANTS[2:], None)
    before = dict(matplotlib.rcParams)
    first, second = (dict(render_figures(board_results, board_results.board)) for _ in range(2))
    assert first == second
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before
    assert first["c-alpha_alpha=2_size=32.png"].startswith(b"\x89PNG")
    root = ET.fromstring(first["c-alpha_alpha=2_size=32.svg"])
    assert root.tag.endswith("svg")
    assert b"<dc:date>" not in first["c-alpha_alpha=2_size=32.svg"]


def test_metrics_with_parameters_and_parts_have_separate_tables():
    values = [[0.25, 0.75, 0.5, 0.5, 0.5]] * 2
    names = ("ssim", "fit[a]", "fit[b,c=.5]", "fit[a].null", "fit[b,c=.5].null", "facts.size", "facts.width")
    scores = [
        row
        for entrant in ("one", "other")
        for name in ("psnr", *names)
        for row in rows("d", entrant, "classical", values, sigmas=(0.1, 0.2), metric=name)
    ]
    text = markdown(results(scores))
    heads = {
        "Other metrics, means over noise levels, images and seeds": ["entrant", "ssim"],
        "fit: means over noise levels": ["entrant", "a", "b,c=.5"],
        "fit, null: means over noise levels": ["entrant", "a", "b,c=.5"],
        "facts, means over noise levels": ["entrant", "size", "width"],
    }
    for title, head in heads.items():
        table = text.partition(f"**{title}**\n\n")[2].splitlines()
        assert [cell.strip() for cell in table[0].strip("| ").split("|")] == head
        first = [cell.strip() for cell in table[2].strip("| ").split("|")]
        assert first == ["one", *[first[1]] * (len(head) - 1)]
        assert first[1].startswith("0.500 ±")


def test_styles_of_many_entrants_differ():
    names = [f"entrant {number}" for number in range(24)]
    styles = entrant_styles(names, dict.fromkeys(names, "trained"))
    assert len({(style["color"], style["marker"]) for style in styles.values()}) == 24


@pytest.fixture
def two_datasets():
    falling = np.linspace(40, 20, len(SIGMAS))[:, None] + np.zeros(4)
    scores = [
        row
        for name in ("discs[size=16]", "faces")
        for entrant, kind in (("identity", "classical"), ("base", "oracle"))
        for row in rows(name, entrant, kind, falling + (kind == "oracle"))
    ]
    scores += rows("faces", "identity", "classical", falling / 50, metric="ssim")
    return results(scores, datasets=[dataset("discs[size=16]"), dataset("faces")], baseline="base")


def test_results_draw_the_figure_of_a_dataset_which_a_notebook_shows(two_datasets):
    drawing = two_datasets.figure("discs")
    assert [ax.get_title("left") for ax in drawing.axes] == ["discs[size=16]", "gain over base"]
    assert drawing._repr_png_().startswith(b"\x89PNG")
    (panel,) = [ax for ax in two_datasets.figure("fac*", metrics=["ssim"]).axes if ax.get_visible()]
    assert panel.get_title("left").startswith("ssim")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"no dataset is named; expected one of .*discs\[size=16\].*faces"),
        ({"dataset": "*"}, r"'\*' names 2 datasets; expected one of"),
        ({"dataset": "disks"}, "datasets disks are not in the results"),
        ({"dataset": "faces", "metrics": "ssi"}, "no values of 'ssi'.*ssim"),
    ],
)
def test_invalid_choices_of_a_figure_are_errors(two_datasets, arguments, message):
    with pytest.raises(ParameterError, match=message):
        two_datasets.figure(**arguments)


def test_the_board_of_a_notebook_has_no_more_digits_than_a_reader_needs(two_datasets):
    page = two_datasets._repr_html_()
    assert "30.00" in page
    assert "30.000" not in page
    assert "NA" not in page


EPSILONS = np.array([1.0, 2.0, 4.0, 8.0]) / 256
SIZES = {size: f"c-alpha[alpha=4,size={size},render_size=64]" for size in (16, 32)}
DEFICITS = {"lower-bound": np.zeros(4), "net": np.array([4.0, 3.0, 2.0, 1.0])}


def make_distances(metric="optimality-slope"):
    """Make results whose bound, and at 32 pixels the net, has collapsed at all levels except the weakest noise."""
    scores, facts = [], []
    for size, name in SIZES.items():
        bound = np.outer(EPSILONS, [1.0, 2.0] * 3) * np.array([1 + 0.1 * (size == 32), 1, 1, 1])[:, None]
        sigmas = tuple(EPSILONS * size)
        for label, distance in DEFICITS.items():
            kind = "bound" if label == "lower-bound" else "classical"
            off = distance + (label == "net" and size == 32) * np.array([0, 0.5, 0, 0])
            error = bound * 10 ** (off[:, None] / 10)
            scores += rows(name, label, kind, error, None, sigmas, f"{metric}.error")
            scores += rows(name, label, kind, bound, None, sigmas, f"{metric}.bound")
            scores += rows(name, label, kind, -10 * np.log10(error), None, sigmas)
        facts.append(dataset(name, 0.8, "bracket") | {"height": size, "width": size})
    return results(scores, datasets=facts)


def test_distances_are_drawn_against_noise_over_side():
    figure = optimality_figure(make_distances())
    assert len(figure.axes) == 2
    for ax, title in zip(figure.axes, SIZES.values(), strict=True):
        assert ax.get_title(loc="left") == title
        lines = {line.get_label(): line for line in ax.get_lines()}
        np.testing.assert_allclose(lines["net"].get_xdata(), input_psnr(EPSILONS))
        # Levels where the bound has collapsed are shaded; markers are filled where the denoiser has collapsed too.
        assert sum(patch.get_height() > 0 for patch in ax.patches) == 3
        colour = lines["net"].get_color()
        (full,) = [line for line in ax.get_lines() if (line.get_linestyle(), line.get_color()) == ("None", colour)]
        np.testing.assert_allclose(full.get_xdata(), input_psnr(EPSILONS[2:]))
        # A span of 12 dB is too small for near-optimal; at 32 pixels the net varies by more than 2 dB.
        assert [text.get_text() for text in ax.texts] == ["?", "✗" if title == SIZES[32] else "?"]
    np.testing.assert_allclose(
        next(line for line in figure.axes[0].get_lines() if line.get_label() == "net").get_ydata(), DEFICITS["net"]
    )


def test_datasets_and_entrants_can_be_chosen_and_unknown_names_are_errors():
    figure = optimality_figure(make_distances(), [SIZES[32]], ["net"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == [SIZES[32]]
    assert "lower-bound" not in {line.get_label() for line in figure.axes[0].get_lines()}
    with pytest.raises(ParameterError, match="nobody are not in the results"):
        optimality_figure(make_distances(), None, ["nobody"])
    with pytest.raises(ResultsError, match="accepted: results of a suite with the metric optimality-slope"):
        optimality_figure(make_distances("another"))


@pytest.mark.usefixtures("figures_not_rendered")
def test_the_command_writes_the_figure(tmp_path):
    publish(make_distances(), tmp_path / "results", "digest")
    out = tmp_path / "optimality.png"
    arguments = ["draw", "optimality", str(tmp_path / "results"), "-e", "net", "--out", str(out)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).stdout == f"wrote {out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")
