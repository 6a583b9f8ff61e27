"""Choice between float32 and bfloat16 for a network, by timing it.

The instruction set of a processor does not tell whether bfloat16 is faster: with AVX512-BF16 but without matrix units
(AMX) it is slower than float32, and with AMX the gain depends on the widths of the layers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch

from gahbench.devices.hardware import hardware, is_out_of_memory

Precision = Literal["float32", "bfloat16"]
Run = Callable[[Precision], object]
#: Minimum speedup for which bfloat16 is chosen, and minimum seconds of work in float32 for which it is tried.
MIN_GAIN, MIN_SECONDS = 1.15, 60.0
#: Number of timed passes in each precision, and minimum number of planned passes: a hundred times all that are run.
ROUNDS, MIN_PASSES = 3, 800


class Choice(NamedTuple):
    """A precision, and the median seconds of a pass by precision, for each that was timed."""

    precision: Precision = "float32"
    seconds: Mapping[str, float] = {}


def choose(run: Run, passes: float, device: torch.device) -> Choice:
    """Return the faster precision for a number of passes, which ``run`` computes; float32 if they take little time."""
    if passes < MIN_PASSES:
        return Choice()
    seconds = {"float32": pass_seconds(run, "float32", device)}
    if hardware(device).has_bfloat16 and passes * seconds["float32"] >= MIN_SECONDS:
        try:
            seconds["bfloat16"] = pass_seconds(run, "bfloat16", device)
        except Exception as error:
            # Networks that do not support bfloat16 use float32.
            if is_out_of_memory(error):
                raise
    is_faster = seconds["float32"] >= MIN_GAIN * seconds.get("bfloat16", float("inf"))
    return Choice("bfloat16" if is_faster else "float32", seconds)


def pass_seconds(run: Run, precision: Precision, device: torch.device) -> float:
    """Return the median seconds of a pass, after a warm-up pass."""
    times = []
    for _ in range(1 + ROUNDS):
        hardware(device).synchronise()
        started = time.perf_counter()
        run(precision)
        hardware(device).synchronise()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
