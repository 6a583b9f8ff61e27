"""Progress of `gahbench.run`: a bar in a notebook, lines where there is no terminal."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

import gahbench
from gahbench.contracts.engines import Event
from gahbench.contracts.unit import Unit
from gahbench.runs.progress import NotebookReport, ProgressReport, progress_of

FIT = Unit("fit", "k", "d", "unet[width=2]", "architecture", 0, None, None, None, None, 1.0, {})


def opened(*todo):
    return SimpleNamespace(units=[FIT], todo=todo, folder=Path("out"))


class Output:
    """The output of a cell: the pages that it was given, one after the other."""

    def __init__(self):
        self.pages = []

    def update(self, shown):
        self.pages.append(shown._repr_html_())


@pytest.fixture
def output(monkeypatch):
    found = Output()
    module = ModuleType("IPython.display")
    module.display = lambda shown, display_id: found
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return found


def test_a_notebook_shows_a_bar_and_what_runs_and_what_failed(output, monkeypatch):
    monkeypatch.setattr("gahbench.runs.progress._PAUSE", -1)
    with progress_of(opened(FIT), Console(force_jupyter=True)) as report:
        assert isinstance(report, NotebookReport)
        report(Event("started", FIT))
        report(Event("failed", FIT, {"error": "no luck [x]"}))
    begun, failed, end = output.pages
    assert '<progress value="0" max="1"' in begun
    assert "fit unet[width=2] on d" in begun
    assert "no luck [x]" in failed
    assert '<progress value="1" max="1"' in end
    assert "0 of 1 units done, 1 failed" in end


def test_updates_of_a_notebook_have_pauses_between(output):
    with progress_of(opened(FIT), Console(force_jupyter=True)) as report:
        for _ in range(100):
            report(Event("started", FIT))
    assert len(output.pages) == 2


@pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")
def test_elsewhere_run_prints_lines_unless_it_is_given_a_report(write_suite, capsys):
    assert type(progress_of(opened(), Console())) is ProgressReport
    gahbench.run(write_suite(), "out", only=["unet*"], engine="inline")
    assert re.search(r"fit unet\[width=2,levels=1\] on discs\[size=16\].*: .*done in", capsys.readouterr().err)
    events = []
    gahbench.run(
        write_suite(), "out", only=["unet*"], engine="inline", again=["unet[width=2,levels=1]"], report=events.append
    )
    assert "unet" not in capsys.readouterr().err
    assert {event.kind for event in events} >= {"started", "finished"}


CELLS = (
    "import gahbench\nrun = gahbench.run('tiny.yaml', 'out', only=['unet*'], seeds=[3], workers=1, threads=1)",
    "run.results",
    "run.figure()",
)


@pytest.mark.extras("nbclient", "ipykernel")
@pytest.mark.filterwarnings("ignore")  # of the client
def test_a_real_notebook_shows_progress_board_and_figure(write_suite, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    write_suite()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    progress, board, figure = ([one.get("data", {}) for one in cell.outputs] for cell in notebook.cells)
    assert any(re.search(r'<progress value="(\d+)" max="\1"', data.get("text/html", "")) for data in progress)
    assert "<table" in board[0]["text/html"]
    assert "image/png" in figure[0]
