"""Boards are made of undamaged units, and written anew when units or the checks of rows change."""

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

pytestmark = pytest.mark.usefixtures("dry_runs_here")


@pytest.fixture
def out(references_out):
    """A copy of a run of references, beside which is its suite."""
    return references_out


def folder_of(out, entrant, metric="psnr"):
    (unit,) = units_of(out, entrant=entrant, metric=metric)
    return Store(out).path(unit)


def test_scores_that_changed_places_are_not_on_the_board_until_they_are_done_again(out, command):
    before = gahbench.load_results(out).scores
    one, other = folder_of(out, "identity"), folder_of(out, "oracle-threshold[haar]")
    one.rename(out / "aside")
    other.rename(one)
    (out / "aside").rename(other)
    with pytest.warns(UserWarning, match="2 finished units were damaged, and not on the board"):
        found = collect(out)
    assert set(found.scores["metric"]) == {"slope"}
    assert set(found.failures["error"]) == {"its files are damaged; the next run does it again"}
    assert "psnr failed: its files are damaged" in found.leaderboard(full=True)["note"].iloc[0]
    # Nothing was moved: that is left to runs.
    assert not (out / "damaged").exists()
    with pytest.warns(
        UserWarning, match=r"2 finished units were damaged, moved to .*damaged, and will be done again: "
    ):
        outcome = gahbench.run(out.parent / "tiny.yaml", out, engine="inline")
    assert (outcome.done, outcome.failed) == (4, 0)
    assert outcome.scores.equals(before)
    status, printed, _ = command("status")(out)
    assert (status, "2 units moved to damaged/, since a checksum did not match" in printed) == (0, True)


def test_a_unit_that_was_done_anew_has_its_board_written_anew(out):
    before = gahbench.load_results(out).leaderboard(full=True).set_index("entrant")["psnr"]
    change_score(folder_of(out, "identity"))
    after = collect(out).leaderboard(full=True).set_index("entrant")["psnr"]
    assert after["identity"] > before["identity"]
    stamp = (out / "results.json").stat().st_mtime_ns
    collect(out)
    assert (out / "results.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("name", ["leaderboard.md", "leaderboard.csv", "scores.parquet", "results.json"])
def test_tables_that_are_not_as_they_were_written_are_not_shown_and_written_anew(out, command, name):
    board, content = (out / "leaderboard.md").read_text(), (out / name).read_bytes()
    (out / name).write_bytes(content.replace(b"1", b"7", 1))
    status, printed, errors = command("leaderboard")(out)
    if name in ("scores.parquet", "results.json"):
        assert (status, printed) == (2, "") or printed == board
        assert name in errors or printed == board
    else:
        assert (status, printed) == (0, board)
    assert command("collect")(out)[:2] == (0, board)
    assert (out / name).read_bytes() == content


def test_a_unit_that_is_damaged_while_a_run_goes_on_is_not_done(out):
    (out / "results.json").unlink()
    victim = folder_of(out, "identity") / "scores.csv"
    # One unit is left to do, so that something happens.
    Store(out).move_away([folder_of(out, "identity", "slope").name], "replaced")
    with pytest.warns(UserWarning, match="1 finished unit was damaged, and not on the board"):
        outcome = gahbench.run(out.parent / "tiny.yaml", out, engine="inline", report=lambda _: victim.write_bytes(b""))
    assert (outcome.done, outcome.failed, outcome.waiting) == (3, 1, 0)


def test_figures_are_neither_written_nor_removed_behind_a_link(out, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(out / "figures", elsewhere)
    (elsewhere / "own.txt").write_text("kept")
    (out / "figures").symlink_to(elsewhere)
    before = sorted(file.name for file in elsewhere.iterdir())
    with pytest.raises(gahbench.GahbenchError, match="figures: is a link; expected a folder"):
        publish(gahbench.load_results(out), out, "another digest")
    assert sorted(file.name for file in elsewhere.iterdir()) == before


def test_a_board_without_its_units_says_so(out, command):
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
    found = {}
    for file in sorted((out / "units").glob("score-*/done.json")):
        metric = json.loads((file.parent / "unit.json").read_text())["metric"]
        found[file.parent.name] = (metric, parse_sealed(file.read_bytes()))
    return found


def test_checks_by_other_code_alone_are_done_again(out, figures_not_rendered):
    first = gahbench.load_results(out)
    before = records(out)
    checked = {name for name, (metric, _) in before.items() if metric == "psnr"}
    assert len(checked) == 2
    for name in checked:
        file = out / "units" / name / "done.json"
        done = parse_sealed(file.read_bytes())
        assert done["checks"]["version"] == CHECKS_VERSION
        done["checks"] = {"version": CHECKS_VERSION - 1, "code": "earlier", "images": ""}
        write_sealed(file, {**done, "marks": ["is found by earlier rules"]})
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
            assert after[name][1]["marks"] == []
    assert not any((out / "unchecked").iterdir())
    pd.testing.assert_frame_equal(first.scores, again.scores)
    assert "earlier rules" not in markdown(again.results)
    assert run_and_list(out.parent / "tiny.yaml", out)[1] == []


def test_scores_whose_checks_were_not_done_again_stay_on_the_board(out, figures_not_rendered):
    scores = gahbench.load_results(out).scores
    before = records(out)
    assert Store(out).move_away([name for name, (metric, _) in before.items() if metric == "psnr"], UNCHECKED) == 2
    collect(out)
    pd.testing.assert_frame_equal(gahbench.load_results(out).scores, scores)
    assert records(out).keys() == before.keys()


def test_boards_say_where_the_test_images_may_be_known(write_suite, tmp_path, figures_not_rendered):
    results = run(
        write_suite(("images: 3", "images: 6"), ("discs:", "gaussian-field:")), tmp_path / "out", only=["identity"]
    ).results
    line = "Entrants that know the test images cannot be detected"
    assert line not in markdown(results)
    assert line in markdown(replace(results, checks=results.checks.assign(images="")))
