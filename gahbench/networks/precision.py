"""Choice between float32 and bfloat16 for a network, by timing it.

The instruction set of a processor does not tell whether bfloat16 is faster: with AVX512-BF16 but without matrix units
(AMX) it is slower than float32, and with AMX the gain depends on the widths of the layers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from gahbench._util.errors import error_text
from gahbench.devices.hardware import hardware, is_out_of_memory

Precision = Literal["float32", "bfloat16"]
Run = Callable[[Precision], object]
#: Minimum speedup for which bfloat16 is chosen, and minimum seconds of work in float32 for which it is tried.
MIN_GAIN, MIN_SECONDS = 1.15, 60.0
#: Number of timed passes in each precision, and minimum number of planned passes: a hundred times all that are run.
ROUNDS, MIN_PASSES = 3, 800


@dataclass(frozen=True)
class Choice:
    """A precision, the reason for its choice, and the median seconds of a pass by precision, if passes were timed."""

    precision: Precision = "float32"
    reason: str = "set"
    seconds: Mapping[str, float] = field(default_factory=dict)


def choose(run: Run, passes: float, device: torch.device) -> Choice:
    """Return the faster precision for a number of passes, which ``run`` computes; float32 if they take little time."""
    if not hardware(device).has_bfloat16:
        return Choice(reason="the hardware has no bfloat16 instructions")
    if (seconds := pass_seconds(run, "float32", passes, device)) is None:
        return Choice(reason="too few passes to time one")
    if passes * seconds < MIN_SECONDS:
        return Choice(reason=f"less than {MIN_SECONDS:.0f} s of work", seconds={"float32": seconds})
    try:
        _time_pass(run, "bfloat16", device)
        rounds = [(_time_pass(run, "float32", device), _time_pass(run, "bfloat16", device)) for _ in range(ROUNDS)]
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return Choice(reason=f"bfloat16 fails: {error_text(error)}", seconds={"float32": seconds})
    exact, rounded = map(statistics.median, zip(*rounds, strict=True))
    chosen: Precision = "bfloat16" if exact >= MIN_GAIN * rounded else "float32"
    return Choice(chosen, f"bfloat16 is {exact / rounded:.2f} times as fast", {"float32": exact, "bfloat16": rounded})


def pass_seconds(run: Run, precision: Precision, passes: float, device: torch.device) -> float | None:
    """Return the seconds of a pass, timed after a warm-up pass; ``None`` if too few passes are planned."""
    return None if passes < MIN_PASSES else [_time_pass(run, precision, device) for _ in range(2)][1]


def _time_pass(run: Run, precision: Precision, device: torch.device) -> float:
    hardware(device).synchronise()
    started = time.perf_counter()
    run(precision)
    hardware(device).synchronise()
    return time.perf_counter() - started
