"""A board is made of units that are as they were written, and written anew when one of them is not what it was."""

import shutil

import pytest
from other_machine import measure_otherwise
from tiny_runs import units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.report.publish import publish
from gahbench.runs.collect import collect
from gahbench.store.store import Store

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
    assert set(found.failures["error"]) == {"its files are damaged, to be done again"}
    assert "psnr failed: its files are damaged" in found.leaderboard(full=True)["note"].iloc[0]
    # Nothing was moved: that is left to runs.
    assert not (out / "damaged").exists()
    with pytest.warns(UserWarning, match=r"2 finished units were damaged, moved to .*damaged, to be done again: "):
        outcome = gahbench.run(out.parent / "tiny.yaml", out, engine="inline")
    assert (outcome.done, outcome.failed) == (4, 0)
    assert outcome.scores.equals(before)
    status, printed, _ = command("status")(out)
    assert (status, "2 units moved to damaged/ before, not as they were written" in printed) == (0, True)


def test_a_unit_that_was_done_anew_has_its_board_written_anew(out):
    before = gahbench.load_results(out).leaderboard(full=True).set_index("entrant")["psnr"]
    measure_otherwise(folder_of(out, "identity"))
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
    Store(out).put_away([folder_of(out, "identity", "slope").name], "replaced")
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
    assert errors == "the units are not in this folder: these values cannot be compared with them\n"
    before = (out / "leaderboard.md").read_bytes()
    with pytest.raises(ResultsError, match="without its units"):
        collect(out)
    assert (out / "leaderboard.md").read_bytes() == before
    with pytest.raises(ResultsError, match="expected a results folder"):
        collect(out.parent / "none")
    assert not (out.parent / "none").exists()
