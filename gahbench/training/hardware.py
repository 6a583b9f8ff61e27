"""Acceleration of a fit: its precision, when to compile its network, and a check of the compiled gradients."""

from __future__ import annotations

import copy
import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gahbench._util.errors import error_text
from gahbench._util.shapes import Shape
from gahbench.devices.hardware import hardware, is_out_of_memory
from gahbench.networks.precision import MIN_PASSES, Precision, choose, pass_seconds
from gahbench.networks.trained import channels_last
from gahbench.training.recipe import Training

#: Approximate speed of an eager training step on a CPU, relative to large matrix products, for ``gahbench plan``.
SHARE_OF_PEAK = 0.45
#: A gradient is wrong if its error exceeds all three limits: relative to the gradient, in multiples of the rounding
#: error, and relative to the gradient of all parameters (a bias before a normalisation has only rounding error).
MAX_RELATIVE_ERROR, MAX_ROUNDING_ERRORS, MAX_TOTAL_SHARE = 0.5, 5.0, 1e-4


@dataclass(frozen=True)
class Acceleration:
    """How a fit uses the hardware: under bfloat16 autocast or in float32, compiled or not."""

    bfloat16: bool
    compiled: bool
    #: Notes for records on acceleration that was not possible.
    notes: tuple[str, ...] = ()

    @property
    def precision(self) -> str:
        """Name of the training precision."""
        return "bfloat16" if self.bfloat16 else "float32"

    def without_compiler(self, reason: str) -> Acceleration:
        """Return this acceleration with the compiler turned off, and a note on the reason."""
        return replace(self, compiled=False, notes=(*self.notes, f"not compiled: {reason}"))


def autotune(network: nn.Module, shape: Shape, training: Training, steps: int, device: torch.device) -> Acceleration:
    """Choose precision and compilation for a fit, by timing passes of a copy of the network if the fit is long."""
    device_hardware, notes, total = hardware(device), [], training.batch_size * steps
    precision: Precision = "bfloat16" if training.precision == "bfloat16" else "float32"
    seconds = 0.0
    if "auto" in (training.precision, training.compile):
        images = max(1, min(training.batch_size, total // 1000))
        try:
            with device_hardware.restore_generators():
                run, passes = _timed_step(network, (images, *shape), device), total / images
                if training.precision == "auto":
                    precision, timed = choose(run, passes, device)
                    seconds = timed.get(precision, 0.0) * passes
                elif passes >= MIN_PASSES:
                    seconds = pass_seconds(run, precision, device) * passes
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # A network that cannot be copied, or cannot process part of a batch, can still be trained.
            notes.append(f"a step could not be timed: {error_text(error)}")
    if precision == "bfloat16" and not device_hardware.has_bfloat16:
        notes.append("bfloat16 was requested, but this hardware only emulates it, slowly")
    chosen = Acceleration(precision == "bfloat16", False, tuple(notes))
    is_long = training.compile == "auto" and seconds > device_hardware.compile_from_seconds
    if training.compile == "always" or is_long:
        missing = device_hardware.compiler_missing
        return chosen.without_compiler(missing) if missing else replace(chosen, compiled=True)
    return chosen


def _timed_step(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> Callable[[Precision], None]:
    """Return a function that runs a forward and a backward pass of a copy of a network in a precision."""
    copied = channels_last(copy.deepcopy(network), device).train()
    noisy = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)
    sigma = torch.full(shape[:1], 0.1, device=device)

    def run(precision: Precision) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            denoised = copied(noisy, sigma)
        denoised.float().square().mean().backward()

    return run


def eager_rate(device: torch.device, threads: int) -> float:
    """Estimate the multiply-adds per second of an eager training step in float32, by timing a matrix product."""
    if (nominal := hardware(device).nominal_rate) is not None:
        return nominal
    before, side = torch.get_num_threads(), 1024
    matrix = torch.ones(side, side)
    torch.set_num_threads(threads)
    try:
        seconds = min(timeit.repeat(lambda: torch.matmul(matrix, matrix), repeat=4, number=1))
    finally:
        torch.set_num_threads(before)
    return SHARE_OF_PEAK * side**3 / seconds


def multiply_adds(network: nn.Module, shape: tuple[int, int, int]) -> float:
    """Count the multiply-adds of one forward pass of an image of shape (C, H, W), without computing it."""
    from torch.utils.flop_counter import FlopCounterMode

    counter: Any = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        network(torch.zeros(1, *shape), torch.ones(1))
    return float(counter.get_total_flops()) / 2


def wrong_gradients(
    exact: Mapping[str, Tensor], rounded: Mapping[str, Tensor], compiled: Mapping[str, Tensor]
) -> list[str]:
    """Return the names of the parameters whose compiled gradient is wrong."""
    floor = MAX_TOTAL_SHARE * sum(float(gradient.double().square().sum()) for gradient in exact.values()) ** 0.5
    wrong = []
    for name, gradient in exact.items():
        zero = torch.zeros_like(gradient)
        error, rounding = (float((other.get(name, zero) - gradient).norm()) for other in (compiled, rounded))
        # The comparison is negated so that NaN counts as wrong.
        if not error <= max(MAX_RELATIVE_ERROR * float(gradient.norm()), MAX_ROUNDING_ERRORS * rounding, floor):
            wrong.append(name)
    return wrong
