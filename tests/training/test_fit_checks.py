"""Honest fits are not flagged, and fits with replaced code are."""

import functools
import sys

import pytest
import torch
from torch import nn

import gahbench
from gahbench._util import noise
from gahbench.training import batches, fitting
from gahbench.training.fit_checks import WatchedFit, replaced_code
from gahbench.training.recipe import Training

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


def test_replaced_functions_are_listed(monkeypatch):
    assert replaced_code() == []
    monkeypatch.setattr(noise, "derive_seed", lambda *parts: 0)
    monkeypatch.setattr(batches.TrainingImages, "_epoch_order", lambda images, epoch: None)
    monkeypatch.setattr(sys.modules["torch.optim.adam"], "_fused_adam", lambda *arguments: None)
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    assert {
        "gahbench._util.noise.derive_seed",
        "gahbench.training.batches.TrainingImages._epoch_order",
        "torch.optim.adam._fused_adam",
        "time.monotonic",
    } <= set(replaced_code())
