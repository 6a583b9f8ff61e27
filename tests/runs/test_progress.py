"""Tests of progress reports: a table on a terminal, a bar in a notebook, lines elsewhere."""

import io
import re
import sys
import time
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

import gahbench
from gahbench.contracts.engines import Event
from gahbench.contracts.unit import Unit
from gahbench.runs.progress import NotebookReport, ProgressReport, progress_report

FIT = Unit("fit", "k", "d", "e", "architecture", 0, None, None, None, 1.0, {})


def lines(*events):
    file = io.StringIO()
    with ProgressReport(1, 0, Console(file=file, width=200)) as report:
        for event in events:
            report(event)
    return file.getvalue().splitlines()


def test_a_unit_is_reported_from_its_start_to_its_end():
    printed = lines(
        Event("started", FIT), Event("note", FIT, {"text": "slow"}), Event("finished", FIT, {"seconds": 2.0})
    )
    assert printed == [
        "[0/1] fit e on d (seed 0): started",
        "[0/1] fit e on d (seed 0): slow",
        "[1/1] fit e on d (seed 0): done in 2.0 s",
    ]


def test_a_stopped_unit_counts_neither_as_done_nor_as_failed():
    printed = lines(Event("started", FIT), Event("stopped", FIT), Event("failed", FIT, {"error": "no luck"}))
    assert printed == ["[0/1] fit e on d (seed 0): started", "[1/1] fit e on d (seed 0): failed: no luck"]


def test_labels_with_markup_are_printed_literally_on_a_terminal():
    file = io.StringIO()
    console = Console(file=file, width=200, force_terminal=True, color_system=None)
    unit = replace(FIT, entrant="unet[width=16] [/b] $x_$")
    with ProgressReport(1, 0, console) as report:
        report(Event("started", unit))
        console.print(report.render())
    assert "fit unet[width=16] [/b] $x_$ on d" in file.getvalue()


PROGRESS = {
    "step": 120, "steps": 480, "loss": 0.0123, "psnr": 28.1, "images_per_second": 1234.0, "remaining_seconds": 72.0,
    "fraction": 0.25,
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 140])
def test_a_narrow_terminal_keeps_the_step_and_the_time_left(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    unit = replace(FIT, entrant="unet[width=16,levels=2]", dataset="c-alpha[alpha=2,size=32,construction=paper]")
    with ProgressReport(9, 0, console) as report:
        report(Event("started", unit))
        report(Event("progress", unit, PROGRESS))
        console.print(report.render())
    line = next(line for line in console.file.getvalue().splitlines() if "120/480" in line)
    assert len(line) <= width
    assert line.rstrip().endswith("1 min 12 s")


def test_without_a_terminal_a_line_is_printed_every_few_seconds(monkeypatch):
    monkeypatch.setattr("gahbench._util.live_display.LINE_SECONDS", 0.05)
    file = io.StringIO()
    with ProgressReport(9, 0, Console(file=file, width=200)) as report:
        report(Event("started", FIT))
        report(Event("started", SCORE))
        report(Event("progress", FIT, PROGRESS))
        time.sleep(0.5)
    printed = file.getvalue().splitlines()
    facts = "step 120/480, loss 0.0123, validation PSNR 28.10 dB, 1.2 k images/s, 1 min 12 s left"
    assert printed[1] == f"[0/9] fit e on d (seed 0): {facts}; and 1 more"
    assert 1 < len(printed) < 12


class Scores:
    """A store in which the mean PSNR of each unit is 20 dB plus its training seed."""

    def read_scores(self, unit):
        return [
            (sigma, image, value + (unit.seed or 0), "")
            for sigma, value in ((0.1, 25.0), (0.3, 15.0))
            for image in (0, 1)
        ]


SCORE = replace(FIT, kind="score", key="s", entrant="identity", seed=None, metric="psnr", split="test")


def test_scores_are_shown_as_soon_as_they_are_finished():
    file = io.StringIO()
    with ProgressReport(9, 0, Console(file=file, width=100), Scores()) as report:
        for unit in (SCORE, replace(SCORE, metric="ssim"), replace(SCORE, entrant="unet", seed=1)):
            report(Event("finished", unit, {"seconds": 0.5}))
    assert file.getvalue().splitlines() == [
        "[1/9] score identity on d psnr on test: 20.00 dB, done in 0.5 s",
        "[3/9] score unet on d (seed 1) psnr on test: 21.00 dB, done in 0.5 s",
    ]


def test_a_note_about_the_run_names_no_unit():
    assert lines(Event("note", None, {"text": "slurm: 4 running"})) == ["slurm: 4 running"]


@pytest.fixture
def pages(monkeypatch):
    """The successive HTML outputs of a notebook cell."""
    updates, module = [], ModuleType("IPython.display")
    output = SimpleNamespace(update=lambda report: updates.append(report._repr_html_()))
    module.display = lambda report, display_id: output
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return updates


def test_a_notebook_shows_a_bar_running_units_and_failures(pages, monkeypatch):
    monkeypatch.setattr("gahbench.runs.progress._UPDATE_SECONDS", -1)
    with progress_report(1, 0, Scores(), Console(force_jupyter=True)) as report:
        assert isinstance(report, NotebookReport)
        report(Event("started", FIT))
        report(Event("failed", FIT, {"error": "no luck [x]"}))
    first, failed, end = pages
    assert '<progress value="0" max="1"' in first
    assert "fit e on d" in first
    assert "no luck [x]" in failed
    assert '<progress value="1" max="1"' in end
    assert "0 of 1 units done, 1 failed" in end


def test_the_output_of_a_notebook_is_not_updated_too_often(pages):
    with progress_report(1, 0, Scores(), Console(force_jupyter=True)) as report:
        for _ in range(100):
            report(Event("started", FIT))
    assert len(pages) == 2


@pytest.mark.usefixtures("figures_not_rendered")
def test_run_prints_lines_unless_it_is_given_a_report(write_suite, capsys):
    assert type(progress_report(0, 0, Scores(), Console())) is ProgressReport
    gahbench.run(write_suite(), "out", only=["identity"], engine="inline")
    assert re.search(r"score identity on discs\[size=16\].*: .*done in", capsys.readouterr().err)
    events = []
    gahbench.run(write_suite(), "out", only=["identity"], engine="inline", again=["identity"], report=events.append)
    assert "identity" not in capsys.readouterr().err
    assert {event.kind for event in events} >= {"started", "finished"}


CELLS = (
    "import gahbench\nrun = gahbench.run('tiny.yaml', 'out', only=['unet*'], seeds=[3], workers=1, threads=1)",
    "run.results",
    "run.figure()",
)


@pytest.mark.extras("nbclient", "ipykernel")
@pytest.mark.filterwarnings("ignore")  # of the client
def test_a_real_notebook_shows_progress_a_board_and_a_figure(write_suite, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    write_suite()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    progress, board, figure = ([output.get("data", {}) for output in cell.outputs] for cell in notebook.cells)
    assert any(re.search(r'<progress value="(\d+)" max="\1"', data.get("text/html", "")) for data in progress)
    assert "<table" in board[0]["text/html"]
    assert "image/png" in figure[0]
