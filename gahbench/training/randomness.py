"""The default generators, from which networks draw: dropout, stochastic depth."""

from __future__ import annotations

import contextlib

import torch


def restored(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return a context that leaves the default generators of the CPU and of a device as it found them."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def reseed(device: torch.device, seed: int) -> None:
    """Seed the default generators of the CPU and of a device, without waiting for the device.

    To restore a state that was saved would take longer, each step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
