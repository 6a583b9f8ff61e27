"""The hooks that a plugin may implement, marked with ``gahbench.hookimpl``.

Every ``register_...`` hook receives a callback ``register(name, target, **preset)``. ``target`` is a class, or
``"module:Class"`` to import it only when needed. ``preset`` sets some parameters of the target for that name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy

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
    """Register tools for tracking experiments: classes whose methods are the hooks below."""


@hookspec
def register_claims(register: Register) -> None:
    """Register the claims of a paper: call ``register("smith-2026", gahbench.read_claims, file="smith-2026.yaml")``.

    A YAML file that is passed as a plugin file is registered by the file's name.
    """


@hookspec
def run_started(folder: Path, suite: dict[str, Any]) -> None:
    """Handle the start of a run, in the main process, as the other hooks below.

    Parameters
    ----------
    folder
        The results folder.
    suite
        The run as plain JSON: ``suite`` (its name), ``units`` (the number of units), ``todo`` (the number of unfinished
        units), ``datasets``, ``entrants``, ``metrics``, ``seeds`` (lists), and ``training`` (the recipe of each
        trained row).
    """


@hookspec
def log_training(row: str, step: int, values: dict[str, float]) -> None:
    """Log values of a fit after a step: ``loss``, and ``validation_psnr`` in dB if it was measured at this step.

    Rows are named as in progress lines: ``unet[width=16] on discs[size=32] (seed 1)``.
    """


@hookspec
def log_scores(row: str, values: dict[str, float]) -> None:
    """Log means over images by metric and noise level (``psnr/0.1``), as soon as they are measured."""


@hookspec
def run_finished(results: Any) -> None:
    """Handle the end of a run, after its board is written: the ``gahbench.Results``, or ``None`` after an error."""
