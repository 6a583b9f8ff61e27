"""Tests of the store: values are read back exactly, and the folder of a finished unit is validated before use."""

import errno
import fcntl
import hashlib
import json
import os
from pathlib import Path

import pytest
from finished_units import FIT_FACTS, forge_done

from gahbench._util.errors import ResultsError
from gahbench._util.keys import key_of
from gahbench._util.sealed import MAX_RECORD
from gahbench.contracts.metrics import Scores
from gahbench.contracts.unit import Unit
from gahbench.store.finished import DamagedError, warn_of_damage, write_scores
from gahbench.store.store import BusyError, Store, UnwritableError

FIT = Unit("fit", "f", "d", "e", "architecture", 0, None, None, None, 0.0, {})


def score(entrant="e"):
    document = {"entrant": entrant, "sigmas": [0.1]}
    fields = ("reference", None, "test", "psnr", None, 0.0, {})
    return Unit("score", key_of(document), "d", entrant, *fields, document=document)


def score_of_fit(key):
    return Unit("score", key, "d", "e", "architecture", 0, "test", "psnr", FIT.key, 0.0, {})


def finish(store, unit, scores=None, **facts):
    attempt = store.begin(unit)
    write_scores(attempt.folder, scores or Scores([1.0, 2.0], [0.1, 0.1], [0, 1]))
    return attempt.finish({"kind": "classical", "seconds": 1.0, **facts}, keep=("scores.csv",))


def finish_fit(store, content=b"weights"):
    attempt = store.begin(FIT)
    (attempt.folder / "weights.safetensors").write_bytes(content)
    attempt.finish(FIT_FACTS, keep=("weights.safetensors",))
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    finish(store, score())
    return store


def reason_for_damage(store, unit):
    """Return why a unit is damaged, after checking that it is moved away and can be recomputed."""
    examination = store.examine([unit])
    assert examination.undamaged == {}
    (reason,) = examination.damaged.values()
    with pytest.raises(DamagedError):
        store.read_scores(unit)
    assert set(store.move_damaged([unit, unit])) == {unit}
    assert store.finished() == set()
    assert finish(store, unit)
    assert store.undamaged([unit])
    assert store.move_damaged([unit]) == {}
    return reason


def test_a_unit_is_done_only_once_its_attempt_is_finished(tmp_path):
    store = Store(tmp_path)
    assert not store.undamaged([score()])
    attempt = store.begin(score())
    write_scores(attempt.folder, Scores([1.0]))
    (attempt.folder / "more.txt").write_text("x")
    assert not store.undamaged([score()])
    assert attempt.finish({"kind": "classical"}, keep=("scores.csv",))
    assert store.undamaged([score()])
    store.begin(score())
    store.sweep()
    assert {file.name for file in store.units.iterdir()} == {score().folder}
    assert {file.name for file in store.path(score()).iterdir()} == {"scores.csv", "unit.json", "done.json"}


@pytest.mark.parametrize(
    ("scores", "rows"),
    [
        (
            Scores([0.1 + 0.2, 1e-300, -5.0, 1 / 3], [0.1, 0.1, 0.3, 0.3], [0, 1, 0, 1]),
            [(0.1, 0, 0.1 + 0.2, ""), (0.1, 1, 1e-300, ""), (0.3, 0, -5.0, ""), (0.3, 1, 1 / 3, "")],
        ),
        (Scores([0.5]), [(None, None, 0.5, "")]),
        (Scores([0.5, 0.7], None, [0, 0], ["", "null"]), [(None, 0, 0.5, ""), (None, 0, 0.7, "null")]),
    ],
)
def test_scores_are_read_back_exactly(tmp_path, scores, rows):
    store = Store(tmp_path)
    finish(store, score(), scores)
    assert store.read_scores(score()) == rows


@pytest.mark.parametrize("content", ["a,b\n1,2\n", f"sigma,image,value,part\n,,1,{'x' * 140_000}\n", "", "\n"])
def test_files_that_are_not_score_tables_are_refused(store, content):
    (store.path(score()) / "scores.csv").write_text(content)
    forge_done(store.path(score()), "scores.csv")
    with pytest.raises(ResultsError, match=r"scores\.csv: cannot be read"):
        store.read_scores(score())


def test_a_change_that_keeps_the_file_size_is_detected(store):
    store.verify(store.path(score()))
    file = store.path(score()) / "scores.csv"
    file.write_text(file.read_text().replace("2.0", "3.0"))
    assert "scores.csv: damaged, its checksum" in reason_for_damage(store, score())


def test_a_changed_done_record_is_detected(store):
    file = store.path(score()) / "done.json"
    file.write_text(file.read_text().replace('"classical"', '"trained"'))
    assert "done.json: its checksum does not match its content" in reason_for_damage(store, score())


def test_units_whose_folders_were_swapped_are_damaged(store):
    first, second = store.path(score("a")), store.path(score("b"))
    finish(store, score("a"))
    finish(store, score("b"))
    first.rename(first.with_name("aside"))
    second.rename(first)
    first.with_name("aside").rename(second)
    assert set(store.examine([score("a"), score("b")]).damaged) == {first.name, second.name}
    assert set(store.move_damaged([score("a"), score("b")])) == {score("a"), score("b")}


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"\\ud800"', "[" * 100_000, '{"files": []}', "9" * 5000])
@pytest.mark.parametrize("name", ["done.json", "unit.json"])
def test_invalid_records_are_damaged(store, name, content):
    folder = store.path(score())
    (folder / name).write_text(content)
    if name == "unit.json":
        forge_done(folder, name)
    assert name in reason_for_damage(store, score())


@pytest.mark.parametrize(
    "files",
    [{"../x": {"bytes": 1, "sha256": "0" * 64}}, {"unit.json": {"bytes": 1, "sha256": None}}, {}],
    ids=repr,
)
def test_invalid_names_and_checksums_of_files_are_damaged(store, files):
    forge_done(store.path(score()), files=files)
    assert ".json" in reason_for_damage(store, score())


def test_a_huge_record_is_damaged(store):
    with (store.path(score()) / "done.json").open("ab") as file:
        file.truncate(MAX_RECORD + 1)
    assert "accepted: up to" in reason_for_damage(store, score())


@pytest.mark.parametrize("name", ["done.json", "unit.json", "scores.csv"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "loop", "gone"])
def test_a_path_that_is_not_a_regular_file_is_damaged_and_does_not_block(store, name, kind):
    file, elsewhere = store.path(score()) / name, store.folder / "elsewhere"
    file.rename(elsewhere)
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind != "gone":
        file.symlink_to(elsewhere if kind == "link" else name)
    assert name in reason_for_damage(store, score())


def test_entries_that_are_not_unit_folders_are_damaged(store):
    (store.units / "score-file").write_text("x")
    (store.units / "score-folder").mkdir()
    os.mkfifo(store.units / "score-fifo")
    units = [score_of_fit(key) for key in ("file", "folder", "fifo")]
    assert set(store.move_damaged(units)) == set(units)
    assert len(list((store.folder / "damaged").iterdir())) == 3
    (store.folder / "other").mkdir()
    (store.folder / "other" / "units").touch()
    with pytest.raises(ResultsError, match="is a file"):
        Store(store.folder / "other").finished()


def test_weights_are_hashed_if_a_pending_unit_measures_them(tmp_path):
    store = Store(tmp_path)
    finish_fit(store)
    (store.path(FIT) / "weights.safetensors").write_bytes(b"WEIGHTS")
    assert store.move_damaged([FIT]) == {}
    assert set(store.move_damaged([FIT, score_of_fit("s")])) == {FIT}


def test_a_score_counts_only_with_the_weights_that_it_measured(tmp_path):
    store = Store(tmp_path)
    digest = finish_fit(store)
    first, second = score_of_fit("s1"), score_of_fit("s2")
    finish(store, first, kind="trained", networks={FIT.key: digest})
    finish(store, second, kind="trained", networks={FIT.key: "0" * 64})
    assert store.undamaged([FIT, first, second]) == {FIT.folder, first.folder}
    assert list(store.move_damaged([FIT, first, second])) == [second]
    # The scores of a damaged network are moved away too, since the retrained weights may differ by rounding.
    (store.path(FIT) / "weights.safetensors").write_bytes(b"")
    assert set(store.move_damaged([FIT, first])) == {FIT, first}


def test_an_unreadable_file_does_not_cause_a_unit_to_be_recomputed(store, monkeypatch):
    real = Path.open

    def refuse(path, *arguments, **options):
        if path.name == "scores.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ResultsError, match="Permission denied"):
        store.move_damaged([score()])
    monkeypatch.undo()
    assert store.undamaged([score()])


def test_a_failure_record_is_deleted_once_the_unit_finishes(tmp_path):
    store = Store(tmp_path)
    store.fail(score(), "ValueError: no", "Traceback ...")
    assert store.failure(score()) == "ValueError: no"
    assert json.loads(next(store.failures.iterdir()).read_text())["traceback"] == "Traceback ..."
    assert not store.undamaged([score()])
    finish(store, score())
    assert store.failure(score()) is None
    # A finished unit is not recorded as failed.
    store.fail(score(), "lost", "")
    assert store.failed() == set()
    (store.failures / "fit-odd.json").write_text("[1]")
    assert store.failure_of("fit-odd") == "unknown"


def test_a_warning_of_damage_lists_five_units_at_most():
    with pytest.warns(UserWarning, match="^7 finished units were damaged, moved: 0; 1; 2; 3; 4; and 2 more$"):
        warn_of_damage(map(str, range(7)), "moved")


def test_one_run_or_shards_of_one_run_lock_a_folder(store):
    with store.lock():
        for shard in ("", "1/2"):
            with pytest.raises(BusyError, match=rf"\(host .*, process {os.getpid()}\)"), store.lock(shard):
                pass
    with store.lock("1/2"), store.lock("2/2"):
        for shard in ("", "2/2"):
            with pytest.raises(BusyError, match="another run is at work"), store.lock(shard):
                pass
    with store.lock():
        pass


def test_a_file_system_without_locks_can_be_used(store, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with store.lock(), store.lock():
        pass


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_a_lock_that_is_not_a_regular_file_is_refused(store, kind):
    (store.folder / "other").write_text("kept")
    if kind == "fifo":
        os.mkfifo(store.folder / ".lock")
    else:
        (store.folder / ".lock").symlink_to("other")
    with pytest.raises(UnwritableError, match="cannot be written as a results folder"), store.lock():
        pass
    assert (store.folder / "other").read_text() == "kept"
