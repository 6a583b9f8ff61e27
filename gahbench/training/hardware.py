"""Acceleration of a fit: its precision, when to compile its network, and a check of the compiled gradients."""

from __future__ import annotations

import contextlib
import os
import sys
import timeit
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from gahbench.devices.hardware import hardware
from gahbench.networks.precision import Choice, Precision
from gahbench.training.recipe import Training

#: Approximate speed of an eager training step on a CPU, relative to large matrix products, for ``gahbench plan``.
SHARE_OF_PEAK = 0.45
#: A gradient is wrong if its error exceeds all three limits: relative to the gradient, in multiples of the rounding
#: error, and relative to the gradient of all parameters (a bias before a normalisation has only rounding error).
MAX_RELATIVE_ERROR, MAX_ROUNDING_ERRORS, MAX_TOTAL_SHARE = 0.5, 5.0, 1e-4


@dataclass(frozen=True)
class Acceleration:
    """How a fit uses the hardware.

    Parameters
    ----------
    bfloat16
        Whether the network is trained under bfloat16 autocast, otherwise in float32.
    compiled
        Whether the network is compiled.
    notes
        Notes for records on acceleration that was not possible.
    graphs
        Whether the compiled network is launched as CUDA graphs.
    choice
        The choice of the precision, with its reason.
    """

    bfloat16: bool
    compiled: bool
    notes: tuple[str, ...] = ()
    graphs: bool = False
    choice: Choice = field(default_factory=Choice, compare=False)

    @property
    def precision(self) -> str:
        """Name of the training precision."""
        return "bfloat16" if self.bfloat16 else "float32"

    def without_compiler(self, reason: str) -> Acceleration:
        """Return this acceleration with the compiler turned off, and a note on the reason."""
        return replace(self, compiled=False, graphs=False, notes=(*self.notes, f"not compiled: {reason}"))

    def as_recorded(self, precision: Precision, compiled: bool, device: torch.device) -> Acceleration:
        """Return this acceleration with the precision and compilation of a checkpoint, to resume its fit exactly."""
        changed = self
        if precision != self.precision:
            if precision == "bfloat16" and not hardware(device).has_bfloat16:
                note = "started in bfloat16, resumed in float32: this hardware has no bfloat16 instructions"
                changed = replace(changed, notes=(*changed.notes, note))
            else:
                choice = Choice(precision, "the fit was started in this precision", self.choice.seconds)
                notes = tuple(note for note in self.notes if note != self.choice.note)
                changed = replace(changed, bfloat16=precision == "bfloat16", notes=notes, choice=choice)
        if compiled != self.compiled:
            if compiled and (missing := hardware(device).compiler_missing):
                return changed.without_compiler(f"the fit was started with a compiler, but {missing}")
            changed = replace(changed, compiled=compiled, graphs=compiled and hardware(device).is_accelerator)
        return changed

    def fallback_after(self, error: RuntimeError) -> Acceleration | None:
        """Return a lower acceleration to try after an error; ``None`` if acceleration cannot be the cause."""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if self.compiled and isinstance(error, torch._dynamo.exc.TorchDynamoException):
            return self.without_compiler(reason)
        if self.graphs:
            return replace(self, graphs=False, notes=(*self.notes, f"no CUDA graphs: {reason}"))
        return None


@contextlib.contextmanager
def preserve_process_state() -> Iterator[None]:
    """Restore environment variables, import paths and the recursion limit after torch.compile changes them."""
    variables, paths, recursion = dict(os.environ), list(sys.path), sys.getrecursionlimit()
    try:
        yield
    finally:
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)
        sys.path[:] = paths
        sys.setrecursionlimit(recursion)


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


def choose_acceleration(training: Training, choice: Choice, seconds: float, device: torch.device) -> Acceleration:
    """Choose precision and compilation for a fit that takes about ``seconds`` without a compiler."""
    notes = [] if choice.note is None else [choice.note]
    if training.precision != "auto":
        notes, choice = [], Choice(training.precision)
    device_hardware = hardware(device)
    if choice.precision == "bfloat16" and not device_hardware.has_bfloat16:
        notes.append("bfloat16 was requested, but this hardware only emulates it, slowly")
    is_worthwhile = seconds > device_hardware.compile_from_seconds
    compiled = training.compile == "always" or (training.compile == "auto" and is_worthwhile)
    missing = device_hardware.compiler_missing if compiled else None
    if missing:
        notes.append(f"not compiled: {missing}")
    compiled = compiled and not missing
    graphs = compiled and device_hardware.is_accelerator
    return Acceleration(choice.precision == "bfloat16", compiled, tuple(notes), graphs, choice)


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
