"""The hooks that a plugin may implement, marked with ``gahbench.hookimpl``.

Every ``register_...`` hook receives a callback ``register(name, target, **preset)``. ``target`` is a class, or
``"module:Class"`` to import it only when needed. ``preset`` sets some parameters of the target for that name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from gahbench.contracts.unit import Unit

hookspec = pluggy.HookspecMarker("gahbench")
#: Marks a function of a plugin as the implementation of a hook.
hookimpl = pluggy.HookimplMarker("gahbench")

#: The callback of a hook that registers plugins: ``register(name, class_or_text, **preset)``.
Register = Callable[..., Any]


@hookspec
def register_architectures(register: Register) -> None:
    """Register trainable denoisers: ``torch.nn.Module`` classes."""


@hookspec
def register_datasets(register: Register) -> None:
    """Register image families: ``gahbench.Dataset`` classes."""


@hookspec
def register_references(register: Register) -> None:
    """Register denoisers that are not trained: ``gahbench.Reference`` classes."""


@hookspec
def register_bases(register: Register) -> None:
    """Register bases: ``gahbench.Basis`` classes."""


@hookspec
def register_metrics(register: Register) -> None:
    """Register metrics: ``gahbench.Metric`` classes."""


@hookspec
def register_engines(register: Register) -> None:
    """Register engines: ``gahbench.Engine`` classes."""


@hookspec
def register_trackers(register: Register) -> None:
    """Register tools for tracking experiments: ``gahbench.Tracker`` classes."""


@hookspec
def register_claims(register: Register) -> None:
    """Register the claims of a paper: call ``register("smith-2026", gahbench.read_claims, file="smith-2026.yaml")``.

    A YAML file that is passed as a plugin file is registered by the file's name.
    """


@hookspec
def run_started(folder: Path, units: tuple[Unit, ...], todo: tuple[Unit, ...]) -> None:
    """Handle the start of a run, in the main process, in a results ``folder``; ``todo`` are the unfinished units."""


@hookspec
def run_finished(folder: Path, results: Any) -> None:
    """Handle the end of a run, in the main process, after its board is written; units may have failed."""


@hookspec
def unit_started(unit: Unit) -> None:
    """Handle the start of a unit, in the main process."""


@hookspec
def unit_progress(unit: Unit, progress: dict[str, Any]) -> None:
    """Handle the progress of a fit, in the main process, about twice a second."""


@hookspec
def unit_finished(unit: Unit, seconds: float) -> None:
    """Handle the end of a unit, in the main process; ``seconds`` is the duration of the unit."""


@hookspec
def unit_failed(unit: Unit, error: str) -> None:
    """Handle the failure of a unit, in the main process; ``error`` says why the unit failed."""
