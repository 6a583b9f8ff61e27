"""Calling the lifecycle hooks of plugins and trackers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

from gahbench.contracts.engines import Event
from gahbench.registry.registry import Registry


def notify(registry: Registry, report: Callable[[Event], None], event: Event) -> None:
    """Report an event, and call the lifecycle hooks of plugins, which receive the arguments that they name."""
    report(event)
    if event.unit is not None and event.kind != "note":
        arguments = {**event.details, "unit": event.unit, "progress": dict(event.details)}
        call_hook(registry, f"unit_{event.kind}", lambda: arguments)


def call_hook(registry: Registry, name: str, arguments: Callable[[], Mapping[str, object]]) -> None:
    """Call a hook if plugins implement it; the arguments are built here, so that their errors are caught too."""
    hook = getattr(registry.manager.hook, name)
    try:
        if hook.get_hookimpls():
            hook(**arguments())
    except Exception as error:
        # An error of a hook, which only observes, must not end a run of days.
        warnings.warn(f"a plugin's hook {name} raised {type(error).__name__}: {error}", stacklevel=3)
