"""When checkpoints are written, and how."""

import itertools

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gahbench._util.files import temporary_name
from gahbench.training import checkpoint, fitting
from gahbench.training.checkpoint import Pace, pause


@pytest.fixture(autouse=True)
def _pauses(monkeypatch):
    monkeypatch.setattr(checkpoint, "MIN_PAUSE", 5.0)


def writes(write_seconds, total, step=0.25):
    """Return when checkpoints of a fit begin, by a clock of its own, and which share earlier ones took until then."""
    now, begins, shares, written = 1000.0, [], [], 0.0
    pace = Pace(now)
    while now < 1000.0 + total:
        now += step
        if pace.due(now):
            seconds = write_seconds(len(begins))
            begins.append(now - 1000.0)
            shares.append(written / begins[-1])
            pace.wrote(now, now + seconds)
            now += seconds
            written += seconds
    return begins, shares


def test_quick_writes_are_five_seconds_apart():
    begins, _ = writes(lambda number: 0.01, 100)
    assert begins[0] == pytest.approx(5, abs=0.25)
    assert all(5 <= after - before <= 5.5 for before, after in itertools.pairwise(begins))


@pytest.mark.parametrize("seconds", [0.2, 1.0, 4.0, 20.0])
def test_writing_takes_at_most_two_per_cent(seconds):
    _, shares = writes(lambda number: seconds, 200 * 50 * seconds)
    assert max(shares) <= 0.02
    # And no less than it may.
    assert shares[-1] >= 0.95 * 0.02


def test_one_slow_write_does_not_keep_a_long_fit_from_the_next():
    begins, shares = writes(lambda number: 60.0 if number == 1000 else 0.01, 10_000)
    gap = begins[1001] - begins[1000]
    assert 60 + checkpoint.MAX_PAUSE <= gap <= 60 + checkpoint.MAX_PAUSE + 1
    assert max(shares) <= 0.02


def test_a_slow_write_at_the_start_is_paid_for_first():
    begins, _ = writes(lambda number: 60.0 if number == 0 else 0.01, 4000)
    # 60 s are 2 % of 3,000 s.
    assert begins[1] == pytest.approx(3000, abs=1)


def test_pauses():
    assert pause(0.0, 0.0, 100.0) == 5.0
    assert pause(1.0, 1.0, 100.0) == 50.0
    assert pause(10.0, 10.0, 100_000.0) == 300.0
    assert pause(10.0, 10.0, 100.0) == 400.0


def test_temporary_names_are_hidden_and_never_the_same(tmp_path):
    names = {temporary_name(tmp_path / "checkpoint.pt").name for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(".checkpoint.pt.") for name in names)


def refuse(*arguments, **options):
    raise OSError("no space")


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    checkpoint.write(path, {"step": 1})
    monkeypatch.setattr(checkpoint.os, "fsync", refuse)
    with pytest.raises(OSError, match="no space"):
        checkpoint.write(path, {"step": 2})
    assert checkpoint.read(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


# The words of torch's allocator on a processor.
NO_ROOM = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
)


@pytest.mark.parametrize("error", [OSError("input/output error"), MemoryError(), RuntimeError(NO_ROOM)])
def test_a_checkpoint_that_cannot_be_read_now_stays(tmp_path, monkeypatch, error):
    path = tmp_path / "checkpoint.pt"
    checkpoint.write(path, {"step": 1})

    def fail(*arguments, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "load", fail)
        with pytest.raises(MemoryError if isinstance(error, RuntimeError) else type(error)):
            checkpoint.read(path)
    assert checkpoint.read(path) == {"step": 1}


def test_weights_written_by_two_at_once_are_those_of_one(tmp_path, monkeypatch):
    """The second starts, and ends, while the first is about to rename: it must not take its file away."""
    import safetensors.torch

    path, ours, theirs = tmp_path / "weights.safetensors", nn.Linear(2, 2), nn.Linear(2, 2)
    save_file = safetensors.torch.save_file

    def save_while_another_does(state, file):
        save_file(state, file)
        monkeypatch.setattr(safetensors.torch, "save_file", save_file)
        fitting.save_weights(path, theirs)

    monkeypatch.setattr(safetensors.torch, "save_file", save_while_another_does)
    fitting.save_weights(path, ours)
    assert torch.equal(load_file(path)["weight"], ours.weight)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
