"""Tests of progress reports: bars on a terminal, lines elsewhere."""

import contextlib
import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

import gahbench
from gahbench.contracts.unit import Unit
from gahbench.runs.progress import Display

FIT = Unit("fit", "k", "d", "e", "architecture", 0, None, None, None, 1.0, {})
SCORE = replace(FIT, kind="score", key="s", entrant="identity", seed=None, metric="psnr", split="test")
PROGRESS = {
    "step": 120, "steps": 480, "loss": 0.0123, "psnr": 28.1, "images_per_second": 1234.0, "remaining_seconds": 72.0,
    "fraction": 0.25,
}  # fmt: skip


@contextlib.contextmanager
def shown(total, **options):
    """Yield a display, and a list that receives the lines that it has printed."""
    console, lines = Console(file=io.StringIO(), **{"width": 200} | options), []
    with Display(total, console=console) as display:
        yield display, lines
    lines += console.file.getvalue().splitlines()


def test_a_unit_is_reported_from_its_start_to_its_end(monkeypatch):
    monkeypatch.setattr("gahbench.runs.progress.LINE_SECONDS", -1)
    with shown(2) as (display, lines):
        display.note("slurm: 4 running")
        display.begin(FIT)
        display.note("slow", FIT)
        display.report(FIT, PROGRESS)
        display.report(FIT, {**PROGRESS, "psnr": None, "steps": None})
        display.finish(FIT, 2.0, {})
        display.begin(SCORE)
        display.fail(SCORE, "no luck")
    assert lines == [
        "slurm: 4 running",
        "[0/2] fit e on d (seed 0): started",
        "[0/2] fit e on d (seed 0): slow",
        "[0/2] fit e on d (seed 0): step 120/480, 28.10 dB, 1 min 12 s left",
        "[0/2] fit e on d (seed 0): step 120, loss 0.0123, 1 min 12 s left",
        "[1/2] fit e on d (seed 0): done in 2.0 s",
        "[2/2] score identity on d psnr on test: failed: no luck",
    ]


def test_psnrs_are_shown_as_soon_as_they_are_measured_and_progress_only_now_and_then():
    with shown(9) as (display, lines):
        display.begin(FIT)
        display.report(FIT, PROGRESS)
        for unit, psnr in ((SCORE, 25.0), (replace(SCORE, metric="ssim"), 1.0), (replace(SCORE, entrant="unet"), 26.0)):
            display.begin(unit)
            display.finish(unit, 0.5, {"psnr/0.1": psnr, "psnr/0.3": 15.0})
    assert lines[1:] == [
        "[1/9] score identity on d psnr on test: 20.00 dB, done in 0.5 s",
        "[3/9] score unet on d psnr on test: 20.50 dB, done in 0.5 s",
    ]


@pytest.mark.parametrize("width", [60, 140])
def test_a_terminal_shows_labels_literally_and_keeps_the_step_and_the_time_left(width):
    unit = replace(FIT, entrant="unet[width=16] [/b] $x_$", dataset="c-alpha[alpha=2,size=32,construction=paper]")
    with shown(9, width=width, force_terminal=True, color_system=None) as (display, lines):
        display.begin(unit)
        display.report(unit, PROGRESS)
    assert any("fit unet[width=16] [/b] $x_$ on c-alpha" in line for line in lines)
    line = [line for line in lines if "120/480" in line][-1]
    assert "1 min 12 s left" in line


@pytest.mark.usefixtures("figures_not_rendered")
def test_run_prints_lines_unless_it_is_quiet(write_suite, capsys):
    gahbench.run(write_suite(), "out", only=["identity"], engine="inline")
    assert re.search(r"score identity on discs\[size=16\].*: .*done in", capsys.readouterr().err)
    gahbench.run(write_suite(), "other", only=["identity"], engine="inline", quiet=True)
    assert capsys.readouterr().err == ""


CELLS = (
    "import gahbench\nrun = gahbench.run('tiny.yaml', 'out', only=['unet*'], seeds=[3], workers=1, threads=1)",
    "run.results",
    "run.results.figure()",
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
