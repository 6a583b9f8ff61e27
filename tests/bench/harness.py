"""Shared code of the benchmarks: options with ``--smoke``, timing, and tables."""

from __future__ import annotations

import argparse
import atexit
import resource
import shlex
import shutil
import statistics
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import torch

from gahbench._util.readable import pluralize
from gahbench._util.resources import cpu_count
from gahbench.devices.hardware import hardware

SEED = 0
#: Note for tables with values of :func:`watch_memory`.
MEMORY = "GiB: peak memory of tensors on the GPU for the row; without a GPU, peak memory of the process so far."


def options(description, small="", positional="", on_devices=False, **defaults):
    """Parse the options of a benchmark: an option for each default, and ``--threads``, ``--smoke`` and ``--device``.

    A default may be a list, for an option with several values; an empty list, for a repeatable text option; or a type,
    for an optional value. ``small`` is a string of options, or a function that returns it, which replaces ``--smoke``
    on the command line; later options override it. The number of torch's threads is set.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    devices = {"device": "cpu"} if on_devices else {}
    for name, default in {"threads": cpu_count(), **devices, **defaults}.items():
        settings = {"default": default, "type": type(default), "help": "default: %(default)s"}
        if isinstance(default, type):
            settings = {"type": default}
        elif default == []:
            settings = {"action": "append", "default": []}
        elif isinstance(default, list):
            settings |= {"type": type(default[0]), "nargs": "*" if name == positional else "+"}
        parser.add_argument(name if name == positional else f"--{name.replace('_', '-')}", **settings)
    parser.add_argument("--smoke", action="store_true", help="run in seconds, on sizes too small to measure anything")
    words = sys.argv[1:]
    if "--smoke" in words:
        index = words.index("--smoke")
        words[index:index] = ["--threads", "1", *shlex.split(small if isinstance(small, str) else small())]
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    if on_devices:
        options.device = hardware(options.device).device
        hardware(options.device).use_float32()
    return options


def folder():
    """Return an empty folder, which is deleted at the end of the benchmark."""
    path = Path(tempfile.mkdtemp(prefix="bench-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def time_call(call, device="cpu"):
    """Return the seconds that a call takes, including its work on the device, and its result."""
    device_hardware = hardware(device)
    device_hardware.synchronise()
    started = time.perf_counter()
    result = call()
    device_hardware.synchronise()
    return time.perf_counter() - started, result


def format_spread(values, form):
    """Return the median of values, and their minimum and maximum, as two cells of a table."""
    return [f"{statistics.median(values):{form}}", f"({min(values):{form}} to {max(values):{form}})"]


def watch_memory(device):
    """Return a function that returns the peak memory in GiB, as text; see :data:`MEMORY`."""
    if device.type != "cuda":
        return lambda: f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}"
    # Memory statistics are only available after the device has been used.
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: f"{(torch.cuda.max_memory_allocated(device) - before) / 2**30:.2f}"


def device_text(device):
    """Return the name of a device, or the number of threads on a CPU."""
    device_hardware = hardware(device)
    return device_hardware.name if device_hardware.is_accelerator else pluralize(torch.get_num_threads(), "thread")


def print_table(lines, *notes):
    """Print notes and a table of cells with a heading row, numbers aligned to the right."""
    columns = []
    for heading, *cells in zip(*lines, strict=True):
        width = max(map(len, (heading, *cells)))
        alignment = ">" if any(cell[:1].isdigit() for cell in cells) else "<"
        columns.append([f"{cell:{alignment}{width}}" for cell in (heading, *cells)])
    print(f"{textwrap.fill(' '.join(notes), 120)}\n")
    print(*("  ".join(row).rstrip() for row in zip(*columns, strict=True)), sep="\n", flush=True)
