"""Tests of removing entrants, claiming units for changes, and finding the files of networks."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from tiny_runs import UNET, board, entrants, run, units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.runs import adoption, removal
from gahbench.runs.adoption import adopt
from gahbench.runs.removal import claim_all, remove, select_rows, weights
from gahbench.store.leases import Leases
from gahbench.store.plan_file import require_plan, write_plan
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered", "rows_not_audited")


def contents(folder):
    """Return the content of each file of a folder, except leases."""
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.parent.name != "leases"}


def test_removing_an_entrant_deletes_its_units_failures_and_attempts(write_suite, out, tmp_path):
    run(write_suite(("sigmas: [0.1, 0.3]", "sigmas: [0.1, 0.2]")), out)
    run(write_suite(), out, again=[UNET])
    store = Store(out)
    (fit,) = units_of(out, kind="fit")
    store.begin(fit)
    store.fail(fit, "no", "")
    removed = remove(out, [UNET])
    assert (removed.rows, removed.units, removed.kept) == ((UNET,), 3, 0)
    assert not any(fit.key in str(path) for path in out.rglob("*"))
    assert list((out / "replaced").iterdir()) == []
    assert {unit.entrant for unit in store.recorded_units()} == {"identity", "oracle-threshold[haar]"}
    assert UNET not in (out / "plan.json").read_text()
    without = run(write_suite(("  - unet: {width: 2, levels: 1}\n", "")), tmp_path / "without")
    assert board(gahbench.load_results(out)).equals(board(without))
    # The next run of the suite plans entrants of its file again.
    assert UNET in entrants(run(write_suite(), out))


def test_removing_an_entrant_deletes_units_recorded_under_an_earlier_label(write_suite, tmp_path):
    out = tmp_path / "out"
    for label in ("before", "now"):
        run(write_suite(("levels: 1}", f"levels: 1, label: {label}}}")), out)
    removed = remove(out, ["now"])
    assert (removed.rows, removed.units, removed.kept) == (("now",), 3, 0)
    assert not list((out / "units").glob("fit-*"))


def test_units_that_another_entrant_needs_are_kept(write_suite, out, tmp_path):
    """Two entrants with the same weights share their units."""
    (trained,) = weights(out, UNET)
    names = [f"unet[width=2,levels=1,checkpoint={tmp_path}/{name}.safetensors]" for name in ("one", "two")]
    for name in ("one", "two"):
        shutil.copy(trained.weights, tmp_path / f"{name}.safetensors")
    before = entrants(run(write_suite(), out, entrants=names))
    first_label, second_label = (next(label for label in before if name in label) for name in ("one", "two"))
    removed = remove(out, [first_label])
    assert (removed.units, removed.kept) == (0, 2)
    after = gahbench.load_results(out).leaderboard(full=True).set_index("entrant")
    assert first_label not in after.index
    assert after.loc[second_label, "psnr"] == after.loc[UNET, "psnr"]
    assert remove(out, [second_label]).units == 2
    # An added entrant is not planned again by the next run.
    assert second_label not in entrants(run(write_suite(), out))


def test_a_partly_deleted_unit_does_not_count_as_finished(out, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda folder, **options: (folder / "done.json").unlink())
    assert remove(out, [UNET]).units == 3
    assert {unit.entrant for unit in Store(out).recorded_units()} == {"identity", "oracle-threshold[haar]"}
    assert len(Store(out).finished()) == 4


def test_a_row_of_a_sweep_or_all_rows_of_an_entrant_can_be_removed(write_suite, tmp_path):
    out = tmp_path / "out"
    run(write_suite(("training: {", "training: {train_images: [2, 4], ")), out)
    assert remove(out, [f"{UNET} N=2"]).rows == (f"{UNET} N=2",)
    assert f"{UNET} N=4" in entrants(gahbench.load_results(out))
    assert remove(out, [UNET, "identity"]).rows == ("identity", f"{UNET} N=4")
    assert entrants(gahbench.load_results(out)) == {"oracle-threshold[haar]"}


@pytest.mark.parametrize("name", ["unet", "un*", "unet[width=*"])
def test_rows_are_selected_by_names_and_patterns(name):
    rows = ["unet", f"{UNET} N=2", f"{UNET} N=4", "identity"]
    assert select_rows([name], rows[1:], "here") == set(rows[1:3])
    # A string that is a label is not also used as a name or pattern.
    assert select_rows(["unet"], rows, "here") == {"unet"}
    with pytest.raises(ResultsError, match=r"here: no entrant 'vit\*'; accepted:"):
        select_rows(["vit*"], rows, "here")


def test_invalid_removals_are_refused(out):
    before = contents(out)
    for names, text in (
        (["identitty"], r"no entrant 'identitty'; did you mean 'identity'\?; accepted: unet\["),
        (["oracle-threshold[haar]"], "is the baseline"),
    ):
        with pytest.raises(ResultsError, match=text):
            remove(out, names)
    leases = Leases(out / "leases")
    (score,) = units_of(out, entrant="identity", metric="psnr")
    leases.take(score.folder)
    with pytest.raises(ResultsError, match=r"'score identity on discs\[size=16\] psnr on test' is being run on"):
        remove(out, ["identity"])
    leases.close()
    assert contents(out) == before
    plan = require_plan(out)
    write_plan(out, replace(plan, board={**plan.board, "baseline": None}))
    with pytest.raises(ResultsError, match="no entrant would be left"):
        remove(out, entrants(gahbench.load_results(out)))


def test_folders_without_units_are_not_changed(out, tmp_path):
    shutil.rmtree(out / "units")
    before = contents(tmp_path)
    for folder, text in ((out, "holds no units"), ("typo", r"no plan\.json"), (tmp_path, "not a results folder")):
        with pytest.raises(ResultsError, match=text):
            remove(folder, ["identity"])
    assert contents(tmp_path) == before


def test_weights_returns_the_files_of_finished_fits(write_suite, tmp_path):
    out = tmp_path / "out"
    suite = write_suite(("training: {", "seeds: [0, 3]\ntraining: {snapshots: 3, "))
    run(suite, out)
    fits = weights(out, UNET)
    assert [(fit.dataset, fit.entrant, fit.seed, fit.split) for fit in fits] == [
        ("discs[size=16]", UNET, seed, None) for seed in (0, 3)
    ]
    for fit in fits:
        assert fit.history.read_text().startswith("step")
        assert list(fit.snapshots) == sorted(fit.snapshots)
        assert all(path.is_file() for path in (fit.weights, *fit.snapshots.values()))
    with pytest.raises(ResultsError, match=r"trained entrants: no entrant 'identity'; accepted: unet"):
        weights(out, "identity")
    # A damaged fit is left out.
    (out / "units" / fits[0].weights.parent.name / "done.json").unlink()
    with pytest.warns(UserWarning, match="1 finished unit was damaged, and left out here"):
        assert [fit.seed for fit in weights(out, UNET)] == [3]


def test_the_commands_print_their_outcome_and_the_board(write_suite, tiny_run, command, tmp_path):
    suite, first, out = write_suite(), tiny_run, tmp_path / "new"

    def call(name, *arguments):
        status, printed, errors = command(name)(*arguments)
        assert status == 0, errors
        return printed, errors

    printed, _ = call("plan", suite, "--out", out, "--reuse", first)
    assert "7 units taken from other folders, 1 fit among them" in printed
    assert "to do: 0 of 7 units" in printed
    _, errors = call("run", suite, "--out", out, "--engine", "inline", "--again", "identity")
    assert f"2 units moved to {out}/replaced, to be run again" in errors
    printed, errors = call("merge", first, out, "--out", tmp_path / "all")
    assert (f"{first}: 7 units taken" in errors, "identity" in printed) == (True, True)
    printed, errors = call("remove", tmp_path / "all", "-e", "identity")
    assert ("removed identity: 2 units" in errors, "identity" in printed) == (True, False)
    printed, _ = call("weights", out, "--entrant", UNET)
    dataset, seed, weights, history, label = printed.strip().split("\t")
    assert (dataset, seed, label) == ("discs[size=16]", "0", UNET)
    assert (weights.split("/")[-1], history.split("/")[-1]) == ("weights.safetensors", "history.csv")
    assert call("weights", out, "--entrant", "un*")[0] == printed
    (record,) = json.loads(call("weights", out, "-e", UNET, "--json")[0])
    assert (record["weights"], record["seed"], record["snapshots"]) == (weights, 0, {})
    assert command("plan")(suite, "--reuse", first)[0] == 2


def test_weights_are_found_without_torch(out, tmp_path):
    count = f"import sys; from gahbench.runs.removal import weights; print(len(weights('out', {UNET!r})))"
    code = f"{count}; print('torch' in sys.modules)"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert completed.stdout.split() == ["1", "False"], completed.stderr


@pytest.fixture
def claim_before(out, monkeypatch):
    """A function that makes another process try to claim units just before a call; returns its leases."""
    names = {unit.folder for unit in units_of(out, entrant=UNET)}
    claims = {}

    def patch(module, name):
        function = getattr(module, name)

        def claim_and_call(*arguments):
            worker = Leases(out / "leases")
            claims.update({unit: worker.take(unit) for unit in names})
            worker.close()
            return function(*arguments)

        monkeypatch.setattr(module, name, claim_and_call)
        return claims

    return patch


@pytest.mark.parametrize(
    ("module", "name", "change"),
    [
        (removal, "names_in", lambda suite, out: gahbench.run(suite, out, again=[UNET], engine="inline")),
        (removal, "write_plan", lambda suite, out: remove(out, [UNET])),
        (adoption, "_rewrite_plan", lambda suite, out: adopt(out)),
    ],
    ids=["again", "remove", "adopt"],
)
def test_no_worker_can_claim_units_that_are_being_moved(write_suite, out, claim_before, module, name, change):
    claims = claim_before(module, name)
    change(write_suite(), out)
    assert list(claims.values()) == [None] * 3
    assert list((out / "leases").iterdir()) == []


def test_adoption_is_refused_while_a_unit_is_running(out):
    leases = Leases(out / "leases")
    (score,) = units_of(out, entrant=UNET, metric="psnr")
    leases.take(score.folder)
    with pytest.raises(ResultsError, match=r"is being run on .*, process [0-9]+; wait for it, or stop it"):
        adopt(out)
    # Claims of other units are released again.
    assert [path.name for path in (out / "leases").iterdir()] == [score.folder]
    leases.close()


def test_stale_claims_are_taken_over(out):
    store = Store(out)
    unit, *_ = store.recorded_units()
    leases = Leases(out / "leases")
    leases.lose(leases.take(unit.folder), "its process died")
    with claim_all([unit], store):
        assert not leases.inspect(unit.folder).is_stale
    assert leases.names() == set()
