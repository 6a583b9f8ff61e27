"""Tests of collecting: boards are made of undamaged units, and written again when units or checks change."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from other_machine import change_score
from tiny_runs import run, run_and_list, units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench._util.sealed import parse_sealed, write_sealed
from gahbench.planning.units import CHECKS_VERSION
from gahbench.report.publish import publish
from gahbench.report.tables import markdown
from gahbench.runs.collect import collect
from gahbench.store.store import UNCHECKED, Store

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


@pytest.fixture
def out(references_out):
    """A copy of a results folder of references, next to its suite file."""
    return references_out


def folder_of(out, entrant, metric="psnr"):
    (unit,) = units_of(out, entrant=entrant, metric=metric)
    return Store(out).path(unit)


def test_units_whose_folders_were_swapped_are_left_off_the_board_and_recomputed(out, command):
    before = gahbench.load_results(out).scores
    first_folder, second_folder = folder_of(out, "identity"), folder_of(out, "oracle-threshold[haar]")
    first_folder.rename(out / "aside")
    second_folder.rename(first_folder)
    (out / "aside").rename(second_folder)
    with pytest.warns(UserWarning, match="2 finished units were damaged, and not on the board"):
        results = collect(out)
    assert set(results.scores["metric"]) == {"slope"}
    assert set(results.failures["error"]) == {"its files are damaged; the next run recomputes it"}
    assert "psnr failed: its files are damaged" in results.leaderboard(full=True)["note"].iloc[0]
    # Only a run moves damaged units.
    assert not (out / "damaged").exists()
    with pytest.warns(
        UserWarning, match=r"2 finished units were damaged, moved to .*damaged, and will be recomputed: "
    ):
        outcome = gahbench.run(out.parent / "tiny.yaml", out, engine="inline")
    assert (outcome.done, outcome.failed) == (4, 0)
    assert outcome.scores.equals(before)
    status, printed, _ = command("status")(out)
    assert (status, "2 units moved to damaged/, since a checksum did not match" in printed) == (0, True)


def test_a_changed_unit_causes_the_board_to_be_written_again(out):
    before = gahbench.load_results(out).leaderboard(full=True).set_index("entrant")["psnr"]
    change_score(folder_of(out, "identity"))
    after = collect(out).leaderboard(full=True).set_index("entrant")["psnr"]
    assert after["identity"] > before["identity"]
    stamp = (out / "results.json").stat().st_mtime_ns
    collect(out)
    assert (out / "results.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("name", ["leaderboard.md", "leaderboard.csv", "scores.parquet", "results.json"])
def test_changed_tables_are_not_shown_and_are_written_again(out, command, name):
    board, content = (out / "leaderboard.md").read_text(), (out / name).read_bytes()
    (out / name).write_bytes(content.replace(b"1", b"7", 1))
    status, printed, errors = command("leaderboard")(out)
    if name == "results.json":
        assert (status, printed, name in errors) == (2, "", True)
    else:
        # The board is read from leaderboard.md or, if that file was changed, made of the scores.
        assert (status, printed) == (0, board)
    assert command("collect")(out)[:2] == (0, board)
    assert (out / name).read_bytes() == content


def test_a_unit_that_is_damaged_during_a_run_counts_as_failed(out):
    (out / "results.json").unlink()
    victim = folder_of(out, "identity") / "scores.csv"
    # Move one unit away, so that the run has something to do.
    Store(out).move_away([folder_of(out, "identity", "slope").name], "replaced")
    with pytest.warns(UserWarning, match="1 finished unit was damaged, and not on the board"):
        outcome = gahbench.run(out.parent / "tiny.yaml", out, engine="inline", report=lambda _: victim.write_bytes(b""))
    assert (outcome.done, outcome.failed, outcome.waiting) == (3, 1, 0)


def test_figures_are_not_written_or_removed_through_a_link(out, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(out / "figures", elsewhere)
    (elsewhere / "own.txt").write_text("kept")
    (out / "figures").symlink_to(elsewhere)
    before = sorted(file.name for file in elsewhere.iterdir())
    with pytest.raises(gahbench.GahbenchError, match="figures: is a link; expected a folder"):
        publish(gahbench.load_results(out), out, "another digest")
    assert sorted(file.name for file in elsewhere.iterdir()) == before


def test_a_board_without_its_units_is_printed_with_a_note_and_not_collected(out, command):
    assert command("leaderboard")(out)[2] == ""
    (out / "units").rename(out.parent / "elsewhere")
    status, printed, errors = command("leaderboard")(out)
    assert (status, printed) == (0, (out / "leaderboard.md").read_text())
    assert errors == "this folder has no units, so the values of its board cannot be verified\n"
    before = (out / "leaderboard.md").read_bytes()
    with pytest.raises(ResultsError, match="without its units"):
        collect(out)
    assert (out / "leaderboard.md").read_bytes() == before
    with pytest.raises(ResultsError, match="expected a results folder"):
        collect(out.parent / "none")
    assert not (out.parent / "none").exists()


def records(out):
    records_by_name = {}
    for file in sorted((out / "units").glob("score-*/done.json")):
        metric = json.loads((file.parent / "unit.json").read_text())["metric"]
        records_by_name[file.parent.name] = (metric, parse_sealed(file.read_bytes()))
    return records_by_name


def test_only_checks_are_repeated_if_only_their_code_has_changed(out):
    first = gahbench.load_results(out)
    before = records(out)
    checked = {name for name, (metric, _) in before.items() if metric == "psnr"}
    assert len(checked) == 2
    for name in checked:
        file = out / "units" / name / "done.json"
        done = parse_sealed(file.read_bytes())
        assert done["checks"]["version"] == CHECKS_VERSION
        done["checks"] = {"version": CHECKS_VERSION - 1, "code": "earlier", "images": ""}
        write_sealed(file, {**done, "flags": ["is found by earlier rules"]})
    collect(out)
    results = gahbench.load_results(out)
    assert f"2 of 2 rows were checked by earlier rules (version {CHECKS_VERSION - 1}; today" in markdown(results)
    assert "flagged: is found by earlier rules" in markdown(results)
    again, finished = run_and_list(out.parent / "tiny.yaml", out)
    assert {unit.folder for unit in finished} == checked
    after = records(out)
    for name, (metric, done) in before.items():
        assert after[name][1]["files"] == done["files"]
        assert after[name][1].get("seconds") == done["seconds"]
        if metric == "psnr":
            assert after[name][1]["checks"]["version"] == CHECKS_VERSION
            assert after[name][1]["flags"] == []
    assert not any((out / "unchecked").iterdir())
    pd.testing.assert_frame_equal(first.scores, again.scores)
    assert "earlier rules" not in markdown(again.results)
    assert run_and_list(out.parent / "tiny.yaml", out)[1] == []


def test_scores_whose_checks_were_not_repeated_stay_on_the_board(out):
    scores = gahbench.load_results(out).scores
    before = records(out)
    assert Store(out).move_away([name for name, (metric, _) in before.items() if metric == "psnr"], UNCHECKED) == 2
    collect(out)
    pd.testing.assert_frame_equal(gahbench.load_results(out).scores, scores)
    assert records(out).keys() == before.keys()


def test_boards_note_rows_that_may_know_the_test_images(write_suite, tmp_path):
    results = run(
        write_suite(("images: 3", "images: 6"), ("discs:", "gaussian-field:")), tmp_path / "out", only=["identity"]
    ).results
    line = "Entrants that know the test images cannot be detected"
    assert line not in markdown(results)
    assert line in markdown(replace(results, checks=results.checks.assign(images="")))
