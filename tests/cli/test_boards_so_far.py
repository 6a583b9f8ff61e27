"""The board of a folder in which units are still to be done."""

import pytest

import gahbench
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")


def test_the_board_shows_what_is_scored_so_far_and_says_how_much_is_left(write_suite, tmp_path, command):
    out, call = tmp_path / "out", command("leaderboard")
    assert command("plan")(write_suite(), "--out", out)[0] == 0
    status, printed, errors = call(out)
    assert (status, printed) == (0, "")
    assert errors.startswith(f"{out}: nothing is scored yet, 7 units left; 'gahbench status {out}'")
    gahbench.run(write_suite(), out, engine="inline")
    whole = call(out)
    assert "left" not in whole[2]
    store = Store(out)
    (fit,) = [unit for unit in store.recorded_units() if unit.kind == "fit"]
    scores = [unit.folder for unit in store.recorded_units() if fit.key in unit.needs]
    store.move_away([fit.folder, *scores], "replaced")
    before = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    status, printed, errors = call(out)
    assert errors.startswith(f"{out}: the board so far, 3 units left")
    assert next(line for line in whole[1].splitlines() if line.startswith("| –    | oracle")).split("|")[4] in printed
    assert "`unet[width=2,levels=1]`: fit not run yet" in printed
    filtered = call(out, "-e", "identity", "--columns", "psnr")
    assert filtered[1].count("15.") == 1
    assert "the board so far, 3 units left" in filtered[2]
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == before
