"""``gahbench leaderboard`` on a folder with unfinished units."""

import shutil

import pytest

import gahbench
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry
from gahbench.store.plan_file import record_plan, require_plan
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


def test_leaderboard_shows_finished_scores_and_the_number_of_unfinished_units(write_suite, tmp_path, command):
    out, call = tmp_path / "out", command("leaderboard")
    registry = Registry()
    record_plan(out, make_plan(load_suite(write_suite(), registry)), registry.files)
    assert "0 of 7 units done" in command("status")(out)[1]
    status, printed, errors = call(out)
    assert (status, printed) == (0, "")
    assert errors.startswith(f"{out}: no scores yet, 7 units left; see 'gahbench status {out}'")
    gahbench.run(write_suite(), out, engine="inline")
    complete = call(out)
    assert "units left" not in complete[2]
    store = Store(out)
    fit, *others = require_plan(out).units
    for unit in (fit, *(unit for unit in others if fit.key in unit.needs)):
        shutil.rmtree(store.path(unit))
    # While a run is at work, the board is not written.
    with store.lock():
        modified_times = {file: file.stat().st_mtime_ns for file in out.glob("[!.]*")}
        status, printed, errors = call(out)
        filtered = call(out, "-e", "identity", "--columns", "psnr")
        assert {file: file.stat().st_mtime_ns for file in out.glob("[!.]*")} == modified_times
    assert errors.startswith(f"{out}: the board so far, 3 units left")
    assert (
        next(line for line in complete[1].splitlines() if line.startswith("| –    | Oracle")).split("|")[4] in printed
    )
    assert "- U-Net: fit not run yet" in printed
    assert filtered[1].count("15.") == 1
    assert "the board so far, 3 units left" in filtered[2]
    assert call(out)[1:] == (printed, errors)
    assert "- U-Net: fit not run yet" in (out / "leaderboard.md").read_text(encoding="utf-8")
