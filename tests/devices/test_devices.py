"""Kinds of devices and their errors."""

import re
from pathlib import Path

import pytest
import torch
from fake_hardware import Fake, add_fake_devices

import gahbench
from gahbench.contracts.engines import check_device
from gahbench.devices.hardware import Cuda, Hardware, hardware, is_out_of_memory

ROOT = Path(__file__).parents[2]
#: Names that only hardware.py may contain.
CUDA = re.compile(r"torch\.cuda|[\"']cuda[\"':]|is_cuda|\.cuda\(|CUDA_VISIBLE_DEVICES")


def test_only_one_file_names_cuda():
    files = [file for name in ("gahbench", "plugins") for file in (ROOT / name).rglob("*.py")]
    named = {file.relative_to(ROOT).as_posix() for file in files if CUDA.search(file.read_text(encoding="utf-8"))}
    assert named == {"gahbench/devices/hardware.py"}


def test_the_kind_follows_from_the_type_of_a_device():
    assert type(hardware("cpu")) is type(hardware(torch.device("cpu"))) is Hardware
    assert type(hardware("cuda:1")) is type(hardware(torch.device("cuda"))) is Cuda
    assert hardware("cuda:1").device == torch.device("cuda:1")
    # Unknown kinds have the default capabilities.
    other = hardware(torch.device("meta"))
    assert type(other) is Hardware
    assert (other.name, other.is_accelerator) == ("meta", False)


def test_auto_selects_the_first_available_kind(monkeypatch):
    monkeypatch.setattr(Cuda, "devices", classmethod(lambda cls: []))
    assert hardware("auto").device == torch.device("cpu")
    add_fake_devices(monkeypatch)
    assert type(gahbench.hardware()) is Fake
    assert check_device("fake") == "fake"


def test_the_environment_limits_a_process_to_one_visible_device(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert Cuda("cuda:1").environment == {"CUDA_VISIBLE_DEVICES": "1"}
    assert Cuda("cuda").environment == {"CUDA_VISIBLE_DEVICES": "0"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert Cuda("cuda:1").environment == {"CUDA_VISIBLE_DEVICES": "GPU-b"}
    assert Hardware("cpu").environment == {}


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 35184372088832 bytes"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_errors_are_recognised(error):
    assert is_out_of_memory(error)
    for other in (RuntimeError("shapes do not match"), ValueError("out of memory"), KeyError("out of memory")):
        assert not is_out_of_memory(other)


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (None, False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB"), False),
    ],
)
def test_a_device_that_cannot_compute_is_lost(monkeypatch, error, is_lost):
    monkeypatch.setattr(Fake, "error", error)
    assert Fake("fake:0").is_lost is is_lost
    assert not Hardware("cpu").is_lost


def test_only_cpu_tensors_are_pinned():
    tensor = torch.ones(2, device="meta")
    assert Cuda("cuda").pin(tensor) is tensor
