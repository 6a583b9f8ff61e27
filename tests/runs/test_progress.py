"""Tests of following a run: bars and lines of progress, and hooks, which receive values once and in order."""

import contextlib
import io
import os
import shutil
from dataclasses import replace

import pluggy
import pytest
from rich.console import Console
from sample_files import TINY

import gahbench
from gahbench.contracts.unit import Unit
from gahbench.registry import hookspecs
from gahbench.registry.registry import built_in_registry
from gahbench.runs.progress import Display
from gahbench.runs.watch import Watch, call_hook, describe_run, tracking
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store

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


def test_the_progress_of_a_unit_is_shown_by_its_psnr_or_loss(monkeypatch):
    monkeypatch.setattr("gahbench.runs.progress.LINE_SECONDS", -1)
    with shown(2) as (display, lines):
        display.begin(FIT)
        display.report(FIT, PROGRESS)
        display.report(FIT, {**PROGRESS, "psnr": None, "steps": None})
    assert lines[1:] == [
        "[0/2] fit e on d (seed 0): step 120/480, 28.10 dB, 1 min 12 s left",
        "[0/2] fit e on d (seed 0): step 120, loss 0.0123, 1 min 12 s left",
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


CELLS = (
    "import gahbench\nrun = gahbench.run('tiny.yaml', 'out', only=['identity'], engine='inline', threads=1)",
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


UNET = "unet[width=2,levels=1] on sinusoids[size=16] (seed 0)"


class Memo:
    """A tracker that records its calls, and fails in one of them."""

    def __init__(self, fails=""):
        self.fails, self.calls = fails, []

    def note(self, name, *values):
        self.calls.append((name, *values))
        if name == self.fails:
            raise OSError("no server")

    @gahbench.hookimpl
    def run_started(self, folder, suite):
        self.note("start", folder, suite)

    @gahbench.hookimpl
    def log_training(self, row, step, values):
        self.note("training", row, step, values)

    @gahbench.hookimpl
    def log_scores(self, row, values):
        self.note("scores", row, values)

    @gahbench.hookimpl
    def run_finished(self, results):
        self.note("finish", results)


@pytest.fixture
def follow(build_once, figures_not_rendered, tmp_path):
    """Return a function that lets a tracker follow a finished run, whose units end again after some progress."""

    def fill(home):
        text = TINY.replace("metrics: [psnr, slope]", "metrics: [psnr], splits: [test, train]")
        (home / "tiny.yaml").write_text(text, encoding="utf-8")
        assert gahbench.run(home / "tiny.yaml", home / "out", engine="inline").failed == 0

    folder = build_once("tracked", fill) / "out"
    units = require_plan(folder).units

    def run(tracker, *progress):
        manager = pluggy.PluginManager("gahbench")
        manager.add_hookspecs(hookspecs)
        with tracking({"memo": tracker}, manager):
            call_hook(manager, "run_started", **describe_run(folder, "tiny", units, units[1:]))
            store = Store(tmp_path / str(len(list(tmp_path.iterdir()))))
            watch, attempt = Watch(units, store, Display(len(units), quiet=True), manager), store.begin(units[0])
            for details in progress:
                attempt.report(**details)
                watch.update()
            shutil.copytree(folder / "units", store.units, dirs_exist_ok=True)
            watch.update()
            call_hook(manager, "run_finished", results="the board")
        return tracker.calls

    return run


def progress(step, psnr=None, fraction=0.5):
    details = {"step": step, "steps": 12, "fraction": fraction, "loss": 1 / step, "psnr": psnr}
    return {**details, "remaining_seconds": 1.0}


def test_a_tracker_receives_each_value_once_and_in_order(follow):
    steps = progress(5), progress(7, 20.0), progress(8, 20.0), progress(6, 20.0), progress(12, 21.0, 1.0)
    (_, folder, suite), *calls = follow(Memo(), *steps)
    assert folder.is_absolute()
    assert (suite["suite"], suite["units"], suite["todo"]) == ("tiny", 7, 6)
    assert (suite["metrics"], suite["seeds"]) == (["psnr"], [0])
    assert suite["training"][UNET]["steps"] == 12
    training = [call[1:] for call in calls if call[0] == "training"]
    # The history has the steps 6 and 12, of which only 12 is later than the reported progress.
    assert [(row, step) for row, step, _ in training] == [(UNET, step) for step in (5, 7, 8, 12)]
    assert [values.get("validation_psnr") for *_, values in training[:3]] == [None, 20.0, None]
    assert set(training[3][2]) == {"loss", "validation_psnr"}
    # The identity leaves the noise: -20 log10(sigma), in closed form.
    assert [call[2] for call in calls if call[:2] == ("scores", "identity on sinusoids[size=16]")] == [
        pytest.approx({"psnr/0.1": 20.0, "psnr/0.3": 10.4576}, abs=1e-4),
        pytest.approx({"psnr on train/0.1": 20.0, "psnr on train/0.3": 10.4576}, abs=1e-4),
    ]
    assert calls[-1] == ("finish", "the board")
    # Without reported progress, the whole history is logged.
    assert [call[1:3] for call in follow(Memo()) if call[0] == "training"] == [(UNET, 6), (UNET, 12)]


@pytest.mark.parametrize("call", ["start", "training", "scores", "finish"])
def test_a_failing_tracker_gives_one_warning_and_is_not_called_again(follow, call):
    with pytest.warns(UserWarning, match="the tracker memo failed and is not called any more; the run") as caught:
        calls = follow(Memo(call))
    assert len(caught) == 1
    assert [name for name, *_ in calls].index(call) == len(calls) - 1


def test_trackers_learn_that_an_error_ended_the_run_and_need_hooks_with_the_right_names(follow):
    memo, manager = Memo(), pluggy.PluginManager("gahbench")
    manager.add_hookspecs(hookspecs)
    with pytest.raises(KeyError), tracking({"memo": memo}, manager):
        raise KeyError
    assert memo.calls == [("finish", None)]
    misspelt = type("Misspelt", (), {"log_score": gahbench.hookimpl(lambda self, row, values: None)})
    for tracker, text in ((object(), "has no method that is marked with gahbench.hookimpl"), (misspelt(), "log_score")):
        with pytest.raises(gahbench.PluginError, match=text):
            follow(tracker)


def test_what_happens_to_units_is_read_from_the_folder_and_a_note_names_its_unit(tmp_path):
    units, store = [replace(FIT, key=key, seed=seed) for seed, key in enumerate("abc")], Store(tmp_path)
    with shown(3) as (display, lines), Watch(units, store, display, built_in_registry().manager):
        display.note("submitted 1 job")
        attempt = store.begin(units[0])
        attempt.report()
        attempt.finish({"notes": ["low on memory"], "seconds": 1.0}, keep=())
        store.fail(units[1], "no luck", "")
    assert lines == [
        "submitted 1 job",
        "[0/3] fit e on d (seed 0): started",
        "[0/3] fit e on d (seed 0): low on memory",
        "[1/3] fit e on d (seed 0): done in 1.0 s",
        "[1/3] fit e on d (seed 1): started",
        "[2/3] fit e on d (seed 1): failed: no luck",
    ]


@pytest.mark.processes
def test_the_hooks_of_a_tracker_and_of_a_plugin_file_are_called_in_the_main_process(
    write_suite, tmp_path, figures_not_rendered
):
    plugin, log = tmp_path / "memo.py", tmp_path / "log"
    plugin.write_text(
        "import os\nimport gahbench\n\n"
        "@gahbench.hookimpl\ndef register_trackers(register): register('memo', Memo)\n\n"
        f"@gahbench.hookimpl\ndef log_training(row, step): Memo({str(log)!r}).note('file', row, step)\n\n"
        "class Memo:\n    def __init__(self, file: str): self.file = file\n"
        "    @gahbench.hookimpl\n    def run_started(self, folder, suite): self.note('start')\n"
        "    @gahbench.hookimpl\n    def log_training(self, row, step, values): self.note(row, step)\n"
        "    @gahbench.hookimpl\n    def log_scores(self, row, values): self.note(row, *values)\n"
        "    @gahbench.hookimpl\n    def run_finished(self, results): self.note('finish', len(results.fits))\n"
        "    def note(self, *words):\n"
        "        with open(self.file, 'a') as file: print(os.getpid(), *words, file=file)\n"
    )
    file = write_suite(("[psnr, slope]", "[psnr]"))
    gahbench.run(file, tmp_path / "out", plugins=[plugin], workers=1, track=[f"memo[file={log}]"])
    lines = [line.removeprefix(f"{os.getpid()} ") for line in log.read_text().splitlines()]
    assert (lines[0], lines[-1]) == ("start", "finish 1")
    assert {f"{UNET} 12", f"file {UNET} 12", "identity on sinusoids[size=16] psnr/0.1 psnr/0.3"} <= set(lines)
