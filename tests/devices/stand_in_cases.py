"""Tests of the behaviour of the stand-in GPU, which ``test_stand_in.py`` runs in a separate process."""

from __future__ import annotations

import re

import pytest
import torch

from devices import stand_in
from devices.stand_in import NAME, record_waits
from gahbench.testing.on_meta import DeviceMixError

stand_in.install()
DEVICE = torch.device(NAME, 0)
ON_CPU, ON_DEVICE = torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3).to(DEVICE)


#: Operations by the wait that they cause.
WAITS = {
    "read": [
        lambda: f"{ON_DEVICE.sum():.1f}",
        lambda: ON_DEVICE.tolist(),
        lambda: ON_CPU.clone().copy_(ON_DEVICE),
        lambda: ON_DEVICE[ON_DEVICE > 2],
        lambda: ON_DEVICE.clone().__setitem__(ON_DEVICE > 2, torch.zeros(3, device=DEVICE)),
        lambda: torch.repeat_interleave(ON_DEVICE, torch.ones(2, dtype=torch.int64, device=DEVICE), dim=0),
        lambda: torch.equal(ON_DEVICE, ON_DEVICE),
        lambda: torch.linalg.eigh(ON_DEVICE @ ON_DEVICE.T),
    ],
    "upload": [lambda: ON_CPU.to(DEVICE), lambda: torch.tensor([1.0], device=DEVICE), lambda: ON_DEVICE[[1, 0]]],
    "": [
        lambda: torch.where(ON_DEVICE > 2, ON_DEVICE, torch.tensor(0.0)),
        lambda: ON_DEVICE.clone().__setitem__(ON_DEVICE > 2, 0),
        lambda: ON_CPU.to(DEVICE, non_blocking=True),
        lambda: torch.linalg.cholesky_ex(torch.eye(2, device=DEVICE)),
    ],
}


@pytest.mark.parametrize(("wait", "operation"), [(wait, each) for wait, group in WAITS.items() for each in group])
def test_waits_are_recorded_with_their_line(wait, operation):
    with record_waits() as record:
        operation()
    assert len(record) == bool(wait)
    assert all(re.fullmatch(rf"{wait} by \w+ at .*stand_in_cases\.py:\d+", text) for text in record)


@pytest.mark.parametrize(
    "mix",
    [
        lambda: torch.cat([ON_DEVICE, ON_CPU]),
        lambda: torch.randperm(3, device=DEVICE, generator=torch.Generator()),
        lambda: ON_DEVICE.clone().normal_(generator=torch.Generator()),
    ],
)
def test_mixing_devices_is_an_error(mix):
    with pytest.raises(DeviceMixError):
        mix()
