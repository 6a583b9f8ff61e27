"""What benches of training share: the network, the clock, tables as text."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

import gahbench

CPU = torch.device("cpu")
SEED = 0


def unet(width: int) -> nn.Module:
    """Return our UNet of 3 levels for images of one channel."""
    network: nn.Module = gahbench.create("architecture", "unet", channels=1, width=width, levels=3)
    return network


def timed(call: Callable[[], object], device: torch.device = CPU) -> float:
    """Return the seconds that a call takes, until the device has done all of it."""
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: torch.device) -> None:
    """Wait for a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_text(device: torch.device) -> str:
    """Return the name of a device, and on a CPU the number of threads."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"


def aligned(lines: list[list[str]]) -> str:
    """Return rows of cells as text in columns, the first row as a heading."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    # Words to the left, numbers to the right.
    left = [all(not line[place][:1].isdigit() for line in lines[1:]) for place in range(len(lines[0]))]
    texts = [
        "  ".join(
            cell.ljust(width) if flush else cell.rjust(width)
            for cell, width, flush in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]])


def spread(values: Sequence[float], form: str) -> str:
    """Return the least and the greatest value as text."""
    return f"({min(values):{form}} to {max(values):{form}})"
