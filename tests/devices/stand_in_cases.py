"""Tests of the behaviour of the stand-in GPU, which ``test_stand_in.py`` runs in a separate process."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from devices import stand_in
from devices.stand_in import NAME, StandInTensor, record_waits
from gahbench.testing.on_meta import DeviceMixError

stand_in.install()
DEVICE = torch.device(NAME, 0)
ON_CPU, ON_DEVICE = torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3).to(DEVICE)

AGREE = [
    lambda device: torch.arange(5, device=device),
    lambda device: torch.eye(3, device=device),
    lambda device: torch.triu_indices(3, 3, device=device),
    lambda device: torch.tensor([1.0, 2.0], device=device),
    lambda device: torch.randperm(9, generator=torch.Generator(device).manual_seed(0), device=device),
    lambda device: torch.randn(4, generator=torch.Generator(device).manual_seed(0), device=device),
    lambda device: torch.zeros(2, 3, 4, 4, device=device).contiguous(memory_format=torch.channels_last),
    lambda device: ON_CPU.to(device, torch.float64),
    lambda device: ON_CPU.to(device).clone().t_(),
    lambda device: ON_CPU.to(device).clone().resize_(3, 2),
    lambda device: ON_CPU.to(device).clone().index_fill_(1, torch.arange(2, device=device), 3),
    lambda device: torch.view_as_real(torch.fft.fft(ON_CPU.to(device)).conj() + 0),
]


@pytest.mark.parametrize("compute", AGREE)
def test_operations_agree_with_the_cpu(compute):
    result, expected = compute(DEVICE), compute("cpu")
    assert isinstance(result, StandInTensor)
    assert (result.device, result.dtype, result.stride()) == (DEVICE, expected.dtype, expected.stride())
    assert torch.equal(result.cpu(), expected)


READS = [
    lambda: float(ON_DEVICE[0, 1]),
    lambda: ON_DEVICE.tolist(),
    lambda: ON_DEVICE.cpu(),
    lambda: ON_CPU.clone().copy_(ON_DEVICE),
    lambda: f"{ON_DEVICE.sum():.1f}",
    lambda: ON_DEVICE.nonzero(),
    lambda: ON_DEVICE[ON_DEVICE > 2],
    lambda: ON_DEVICE.clone().__setitem__(ON_DEVICE > 2, torch.zeros(3, device=DEVICE)),
    lambda: torch.repeat_interleave(ON_DEVICE, torch.ones(2, dtype=torch.int64, device=DEVICE), dim=0),
    lambda: torch.equal(ON_DEVICE, ON_DEVICE),
    lambda: torch.linalg.eigh(ON_DEVICE @ ON_DEVICE.T),
]
UPLOADS = [
    lambda: ON_CPU.to(DEVICE),
    lambda: torch.tensor([1.0], device=DEVICE),
    lambda: ON_DEVICE[[1, 0]],
    lambda: ON_DEVICE.clone().copy_(ON_CPU),
]
NO_WAIT = [
    lambda: torch.where(ON_DEVICE > 2, ON_DEVICE, torch.tensor(0.0)),
    lambda: ON_DEVICE.clone().__setitem__(ON_DEVICE > 2, 0),
    lambda: ON_DEVICE[torch.arange(2, device=DEVICE)],
    lambda: ON_CPU.to(DEVICE, non_blocking=True),
    lambda: torch.linalg.cholesky_ex(torch.eye(2, device=DEVICE)),
]


@pytest.mark.parametrize(
    ("operation", "waits"),
    [
        (operation, waits)
        for waits, group in (("read", READS), ("upload", UPLOADS), ("", NO_WAIT))
        for operation in group
    ],
)
def test_waits_are_recorded_with_their_line(operation, waits):
    with record_waits() as record:
        operation()
    assert len(record) == bool(waits)
    assert all(re.fullmatch(rf"{waits} by \w+ at .*stand_in_cases\.py:\d+", wait) for wait in record)


MIXTURES = [
    lambda: ON_DEVICE + ON_CPU,
    lambda: torch.cat([ON_DEVICE, ON_CPU]),
    lambda: torch.tensor(1.0).add_(ON_DEVICE.sum()),
    lambda: ON_CPU[torch.arange(2, device=DEVICE)],
    lambda: nn.functional.conv2d(torch.zeros(1, 1, 4, 4, device=DEVICE), torch.zeros(1, 1, 3, 3)),
    lambda: torch.randperm(3, device=DEVICE, generator=torch.Generator()),
    lambda: ON_DEVICE.clone().normal_(generator=torch.Generator()),
]


@pytest.mark.parametrize("mix", MIXTURES)
def test_mixing_devices_is_an_error(mix):
    with pytest.raises(DeviceMixError):
        mix()


def test_modules_keep_their_parameters_when_they_move():
    """An optimizer that was created before the move still works, as on a GPU."""
    moved, stayed = (nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
    stayed.load_state_dict(moved.state_dict())
    optimizers = [torch.optim.Adam(network.parameters(), lr=0.1) for network in (moved, stayed)]
    moved.to(DEVICE)
    images = torch.rand(2, 1, 8, 8)
    for network, optimizer in zip((moved, stayed), optimizers, strict=True):
        network(images.to(network.weight.device)).square().mean().backward()
        optimizer.step()
    assert moved.weight.device == DEVICE
    assert torch.allclose(moved.weight.detach().cpu(), stayed.weight.detach(), atol=1e-6)
