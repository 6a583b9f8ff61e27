"""The lifecycle hooks of plugins, and which plugins are loaded to have them called."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from gahbench.contracts.jobs import Event
from gahbench.contracts.unit import Unit
from gahbench.registry.plugin_files import plugin_files
from gahbench.registry.registry import Registry, plugin_packages

if TYPE_CHECKING:
    from gahbench.board.results import Results

_LIFECYCLE: tuple[str, ...] = (
    "run_started", "run_finished", "unit_started", "unit_progress", "unit_finished", "unit_failed",
)  # fmt: skip


def notify(registry: Registry, report: Callable[[Event], None], event: Event) -> None:
    """Report an event, and call the lifecycle hooks of plugins."""
    report(event)
    if event.unit is None:
        return
    hook = registry.manager.hook
    if event.kind == "started":
        _call(hook.unit_started, lambda: {"unit": event.unit})
    elif event.kind == "progress":
        _call(hook.unit_progress, lambda: {"unit": event.unit, "progress": dict(event.details)})
    elif event.kind == "finished":
        _call(hook.unit_finished, lambda: {"unit": event.unit, "seconds": event.details["seconds"]})
    elif event.kind == "failed":
        _call(hook.unit_failed, lambda: {"unit": event.unit, "error": event.details["error"]})


def notify_started(registry: Registry, folder: Path, units: tuple[Unit, ...], todo: tuple[Unit, ...]) -> None:
    """Call the hooks of plugins for the beginning of a run."""
    _call(registry.manager.hook.run_started, lambda: {"folder": folder, "units": units, "todo": todo})


def notify_finished(registry: Registry, folder: Path, load: Callable[[], Results]) -> None:
    """Call the hooks of plugins for the end of a run, with its results, which are read only if there are any."""
    hook = registry.manager.hook.run_finished
    if hook.get_hookimpls():
        _call(hook, lambda: {"folder": folder, "results": load()})


def _call(hook: pluggy.HookCaller, arguments: Callable[[], dict[str, object]]) -> None:
    """Call a hook with arguments that are made only now, as they may fail too."""
    try:
        hook(**arguments())
    except Exception as error:
        # A plugin that only watches must not cost a run of days.
        warnings.warn(f"a plugin's hook {hook.name} raised {type(error).__name__}: {error}", stacklevel=3)


def main_registry(sources: Sequence[Path], engine: str, track: Sequence[str] = ()) -> Registry:
    """Return a registry for the process that starts workers and writes the board."""
    built_in = Registry(packages=())
    hooks = _LIFECYCLE
    if built_in.find("engine", engine.partition("[")[0]) is None:
        hooks += ("register_engines",)
    if any(built_in.find("tracker", spec.partition("[")[0]) is None for spec in track):
        hooks += ("register_trackers",)
    files = tuple(file for source in sources for file in plugin_files(source) if _names_any(hooks, file))
    packages = {
        package
        for package, entry in plugin_packages()
        if (file := _origin(entry.module)) is not None and _names_any(hooks, file)
    }
    return Registry(files, packages) if files or packages else built_in


def trusts_plugins(engine: str) -> bool:
    """Whether an engine that comes with gahbench is to run plugins from outside in this process."""
    built_in = Registry(packages=())
    if built_in.find("engine", engine.partition("[")[0]) is None:
        return False
    return bool(built_in.configure("engine", engine).parameters.get("trusted"))


def has_outside(sources: Sequence[Path]) -> bool:
    """Whether there are plugins that do not come with gahbench: files that are given, or installed packages."""
    return bool(sources or plugin_packages())


def _origin(module: str) -> Path | None:
    """Return the file of a module without importing it, nor the package that it is in."""
    top = module.partition(".")[0]
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if found is None or found.origin is None or not found.has_location:
        return None
    # The package's own file stands for all of it: see _names_any.
    return Path(found.origin)


def _names_any(hooks: Sequence[str], file: Path) -> bool:
    """Whether the text of a plugin file, or of any file of a package, names one of some hooks."""
    files = file.parent.rglob("*.py") if file.name == "__init__.py" else (file,)
    for one in files:
        try:
            text = one.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # Loading it, where that is needed, says what is wrong.
        if any(hook in text for hook in hooks):
            return True
    return False
