"""Tests of submissions: archives with rows of a frozen suite, their refusals, and the marks of their rows."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fake_results
import numpy as np
import pytest
from finished_units import forge_done
from other_machine import change_score
from sample_files import HALF, TINY
from tiny_runs import run, run_for_fixture, units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.board.results import load_results
from gahbench.report.publish import publish
from gahbench.runs.submission import accept, require_equal_gains, submit
from gahbench.runs.submitted_rows import SUBMITTED, load_rows
from gahbench.store.archive import pack, unpack
from gahbench.store.plan_file import require_plan, write_plan
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered", "rows_not_audited", "units_here")

FROZEN = TINY.replace("name: tiny", "name: tiny\nversion: 1")
MINE = "unet[width=3,levels=1]"


@pytest.fixture
def suites(tmp_path, monkeypatch):
    """The folder of the built-in suites: a frozen tiny suite, and one that is not frozen."""
    folder = tmp_path / "suites"
    folder.mkdir()
    files = {"tiny": FROZEN, "open": TINY.replace("name: tiny", "name: open")}
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    for module in ("planning.suite_files", "planning.suite", "runs.submission"):
        monkeypatch.setattr(
            f"gahbench.{module}.suite_files", lambda: {file.stem: file for file in sorted(folder.glob("*.yaml"))}
        )
    return folder


@pytest.fixture(scope="session")
def _honest(build_once):
    def fill(home):
        (home / "tiny.yaml").write_text(FROZEN, encoding="utf-8")
        (home / "half.py").write_text(HALF, encoding="utf-8")
        rows = {"entrants": [MINE, "half"], "plugins": [home / "half.py"], "threads": 1}
        for name, options in (("known", {}), ("secret", {"secret_noise": True, "reuse": [home / "known"]})):
            run_for_fixture(home / "tiny.yaml", home / name, **rows, **options)

    return build_once("submission", fill)


@pytest.fixture
def folder(_honest, suites, tmp_path):
    """The results folder of the frozen suite with two added rows."""
    return Path(shutil.copytree(_honest / "known", tmp_path / "mine"))


@pytest.fixture
def secret(_honest, tmp_path):
    """The same rows under secret noise."""
    return Path(shutil.copytree(_honest / "secret", tmp_path / "secret"))


def test_a_submission_holds_the_added_rows_and_becomes_a_row_of_the_board(folder, secret, tmp_path):
    archive, into = tmp_path / "mine.zip", tmp_path / "submissions"
    submission = submit(folder, archive, secret=secret, units=3, workers=1)
    assert set(submission.rows) == {MINE, "half"}
    assert submission.verification.repeats
    assert submission.archive == archive
    with zipfile.ZipFile(archive) as written:
        names = set(written.namelist())
        assert b"Under secret noise" in written.read("README.md")
    own_units = {unit.folder for unit in units_of(folder) if unit.entrant in (MINE, "half", "oracle-threshold[haar]")}
    assert {name.split("/")[1] for name in names if name.startswith("units/")} == own_units
    assert {name.rpartition("/")[2] for name in names if name.startswith("plugins/")} == {"half.py"}
    unpack(archive, tmp_path / "unpacked")
    assert gahbench.verify(tmp_path / "unpacked", units=100, workers=1).repeats

    def statuses(*paths):
        results, _ = load_rows(paths)
        return {
            row.entrant: row.note
            for row in results.notes.itertuples()
            if "submitted" in row.note or "verified" in row.note
        }

    # The archive has the scores of the folder, under labels with the status.
    both, _ = load_rows([folder, archive])
    assert set(both.entrants) == {*load_results(folder).entrants, f"{MINE} (submitted)", "half (submitted)"}
    scores = [
        both.scores[both.scores["entrant"] == label].drop(columns="entrant").reset_index(drop=True)
        for label in ("half", "half (submitted)")
    ]
    assert scores[0].equals(scores[1])
    assert statuses(archive) == {f"{MINE} (submitted)": SUBMITTED, "half (submitted)": SUBMITTED}
    assert accept(archive, into) == into / "mine"
    assert statuses(folder, into) == {f"{MINE} (submitted)": SUBMITTED, "half (submitted)": SUBMITTED}
    accept(archive, into, "run again")
    assert all(status.startswith("verified: run again (20") for status in statuses(folder, into).values())
    assert set(statuses(into)) == {f"{MINE} (verified)", "half (verified)"}
    # Rows that change afterwards are not verified.
    change_board(into / "mine")
    assert set(statuses(into).values()) == {SUBMITTED}


def change_board(folder):
    """Publish the board again, with scores that are 10 dB higher and valid checksums."""
    results, index = load_results(folder), json.loads((folder / "results.json").read_bytes())
    publish(replace(results, scores=results.scores.assign(value=results.scores["value"] + 10)), folder, index["digest"])


def change_plan(folder, **changes):
    write_plan(folder, replace(require_plan(folder), **changes))


def remove_score(folder):
    (unit,) = units_of(folder, entrant=MINE, metric="psnr")
    shutil.rmtree(Store(folder).path(unit))


def edit_plugin(folder):
    (file,) = folder.glob("plugins/*/half.py")
    file.write_text(HALF.replace("/ 2", "/ 3"), encoding="utf-8")


def forge_steps(folder):
    """State in the plan that the fit had fewer steps."""
    plan = require_plan(folder)
    units = tuple(
        replace(
            planned,
            unit=replace(
                planned.unit,
                key="0" * 20,
                document={**planned.unit.document, "training": {**planned.unit.document["training"], "steps": 99}},
            ),
        )
        if planned.unit.kind == "fit" and planned.unit.entrant == MINE
        else planned
        for planned in plan.units
    )
    write_plan(folder, replace(plan, units=units))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda folder: change_plan(folder, suite="open"), r"the suite 'open' is not frozen; accepted: tiny version 1"),
        (
            lambda folder: change_plan(folder, changes=("--set training.steps=99", f"--entrant {MINE}")),
            "was run with --set training.steps=99; accepted: the frozen suite without --set",
        ),
        (
            lambda folder: change_plan(folder, suite_text=FROZEN.replace("version: 1", "version: 2")),
            "follows tiny with version 2, .*; accepted: version 1",
        ),
        (lambda folder: change_plan(folder, suite_text=TINY), "follows tiny with no version; accepted: version 1"),
        (lambda folder: change_plan(folder, suite_text=FROZEN + "# edited\n"), "follows tiny with version 1, .*; acc"),
        (lambda folder: change_plan(folder, changes=()), "has only rows of the suite; add your entrant: 'gahbench run"),
        (
            lambda folder: change_plan(folder, changes=("--entrant unet[width=4,levels=1]",)),
            r"fit unet\[width=4,levels=1\] .* is missing; run the whole suite",
        ),
        (remove_score, r"score unet\[width=3.* is not finished: run the suite to the end"),
        (edit_plugin, r"score half on .* was computed with other code \(entrant.source\); run it again"),
        (forge_steps, r"fit unet\[width=3.* differs from the frozen suite, .*training.steps: 12 and 99"),
    ],
)
def test_folders_that_are_not_of_the_frozen_suite_are_refused(folder, tmp_path, change, text):
    change(folder)
    with pytest.raises(ResultsError, match=text):
        submit(folder, tmp_path / "mine.zip", units=1, fits=0, workers=1)
    assert not (tmp_path / "mine.zip").exists()


def test_results_that_do_not_repeat_give_no_archive(folder, tmp_path):
    (unit,) = units_of(folder, entrant="half", metric="psnr")
    change_score(Store(folder).path(unit))
    submission = submit(folder, tmp_path / "mine.zip", units=100, fits=0, workers=1)
    assert not submission.verification.repeats
    assert submission.archive is None
    assert not (tmp_path / "mine.zip").exists()


def test_flagged_rows_are_refused(folder, tmp_path):
    (unit,) = units_of(folder, entrant="half", metric="psnr")
    forge_done(Store(folder).path(unit), flags=["knows the test images"])
    with pytest.raises(ResultsError, match=r"half on .* is flagged: knows the test images"):
        submit(folder, tmp_path / "mine.zip", units=1, fits=0, workers=1)
    pack(folder, tmp_path / "mine.zip")
    with pytest.raises(ResultsError, match=r"half on .* is flagged: knows the test images"):
        accept(tmp_path / "mine.zip", tmp_path / "submissions")


def test_a_run_under_known_noise_is_no_run_under_secret_noise(folder, tmp_path):
    with pytest.raises(ResultsError, match="was scored under known noise; accepted: a run with --secret-noise"):
        submit(folder, tmp_path / "mine.zip", secret=folder, units=1, fits=0, workers=1)


def test_the_board_of_an_accepted_archive_is_computed_from_its_units(folder, tmp_path):
    honest = load_results(folder)
    change_board(folder)
    pack(folder, tmp_path / "mine.zip")
    accepted = load_results(accept(tmp_path / "mine.zip", tmp_path / "submissions"))
    assert accepted.scores.equals(honest.scores)


def test_nothing_of_an_archive_is_executed_on_acceptance(folder, tmp_path):
    (file,) = folder.glob("plugins/*/half.py")
    file.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n", encoding="utf-8")
    pack(folder, tmp_path / "mine.zip")
    accept(tmp_path / "mine.zip", tmp_path / "submissions")
    load_rows([tmp_path / "submissions"])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["Mine", "a b", "..", "a" * 80, "ünet"])
def test_archives_with_other_names_are_not_accepted(folder, tmp_path, name):
    pack(folder, tmp_path / f"{name}.zip")
    with pytest.raises(ResultsError, match="cannot name a submission; accepted: up to 61 of a-z"):
        accept(tmp_path / f"{name}.zip", tmp_path / "submissions")


def test_units_are_reused_from_an_archive(folder, suites, tmp_path):
    pack(folder, tmp_path / "mine.zip")
    outcome = run(suites / "tiny.yaml", tmp_path / "new", reuse=[tmp_path / "mine.zip"], threads=1)
    assert outcome.reused is not None
    assert len(outcome.reused.taken) == len(require_plan(tmp_path / "new").shown)


LEVELS, IMAGES = len(fake_results.SIGMAS), 24


@pytest.fixture(scope="module")
def gains():
    """A function that draws results of a row and its baseline.

    Their difference varies by 0.3 dB with the noise of each image.
    """
    zeros = np.zeros((LEVELS, IMAGES))
    scores = fake_results.rows("d", "base", "oracle", zeros) + fake_results.rows("d", "mine", "classical", zeros)
    valid = fake_results.results(scores, baseline="base")

    def draw(generator, advantage=0.0):
        baseline = 25 + generator.standard_normal((LEVELS, IMAGES))
        own = baseline + 2 + 0.3 * generator.standard_normal((LEVELS, IMAGES)) + advantage
        # The order of the rows is that of the valid results, whose construction takes most of the time.
        values = np.concatenate([baseline.ravel(), own.ravel()])
        return SimpleNamespace(scores=valid.scores.assign(value=values), baseline="base")

    assert valid.scores["entrant"].tolist() == ["base"] * zeros.size + ["mine"] * zeros.size
    return draw


@pytest.mark.parametrize("draws", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_row_that_gains_as_much_under_secret_noise_is_accepted(gains, draws):
    generator = np.random.default_rng(0)
    for _ in range(draws):
        require_equal_gains(gains(generator), gains(generator), ["mine"])


def test_a_row_that_gains_less_under_secret_noise_is_refused(gains):
    generator = np.random.default_rng(0)
    # A row may gain less under the known noise.
    require_equal_gains(gains(generator, -1.0), gains(generator), ["mine"])
    with pytest.raises(
        ResultsError, match=r"mine on d gains [01].\d\d dB more under the known noise than under secret"
    ):
        require_equal_gains(gains(generator, 1.0), gains(generator), ["mine"])
    # The advantage is at a single noise level, and no advantage over all levels.
    one_level = np.full((LEVELS, 1), -1.0 / (LEVELS - 1))
    one_level[2] = 1.0
    with pytest.raises(ResultsError, match=r"mine on d at σ = 0.06 gains [01]"):
        require_equal_gains(gains(generator, one_level), gains(generator), ["mine"])


def test_commands_submit_accept_and_show_rows(folder, tmp_path, command):
    status, stdout, stderr = command("submit")(folder, "--units", 1, "--fits", 0, "--workers", 1)
    assert status == 0, stderr
    assert stdout.startswith("frozen     tiny, version 1, SHA-256 ")
    assert "checked    reference half" in stdout
    assert "wrote mine.zip (0." in stdout
    status, stdout, _ = command("accept")("mine.zip", "--into", tmp_path / "into")
    assert (status, stdout) == (0, f"submitted  {tmp_path / 'into' / 'mine'}\n")
    for paths in ([tmp_path / "into"], ["mine.zip"], [folder, tmp_path / "into"]):
        status, stdout, _ = command("leaderboard")(*paths)
        assert (status, SUBMITTED in stdout) == (0, True)
    status, _, stderr = command("report")(folder, "--rows", tmp_path / "into", "--out", "board.html")
    assert status == 0, stderr
    assert SUBMITTED in Path("board.html").read_text(encoding="utf-8")
    status, _, stderr = command("report")("mine.zip")
    assert status == 0, stderr
    assert SUBMITTED in Path("mine.html").read_text(encoding="utf-8")
    status, _, stderr = command("submit")(folder, "--out", "mine.tar")
    assert (status, "accepted: a name that ends in .zip" in stderr) == (2, True)
    (file,) = folder.glob("plugins/*/half.py")
    file.write_text(HALF.replace("noisy / 2", "noisy[:1]"), encoding="utf-8")
    status, stdout, stderr = command("submit")(folder, "--out", "other.zip")
    assert (status, "failed     reference half" in stdout, Path("other.zip").exists()) == (1, True, False)
