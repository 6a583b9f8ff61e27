"""Boards as documents: answers, columns, and their text in terminals, Markdown, CSV and LaTeX."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_results import dataset, failure, realistic, results, rows
from rich.console import Console

from gahbench._util.errors import ParameterError
from gahbench._util.readable import format_duration, format_number
from gahbench.board.statistics import UNKNOWN, Interval
from gahbench.report import cells
from gahbench.report.columns import board_columns, choose_columns
from gahbench.report.document import build_document, finding
from gahbench.report.text import MAX_LINES, export_board, markdown, print_board, print_tables

NAME = "c-alpha[alpha=2,size=32]"
ENTRANTS = [
    ("unet[width=32,levels=3]", "trained", 0.3, 0.66, 2),
    ("oracle-threshold[basis=wavelet[sym4,levels=3]]", "oracle", 1.6, 0.58, 1),
    ("optimal", "optimal", -0.4, 0.68, 1),
    ("a|b", "classical", 3.5, 0.5, 1),
]
BASELINE = ENTRANTS[1][0]
KNOWN = Interval(1.306, 1.2, 1.4)


def one_board():
    """Return a board of one dataset, with an entrant whose fit failed."""
    scores, fits, datasets = realistic(ENTRANTS, NAME, images=6)
    failures = [failure(NAME, "gone", 0, "RuntimeError: [red]out of memory[/red]")]
    return results(scores, fits, failures, datasets, [*(label for label, *_ in ENTRANTS), "gone"], BASELINE)


def suite(*entrants, datasets=("a", "b"), baseline="base"):
    """Return results of entrants (label, kind, dB below the optimum, seeds) on datasets, with a baseline."""
    described = [(label, kind, below, 2 / 3, seeds) for label, kind, below, seeds in entrants]
    parts = [
        realistic([*described, ("base", "oracle", 3, 2 / 3, 1)], name, (0.05, 0.1, 0.2), 24, seed=index)
        for index, name in enumerate(datasets)
    ]
    scores, fits, facts = ([row for part in parts for row in part[number]] for number in range(3))
    return results(scores, fits, (), facts, baseline=baseline)


def printed(printer, *arguments, width=80, **options):
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    printer(arguments[0], console, *arguments[1:], **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("format_value", "texts"),
    [
        (format_number, {840: "840", 92_000: "92 k", 999_600: "1.0 M", 3 * 10**9: "3.0 G", 0: "0"}),
        (format_duration, {0.04: "0.0 s", 59.6: "1 min 00 s", 3599.7: "1 h 00 min", 273600: "3 d 04 h"}),
        (lambda value: cells.number(value, sign=True), {1.256: "+1.26", -2.0: "−2.00", -0.001: "0.00", np.nan: "–"}),
        (
            cells.format_interval,
            {
                Interval(31.4, 31.1, 31.7): "31.40 ±0.30",
                Interval(31.4, 31.0, 31.6): "31.40 [31.00, 31.60]",
                Interval(0.001, -0.011, 0.015): "0.00 ±0.01",
                Interval(0.5): "0.50",
                UNKNOWN: "–",
            },
        ),
        (lambda low: cells.between(low, KNOWN), {Interval(0.8, 0.7, 0.9): "0.80 to 1.31", UNKNOWN: "1.31 ±0.10"}),
    ],
)
def test_values_are_formatted_briefly(format_value, texts):
    assert {value: format_value(value) for value in texts} == texts


@pytest.mark.parametrize("width", [4, 9, 16, 100])
def test_folding_keeps_all_characters(width):
    lines = cells.fold_label(BASELINE, width).split("\n")
    assert "".join(lines) == BASELINE
    assert max(map(len, lines)) <= width


def test_file_names_are_safe_and_unique():
    labels = ["c-alpha[alpha=2,size=32]", "A", "a", "a-ca978112", "x/../y", "x:..:y", "..", "λ", "<>"]
    labels += [300 * "b", 301 * "b"]
    stems = cells.file_stems(labels)
    assert stems["c-alpha[alpha=2,size=32]"] == "c-alpha_alpha=2_size=32"
    assert len({stem.lower() for stem in stems.values()}) == len(labels)
    assert all(re.fullmatch(r"[\w=+-][\w.=+-]{0,109}", stem, re.ASCII) for stem in stems.values())


def test_an_answer_names_the_first_entrants():
    net, tv = ("net", "trained", 1, 2), ("tv", "classical", 4, 1)
    assert finding(suite(net, tv, datasets=("a", "b", "c"))).startswith("net is first of 2 ")
    assert finding(suite(net, tv)).count("net is first of 2 ") == 2
    shared = suite(("x", "classical", 2, 1), ("y", "classical", 2, 1), datasets=("a",))
    assert finding(shared).startswith("2 of 2 ")


def test_a_document_has_the_values_of_the_board():
    board_results = one_board()
    document = build_document(board_results)
    (section,) = document.datasets
    wide = board_results.leaderboard(full=True).set_index("entrant")
    heads = [column.head for column in section.table.columns]
    for row in section.table.rows:
        texts = dict(zip(heads, (cell.text for cell in row), strict=True))
        values = wide.loc[texts["entrant"]]
        for head, name in (("PSNR", "psnr"), ("PSNR, σ 0.01", "psnr@0.01"), ("gain", "gain_over_baseline")):
            estimate = Interval(*(values[f"{name}{end}"] for end in ("", "_low", "_high")))
            assert texts[head] == cells.format_interval(estimate, sign=head == "gain")
        assert texts["rank"] == cells.rank(*(None if pd.isna(values[n]) else values[n] for n in ("rank", "rank_high")))
    assert [label for label, _ in section.notes] == ["gone"]
    assert {"PSNR", "gain", "deficit", "KL", "slope", "params", "±"} <= set(document.legend)


def test_the_summary_has_ranks_gains_and_cost_and_colours_what_intervals_decide():
    values = np.full((6, 5), 30.0) + np.linspace(0, 1, 6)[:, None]
    noise = np.random.default_rng(0).normal(size=(6, 5))
    levels = {"base": values, "above": values + 9, "below": values - 1.5, "undecided": values + noise}
    scores = [row for name in "cde" for label, level in levels.items() for row in rows(name, label, "classical", level)]
    board_results = results(scores, datasets=[dataset(name) for name in "cde"], entrants=[*levels], baseline="base")
    table = build_document(board_results).summary
    assert [column.head for column in table.columns] == ["rank", "entrant", "gain", "c", "d", "e"]
    assert [row[1].text for row in table.rows] == ["above", "undecided", "below"]
    above, undecided, below = (row[3] for row in table.rows)
    assert above.text.split()[0] == "+9.0"
    assert (above.step, undecided.step) == (8, 0)
    assert below.step < 0
    assert build_document(one_board()).summary is None


def test_the_summary_has_denoisers_by_gain_then_oracles():
    board_results = suite(("tv", "classical", 4, 1), ("net", "trained", 1, 2), ("ideal", "oracle", 0.5, 1))
    table = build_document(board_results).summary
    entrant = [column.name for column in table.columns].index("entrant")
    assert [row[entrant].text for row in table.rows] == ["net", "tv", "ideal"]


def test_without_a_baseline_gains_are_over_the_noisy_images():
    bare = suite(("net", "trained", 1, 2), baseline=None)
    table = build_document(bare).summary
    gain = bare.board.select(["a"]).estimate("net", "psnr").value - np.mean(-20 * np.log10((0.05, 0.1, 0.2)))
    cell = table.rows[0][[column.head for column in table.columns].index("a")]
    assert float(cell.key) == pytest.approx(gain, rel=1e-4)


@pytest.mark.parametrize(("count", "shown"), [(12, 12), (20, 12)])
def test_a_printed_board_is_short_and_ends_with_its_answer(count, shown):
    entrants = [(f"entrant with the long name {index}", "classical", 4 + 0.2 * index, 1) for index in range(count)]
    board_results, folder = suite(*entrants, datasets=("first", "second", "third")), Path("runs/a b")
    for text in (printed(print_board, board_results, folder), printed(print_board, one_board(), folder)):
        lines = text.splitlines()
        assert len(lines) <= MAX_LINES
        assert max(map(len, lines)) <= 80
        assert "…" not in text
        assert lines[-1].endswith("dB over base." if text.startswith("Gain") else ".")
    text = printed(print_board, board_results, folder)
    assert len(re.findall(r"^\d[\d–]* +entrant with", text, re.MULTILINE)) == shown
    assert ("8 more entrants" in text) == (count == 20)


@pytest.mark.parametrize("width", [80, 120])
def test_full_tables_fit_their_width_and_show_every_number(width):
    board_results = one_board()
    text = printed(print_tables, board_results, width=width, is_full=True)
    assert max(map(len, text.split("\n"))) <= width
    assert "…" not in text
    # Markup in names and errors is printed as it is.
    assert "[red]out of memory[/red]" in " ".join(text.split())
    board = board_results.leaderboard(full=True).dropna(subset="psnr")
    for name in ("psnr", "psnr@0.01", "psnr@0.5"):
        for value in board[name]:
            assert f"{value:.2f} ±" in text or f"{value:.2f} [" in text


def test_markdown_has_a_table_for_each_dataset_whose_columns_line_up():
    text = markdown(one_board())
    (lines,) = [block.split("\n") for block in text.split("\n\n") if block.startswith("| ")]
    bars = [[i for i, c in enumerate(line) if c == "|" and line[i - 1] != "\\"] for line in lines]
    assert all(indices == bars[0] for indices in bars)
    assert "a\\|b" in text
    assert "RuntimeError: [red]out of memory[/red]" in text


def test_metrics_of_plugins_are_columns_with_their_titles():
    values = [[0.25, 0.75, 0.5, 0.5, 0.5]] * 2
    names = ("psnr", "ssim", "fit[a]", "fit[b,c=.5].null", "facts.size")
    scores = [row for name in names for row in rows("d", "one", "classical", values, sigmas=(0.1, 0.2), metric=name)]
    metrics = [{"metric": "ssim", "title": "structural similarity", "null": ""}]
    board_results = replace(results(scores), metrics=pd.DataFrame(metrics))
    (section,) = build_document(board_results).datasets
    columns = {column.head: column for column in section.table.columns}
    assert {"ssim", "fit[a]", "fit[b,c=.5].null", "facts.size"} <= set(columns)
    assert columns["ssim"].meaning == "structural similarity"
    assert columns["fit[b,c=.5].null"].views == ("fit",)
    assert section.table.view("fit").rows[0][1].text.startswith("0.500 ±")
    assert export_board(board_results, "markdown", ["SSIM"]).count("0.500 ±") == 1


def test_unknown_columns_are_errors_that_name_known_ones():
    board_results = one_board()
    columns = board_columns(board_results, board_results.leaderboard(full=True))
    assert [column.name for column in choose_columns(columns, ["PSNR", "Gain@0.12", "note"])] == [
        "psnr", "gain_over_baseline@0.12", "note",
    ]  # fmt: skip
    with pytest.raises(ParameterError, match=r"did you mean 'psnr'.* accepted: .*PSNR"):
        choose_columns(columns, ["psnrr"])
