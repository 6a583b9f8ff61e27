"""The lifecycle hooks of plugins."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from gahbench.contracts.jobs import Event
from gahbench.registry.registry import Registry


def notify(registry: Registry, report: Callable[[Event], None], event: Event) -> None:
    """Report an event, and call the lifecycle hooks of plugins."""
    report(event)
    if event.unit is None:
        return
    hook = registry.manager.hook
    try:
        if event.kind == "started":
            hook.unit_started(unit=event.unit)
        elif event.kind == "finished":
            hook.unit_finished(unit=event.unit, seconds=event.details["seconds"])
        elif event.kind == "failed":
            hook.unit_failed(unit=event.unit, error=event.details["error"])
    except Exception as error:
        # A plugin that only watches must not cost a run of days.
        warnings.warn(
            f"a plugin's hook for a unit that {event.kind} raised {type(error).__name__}: {error}", stacklevel=2
        )
