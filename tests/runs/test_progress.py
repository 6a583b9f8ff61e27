"""Tests of progress reports: bars on a terminal, lines elsewhere."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

import gahbench
from gahbench.contracts.engines import Event
from gahbench.contracts.unit import Unit
from gahbench.runs.progress import ProgressReport

FIT = Unit("fit", "k", "d", "e", "architecture", 0, None, None, None, 1.0, {})
SCORE = replace(FIT, kind="score", key="s", entrant="identity", seed=None, metric="psnr", split="test")
PROGRESS = {
    "step": 120, "steps": 480, "loss": 0.0123, "psnr": 28.1, "images_per_second": 1234.0, "remaining_seconds": 72.0,
    "fraction": 0.25,
}  # fmt: skip


class Scores:
    """A store in which the mean PSNR of each unit is 20 dB plus its training seed."""

    def read_scores(self, unit):
        return [
            (sigma, image, value + (unit.seed or 0), "")
            for sigma, value in ((0.1, 25.0), (0.3, 15.0))
            for image in (0, 1)
        ]


def lines(total, *events):
    """Return the lines that are printed for events, each of a unit that has started."""
    console = Console(file=io.StringIO(), width=200)
    with ProgressReport(total, 0, console, Scores()) as report:
        for event in events:
            report(event)
    return console.file.getvalue().splitlines()


def test_a_unit_is_reported_from_its_start_to_its_end(monkeypatch):
    monkeypatch.setattr("gahbench.runs.progress.LINE_SECONDS", -1)
    assert lines(
        2,
        Event("note", None, {"text": "slurm: 4 running"}),
        Event("started", FIT),
        Event("note", FIT, {"text": "slow"}),
        Event("progress", FIT, PROGRESS),
        Event("progress", FIT, {**PROGRESS, "psnr": None, "steps": None}),
        Event("finished", FIT, {"seconds": 2.0}),
        Event("started", SCORE),
        Event("failed", SCORE, {"error": "no luck"}),
    ) == [
        "slurm: 4 running",
        "[0/2] fit e on d (seed 0): started",
        "[0/2] fit e on d (seed 0): slow",
        "[0/2] fit e on d (seed 0): step 120/480, 28.10 dB, 1 min 12 s left",
        "[0/2] fit e on d (seed 0): step 120, loss 0.0123, 1 min 12 s left",
        "[1/2] fit e on d (seed 0): done in 2.0 s",
        "[2/2] score identity on d psnr on test: failed: no luck",
    ]


def test_psnrs_are_shown_as_soon_as_they_are_measured_and_progress_only_now_and_then():
    events = [Event("started", FIT), Event("progress", FIT, PROGRESS)]
    for unit in (SCORE, replace(SCORE, metric="ssim"), replace(SCORE, entrant="unet", seed=1)):
        events += [Event("started", unit), Event("finished", unit, {"seconds": 0.5})]
    assert lines(9, *events)[1:] == [
        "[1/9] score identity on d psnr on test: 20.00 dB, done in 0.5 s",
        "[3/9] score unet on d (seed 1) psnr on test: 21.00 dB, done in 0.5 s",
    ]


@pytest.mark.parametrize("width", [60, 140])
def test_a_terminal_shows_labels_literally_and_keeps_the_step_and_the_time_left(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    unit = replace(FIT, entrant="unet[width=16] [/b] $x_$", dataset="c-alpha[alpha=2,size=32,construction=paper]")
    with ProgressReport(9, 0, console) as report:
        report(Event("started", unit))
        report(Event("progress", unit, PROGRESS))
    printed = console.file.getvalue()
    assert "fit unet[width=16] [/b] $x_$ on c-alpha" in printed
    line = [line for line in printed.splitlines() if "120/480" in line][-1]
    assert "1 min 12 s left" in line


@pytest.mark.usefixtures("figures_not_rendered")
def test_run_prints_lines_unless_it_is_given_a_report(write_suite, capsys):
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
    progress, (board,), (figure,) = (cell.outputs for cell in notebook.cells)
    assert "done in" in "".join(output.get("text", "") for output in progress)
    assert "<table" in board["data"]["text/html"]
    assert "image/png" in figure["data"]
