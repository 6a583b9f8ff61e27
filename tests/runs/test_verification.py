"""Samples of scores and fits are computed again, and files are compared with their checksums."""

import json
import shutil
from pathlib import Path

import pytest
from finished_units import forge_done
from sample_files import HALF
from tiny_runs import run, units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.runs.verification import _compared, verify
from gahbench.store.store import Store

SUITE = """
name: verified
datasets: [{discs: {size: 12}}]
entrants: [{linear: {}}, identity, visu-shrink]
training: {steps: 3, batch_size: 2, compile: never, validations: 1}
scoring: {sigmas: [0.1, 0.3], images: 4, metrics: [psnr]}
"""

pytestmark = pytest.mark.usefixtures("figures_not_rendered", "rows_not_audited")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verified")
    (folder / "verified.yaml").write_text(SUITE)
    gahbench.run(folder / "verified.yaml", folder / "out", engine="inline")
    return folder / "out"


@pytest.fixture
def folder(done, tmp_path):
    return Path(shutil.copytree(done, tmp_path / "out"))


@pytest.fixture
def units_here(monkeypatch):
    """Units are computed again in this process: worker processes take seconds to start."""

    def do(job):
        runner = gahbench.UnitRunner(job)
        while (unit := runner.next()) is not None:
            runner.run(unit)

    monkeypatch.setattr("gahbench.runs.verification.supervise", do)


def score_of(folder, entrant):
    (unit,) = units_of(folder, kind="score", entrant=entrant)
    return Store(folder).path(unit)


def edit_score(unit, old, new):
    """Edit the scores of a unit, and all checksums."""
    file = unit / "scores.csv"
    file.write_text(file.read_text().replace(old, new))
    forge_done(unit, "scores.csv")


@pytest.mark.processes
def test_scores_and_fits_repeat_in_worker_processes(folder):
    found = verify(folder, workers=1)
    assert (found.repeats, len(found.rescored), len(found.refitted)) == (True, 3, 1)


def test_scores_repeat_and_an_edited_one_does_not(folder, units_here, command):
    verify = command("verify")
    before = sorted(file.name for file in (folder / "units").iterdir())
    status, printed, _ = verify(folder, "--workers", 1)
    assert status == 0, printed
    assert [line.split()[0] for line in printed.splitlines()] == ["equal"] * 4 + ["1", "3"]
    assert "1 of 1 fit repeats; a single forged fit would be among them with a chance of 1 in 1" in printed
    assert "3 of 3 scores repeat; the files of 4 of 4 units are as they were written" in printed
    assert sorted(file.name for file in (folder / "units").iterdir()) == before

    unit = score_of(folder, "identity")
    value = (unit / "scores.csv").read_text().splitlines()[1].split(",")[2]
    edit_score(unit, value, repr(float(value) + 5))
    status, printed, _ = verify(folder, "--workers", 1, "--fits", 0)
    assert status == 1
    assert "none of 1 fit was trained again" in printed
    assert "different  score identity on discs[size=12] psnr on test: by up to 5, in the same environment" in printed
    assert "2 of 3 scores repeat; the files of 4 of 4 units" in printed


@pytest.mark.parametrize(
    ("stored", "here", "says"),
    [
        ({}, {}, ""),
        ({"kind": "oracle"}, {}, "the field 'kind' is oracle in the folder, and classical here"),
        ({"parameters": 3}, {}, "the field 'parameters' is 3 in the folder, and"),
        ({"marks": ["is off by 0.022 σ", "uses more"]}, {"marks": ["is off by 0.021 σ", "uses more"]}, ""),
        ({"marks": ["is off by 0.022 σ"]}, {"marks": ["is off by 0.021 σ", "uses more"]}, "folder: uses more"),
    ],
)
def test_facts_that_decide_who_ranks_are_compared(done, folder, stored, here, says):
    stores = Store(folder), Store(shutil.copytree(done, folder.parent / "here"))
    (unit,) = units_of(folder, entrant="visu-shrink[sym4]")
    for store, facts in zip(stores, (stored, here), strict=True):
        forge_done(store.path(unit), **facts)
    found = _compared(unit, *stores)
    assert found.ending == ("different" if says else "equal")
    assert says in found.detail


def test_damaged_files_are_named_and_not_computed_again(folder, units_here):
    unit = score_of(folder, "identity")
    (unit / "scores.csv").write_text((unit / "scores.csv").read_text().replace("1", "2"))
    found = verify(folder, units=1, fits=0, seed=0, workers=1)
    (text,) = found.damaged
    assert "scores.csv: damaged" in text
    assert not found.repeats
    assert (found.checked, [one.repeats for one in found.rescored]) == (4, [True])


def test_a_forged_fit_is_named_in_json(folder, units_here, command):
    (fit,) = (folder / "units").glob("fit-*")
    forge_done(fit, steps=2)
    status, printed, _ = command("verify")(folder, "--workers", 1, "--units", 1, "--json")
    found = json.loads(printed)
    assert (status, found["repeats"], found["chance"]) == (1, False, 1.0)
    (said,) = found["fits"]
    assert (said["ending"], said["detail"]) == ("different", "the field 'steps' is 2 in the folder, and 3 here")
    assert [one["ending"] for one in found["scores"]] == ["equal"]


def test_a_missing_plugin_is_said(units_here, tmp_path):
    suite, plugin = tmp_path / "verified.yaml", tmp_path / "half.py"
    suite.write_text(SUITE)
    plugin.write_text(HALF)
    out = tmp_path / "out"
    assert run(suite, out, threads=1, entrants=["half"], plugins=[plugin]).failed == 0
    (copied,) = json.loads((out / "plan.json").read_text())["plugins"]
    (out / copied).write_text("")
    found = verify(out, units=9, fits=0, workers=1)
    assert sum(one.repeats for one in found.rescored) == 3
    (failed,) = [one for one in found.rescored if not one.repeats]
    assert (failed.ending, failed.unit.entrant) == ("failed", "half")
    assert "half" in failed.detail


def test_a_published_board_has_nothing_to_verify(folder):
    for unit in (folder / "units").glob("score-*"):
        shutil.rmtree(unit)
    with pytest.raises(ResultsError, match="has no finished score; expected a results folder with its units"):
        verify(folder)
