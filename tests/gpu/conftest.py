"""Tests that need a GPU; without one they are skipped."""

import os

import pytest
import torch
from devices import stand_in

from gahbench.devices.hardware import hardware


@pytest.fixture(autouse=True)
def _cudnn(gpu, monkeypatch):
    """Make convolutions deterministic and exact to float32."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def gpu():
    """Return the GPU, or the device of GAHBENCH_TEST_DEVICE: ``cpu``, or ``standin`` for the stand-in GPU."""
    name = os.environ.get("GAHBENCH_TEST_DEVICE", "cuda:0")
    if name == stand_in.NAME:
        stand_in.install()
    device = hardware(name).device
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return device
