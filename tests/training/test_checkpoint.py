"""When checkpoints are written, and which of them a fit resumes from."""

import errno
import hashlib
import io
import itertools
import os
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_fits import kept_in, make, weights
from torch import nn

from gahbench._util.files import StorageError
from gahbench.training import checkpoint, fitting
from gahbench.training.checkpoint import Pace
from gahbench.training.file_names import checkpoints_in
from gahbench.training.trainer import Stopped


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


def names(folder):
    return [file.name for file in folder.iterdir()]


STATE = {"step": 10, "network": {"weight": torch.arange(4096.0)}, "history": [{"step": 10, "loss": 0.5}]}


def test_the_last_two_checkpoints_are_kept_and_the_last_is_read_as_it_was_written(tmp_path):
    kept, notes = kept_in(tmp_path / "fit"), []
    for step in (9, 10, 100, 101):
        kept.write({**STATE, "step": step})
    assert [path.name for _, path in checkpoints_in(tmp_path / "fit")] == ["checkpoint-101.pt", "checkpoint-100.pt"]
    assert len(names(tmp_path / "fit")) == 2
    state = kept_in(tmp_path / "fit", notes=notes).read()
    assert torch.equal(state["network"]["weight"], STATE["network"]["weight"])
    assert (state["step"], state["history"], notes) == (101, STATE["history"], [])


def test_one_flipped_bit_anywhere_is_noticed(tmp_path):
    """In the digest, the zip archive, the pickle, the numbers, and the padding between them."""
    kept_in(tmp_path / "fit").write(STATE)
    path = tmp_path / "fit" / "checkpoint-10.pt"
    content = path.read_bytes()
    path.unlink()
    for place in [*range(100), *range(100, len(content), 997), *range(len(content) - 100, len(content))]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        notes = []
        assert kept_in(tmp_path / "fit", notes=notes).read() is None, place
        assert not path.exists()
        assert len(notes) == 1
    assert "checkpoint-10.pt cannot be resumed from, as its content does not agree with its digest" in notes[0]
    assert "the fit starts again" in notes[0]
    (aside,) = (tmp_path / "damaged").iterdir()
    assert aside.read_bytes() == damaged
    assert notes[0].endswith(f"kept as {aside}")


def save(path, content):
    """Write content with a digest that agrees."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(f"{hashlib.sha256(buffer.getvalue()).hexdigest()}\n".encode() + buffer.getvalue())


def tampered(path, **fields):
    """Change fields of a checkpoint."""
    save(path, {**torch.load(io.BytesIO(path.read_bytes()[65:]), weights_only=True), **fields})


DAMAGES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "its content does not agree with its digest"),
    "empty": (lambda path: path.write_bytes(b""), "its content does not agree with its digest"),
    "another unit": (lambda path: tampered(path, key="k2"), "it belongs to the unit fit-k2, not to fit-k1"),
    "another step": (lambda path: tampered(path, step=19), "it holds the state after 19 steps, and its name says 20"),
    "another object": (lambda path: save(path, [1]), "it does not hold the state of a fit"),
    "snapshots": (lambda path: tampered(path, snapshots={"snapshot-8.safetensors": "0"}), "snapshot-8.safetensors, wh"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_as_it_says_is_set_aside_and_the_one_before_is_used(tmp_path, damage):
    notes, (inflict, reason) = [], DAMAGES[damage]
    kept = kept_in(tmp_path / "fit", notes=notes)
    for step in (10, 20):
        kept.write({**STATE, "step": step})
    inflict(tmp_path / "fit" / "checkpoint-20.pt")
    assert kept.read()["step"] == 10
    (note,) = notes
    assert f"checkpoint-20.pt cannot be resumed from, as {reason}" in note
    assert "the fit resumes from step 10" in note
    assert [path.name for path in (tmp_path / "damaged").iterdir()] == ["fit-k1.partial-checkpoint-20.pt"]
    assert [path.name for path in (tmp_path / "fit").iterdir()] == ["checkpoint-10.pt"]


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    """Not even where its digest agrees."""

    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    kept, notes = kept_in(tmp_path / "fit"), []
    kept.write({**STATE, "more": Payload()})
    assert kept_in(tmp_path / "fit", notes=notes).read() is None
    assert not (tmp_path / "ran").exists()
    assert "torch cannot read it" in notes[0]


def test_a_snapshot_that_is_not_what_the_checkpoint_counted_on_is_noticed(tmp_path):
    """A checkpoint before it is used."""
    notes, kept = [], kept_in(tmp_path / "fit")
    kept.write({**STATE, "step": 5})
    snapshot = tmp_path / "fit" / "snapshot-8.safetensors"
    kept.snapshots[snapshot.name] = fitting.save_weights(snapshot, nn.Linear(2, 2))
    kept.write({**STATE, "step": 10})
    again = kept_in(tmp_path / "fit", notes=notes)
    assert again.read()["step"] == 10
    assert again.snapshots == kept.snapshots
    fitting.save_weights(snapshot, nn.Linear(2, 2))
    again = kept_in(tmp_path / "fit", notes=notes)
    assert again.read()["step"] == 5
    assert again.snapshots == {}
    assert "snapshot-8.safetensors, which was written before it, is missing or damaged" in notes[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EPERM])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch, number, call):
    """The same holds for weights, whose absence is the fault of the file system, too."""
    kept = kept_in(tmp_path / "fit")
    kept.write(STATE)

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)
        with pytest.raises(StorageError, match=r"checkpoint-20\.pt") as caught:
            kept.write({**STATE, "step": 20})
        with pytest.raises(StorageError, match=r": .*weights\.safetensors"):
            fitting.save_weights(tmp_path / "fit" / "weights.safetensors", nn.Linear(2, 2))
    assert caught.value.errno == number
    assert kept.read()["step"] == 10
    assert names(tmp_path / "fit") == ["checkpoint-10.pt"]


def test_torch_does_not_hide_why_a_checkpoint_cannot_be_written(tmp_path):
    """torch itself says only that a position in the file is unexpected."""
    kept, limits = kept_in(tmp_path / "fit"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"File too large: .*checkpoint-10\.pt"):
            kept.write(STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path / "fit") == []


# The words of torch's allocator on a processor.
NO_ROOM = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
)


@pytest.mark.parametrize("error", [OSError(5, "input/output error"), MemoryError(), RuntimeError(NO_ROOM)])
def test_a_checkpoint_that_cannot_be_read_now_stays(tmp_path, monkeypatch, error):
    kept = kept_in(tmp_path / "fit")
    kept.write(STATE)

    def fail(*arguments, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "load", fail)
        with pytest.raises(StorageError if isinstance(error, OSError) else MemoryError):
            kept.read()
    assert kept.read()["step"] == 10


def cut_fit(folder, seed, key):
    """Leave the checkpoints that a fit which was stopped twice does, after 5 and 9 steps."""
    for steps in (5, 9):
        trainer = make(kept_in(folder, key), seed=seed)
        trainer.should_stop = lambda trainer=trainer, steps=steps: trainer._step == steps
        with pytest.raises(Stopped):
            trainer.fit()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damaged", "resumed"), [([], 9), ([9], 5), ([5], 9), ([5, 9], 0)])
def test_a_fit_with_damaged_checkpoints_ends_as_one_that_was_not_disturbed(tmp_path, damaged, resumed):
    notes, folder = [], tmp_path / "fit"
    cut_fit(folder, 0, "k1")
    for step in damaged:
        flip(folder / f"checkpoint-{step}.pt")
    trainer = make(kept_in(folder, "k1", notes))
    steps, step = [], trainer.step
    trainer.step = lambda number, fraction: steps.append(number) or step(number, fraction)
    assert torch.equal(weights(trainer.fit()), weights(make().fit()))
    assert steps[0] == resumed
    # The older one is not looked at where the newer one is intact.
    assert len(notes) == (len(damaged) if damaged != [5] else 0)


def test_the_checkpoints_of_two_seeds_cannot_be_exchanged(tmp_path):
    for seed in (0, 1):
        cut_fit(tmp_path / f"fit{seed}", seed, f"k{seed}")
    one, other = (tmp_path / f"fit{seed}" / "checkpoint-9.pt" for seed in (0, 1))
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])
    for seed in (0, 1):
        notes = []
        fitted = make(kept_in(tmp_path / f"fit{seed}", f"k{seed}", notes), seed=seed).fit()
        assert torch.equal(weights(fitted), weights(make(seed=seed).fit()))
        assert f"it belongs to the unit fit-k{1 - seed}, not to fit-k{seed}; the fit resumes from step 5" in notes[0]


def test_weights_written_by_two_at_once_are_those_of_one(tmp_path, monkeypatch):
    """The second starts, and ends, while the first is about to rename: it must not take its file away."""
    path, ours, theirs = tmp_path / "weights.safetensors", nn.Linear(2, 2), nn.Linear(2, 2)
    fsync = os.fsync

    def write_while_another_does(handle):
        fsync(handle)
        monkeypatch.setattr(os, "fsync", fsync)
        fitting.save_weights(path, theirs)

    monkeypatch.setattr(os, "fsync", write_while_another_does)
    fitting.save_weights(path, ours)
    assert torch.equal(load_file(path)["weight"], ours.weight)
    assert names(tmp_path) == [path.name]
