"""Tests of the state of folders, of estimates, of the reasons of failures, and of the files of networks."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from sample_files import REFERENCES
from tiny_runs import UNET, run

from gahbench._util.errors import ResultsError, remove_library_frames
from gahbench.runs.status import estimate_durations, failures, status, weights
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store

PUBLISHED = Path(__file__).parents[2] / "results" / "quick"


def test_status_reports_that_a_published_board_has_no_units(command):
    current = status(PUBLISHED)
    assert current.is_published
    code, printed, _ = command("status")(PUBLISHED)
    assert code == 0
    count = current.done + current.failed + current.blocked + current.waiting
    assert printed.splitlines() == [
        f"suite quick: a board of {count} units, which are not in this folder; 'gahbench leaderboard' prints it"
    ]


def test_status_shows_running_units(out):
    assert not status(out).is_published
    store = Store(out)
    unit = next(unit for unit in require_plan(out).units if unit.kind == "score")
    shutil.rmtree(store.path(unit))
    store.begin(unit).report(step=3)
    ((label, report),) = status(out).running.items()
    assert (label, report["process"], report["step"]) == (unit.label, os.getpid(), 3)
    assert 0 <= report["silent"] <= report["seconds"] < 60


def test_estimates_are_proportional_to_the_work_of_fits_and_of_scores_by_metric_and_dataset(out):
    plan, store = require_plan(out), Store(out)
    (fit,) = [unit for unit in plan.units if unit.kind == "fit"]
    scores = [unit for unit in plan.units if unit.metric == "psnr"]
    recorded = {unit: store.done_record(unit)["seconds"] for unit in plan.units}
    estimate = estimate_durations(plan.units, store)
    assert estimate(replace(fit, work=2 * fit.work)) == pytest.approx(2 * recorded[fit])
    assert estimate(scores[0]) == pytest.approx(sum(recorded[unit] for unit in scores) / len(scores))
    # Unknown work is not taken for zero work.
    for unit in (replace(fit, work=0.0), replace(scores[0], metric="ssim"), replace(scores[0], dataset="rays")):
        assert estimate(unit) is None
    assert estimate_durations((), store)(fit) is None


def test_a_traceback_of_libraries_alone_is_kept():
    library = 'Traceback (most recent call last):\n  File "/usr/lib/python3.11/json/decoder.py", line 1, in f\nError'
    for text in ("", "Fatal Python error: Segmentation fault\n", library):
        assert remove_library_frames(text) == text


@pytest.mark.usefixtures("figures_not_rendered")
def test_a_failed_run_has_status_1_and_why_prints_its_traceback_without_control_characters(
    write_suite, write_plugin, tmp_path, command
):
    out = tmp_path / "out"
    body = "if len(noisy) > 3:\n    raise RuntimeError('no \\x1b[2J luck')\nreturn noisy - self.noise(noisy)"
    plugin = write_plugin("unlucky", body)
    added = ("--plugins-dir", plugin, "--entrant", "unlucky", "--entrant", "unlucky[width=3]", "--engine", "inline")
    status, printed, errors = command("run")(write_suite(text=REFERENCES), "--out", out, *added)
    assert (status, "2 rows without scores" in printed, f"gahbench why {out}" in errors) == (1, True, True), printed
    call = command("why")
    status, printed, _ = call(out, "unl*")
    assert status == 0
    assert "4 scores not started, since the network is missing" in printed
    lines = [line.strip() for line in printed.rstrip().splitlines()]
    assert lines[-3].startswith(f'File "{plugin}", line 26')
    # No control characters are sent to the terminal.
    assert lines[-1] == "RuntimeError: no \\x1b[2J luck"
    assert ("\x1b" in printed, "runs/row.py" in printed) == (False, False)
    assert "runs/row.py" in call(out, "unlucky", "--full")[1]
    assert call(out, "identity")[1] == "no unit of identity has failed\n"
    assert [len(unit.units) for unit in failures(out)] == [2]
    assert f"'gahbench why {out}' prints why units failed" in command("status")(out)[1]


@pytest.mark.usefixtures("figures_not_rendered")
def test_weights_returns_and_prints_the_files_of_finished_fits(write_suite, tmp_path, command):
    out = tmp_path / "out"
    suite = write_suite(("training: {", "seeds: [0, 3]\ntraining: {snapshots: 3, "))
    run(suite, out)
    fits = weights(out, UNET)
    assert [(fit.dataset, fit.entrant, fit.seed, fit.split) for fit in fits] == [
        ("sinusoids[size=16]", UNET, seed, None) for seed in (0, 3)
    ]
    for fit in fits:
        assert fit.history.read_text().startswith("step")
        assert list(fit.snapshots) == sorted(fit.snapshots)
        assert all(path.is_file() for path in (fit.weights, *fit.snapshots.values()))
    status, printed, _ = command("weights")(out, "--entrant", "un*")
    assert (status, [line.split("\t") for line in printed.splitlines()]) == (
        0,
        [[fit.dataset, str(fit.seed), str(fit.weights), str(fit.history), fit.entrant] for fit in fits],
    )
    with pytest.raises(ResultsError, match=r"trained entrants identity are not in the results; accepted: unet"):
        weights(out, "identity")
    # A damaged fit is left out.
    (out / "units" / fits[0].weights.parent.name / "done.json").unlink()
    with pytest.warns(UserWarning, match="1 finished unit was damaged, and left out here"):
        assert [fit.seed for fit in weights(out, UNET)] == [3]
