"""Tests of collecting: boards are made of undamaged units, and written again when units or checks change."""

import shutil
from dataclasses import replace

import pytest
from finished_units import change_score
from tiny_runs import run_and_list, units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.planning.units import CHECKS, CHECKS_VERSION
from gahbench.registry.behaviour import function_digest
from gahbench.report.publish import publish
from gahbench.report.text import markdown
from gahbench.runs.collect import collect
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


@pytest.fixture
def out(references_out):
    """A copy of a results folder of references, next to its suite file."""
    return references_out


def folder_of(out, entrant, metric="psnr"):
    (unit,) = units_of(out, entrant=entrant, metric=metric)
    return Store(out).path(unit)


def test_units_whose_folders_were_swapped_are_left_off_the_board_and_recomputed(out):
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
    assert outcome.results.scores.equals(before)


def test_a_changed_unit_causes_the_board_to_be_written_again(out):
    before = gahbench.load_results(out).leaderboard(full=True).set_index("entrant")["psnr"]
    change_score(folder_of(out, "identity"))
    after = collect(out).leaderboard(full=True).set_index("entrant")["psnr"]
    assert after["identity"] > before["identity"]
    stamp = (out / "results.json").stat().st_mtime_ns
    collect(out)
    assert (out / "results.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("name", ["leaderboard.md", "leaderboard.csv", "scores.parquet", "results.json"])
def test_changed_tables_are_not_shown_but_written_again(out, command, name):
    board, content = command("leaderboard")(out)[1], (out / name).read_bytes()
    (out / name).write_bytes(content.replace(b"1", b"7", 1))
    with Store(out).lock():
        # During a run the board is not written; without its scores and index it cannot be read.
        status, printed, errors = command("leaderboard")(out)
        assert (status, printed) == ((0, board) if "leaderboard" in name else (2, "")), errors
    assert command("leaderboard")(out)[:2] == (0, board)
    assert (out / name).read_bytes() == content


def test_a_unit_that_is_damaged_during_a_run_counts_as_failed(out):
    (out / "results.json").unlink()
    victim = folder_of(out, "identity") / "scores.csv"
    # Delete one unit, so that the run has something to do.
    shutil.rmtree(folder_of(out, "identity", "slope"))
    plugin = out.parent / "damaging.py"
    hook = f"def log_scores(): open({str(victim)!r}, 'w').close()"
    plugin.write_text(f"import gahbench\n\n@gahbench.hookimpl\n{hook}\n")
    with pytest.warns(UserWarning, match="1 finished unit was damaged, and not on the board"):
        outcome = gahbench.run(out.parent / "tiny.yaml", out, engine="inline", plugins=[plugin])
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


def test_a_board_without_its_units_is_printed_and_not_collected(out, command):
    board = command("leaderboard")(out)[1]
    (out / "units").rename(out.parent / "elsewhere")
    status, printed, _ = command("leaderboard")(out)
    assert (status, printed) == (0, board)
    before = (out / "leaderboard.md").read_bytes()
    with pytest.raises(ResultsError, match="without its units"):
        collect(out)
    assert (out / "leaderboard.md").read_bytes() == before
    with pytest.raises(ResultsError, match="expected a results folder"):
        collect(out.parent / "none")
    assert not (out.parent / "none").exists()


def test_scores_are_computed_again_if_the_code_of_their_checks_has_changed(out, monkeypatch):
    def digest(function, *needs):
        return "changed" if function == CHECKS else function_digest(function, *needs)

    monkeypatch.setattr("gahbench.planning.units.function_digest", digest)
    finished = run_and_list(out.parent / "tiny.yaml", out)[1]
    assert {unit.metric for unit in finished} == {"psnr"}
    assert len(finished) == 2
    assert run_and_list(out.parent / "tiny.yaml", out)[1] == []


def test_a_board_says_how_many_rows_were_checked_by_earlier_rules(out):
    results = gahbench.load_results(out)
    earlier = replace(results, checks=results.checks.assign(version=CHECKS_VERSION - 1))
    assert f"2 of 2 rows were checked by earlier rules (version {CHECKS_VERSION - 1}; today" in markdown(earlier)
    assert "earlier rules" not in markdown(results)
