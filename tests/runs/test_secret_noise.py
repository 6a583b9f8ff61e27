"""Tests of secret noise: its seed is drawn after all fits have ended, recorded and kept."""

import json

import pytest

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.registry.registry import Registry
from gahbench.runs.opening import plan_with
from gahbench.runs.running import record_plan
from gahbench.runs.secret_noise import draw_secret_noise
from gahbench.runs.status import status
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered", "rows_not_audited")

SUITE = """
name: secret
datasets: [{discs: {size: 12}}]
entrants: [{linear: {}}, identity]
training: {steps: 3, batch_size: 2, compile: never, validations: 1}
scoring: {sigmas: [0.1, 0.3], images: 4, metrics: [psnr]}
"""


@pytest.fixture
def suite(tmp_path):
    file = tmp_path / "secret.yaml"
    file.write_text(SUITE)
    return file


def noise_seeds(folder):
    return {
        recorded.unit.payload["noise_seed"] for recorded in require_plan(folder).units if recorded.unit.kind == "score"
    }


def test_the_noise_of_scores_is_drawn_after_the_fits_and_kept(suite, tmp_path):
    out, noise_at_start = tmp_path / "out", []
    late = plan_with(Registry(), suite, out, (), True)

    def report(event):
        if event.kind == "started":
            noise = require_plan(out).secret_noise
            noise_at_start.append((event.unit.kind, noise["seed"] is None))

    outcome = gahbench.run(suite, out, engine="inline", secret_noise=True, report=report)
    # The seed does not exist during the fit, and is recorded before the scores.
    assert noise_at_start == [("fit", True), ("score", False), ("score", False)]
    assert (outcome.done, outcome.failed) == (3, 0)
    seed = require_plan(out).secret_noise["seed"]
    assert noise_seeds(out) == {seed}
    assert seed != 0
    assert outcome.results.flags.empty
    assert status(out).noise.startswith("secret noise, drawn 2")
    with pytest.raises(ResultsError, match="secret noise was drawn while this run was planned; run it again"):
        record_plan(late, out, Registry())
    # Later runs keep the noise, and entrants that they add are flagged.
    units = Store(out).finished()
    again = gahbench.run(suite, out, engine="inline")
    assert Store(out).finished() == units
    assert noise_seeds(again.folder) == {seed}
    added = ["linear[bias=true]", "visu-shrink"]
    outcome = gahbench.run(suite, out, engine="inline", entrants=added, secret_noise=True)
    assert noise_seeds(out) == {seed}
    flagged = {entry.entrant for entry in outcome.results.board.entries if entry.flags}
    assert flagged == {"linear[bias=true]", "visu-shrink[sym4]"}
    assert all("the noise was drawn and known" in flag for flag in outcome.results.flags["flag"])


def test_an_interrupted_run_is_continued_with_secret_noise(suite, tmp_path):
    out = tmp_path / "out"
    record_plan(plan_with(Registry(), suite, out, (), True), out, Registry())
    assert not draw_secret_noise(out)
    assert [recorded.unit.kind for recorded in require_plan(out).units] == ["fit"]
    assert status(out).noise.startswith("secret noise, to be drawn")
    # The option need not be given again.
    outcome = gahbench.run(suite, out, engine="inline")
    assert (outcome.done, outcome.failed) == (3, 0)
    assert noise_seeds(out) == {require_plan(out).secret_noise["seed"]}


def test_units_that_another_run_added_and_computes_stay_planned(suite, tmp_path):
    out = tmp_path / "out"
    added = ("visu-shrink", "bayes-shrink[haar]")
    plans = [plan_with(Registry(), suite, out, SuiteChanges(entrants=(entrant,))) for entrant in added]
    record_plan(plans[0], out, Registry())
    unit = next(planned for planned in plans[0].units if planned.entrant.startswith("visu"))
    leases = Store(out).leases
    leases.mkdir(exist_ok=True)
    (leases / unit.folder).write_text("{}")
    record_plan(plans[1], out, Registry())
    assert {"visu-shrink[sym4]", "bayes-shrink[haar]"} <= {
        recorded.unit.entrant for recorded in require_plan(out).units
    }


def test_networks_of_another_folder_are_reused_and_scores_are_not(suite, tmp_path):
    gahbench.run(suite, tmp_path / "known", engine="inline")
    with pytest.raises(ResultsError, match="planned with known noise; for secret noise, give another folder"):
        gahbench.run(suite, tmp_path / "known", engine="inline", secret_noise=True)
    outcome = gahbench.run(suite, tmp_path / "out", engine="inline", secret_noise=True, reuse=[tmp_path / "known"])
    assert [unit.kind for unit in outcome.reused.taken] == ["fit"]
    assert outcome.results.flags.empty
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["secret_noise"]["fits"]
