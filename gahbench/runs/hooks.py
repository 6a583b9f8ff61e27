"""Calls of the hooks with which plugins and trackers follow a run: its start, its training, its scores, and its end."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from gahbench._util.error_text import error_text
from gahbench._util.errors import PluginError
from gahbench.contracts.unit import Unit


@contextlib.contextmanager
def tracking(trackers: Mapping[str, object], manager: pluggy.PluginManager) -> Iterator[None]:
    """Let trackers, given by their specs, follow a run; the hooks learn if an error ends it."""
    try:
        for spec, tracker in trackers.items():
            try:
                manager.register(tracker, f"the tracker {spec}")
                manager.check_pending()
            except pluggy.PluginValidationError as error:
                raise PluginError(f"tracker '{spec}': {error}") from error
            if not manager.get_hookcallers(tracker):
                raise PluginError(f"tracker '{spec}': has no method that is marked with gahbench.hookimpl")
        try:
            yield
        except BaseException:
            call_hook(manager, "run_finished", lambda: {"results": None})
            raise
    finally:
        for tracker in filter(manager.is_registered, trackers.values()):
            manager.unregister(tracker)


def call_hook(manager: pluggy.PluginManager, name: str, arguments: Callable[[], Mapping[str, object]]) -> None:
    """Call a hook; a plugin that raises an error is not called again, since it only follows a run of days."""
    hooks = getattr(manager.hook, name).get_hookimpls()
    values = arguments() if hooks else {}
    for hook in hooks:
        try:
            hook.function(*(values[argument] for argument in hook.argnames))
        except Exception as error:
            manager.unregister(hook.plugin)
            text = f"{hook.plugin_name} failed and is not called any more; the run continues: {error_text(error)}"
            warnings.warn(text, stacklevel=2)


def row_name(unit: Unit) -> str:
    """Return the name of the row of a unit, with the split half of a fit."""
    return unit.row + (f" from {unit.split}" if unit.kind == "fit" and unit.split else "")


def describe_run(folder: Path, suite: str, units: Sequence[Unit], todo: Sequence[Unit]) -> dict[str, Any]:
    """Return the arguments of the hook ``run_started``."""
    described: dict[str, Any] = {"suite": suite, "units": len(units), "todo": len(todo)}
    for name in ("dataset", "entrant", "metric", "seed"):
        values = dict.fromkeys(getattr(unit, name) for unit in units)
        described[f"{name}s"] = [value for value in values if value is not None]
    described["training"] = {row_name(unit): unit.payload["training"] for unit in units if unit.kind == "fit"}
    return {"folder": folder.resolve(), "suite": described}
