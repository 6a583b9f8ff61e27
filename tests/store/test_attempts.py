"""Tests of attempts: the first complete attempt becomes the unit, and no other process removes it."""

import os
import shutil
from pathlib import Path

import pytest
from finished_units import FIT_FACTS

from gahbench._util.files import StorageError
from gahbench.contracts.metrics import Scores
from gahbench.contracts.unit import Unit
from gahbench.store.attempts import publish
from gahbench.store.finished import write_scores
from gahbench.store.store import Store


def unit(kind="fit"):
    metric = "psnr" if kind == "score" else None
    return Unit(kind, "k1", "d", "e", "architecture", 0, None, metric, None, 0.0, {})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def write_checkpoint(attempt, text, step=5):
    """Write a checkpoint as fits do: under a temporary name, which is then renamed."""
    file = attempt.folder / "other"
    file.write_text(text)
    return file.replace(attempt.folder / f"checkpoint-{step}.pt")


def test_the_first_complete_attempt_becomes_the_unit(store):
    first, second = store.begin(unit("score")), store.begin(unit("score"))
    write_scores(first.folder, Scores([1.0]))
    write_scores(second.folder, Scores([2.0]))
    assert first.finish({"kind": "classical"}, keep=("scores.csv",))
    assert not second.finish({"kind": "classical"}, keep=("scores.csv",))
    assert store.read_scores(unit("score")) == [(None, None, 1.0, "")]
    assert [file.name for file in store.units.iterdir()] == [unit("score").folder]


def test_a_fit_resumes_from_the_newest_checkpoints_of_any_attempt(store):
    for number, when in ((1, 100.0), (3, 300.0), (2, 200.0)):
        attempt = store.begin(unit())
        for step in (5, 10):
            os.utime(write_checkpoint(attempt, f"{number} at {step}", step), (when, when))
    # The process that wrote this file was killed.
    (attempt.folder / ".checkpoint-15.pt.x.tmp").write_text("half")
    # A link is not copied, since it may lead outside the folder.
    (attempt.folder / "checkpoint-20.pt").symlink_to("checkpoint-10.pt")
    last = store.begin(unit())
    copied = {file.name: file.read_text() for file in last.folder.iterdir()}
    assert copied == {"checkpoint-5.pt": "3 at 5", "checkpoint-10.pt": "3 at 10"}
    assert store.checkpoint_time(unit().folder) == 300.0
    last.finish({}, keep=())
    store.sweep()
    assert [file.name for file in store.units.iterdir()] == [unit().folder]


def test_a_unit_cannot_be_finished_without_its_files(store):
    attempt = store.begin(unit())
    (attempt.folder / "weights.safetensors").write_text("weights")
    with pytest.raises(StorageError, match="snapshot-10"):
        attempt.finish({}, keep=("weights.safetensors", "snapshot-10.safetensors"))
    assert not store.undamaged([unit()])


def test_a_later_attempt_does_not_change_files_of_a_finished_unit(store):
    """Files of a finished unit may be hard links to files of an attempt, which must not be changed in place."""
    first = store.begin(unit())
    (first.folder / "history.csv").write_text("first")
    (first.folder / "weights.safetensors").write_text("trained")
    (first.folder / "snapshot-5.safetensors").write_text("weights")
    write_checkpoint(first, "1")
    second = store.begin(unit())
    assert {file.name for file in second.folder.iterdir()} == {"checkpoint-5.pt", "snapshot-5.safetensors"}
    first.finish(FIT_FACTS, keep=("weights.safetensors", "history.csv"))
    (second.folder / "history.csv").write_text("another")
    store.verify(store.path(unit()))


def test_a_new_attempt_deletes_all_but_the_newest_earlier_attempt(store):
    for number in range(5):
        write_checkpoint(store.begin(unit()), str(number))
    assert len(list(store.units.iterdir())) <= 2


@pytest.mark.parametrize("has_links", [True, False])
def test_an_earlier_attempt_does_not_change_checkpoints_that_were_taken_over(store, monkeypatch, has_links):
    def refuse(*names):
        raise PermissionError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    old = store.begin(unit())
    write_checkpoint(old, "1")
    new = store.begin(unit())
    write_checkpoint(old, "2")
    assert (new.folder / "checkpoint-5.pt").read_text() == "1"


def test_publish_raises_if_the_attempt_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "none", tmp_path / "final")


def write_attempt(folder, text):
    folder.mkdir()
    (folder / "done.json").write_text(text)
    return folder


def test_publish_accepts_a_rename_that_the_file_system_repeats(tmp_path, monkeypatch):
    """A network file system may lose its reply and repeat the rename, which then finds nothing at the old name."""
    attempt, final = write_attempt(tmp_path / "unit.partial-1", "{}"), tmp_path / "unit"
    rename = Path.rename

    def rename_twice(path, target):
        rename(path, target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_twice)
    assert publish(attempt, final)
    assert (final / "done.json").read_text() == "{}"


def test_publish_detects_that_another_process_removed_the_attempt(tmp_path, monkeypatch):
    attempt, final = write_attempt(tmp_path / "unit.partial-1", "{}"), tmp_path / "unit"

    def remove_and_fail(path, target):
        shutil.rmtree(path)
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "rename", remove_and_fail)
    with pytest.raises(FileNotFoundError):
        publish(attempt, final)
    write_attempt(attempt, "{}")
    write_attempt(final, "[]")
    assert not publish(attempt, final)


def test_sweep_removes_attempts_at_finished_units_only(store):
    late, other = store.begin(unit()), store.begin(unit("score"))
    store.begin(unit()).finish({}, keep=())
    late.folder.mkdir(exist_ok=True)
    store.sweep()
    assert sorted(file.name for file in store.units.iterdir()) == sorted([unit().folder, other.folder.name])
