"""Fake devices, with memory of a chosen size, for machines without an accelerator."""

from __future__ import annotations

import torch
from torch import nn

from gahbench.devices.hardware import KINDS, Hardware

GIB = 1 << 30


class Fake(Hardware):
    """A device whose tensors are on the CPU."""

    is_accelerator = True
    #: Memory of each device, in bytes.
    memories = (8 * GIB, 8 * GIB)
    #: The error that waiting for the device raises; ``None`` for no error.
    error = None

    @property
    def device(self):
        return torch.device("cpu")

    @classmethod
    def devices(cls):
        return [cls(f"fake:{index}") for index in range(len(cls.memories))]

    @property
    def memory(self):
        return self.memories[int(self._device.partition(":")[2])]

    def synchronise(self):
        if self.error is not None:
            raise self.error


def add_fake_devices(monkeypatch, *memories):
    """Add fake devices with the given memories, in bytes, which ``auto`` chooses first."""
    monkeypatch.setattr(Fake, "memories", memories or Fake.memories)
    monkeypatch.delitem(KINDS, "cpu")
    monkeypatch.setitem(KINDS, "fake", Fake)
    monkeypatch.setitem(KINDS, "cpu", Hardware)


class Small(nn.Module):
    """A network that runs out of memory for batches of more than ``images`` images."""

    def __init__(self, images):
        super().__init__()
        self.images, self.batches = images, []
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, noisy, sigma):
        self.batches.append(len(noisy))
        if len(noisy) > self.images:
            raise torch.OutOfMemoryError("FAKE out of memory. Tried to allocate 2.00 GiB")
        return self.layer(noisy)
