"""When checkpoints are written, and which checkpoint a fit resumes from."""

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
from small_fits import checkpoints_of, make, weights
from torch import nn

from gahbench._util.files import StorageError
from gahbench.training import checkpoint, fitting
from gahbench.training.checkpoint import Pace
from gahbench.training.file_names import checkpoints_in
from gahbench.training.trainer import Stopped


@pytest.fixture(autouse=True)
def _pauses(monkeypatch):
    monkeypatch.setattr(checkpoint, "MIN_PAUSE", 5.0)


def simulate_writes(write_seconds, total, step=0.25):
    """Return, for each checkpoint of a simulated fit, its time and the share of time that earlier checkpoints took."""
    now, begins, shares, written = 1000.0, [], [], 0.0
    pace = Pace(now)
    while now < 1000.0 + total:
        now += step
        if pace.is_due(now):
            seconds = write_seconds(len(begins))
            begins.append(now - 1000.0)
            shares.append(written / begins[-1])
            pace.record_write(now, now + seconds)
            now += seconds
            written += seconds
    return begins, shares


def test_quick_writes_are_five_seconds_apart():
    begins, _ = simulate_writes(lambda number: 0.01, 100)
    assert begins[0] == pytest.approx(5, abs=0.25)
    assert all(5 <= after - before <= 5.5 for before, after in itertools.pairwise(begins))


@pytest.mark.parametrize("seconds", [0.2, 1.0, 4.0, 20.0])
def test_writing_takes_at_most_two_per_cent(seconds):
    _, shares = simulate_writes(lambda number: seconds, 200 * 50 * seconds)
    assert max(shares) <= 0.02
    # The allowed share is used up.
    assert shares[-1] >= 0.95 * 0.02


def test_one_slow_write_delays_the_next_checkpoint_of_a_long_fit_by_at_most_max_pause():
    begins, shares = simulate_writes(lambda number: 60.0 if number == 1000 else 0.01, 10_000)
    gap = begins[1001] - begins[1000]
    assert 60 + checkpoint.MAX_PAUSE <= gap <= 60 + checkpoint.MAX_PAUSE + 1
    assert max(shares) <= 0.02


def test_a_slow_write_at_the_start_delays_the_next_until_the_share_allows_it():
    begins, _ = simulate_writes(lambda number: 60.0 if number == 0 else 0.01, 4000)
    # 60 s are 2 % of 3,000 s.
    assert begins[1] == pytest.approx(3000, abs=1)


def names(folder):
    return [file.name for file in folder.iterdir()]


STATE = {"step": 10, "network": {"weight": torch.arange(4096.0)}, "history": [{"step": 10, "loss": 0.5}]}


def test_the_last_two_checkpoints_are_kept_and_the_last_is_read_unchanged(tmp_path):
    checkpoints, notes = checkpoints_of(tmp_path / "fit"), []
    for step in (9, 10, 100, 101):
        checkpoints.write({**STATE, "step": step})
    assert [path.name for _, path in checkpoints_in(tmp_path / "fit")] == ["checkpoint-101.pt", "checkpoint-100.pt"]
    assert len(names(tmp_path / "fit")) == 2
    state = checkpoints_of(tmp_path / "fit", notes=notes).read()
    assert torch.equal(state["network"]["weight"], STATE["network"]["weight"])
    assert (state["step"], state["history"], notes) == (101, STATE["history"], [])


def test_any_flipped_bit_is_detected(tmp_path):
    """The digest, the zip archive, the pickle, the numbers and the padding between them are covered."""
    checkpoints_of(tmp_path / "fit").write(STATE)
    path = tmp_path / "fit" / "checkpoint-10.pt"
    content = path.read_bytes()
    path.unlink()
    for index in [*range(100), *range(100, len(content), 997), *range(len(content) - 100, len(content))]:
        damaged = bytearray(content)
        damaged[index] ^= 1 << index % 8
        path.write_bytes(damaged)
        notes = []
        assert checkpoints_of(tmp_path / "fit", notes=notes).read() is None, index
        assert not path.exists()
        assert len(notes) == 1
    assert "cannot resume from checkpoint-10.pt: its content does not match its digest" in notes[0]
    assert "the fit starts from the beginning" in notes[0]
    (aside,) = (tmp_path / "damaged").iterdir()
    assert aside.read_bytes() == damaged
    assert notes[0].endswith(f"kept as {aside}")


def save(path, content):
    """Write content with a matching digest."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(f"{hashlib.sha256(buffer.getvalue()).hexdigest()}\n".encode() + buffer.getvalue())


def tamper(path, **fields):
    """Change fields of a checkpoint, and update its digest."""
    save(path, {**torch.load(io.BytesIO(path.read_bytes()[65:]), weights_only=True), **fields})


DAMAGES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "its content does not match its digest"),
    "empty": (lambda path: path.write_bytes(b""), "its content does not match its digest"),
    "another unit": (lambda path: tamper(path, key="k2"), "it belongs to the unit fit-k2, not to fit-k1"),
    "another step": (lambda path: tamper(path, step=19), "it holds the state after 19 steps, and its name says 20"),
    "another object": (lambda path: save(path, [1]), "it does not hold the state of a fit"),
    "snapshots": (lambda path: tamper(path, snapshots={"snapshot-8.safetensors": "0"}), "snapshot-8.safetensors, wh"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_previous_checkpoint_is_used(tmp_path, damage):
    notes, (inflict, reason) = [], DAMAGES[damage]
    checkpoints = checkpoints_of(tmp_path / "fit", notes=notes)
    for step in (10, 20):
        checkpoints.write({**STATE, "step": step})
    inflict(tmp_path / "fit" / "checkpoint-20.pt")
    assert checkpoints.read()["step"] == 10
    (note,) = notes
    assert f"cannot resume from checkpoint-20.pt: {reason}" in note
    assert "the fit resumes from step 10" in note
    assert [path.name for path in (tmp_path / "damaged").iterdir()] == ["fit-k1.partial-checkpoint-20.pt"]
    assert [path.name for path in (tmp_path / "fit").iterdir()] == ["checkpoint-10.pt"]


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    """A matching digest does not make a checkpoint trusted."""

    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    checkpoints, notes = checkpoints_of(tmp_path / "fit"), []
    checkpoints.write({**STATE, "more": Payload()})
    assert checkpoints_of(tmp_path / "fit", notes=notes).read() is None
    assert not (tmp_path / "ran").exists()
    assert "torch cannot read it" in notes[0]


def test_a_checkpoint_whose_snapshots_have_changed_is_not_used(tmp_path):
    """The checkpoint before the snapshot is used instead."""
    notes, checkpoints = [], checkpoints_of(tmp_path / "fit")
    checkpoints.write({**STATE, "step": 5})
    snapshot = tmp_path / "fit" / "snapshot-8.safetensors"
    checkpoints.snapshots[snapshot.name] = fitting.save_weights(snapshot, nn.Linear(2, 2))
    checkpoints.write({**STATE, "step": 10})
    reopened = checkpoints_of(tmp_path / "fit", notes=notes)
    assert reopened.read()["step"] == 10
    assert reopened.snapshots == checkpoints.snapshots
    fitting.save_weights(snapshot, nn.Linear(2, 2))
    reopened = checkpoints_of(tmp_path / "fit", notes=notes)
    assert reopened.read()["step"] == 5
    assert reopened.snapshots == {}
    assert "snapshot-8.safetensors, which was written before it, is missing or damaged" in notes[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EPERM])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_keeps_the_previous_checkpoint(tmp_path, monkeypatch, number, call):
    """Weights that cannot be written raise a storage error, too."""
    checkpoints = checkpoints_of(tmp_path / "fit")
    checkpoints.write(STATE)

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)
        with pytest.raises(StorageError, match=r"checkpoint-20\.pt") as caught:
            checkpoints.write({**STATE, "step": 20})
        with pytest.raises(StorageError, match=r": .*weights\.safetensors"):
            fitting.save_weights(tmp_path / "fit" / "weights.safetensors", nn.Linear(2, 2))
    assert caught.value.errno == number
    assert checkpoints.read()["step"] == 10
    assert names(tmp_path / "fit") == ["checkpoint-10.pt"]


def test_the_error_of_a_failed_write_names_the_cause(tmp_path):
    """torch itself says only that a position in the file is unexpected."""
    checkpoints, limits = checkpoints_of(tmp_path / "fit"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"File too large: .*checkpoint-10\.pt"):
            checkpoints.write(STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path / "fit") == []


# The message of torch's CPU allocator.
NO_ROOM = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
)


@pytest.mark.parametrize("error", [OSError(5, "input/output error"), MemoryError(), RuntimeError(NO_ROOM)])
def test_a_checkpoint_is_kept_when_reading_fails_temporarily(tmp_path, monkeypatch, error):
    checkpoints = checkpoints_of(tmp_path / "fit")
    checkpoints.write(STATE)

    def fail(*arguments, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "load", fail)
        with pytest.raises(StorageError if isinstance(error, OSError) else MemoryError):
            checkpoints.read()
    assert checkpoints.read()["step"] == 10


def interrupt_fit(folder, seed, key):
    """Stop a fit after 5 and after 9 steps, so that it leaves two checkpoints."""
    for steps in (5, 9):
        trainer = make(checkpoints_of(folder, key), seed=seed)
        trainer.should_stop = lambda trainer=trainer, steps=steps: trainer._step == steps
        with pytest.raises(Stopped):
            trainer.fit()


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damaged", "resumed"), [([], 9), ([9], 5), ([5], 9), ([5, 9], 0)])
def test_a_fit_with_damaged_checkpoints_ends_like_an_uninterrupted_fit(tmp_path, damaged, resumed):
    notes, folder = [], tmp_path / "fit"
    interrupt_fit(folder, 0, "k1")
    for step in damaged:
        flip_a_bit(folder / f"checkpoint-{step}.pt")
    trainer = make(checkpoints_of(folder, "k1", notes))
    steps, step = [], trainer.step
    trainer.step = lambda number, fraction: steps.append(number) or step(number, fraction)
    assert torch.equal(weights(trainer.fit()), weights(make().fit()))
    assert steps[0] == resumed
    # The older checkpoint is not read if the newer one is intact.
    assert len(notes) == (len(damaged) if damaged != [5] else 0)


def test_checkpoints_of_another_seed_are_not_used(tmp_path):
    for seed in (0, 1):
        interrupt_fit(tmp_path / f"fit{seed}", seed, f"k{seed}")
    first, second = (tmp_path / f"fit{seed}" / "checkpoint-9.pt" for seed in (0, 1))
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    for seed in (0, 1):
        notes = []
        fitted = make(checkpoints_of(tmp_path / f"fit{seed}", f"k{seed}", notes), seed=seed).fit()
        assert torch.equal(weights(fitted), weights(make(seed=seed).fit()))
        assert f"it belongs to the unit fit-k{1 - seed}, not to fit-k{seed}; the fit resumes from step 5" in notes[0]


def test_concurrent_writes_of_weights_leave_one_complete_file(tmp_path, monkeypatch):
    """The second write starts and ends just before the first renames its temporary file, which must survive."""
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
