"""Which checkpoint a fit resumes from, files that are written completely or not at all, and checks of finished fits."""

import errno
import functools
import hashlib
import io
import os
from pathlib import Path

import pytest
import torch
from small_fits import checkpoints_of
from torch import nn

import gahbench
from gahbench._util.files import StorageError
from gahbench.training import checkpoint, fitting
from gahbench.training.checkpoint import pause_after
from gahbench.training.file_names import checkpoints_in
from gahbench.training.fit_checks import WatchedFit
from gahbench.training.recipe import Training

STATE = {"step": 10, "network": {"weight": torch.arange(4096.0)}, "history": [{"step": 10, "loss": 0.5}]}


def names(folder):
    return [file.name for file in folder.iterdir()]


def test_writing_takes_at_most_two_per_cent_and_quick_writes_are_some_seconds_apart(monkeypatch):
    monkeypatch.delenv("GAHBENCH_CHECKPOINT_SECONDS", raising=False)
    assert pause_after(0.01) == checkpoint.MIN_PAUSE
    for seconds in (0.2, 4.0, 60.0):
        assert seconds / (seconds + pause_after(seconds)) == pytest.approx(0.02, rel=0.03)
    monkeypatch.setenv("GAHBENCH_CHECKPOINT_SECONDS", "0")
    assert pause_after(0.0) == 0


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
    for index in [*range(100), *range(100, len(content), 997), *range(len(content) - 100, len(content))]:
        damaged = bytearray(content)
        damaged[index] ^= 1 << index % 8
        path.write_bytes(damaged)
        notes = []
        assert checkpoints_of(tmp_path / "fit", notes=notes).read() is None, index
        assert not path.exists()
        assert len(notes) == 1


def save(path, content):
    """Write content with a matching digest."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(f"{hashlib.sha256(buffer.getvalue()).hexdigest()}\n".encode() + buffer.getvalue())


class Payload:
    """An object whose unpickling makes a folder."""

    def __reduce__(self):
        return (os.mkdir, ("ran",))


DAMAGES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "does not match its digest"),
    "empty": (lambda path: path.write_bytes(b""), "does not match its digest"),
    "another unit": (lambda path: save(path, {**STATE, "step": 20, "key": "k2"}), "fit-k1 after 20 steps"),
    "another step": (lambda path: save(path, {**STATE, "step": 19, "key": "k1"}), "fit-k1 after 20 steps"),
    "another object": (lambda path: save(path, [1]), "fit-k1 after 20 steps"),
    # A matching digest does not make a checkpoint trusted.
    "code": (lambda path: save(path, {**STATE, "step": 20, "key": "k1", "more": Payload()}), "torch cannot read it"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_deleted_and_the_previous_checkpoint_is_used(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    notes, (inflict, reason) = [], DAMAGES[damage]
    checkpoints = checkpoints_of(tmp_path / "fit", notes=notes)
    for step in (10, 20):
        checkpoints.write({**STATE, "step": step})
    inflict(tmp_path / "fit" / "checkpoint-20.pt")
    assert checkpoints.read()["step"] == 10
    (note,) = notes
    assert "checkpoint-20.pt" in note
    assert reason in note
    assert names(tmp_path / "fit") == ["checkpoint-10.pt"]
    assert names(tmp_path) == ["fit"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
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


# The message of torch's CPU allocator.
NO_ROOM = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(NO_ROOM)])
def test_a_checkpoint_is_kept_when_memory_runs_out(tmp_path, monkeypatch, error):
    checkpoints = checkpoints_of(tmp_path / "fit")
    checkpoints.write(STATE)

    def fail(*arguments, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fail)
        with pytest.raises(type(error)):
            checkpoints.read()
    assert checkpoints.read()["step"] == 10


CPU = torch.device("cpu")


def flags_of(build, folder, shape=(1, 16, 16), **settings):
    """Train a network for a few steps, and return the flags of its fit."""
    training = Training.model_validate({"steps": 3, "batch_size": 2, "compile": "never", "validations": 1, **settings})
    watched = WatchedFit(build, training, 0)
    fitting.fit(watched.build, gahbench.create("dataset", "discs", size=shape[-1]), training, 0, folder, CPU)
    return watched.flags(shape, CPU)


class WithState(nn.Module):
    """Batch normalisation, dropout, a frozen layer, and a layer that the first forward pass creates."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())
        self.frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.last = None

    def forward(self, noisy, sigma):
        features = self.frozen(self.layers(noisy))
        if self.last is None:
            self.last = nn.Conv2d(4, 1, 3, padding=1)
        return noisy - self.last(features)


@pytest.mark.parametrize(
    "spec", ["unet[width=4,levels=1]", "nafnet[width=4]", "linear", "timm-unet[backbone=resnet10t,levels=2]"]
)
def test_built_in_architectures_are_not_flagged(spec, tmp_path, builtin):
    build = functools.partial(builtin.configure("architecture", spec).build, (1, 16, 16))
    assert flags_of(build, tmp_path, ema=0.9) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "muon"},
        {"optimizer": "sgd", "train_images": 2},
        {"optimizer": "adamw", "weight_decay": 0.1, "precision": "bfloat16"},
        {"initialisation": "kaiming", "batch_size": 1},
    ],
)
def test_batch_norm_dropout_and_late_layers_are_not_flagged(settings, tmp_path):
    assert flags_of(WithState, tmp_path, **settings) == []


def test_a_network_that_cannot_be_built_again_is_flagged(tmp_path):
    built = []

    def build():
        if built:
            raise ValueError("once only")
        built.append(gahbench.create("architecture", "linear", shape=(1, 16, 16)))
        return built[0]

    (flag,) = flags_of(build, tmp_path)
    assert flag.endswith("ValueError: once only")
