"""What benches of networks share: options, the network, the clock, memory, and tables."""

from __future__ import annotations

import argparse
import json
import resource
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

import gahbench
from gahbench._util.readable import counted
from gahbench._util.resources import cpu_count
from gahbench.devices.hardware import chosen_device, hardware

CPU = torch.device("cpu")
SEED = 0
#: What :func:`memory_watched` measures, for notes of tables.
MEMORY = "GiB: the most that tensors of the row took on the GPU; without a GPU, that the process has taken so far."
Result = TypeVar("Result")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every bench that ``gpu.py`` runs."""
    parser.add_argument("--device", type=chosen_device, default="cpu", help="where networks compute")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append tables to this file, for the page of gpu.py")


def set_up(options: argparse.Namespace) -> None:
    """Set threads and precision as the worker of a run does."""
    torch.set_num_threads(options.threads)
    hardware(options.device).use_float32()


def unet(width: int) -> nn.Module:
    """Return our UNet of 3 levels for images of one channel."""
    network: nn.Module = gahbench.create("architecture", "unet", channels=1, width=width, levels=3)
    return network


def timed(call: Callable[[], object], device: torch.device = CPU) -> float:
    """Return the seconds that a call takes, until the device has done all of it."""
    return timed_result(call, device)[0]


def timed_result(call: Callable[[], Result], device: torch.device = CPU) -> tuple[float, Result]:
    """Return the seconds that a call takes, until the device has done all of it, and its result."""
    there = hardware(device)
    there.synchronise()
    started = time.perf_counter()
    result = call()
    there.synchronise()
    return time.perf_counter() - started, result


def memory_watched(device: torch.device) -> Callable[[], str]:
    """Return a function that says how many GiB were needed at most: see :data:`MEMORY`."""
    if device.type != "cuda":
        return lambda: f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}"
    # Its memory is unknown until the device has been used.
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: f"{(torch.cuda.max_memory_allocated(device) - before) / 2**30:.2f}"


def device_text(device: torch.device) -> str:
    """Return the name of a device, and on a CPU the number of threads."""
    there = hardware(device)
    return there.name if there.is_accelerator else counted(torch.get_num_threads(), "thread")


def print_table(lines: list[list[str]], options: argparse.Namespace, *notes: str) -> None:
    """Print a table of cells below notes, its first row a heading; append both to ``--json`` too."""
    print(f"{textwrap.fill(' '.join(notes), 120)}\n\n{aligned(lines)}", flush=True)
    if options.json is not None:
        with options.json.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"notes": notes, "lines": lines}) + "\n")


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
