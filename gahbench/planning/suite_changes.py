"""Changes to a suite from the command line: settings, added entrants, and selections of plugins."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gahbench._util.core_yaml import Document, Location, load_scalar
from gahbench._util.errors import GahbenchError, ParameterError, listing, prefix_errors, suggestion
from gahbench._util.readable import brief
from gahbench.contracts.row_labels import matches
from gahbench.planning.suite_entries import Resolved
from gahbench.planning.suite_files import SET
from gahbench.registry.configured import Configured

ENTRANT = "--entrant"


@dataclass(frozen=True)
class SuiteChanges:
    """Changes to a suite, as the arguments of :func:`gahbench.run` of the same names."""

    entrants: Sequence[str] = ()
    settings: Mapping[str, Any] | Sequence[str] = ()
    datasets: Sequence[str] = ()
    metrics: Sequence[str] = ()
    only: Sequence[str] = ()
    seeds: Sequence[int] = ()

    def options(self) -> dict[str, tuple[str, ...]]:
        """Return the values of command-line options that make the changes; seeds are a setting."""
        settings = self.settings
        if isinstance(settings, Mapping):
            settings = [_format_setting(str(name), value) for name, value in settings.items()]
        seeds = () if self.seeds == () else (_format_setting("seeds", self.seeds),)
        values = {ENTRANT: self.entrants, "--only": self.only, "--dataset": self.datasets, "--metric": self.metrics}
        return {SET: (*_as_tuple(settings), *seeds), **{name: _as_tuple(texts) for name, texts in values.items()}}


def _as_tuple(texts: Sequence[str]) -> tuple[str, ...]:
    # A string is one value, not a sequence of characters.
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _format_setting(name: str, value: Any) -> str:
    try:
        return f"{name}={json.dumps(value, ensure_ascii=False, default=list)}"
    except (TypeError, ValueError) as error:
        raise ParameterError(f"settings: '{name}' is set to a {type(value).__name__}: {error}") from error


def apply_settings(document: Document, settings: Iterable[str]) -> None:
    """Set fields in the content of a suite file; errors about these fields then name the setting."""
    for text in settings:
        path, equals, value = text.partition("=")
        names = [name.strip() for name in path.split(".")]
        with prefix_errors(f"{SET} {text}"):
            if not equals or not all(names):
                raise GahbenchError("accepted: FIELD=VALUE, such as training.steps=100")
            try:
                location = _set_field(document.content, names, load_scalar(value))
            except yaml.YAMLError as error:
                raise GahbenchError(f"'{value}' cannot be read: {error}") from error
        document.mark(location, f"{SET} {text}")


def _set_field(container: Any, names: Sequence[str], value: Any) -> Location:
    """Set a field in nested mappings and lists of plugins, and return its location."""
    key: str | int
    key, *inner = names
    if isinstance(container, list):
        plugins = [entry if isinstance(entry, dict) else {str(entry): {}} for entry in container]
        entries = [str(next(iter(plugin), "")).partition("[")[0].strip() for plugin in plugins]
        if entries.count(key) != 1 and not (key.isdecimal() and int(key) < len(entries)):
            accepted = f"{listing(entries)}, or an index from 0 below {len(entries)}"
            raise GahbenchError(f"'{key}' is not the name of a single entry; accepted: {accepted}")
        key = entries.index(key) if entries.count(key) == 1 else int(key)
        if inner:
            container[key] = plugins[key]
            # The path may leave out the name of the plugin.
            inner = inner if inner[0] == entries[key] and len(inner) > 1 else [entries[key], *inner]
    elif not isinstance(container, dict):
        raise GahbenchError(f"'{key}' is not a field, since {brief(repr(container), 60)} has no fields")
    elif inner and container.get(key) is None:
        container[key] = {}
    if inner:
        return (key, *_set_field(container[key], inner, value))
    container[key] = value
    return (key,)


def select_plugins(
    items: Sequence[Resolved], options: Mapping[str, Sequence[str]], option: str, keep: Collection[str | None] = ()
) -> tuple[Configured, ...]:
    """Return the plugins that a pattern of an option matches, or that are in ``keep``; all plugins without patterns."""
    plugins = [item.configured for item in items]
    # An architecture with a checkpoint is the plugin 'pretrained', so its name is only in the label.
    names = {plugin.label: (plugin.label, plugin.plugin.name) for plugin in plugins}
    selected = set(keep if options[option] else names)
    for pattern in options[option]:
        found = [label for label in names if any(matches(name, pattern) for name in names[label])]
        if not found:
            near = suggestion(pattern, [name for pair in names.values() for name in pair])
            raise ParameterError(
                f"{option} {pattern}: matches none of {listing(names)}{near or ';'} it selects plugins of the suite; "
                f"{ENTRANT} NAME adds an entrant, and {SET} replaces the lists datasets and scoring.metrics"
            )
        selected.update(found)
    return tuple(plugin for plugin in plugins if plugin.label in selected)
