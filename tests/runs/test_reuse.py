"""Units of other results folders, taken instead of being done again; and units that are done again on request."""

import shutil

import pytest
from finished_units import forge_done
from other_machine import measure_otherwise, train_otherwise
from tiny_runs import UNET, board, run_and_list, units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered", "rows_not_audited")

OTHER_LEVELS = ("sigmas: [0.1, 0.3]", "sigmas: [0.1, 0.2]")


def test_what_another_folder_holds_is_not_done_again(write_suite, out, tmp_path):
    first = gahbench.load_results(out)
    grown = write_suite(("name: tiny", "name: other"), ("entrants:\n", "entrants:\n  - bayes-shrink\n"))
    outcome, done = run_and_list(grown, tmp_path / "new", reuse=[out])
    assert {unit.entrant for unit in done} == {"bayes-shrink[sym4]"}
    assert len(outcome.reused.taken) == 7
    assert outcome.reused.damaged == outcome.reused.other_weights == ()
    both = board(outcome).set_index("entrant")["psnr"], board(first).set_index("entrant")["psnr"]
    assert both[0][both[1].index].equals(both[1])
    # What was taken stays when the other folder goes.
    for file in (out / "units").rglob("*.*"):
        file.unlink()
    assert run_and_list(grown, tmp_path / "new")[1] == []


def test_adopted_units_keep_their_record(write_suite, out, tmp_path):
    history = [{"from": "earlier", "differs": ["metric.source"]}]
    for folder in (out / "units").glob("score-*"):
        forge_done(folder, adopted=history)
    outcome, _ = run_and_list(write_suite(), tmp_path / "new", reuse=[out])
    assert all("adopted" in note for note in outcome.leaderboard(full=True)["note"])


def test_damaged_units_are_left_and_the_next_folder_is_tried(write_suite, tiny_run, out, tmp_path):
    (fit,) = units_of(out, kind="fit")
    (Store(out).path(fit) / "weights.safetensors").write_bytes(b"")
    outcome, done = run_and_list(write_suite(), tmp_path / "one", reuse=[out])
    assert outcome.reused.damaged == (Store(out).path(fit),)
    # Whether the scores measured what is trained now was not certain.
    assert {unit.entrant for unit in done} == {unit.entrant for unit in outcome.reused.other_weights} == {UNET}
    outcome, done = run_and_list(write_suite(), tmp_path / "two", reuse=[out, tiny_run])
    assert (outcome.reused.damaged, done) == ((Store(out).path(fit),), [])


def test_a_folder_that_cannot_be_written_is_not_a_damaged_source(write_suite, tiny_run, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("gahbench.runs.reuse.link_or_copy", full)
    with pytest.raises(OSError, match=r"No space left on device: .*/out/units/"):
        run_and_list(write_suite(), tmp_path / "out", reuse=[tiny_run])
    assert Store(tmp_path / "out").finished() == set()
    assert list((tmp_path / "out" / "units").iterdir()) == []


def test_scores_of_other_weights_are_left(write_suite, out, tmp_path):
    first = gahbench.load_results(out)
    train_otherwise(out)
    # This folder has a network of the same key, and no scores of it.
    run_and_list(write_suite(OTHER_LEVELS), tmp_path / "new")
    outcome, done = run_and_list(write_suite(), tmp_path / "new", reuse=[out])
    assert {(unit.kind, unit.entrant) for unit in done} == {("score", UNET)}
    assert len(outcome.reused.other_weights) == len(done) == 2
    assert len(outcome.reused.taken) == 4
    assert board(outcome).equals(board(first))


def test_a_network_is_taken_with_the_scores_that_measured_it(write_suite, tiny_run, out, tmp_path):
    train_otherwise(out)
    _, done = run_and_list(write_suite(), tmp_path / "new", reuse=[out, tiny_run])
    assert done == []
    new, first, second = (Store(folder) for folder in (tmp_path / "new", out, tiny_run))
    for unit in units_of(new.folder, kind="score", entrant=UNET):
        assert new.read_scores(unit) == first.read_scores(unit) != second.read_scores(unit)


def test_a_network_that_scores_here_did_not_measure_is_left(write_suite, tiny_run, out, tmp_path):
    other = shutil.copytree(tiny_run, tmp_path / "other")
    train_otherwise(other)
    (fit,) = units_of(out, kind="fit")
    # By hand: a run would set the scores aside with it.
    shutil.rmtree(Store(out).path(fit))
    outcome, done = run_and_list(write_suite(), out, reuse=[other])
    assert [unit.key for unit in outcome.reused.other_weights] == [unit.key for unit in done] == [fit.key]


@pytest.mark.parametrize(("source", "text"), [("out", "is the results folder itself"), ("none", "holds no units")])
def test_folders_that_hold_nothing_for_it_are_refused(write_suite, out, tmp_path, source, text):
    with pytest.raises(ResultsError, match=text):
        run_and_list(write_suite(), out, reuse=[tmp_path / source])


def test_an_entrant_is_done_again_and_its_board_is_new(write_suite, out):
    first = board(gahbench.load_results(out))
    train_otherwise(out)
    (changed,) = units_of(out, entrant="identity", metric="psnr")
    measure_otherwise(Store(out).path(changed))
    other, done = run_and_list(write_suite(), out)
    assert done == []
    assert not board(other).equals(first)
    outcome, done = run_and_list(write_suite(), out, again=[UNET])
    assert sorted((unit.kind, unit.entrant) for unit in done) == [("fit", UNET), *[("score", UNET)] * 2]
    assert len(list((out / "replaced").iterdir())) == 3
    before, after = (one.set_index("entrant") for one in (first, board(outcome)))
    assert after.loc[UNET].equals(before.loc[UNET])
    assert after.loc["identity", "psnr"] != before.loc["identity", "psnr"]
    # Once is enough.
    assert run_and_list(write_suite(), out)[1] == []


def test_scores_of_replaced_networks_go_too_and_no_checkpoint_is_gone_on_from(write_suite, out):
    (fit,) = units_of(out, kind="fit")
    attempt = Store(out).begin(fit)
    (attempt.folder / "checkpoint-5.pt").write_bytes(b"rubbish")
    # The scores that the suite asks for now, and others that are there of the same network.
    _, done = run_and_list(write_suite(OTHER_LEVELS), out, again=[UNET])
    assert {unit.metric for unit in done if unit.entrant == UNET} == {None, "psnr", "slope"}
    assert {tuple(unit.payload["sigmas"]) for unit in units_of(out, kind="score", entrant=UNET)} == {(0.1, 0.2)}
    _, done = run_and_list(write_suite(), out)
    assert {(unit.entrant, unit.metric) for unit in done} == {(UNET, "psnr"), (UNET, "slope")}
