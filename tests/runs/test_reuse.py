"""Tests of reusing units of other folders, which merges folders, and of recomputing units on request."""

import shutil
from pathlib import Path

import pytest
from finished_units import change_weights
from tiny_runs import UNET, board, run, run_and_list, units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


def seeds(*numbers):
    return ("training:", f"seeds: {list(numbers)}\ntraining:")


HALVES = ("training: {", "training: {halves: true, train_images: 3, ")
SPLITS = ("scoring: {sigmas", "scoring: {splits: [test, validation], sigmas")


def sweep(counts):
    return ("training: {", f"training: {{train_images: {counts}, ")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ((HALVES,), [(seeds(0, 1),), (seeds(0),), (seeds(1),)]),
        ((), [(SPLITS, sweep([2, 4])), (sweep([2]), ("  - identity\n", "")), (SPLITS, sweep([2, 4]))]),
    ],
    ids=["seeds", "entrants, splits and numbers of images"],
)
def test_folders_are_merged_by_reusing_both(write_suite, tmp_path, changes, parts):
    common = ("steps: 12", "steps: 2"), *changes
    suites = [write_suite(*common, *part, name=f"{index}.yaml") for index, part in enumerate(parts)]
    whole, first, second = (run(suite, tmp_path / str(index), threads=1).folder for index, suite in enumerate(suites))
    outcome, done = run_and_list(suites[0], tmp_path / "out", reuse=[first, second])
    assert done == []
    assert board(outcome).equals(board(gahbench.load_results(whole)))
    assert (outcome.folder / "scores.parquet").read_bytes() == (whole / "scores.parquet").read_bytes()
    # All units are finished, and do not depend on the merged folders.
    shutil.rmtree(first)
    shutil.rmtree(second)
    units = require_plan(outcome.folder).units
    assert Store(outcome.folder).examine(units).undamaged.keys() == {unit.folder for unit in units}


def errors_of(capsys):
    """Return the lines that were printed on the standard error."""
    return capsys.readouterr().err.splitlines()


OTHER_LEVELS = ("sigmas: [0.1, 0.3]", "sigmas: [0.1, 0.2]")


def test_units_of_an_archive_of_another_suite_are_reused(write_suite, tiny_run, tmp_path, command, capsys):
    first = gahbench.load_results(tiny_run)
    archive = Path(shutil.make_archive(str(tmp_path / "units"), "zip", tiny_run))
    grown = write_suite(("name: tiny", "name: other"), ("entrants:\n", "entrants:\n  - bayes-shrink\n"))
    outcome, done = run_and_list(grown, tmp_path / "new", reuse=[archive])
    assert {unit.entrant for unit in done} == {"bayes-shrink[sym4]"}
    assert errors_of(capsys)[:1] == ["7 units taken from other folders, 1 fit among them"]
    both = board(outcome).set_index("entrant")["psnr"], board(first).set_index("entrant")["psnr"]
    assert both[0][both[1].index].equals(both[1])
    status, printed, _ = command("leaderboard")(archive, "--format", "csv")
    assert (status, "identity" in printed) == (0, True)
    # The reused units do not depend on the archive.
    archive.unlink()
    assert run_and_list(grown, tmp_path / "new")[1] == []


def test_damaged_units_are_not_reused_and_the_next_folder_is_tried(write_suite, tiny_run, out, tmp_path, capsys):
    (fit,) = units_of(out, kind="fit")
    (Store(out).path(fit) / "weights.safetensors").write_bytes(b"")
    _, done = run_and_list(write_suite(), tmp_path / "one", reuse=[out])
    # The scores are recomputed too, since the retrained weights may differ from those that they measured.
    note = errors_of(capsys)[1]
    assert note.startswith(f"3 units not taken: {fit.label} of {out}: ")
    assert "weights.safetensors: damaged" in note
    assert note.count("measured weights that differ") == 2
    assert {unit.entrant for unit in done} == {UNET}
    assert run_and_list(write_suite(), tmp_path / "two", reuse=[out, tiny_run])[1] == []
    assert "not taken" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_not_a_damaged_source(write_suite, tiny_run, tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("shutil.copy2", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*/out/units/"):
        run_and_list(write_suite(), tmp_path / "out", reuse=[tiny_run])
    assert Store(tmp_path / "out").finished() == set()
    assert list((tmp_path / "out" / "units").iterdir()) == []


def test_scores_of_other_weights_are_not_reused(write_suite, out, tmp_path, capsys):
    first = gahbench.load_results(out)
    change_weights(out)
    # The new folder has a network with the same key, but no scores of it.
    run_and_list(write_suite(OTHER_LEVELS), tmp_path / "new")
    outcome, done = run_and_list(write_suite(), tmp_path / "new", reuse=[out])
    assert {(unit.kind, unit.entrant) for unit in done} == {("score", UNET)}
    assert len(done) == 2
    assert "4 units taken from other folders, 0 fits" in capsys.readouterr().err
    assert board(outcome).equals(board(first))


def test_a_network_is_reused_together_with_the_scores_that_measured_it(write_suite, tiny_run, out, tmp_path):
    change_weights(out)
    _, done = run_and_list(write_suite(), tmp_path / "new", reuse=[out, tiny_run])
    assert done == []
    new, first, second = (Store(folder) for folder in (tmp_path / "new", out, tiny_run))
    for unit in units_of(new.folder, kind="score", entrant=UNET):
        assert new.read_scores(unit) == first.read_scores(unit) != second.read_scores(unit)


@pytest.mark.parametrize("source", ["out", "none"])
def test_folders_without_units_to_reuse_are_refused(write_suite, out, tmp_path, source):
    with pytest.raises(ResultsError, match="holds no units of another run"):
        run_and_list(write_suite(), out, reuse=[tmp_path / source])
