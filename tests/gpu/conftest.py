"""Tests that need a GPU; without one they are skipped."""

import os

import pytest
import torch

from gahbench.devices.hardware import hardware


@pytest.fixture(autouse=True)
def _cudnn(gpu, monkeypatch):
    """Make convolutions deterministic and exact to float32."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def gpu():
    """Return the GPU. GAHBENCH_TEST_DEVICE=cpu runs these tests on a CPU instead."""
    device = hardware(os.environ.get("GAHBENCH_TEST_DEVICE", "cuda:0")).device
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return device
