"""What benches share: options with ``--smoke``, the clock, timings in turn, and tables."""

from __future__ import annotations

import argparse
import atexit
import json
import resource
import shlex
import shutil
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import torch

import gahbench
from gahbench._util.readable import counted
from gahbench._util.resources import cpu_count
from gahbench.devices.hardware import chosen_device, hardware

SEED = 0
#: What :func:`memory_watched` measures, for notes of tables.
MEMORY = "GiB: the most that tensors of the row took on the GPU; without a GPU, that the process has taken so far."


def options(description, small="", positional="", on_devices=False, **defaults):
    """Return the options of a bench, one for each default, and ``--threads``, ``--device`` and ``--smoke``.

    A default may be a list, of which several values are accepted, or empty, of texts that are given one by one; a tuple
    of choices; ``False``, of a flag; or a type, of an option that may be left out. ``small`` is what ``--smoke`` stands
    for, or a function that returns it: options after ``--smoke`` override it, and it overrides those before. With
    ``on_devices`` the bench is one that ``gpu.py`` runs. Threads of torch are set.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"threads": cpu_count(), **defaults}.items():
        given = {"default": default, "type": type(default), "help": "default: %(default)s"}
        if default is False:
            given = {"action": "store_true"}
        elif isinstance(default, type):
            given = {"type": default}
        elif isinstance(default, tuple):
            given = {"choices": default}
        elif default == []:
            given = {"action": "append", "default": []}
        elif isinstance(default, list):
            given |= {"type": type(default[0]), "nargs": "*" if name == positional else "+"}
        parser.add_argument(name if name == positional else f"--{name.replace('_', '-')}", **given)
    parser.add_argument("--smoke", action="store_true", help="run in seconds, on sizes that measure nothing")
    if on_devices:
        parser.add_argument("--device", default="cpu", help="where networks compute")
        parser.add_argument("--json", type=Path, help="append tables to this file, for the page of gpu.py")
    words = sys.argv[1:]
    if "--smoke" in words:
        place = words.index("--smoke")
        words[place:place] = ["--threads", "1", *shlex.split(small if isinstance(small, str) else small())]
    found = parser.parse_args(words)
    torch.set_num_threads(found.threads)
    if on_devices:
        found.device = chosen_device(found.device)
        hardware(found.device).use_float32()
    return found


def folder():
    """Return an empty folder, deleted when the bench ends."""
    path = Path(tempfile.mkdtemp(prefix="bench-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def unet(width):
    """Return our UNet of 3 levels for images of one channel."""
    return gahbench.create("architecture", "unet", channels=1, width=width, levels=3)


def timed(call: Callable, device="cpu", clock=time.perf_counter):
    """Return the seconds that a call takes, until the device has done all of it, and its result."""
    there = hardware(device)
    there.synchronise()
    started = clock()
    result = call()
    there.synchronise()
    return clock() - started, result


def timed_in_turn(calls, rounds, device="cpu"):
    """Return the seconds of calls in each round; every other round is in reverse, and a first one is not counted."""
    seconds = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name in reversed(calls) if number % 2 else calls:
            taken = timed(calls[name], device)[0]
            seconds[name] += [taken] if number else []
    return seconds


def ratios(numerators, denominators):
    """Return the ratio of two timings in each round."""
    return [one / other for one, other in zip(numerators, denominators, strict=True)]


def with_spread(values, form, unit=""):
    """Return the median of values, and the least and the greatest, as two cells of a table."""
    return [f"{statistics.median(values):{form}}{unit}", f"({min(values):{form}} to {max(values):{form}})"]


def memory_watched(device):
    """Return a function that says how many GiB were needed at most: see :data:`MEMORY`."""
    if device.type != "cuda":
        return lambda: f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}"
    # Its memory is unknown until the device has been used.
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: f"{(torch.cuda.max_memory_allocated(device) - before) / 2**30:.2f}"


def device_text(device):
    """Return the name of a device, and on a CPU the number of threads."""
    there = hardware(device)
    return there.name if there.is_accelerator else counted(torch.get_num_threads(), "thread")


def print_table(lines, given, *notes):
    """Print a table of cells below notes, its first row a heading; append both to ``--json`` too."""
    print(f"{textwrap.fill(' '.join(notes), 120)}\n\n{aligned(lines)}", flush=True)
    if given.json is not None:
        with given.json.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"notes": notes, "lines": lines}) + "\n")


def aligned(lines):
    """Return rows of cells as text in columns, the first row as a heading: words to the left, numbers to the right."""
    columns = []
    for heading, *cells in zip(*lines, strict=True):
        width = max(map(len, (heading, *cells)))
        place = ">" if any(cell[:1].isdigit() for cell in cells) else "<"
        columns.append([f"{cell:{place}{width}}" for cell in (heading, *cells)])
    texts = ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]])
