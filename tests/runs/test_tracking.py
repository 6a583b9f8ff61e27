"""Tests of trackers: they receive values once and in order, and their errors do not end a run."""

import os
from functools import partialmethod

import pytest
from sample_files import TINY

import gahbench
from gahbench.runs.trackers import Tracker
from gahbench.store.plan_file import require_plan

UNET = "unet[width=2,levels=1] on discs[size=16] (seed 0)"


class Memo(Tracker):
    """A tracker that records its calls, and fails in one of them."""

    def __init__(self, fails=""):
        self.fails, self.calls = fails, []

    def note(self, name, *values):
        self.calls.append((name, *values))
        if name == self.fails:
            raise OSError("no server")

    start = partialmethod(note, "start")
    log_training = partialmethod(note, "training")
    log_scores = partialmethod(note, "scores")
    finish = partialmethod(note, "finish")


@pytest.fixture
def done(build_once, figures_not_rendered):
    """Return the folder, the units (fits first) and the results of a finished run."""

    def fill(home):
        text = TINY.replace("metrics: [psnr, slope]", "metrics: [psnr], splits: [test, train]")
        (home / "tiny.yaml").write_text(text, encoding="utf-8")
        assert gahbench.run(home / "tiny.yaml", home / "out", engine="inline").failed == 0

    folder = build_once("tracked", fill) / "out"
    return folder, tuple(require_plan(folder).units), gahbench.load_results(folder)


def progress(step, psnr=None, fraction=0.5):
    return {"step": step, "fraction": fraction, "loss": 1 / step, "psnr": psnr}


def test_a_tracker_receives_each_value_once_and_in_order(done):
    folder, units, results = done
    memo = Memo()
    memo.run_started(folder, units, units[1:])
    fit, *scores = units
    for reported in (progress(5), progress(7, 20.0), progress(8, 20.0), progress(6, 20.0), progress(12, 21.0, 1.0)):
        memo.unit_progress(fit, reported)
    for unit in units:
        memo.unit_finished(unit)
    memo.run_finished(results)
    memo.run_finished(None)
    name, path, suite = memo.calls[0]
    assert (name, path) == ("start", folder)
    assert (suite["suite"], suite["units"], suite["todo"]) == ("tiny", 7, 6)
    assert (suite["splits"], suite["sigmas"], suite["metrics"]) == (["test", "train"], [0.1, 0.3], ["psnr"])
    assert list(suite["training"]) == [UNET]
    assert suite["training"][UNET]["steps"] == 12
    training = [call[2:] for call in memo.calls if call[0] == "training"]
    # The history has the steps 6 and 12, of which only 12 is later than the reported progress.
    assert [step for step, _ in training] == [5, 7, 8, 12]
    assert [values.get("validation_psnr") for _, values in training[:3]] == [None, 20.0, None]
    assert set(training[3][1]) == {"loss", "validation_psnr"}
    # The identity leaves the noise: -20 log10(sigma), in closed form.
    identity = [
        values
        for name, row, *values_list in memo.calls
        if row == "identity on discs[size=16]"
        for values in values_list
    ]
    assert identity == [
        pytest.approx({"psnr/0.1": 20.0, "psnr/0.3": 10.4576}, abs=1e-4),
        pytest.approx({"psnr on train/0.1": 20.0, "psnr on train/0.3": 10.4576}, abs=1e-4),
    ]
    assert len(scores) == 6
    assert [call for call in memo.calls if call[0] == "finish"] == [("finish", results)]


def test_a_history_without_reported_progress_is_logged_completely(done):
    folder, units, _ = done
    memo = Memo()
    memo.run_started(folder, units, units)
    memo.unit_finished(units[0])
    assert [call[1:3] for call in memo.calls[1:]] == [(UNET, 6), (UNET, 12)]


def call_all_hooks(memo, folder, units, results):
    memo.run_started(folder, units, units)
    for unit in units:
        memo.unit_finished(unit)
    memo.run_finished(results)


@pytest.mark.parametrize("call", ["start", "training", "scores", "finish"])
def test_a_failing_tracker_gives_one_warning_and_is_not_called_again(done, call):
    folder, units, results = done
    memo = Memo(call)
    with pytest.warns(
        UserWarning, match="the tracker Memo failed and is not used any more; the run continues: OS"
    ) as caught:
        call_all_hooks(memo, folder, units, results)
    assert len(caught) == 1
    assert [name for name, *_ in memo.calls].index(call) == len(memo.calls) - 1


@pytest.mark.processes
def test_a_tracker_of_a_plugin_file_is_called_in_the_main_process(write_suite, tmp_path, figures_not_rendered):
    plugin = tmp_path / "memo.py"
    plugin.write_text(
        "import os\nimport gahbench\n\n"
        "@gahbench.hookimpl\ndef register_trackers(register): register('memo', Memo)\n\n"
        "class Memo(gahbench.Tracker):\n    def __init__(self, file: str): self.file = file\n"
        "    def start(self, folder, suite): self.note('start')\n"
        "    def log_training(self, row, step, values): self.note(row, step)\n"
        "    def log_scores(self, row, values): self.note(row, *values)\n"
        "    def finish(self, results): self.note('finish', len(results.fits))\n"
        "    def note(self, *words):\n"
        "        with open(self.file, 'a') as file: print(os.getpid(), *words, file=file)\n"
    )
    log = tmp_path / "log"
    file, spec = write_suite(("[psnr, slope]", "[psnr]")), f"memo[file={log}]"
    gahbench.run(file, tmp_path / "out", plugins=[plugin], workers=1, track=[spec])
    lines = [line.removeprefix(f"{os.getpid()} ") for line in log.read_text().splitlines()]
    assert (lines[0], lines[-1]) == ("start", "finish 1")
    assert f"{UNET} 12" in lines
    assert "identity on discs[size=16] psnr/0.1 psnr/0.3" in lines
