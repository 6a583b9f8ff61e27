"""Use of the hardware: precision, and whether compiling pays."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from gahbench._util.bfloat16 import has_bfloat16
from gahbench.training.recipe import Training

#: Multiply-adds a second that an eager training step does, about: per CPU thread with and without bfloat16 units, and
#: on a GPU. They only decide whether compiling is worth it, and size the estimates of ``gahbench plan``.
NOMINAL_RATE = {"cpu": 1.5e10, "cpu-bfloat16": 4e10, "cuda": 2e13}
#: Compiling takes 15 to 40 seconds and saves about half of a step, so it pays from a few minutes on.
COMPILE_FROM_SECONDS = 180.0


@dataclass(frozen=True)
class Acceleration:
    """The use of the hardware by a fit, with reasons.

    Parameters
    ----------
    bfloat16
        Whether networks compute in bfloat16, rather than float32.
    compiled
        Whether networks are compiled.
    notes
        Why something that was requested, or would pay, is not done.
    graphs
        Whether a compiled network is launched as CUDA graphs: its hundreds of kernels at once.
    """

    bfloat16: bool
    compiled: bool
    notes: tuple[str, ...] = ()
    graphs: bool = False

    @property
    def precision(self) -> str:
        """Name of the training precision."""
        return "bfloat16" if self.bfloat16 else "float32"

    def without_compiler(self, reason: str) -> Acceleration:
        """Return the same without compiling, with a note."""
        return replace(self, compiled=False, graphs=False, notes=(*self.notes, f"not compiled: {reason}"))

    def after(self, error: RuntimeError) -> Acceleration | None:
        """Return what to try after an error in a network: less, with a note, or ``None`` if it was not to blame."""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if self.compiled and isinstance(error, torch._dynamo.exc.TorchDynamoException):
            return self.without_compiler(reason)
        if self.graphs:
            return replace(self, graphs=False, notes=(*self.notes, f"no CUDA graphs: {reason}"))
        return None


def chosen_device(name: str) -> torch.device:
    """Return a device by its name: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for a GPU if there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def compiler_missing(device: torch.device) -> str | None:
    """Return why torch.compile cannot be used here, or ``None``."""
    if device.type == "cuda":
        import importlib.util

        return None if importlib.util.find_spec("triton") else "triton is not installed"
    compiler = os.environ.get("CXX", "g++")
    found = shutil.which(compiler) or shutil.which("clang++")
    return None if found else "no C++ compiler was found"


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Leave this process, within which torch.compile may run, as it was: variables, import paths, recursion limit.

    The compiler sets all three, and finds its own anew in the next fit.
    """
    variables, paths, recursion = dict(os.environ), list(sys.path), sys.getrecursionlimit()
    try:
        yield
    finally:
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)
        sys.path[:] = paths
        sys.setrecursionlimit(recursion)


def nominal_rate(device: torch.device, bfloat16: bool, threads: int) -> float:
    """Return roughly how many multiply-adds a second an eager training step does."""
    if device.type == "cuda":
        return NOMINAL_RATE["cuda"]
    return NOMINAL_RATE["cpu-bfloat16" if bfloat16 else "cpu"] * threads


def choose(training: Training, work: float, device: torch.device, threads: int) -> Acceleration:
    """Decide precision and compilation for a fit.

    Parameters
    ----------
    training
        The recipe, which may insist.
    work
        Planned multiply-adds of the whole fit.
    device, threads
        Where it runs.
    """
    notes = []
    able = has_bfloat16(device)
    bfloat16 = training.precision == "bfloat16" or (training.precision == "auto" and able)
    if training.precision == "bfloat16" and not able:
        notes.append("bfloat16 was requested; this hardware emulates it, slowly")
    long = work / nominal_rate(device, bfloat16, threads) > COMPILE_FROM_SECONDS
    compiled = training.compile == "always" or (training.compile == "auto" and long)
    missing = compiler_missing(device) if compiled else None
    if missing:
        notes.append(f"not compiled: {missing}")
    compiled = compiled and not missing
    return Acceleration(bfloat16, compiled, tuple(notes), graphs=compiled and device.type == "cuda")


def multiply_adds(network: nn.Module, shape: tuple[int, int, int]) -> float:
    """Return the multiply-adds of one forward pass of one image (C, H, W), counted without computing.

    ``network`` must be on the meta device. Operations that do not multiply matrices count as nothing.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter: Any = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        network(torch.zeros(1, *shape), torch.ones(1))
    return float(counter.get_total_flops()) / 2
