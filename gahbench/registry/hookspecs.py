"""The hooks that a plugin may implement, marked with ``gahbench.hookimpl``.

Every ``register_...`` hook gets a callback ``register(name, target, **preset)``: ``target`` is a class, or
``"module:Class"`` to import it only when needed; ``preset`` fixes some of its parameters under that name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from gahbench.board.tables import Tables
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
    """Register the claims of a paper: a function that returns a sequence of ``gahbench.Claim``.

    Of a YAML file ``register("smith-2026", gahbench.read_claims, file="smith-2026.yaml")`` has the claims; or the file
    itself is given in place of a plugin file, and is registered by its name.
    """


@hookspec
def run_started(folder: Path, units: tuple[Unit, ...], todo: tuple[Unit, ...]) -> None:
    """Learn, in the main process, that a run begins: its results folder, all its units, and those to be done."""


@hookspec
def run_finished(folder: Path, results: Tables) -> None:
    """Learn, in the main process, that a run has ended and its board is written, whatever failed."""


@hookspec
def unit_started(unit: Unit) -> None:
    """Learn, in the main process, that a unit started."""


@hookspec
def unit_progress(unit: Unit, progress: dict[str, Any]) -> None:
    """Learn, in the main process, how far a fit is, about twice a second."""


@hookspec
def unit_finished(unit: Unit, seconds: float) -> None:
    """Learn, in the main process, that a unit finished, and after how many seconds."""


@hookspec
def unit_failed(unit: Unit, error: str) -> None:
    """Learn, in the main process, that a unit failed, and why."""
