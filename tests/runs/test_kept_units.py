"""Tests of the units that a results folder keeps when a new plan is recorded in it."""

import pytest
from tiny_runs import UNET, board, run, run_and_list, run_for_fixture

import gahbench
from gahbench.runs.removal import remove
from gahbench.store.plan_file import require_plan

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered", "rows_not_audited")

TWO = """
name: two
datasets: ["discs[size=16]", "c-alpha[size=16]"]
entrants:
  - unet: {width: 2, levels: 1}
  - identity
  - gaussian-blur
baseline: identity
training: {steps: 2, batch_size: 2, compile: never, validations: 1, validation_images: 2}
scoring: {sigmas: [0.1, 0.3], images: 2, metrics: [psnr, ssim]}
"""


@pytest.fixture(scope="module")
def two(build_once):
    """A suite of two datasets, and the results folder of its run with an added entrant and an added seed."""

    def fill(home):
        (home / "two.yaml").write_text(TWO)
        run_for_fixture(home / "two.yaml", home / "out", entrants=["wiener-linear"], settings=["seeds=[0, 1]"])

    home = build_once("two", fill)
    return home / "two.yaml", home / "out"


@pytest.mark.parametrize(
    "part",
    [
        {"datasets": ["discs"], "metrics": ["psnr"]},
        {"settings": ["seeds=[1]"]},
        {"datasets": ["c-alpha"], "only": ["gaussian-blur"], "settings": ["seeds=[0]"]},
        {},
    ],
)
def test_a_run_of_a_part_of_a_suite_keeps_the_rest_of_the_board(two, part):
    suite, out = two
    before, changes = board(gahbench.load_results(out)), require_plan(out).changes
    after, done = run_and_list(suite, out, **part)
    assert done == []
    assert board(after).equals(before)
    assert set(after.results.entrants) == {UNET, "identity", "gaussian-blur", "wiener-linear"}
    assert sorted(after.results.fits["seed"].unique()) == [0, 1]
    assert (after.dropped, after.stale, after.left_out, after.unfinished) == ((), (), (), ())
    assert {option for option in changes if "seeds" not in option} == set(require_plan(out).changes) - {
        "--set seeds=[0, 1]"
    }


def test_an_added_entrant_keeps_its_seeds_when_it_is_added_with_one_seed_again(write_suite, tmp_path):
    suite, out, added = write_suite(text=TWO), tmp_path / "out", "bf-cnn[width=2,layers=3]"
    run(suite, out, entrants=[added], seeds=[0, 1])
    run(suite, out, entrants=[added], seeds=[1])
    after = run(suite, out, datasets=["discs"], seeds=[2])
    assert after.dropped == ()
    fits = after.results.fits
    assert sorted(fits[fits["entrant"] == added]["seed"].unique()) == [0, 1]


def test_runs_of_parts_add_up_and_a_run_of_the_whole_suite_computes_the_remaining_units(write_suite, tmp_path):
    suite, out = write_suite(text=TWO), tmp_path / "out"
    run(suite, out, datasets=["discs"], only=["gaussian-blur"])
    assert require_plan(out).changes == ("--only gaussian-blur", "--dataset discs")
    grown = run(suite, out, datasets=["c-alpha"], metrics=["psnr"])
    assert len(grown.leaderboard()) == 2 + 3
    assert require_plan(out).changes == ("--dataset discs", "--dataset c-alpha")
    assert board(run(suite, out)).equals(board(run(suite, tmp_path / "whole")))
    assert require_plan(out).changes == ()


def test_rows_with_other_settings_are_not_shown_after_a_run_of_a_part(write_suite, out, command):
    arguments = ("--only", "identity", "--set", "training.steps=3", "--engine", "inline[trusted=true]")
    status, printed, errors = command("run")(write_suite(), "--out", out, *arguments)
    assert status == 0
    assert f"not shown, since run with other code or settings: {UNET}; run the whole suite" in errors
    assert "identity" in printed
    assert UNET not in printed


def test_labels_that_were_removed_from_the_suite_are_listed(write_suite, tmp_path, command):
    out = tmp_path / "out"
    before = board(run(write_suite(text=TWO), out, settings=["seeds=[0]"]))
    changes = [
        (', "c-alpha[size=16]"', ""),
        ("  - gaussian-blur\n", ""),
        (", ssim", ""),
        ("baseline:", "seeds: [1]\nbaseline:"),
    ]
    status, printed, errors = command("run")(
        write_suite(*changes, text=TWO), "--out", out, "--engine", "inline[trusted=true]"
    )
    assert status == 0
    dropped = "seed 0, metric ssim, entrant gaussian-blur, dataset c-alpha[alpha=2,size=16]"
    (line,) = [line for line in errors.splitlines() if "no longer shown" in line]
    assert sorted(line.split(": ")[1].split("; ")[0].split(", ")) == sorted(dropped.split(", "))
    assert "gaussian-blur" not in printed
    again, done = run_and_list(write_suite(text=TWO), out)
    assert board(again).equals(before)
    assert done == []


def test_a_failed_added_entrant_stays_until_it_is_removed(write_suite, write_plugin, tmp_path, command):
    suite, out = write_suite(("  - unet: {width: 2, levels: 1}\n", "")), tmp_path / "out"
    luck = tmp_path / "luck"
    fails = f"if len(noisy) > 3 and not os.path.exists({str(luck)!r}): raise RuntimeError('no luck')"
    plugin = write_plugin("unlucky", f"{fails}\nreturn noisy - self.noise(noisy)")
    assert run(suite, out, entrants=["unlucky"], plugins=[plugin]).failed == 3
    status, printed, errors = command("run")(suite, "--out", out, "--engine", "inline")
    assert status == 0
    assert "- Unlucky: fit failed: RuntimeError: no luck" in printed
    assert "added by an earlier run, but not finished: unlucky; add them again with --entrant" in errors
    # The plan still names the plugin file, for other workers.
    assert [file.split("/")[-1] for file in require_plan(out).plugins] == ["unlucky.py"]
    assert "RuntimeError: no luck" in command("why")(out, "unlucky")[1]
    # The failed unit is tried again.
    luck.touch()
    mended = run(suite, out, entrants=["unlucky"], plugins=[plugin])
    assert (mended.done, mended.failed, mended.unfinished) == (7, 0, ())
    assert list((out / "failures").iterdir()) == []
    assert "no luck" not in str(mended.leaderboard(full=True)["note"].tolist())
    remove(out, ["unlucky"])
    assert require_plan(out).changes == ()
    assert "unlucky" not in run(suite, out).results.entrants


def test_the_plan_of_a_board_is_replaced_only_on_request(write_suite, out, command):
    call = command("plan")
    before = (out / "plan.json").read_bytes()
    # Nothing would change.
    assert call(write_suite(), "--out", out)[0] == 0
    assert call(write_suite(), "--out", out, "--only", "identity")[0] == 0
    grown = write_suite(("images: 3", "images: 4"))
    status, _, errors = call(grown, "--out", out)
    assert (status, "--replace" in errors, "holds a board" in errors) == (2, True, True)
    assert (out / "plan.json").read_bytes() == before
    assert call(grown, "--out", out, "--replace")[0] == 0
    assert (out / "plan.json").read_bytes() != before
    assert call(grown, "--replace")[0] == 2
