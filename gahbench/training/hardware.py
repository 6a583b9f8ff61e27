"""Use of the hardware by a fit: precision, whether compiling pays, and whether the compiled network is right."""

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

#: The share of the speed of large matrix products that an eager training step reaches on a processor: roughly, for the
#: estimates of ``gahbench plan``.
SHARE_OF_PEAK = 0.45
#: The gradient of a parameter is wrong if its error is more than this share of it, this many times the error of
#: rounding, and this share of the gradient of all parameters: that of a bias before a normalisation is rounding alone.
SHARE, TIMES, LEAST = 0.5, 5.0, 1e-4


@dataclass(frozen=True)
class Acceleration:
    """The use of the hardware by a fit, with reasons."""

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
        """Return the same without compiling, with a note."""
        return replace(self, compiled=False, graphs=False, notes=(*self.notes, f"not compiled: {reason}"))

    def as_begun(self, precision: Precision, compiled: bool, device: torch.device) -> Acceleration:
        """Return the use of the hardware that a checkpoint records, so that its fit goes on bit for bit."""
        changed = self
        if precision != self.precision:
            if precision == "bfloat16" and not hardware(device).has_bfloat16:
                note = "begun in bfloat16, goes on in float32: this hardware has no bfloat16 instructions"
                changed = replace(changed, notes=(*changed.notes, note))
            else:
                choice = Choice(precision, "as the fit was begun", self.choice.seconds)
                notes = tuple(note for note in self.notes if note != self.choice.note)
                changed = replace(changed, bfloat16=precision == "bfloat16", notes=notes, choice=choice)
        if compiled != self.compiled:
            if compiled and (missing := hardware(device).compiler_missing):
                return changed.without_compiler(f"as the fit was begun: {missing}")
            changed = replace(changed, compiled=compiled, graphs=compiled and hardware(device).has_graphs)
        return changed

    def after(self, error: RuntimeError) -> Acceleration | None:
        """Return what to try after an error in a network: less, with a note, or ``None`` if it was not to blame."""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if self.compiled and isinstance(error, torch._dynamo.exc.TorchDynamoException):
            return self.without_compiler(reason)
        if self.graphs:
            return replace(self, graphs=False, notes=(*self.notes, f"no CUDA graphs: {reason}"))
        return None


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Leave this process, within which torch.compile may run, as it was: variables, import paths, recursion limit."""
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
    """Return roughly how many multiply-adds a second an eager training step in float32 does, from a matrix product."""
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


def choose(training: Training, choice: Choice, seconds: float, device: torch.device) -> Acceleration:
    """Decide on precision and compilation for a fit."""
    notes = [] if choice.note is None else [choice.note]
    if training.precision != "auto":
        notes, choice = [], Choice(training.precision)
    there = hardware(device)
    if choice.precision == "bfloat16" and not there.has_bfloat16:
        notes.append("bfloat16 was requested; this hardware emulates it, slowly")
    pays = seconds > there.compile_from_seconds
    compiled = training.compile == "always" or (training.compile == "auto" and pays)
    missing = there.compiler_missing if compiled else None
    if missing:
        notes.append(f"not compiled: {missing}")
    compiled = compiled and not missing
    graphs = compiled and there.has_graphs
    return Acceleration(choice.precision == "bfloat16", compiled, tuple(notes), graphs, choice)


def multiply_adds(network: nn.Module, shape: tuple[int, int, int]) -> float:
    """Return the multiply-adds of one forward pass of one image (C, H, W), counted without computing."""
    from torch.utils.flop_counter import FlopCounterMode

    counter: Any = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        network(torch.zeros(1, *shape), torch.ones(1))
    return float(counter.get_total_flops()) / 2


def wrong_gradients(
    exact: Mapping[str, Tensor], rounded: Mapping[str, Tensor], compiled: Mapping[str, Tensor]
) -> list[str]:
    """Return the names of the parameters whose gradient is not that of the network."""
    floor = LEAST * sum(float(gradient.double().square().sum()) for gradient in exact.values()) ** 0.5
    wrong = []
    for name, gradient in exact.items():
        zero = torch.zeros_like(gradient)
        off, usual = (float((other.get(name, zero) - gradient).norm()) for other in (compiled, rounded))
        # Written so that NaN is wrong.
        if not off <= max(SHARE * float(gradient.norm()), TIMES * usual, floor):
            wrong.append(name)
    return wrong
