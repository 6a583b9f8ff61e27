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
from gahbench.registry.configured import Configured

SET, ENTRANT = "--set", "--entrant"


@dataclass(frozen=True)
class SuiteChanges:
    """Changes to a suite for a run, as the values of command-line options."""

    entrants: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    @classmethod
    def from_arguments(
        cls,
        entrants: Iterable[str] = (),
        settings: Mapping[str, Any] | Iterable[str] = (),
        datasets: Iterable[str] = (),
        metrics: Iterable[str] = (),
        only: Iterable[str] = (),
        seeds: Iterable[int] = (),
    ) -> SuiteChanges:
        """Build changes; settings are strings or a mapping, ``{"training.steps": 100}``, and seeds become a setting."""
        if isinstance(settings, Mapping):
            settings = [_format_setting(str(name), value) for name, value in settings.items()]
        settings = (*_as_tuple(settings), *(() if seeds == () else [_format_setting("seeds", seeds)]))
        return cls(*map(_as_tuple, (entrants, settings, datasets, metrics, only)))

    @property
    def options(self) -> tuple[str, ...]:
        """The changes as command-line options."""
        options = (SET, ENTRANT, "--only", "--dataset", "--metric")
        values = (self.settings, self.entrants, self.only, self.datasets, self.metrics)
        return tuple(f"{option} {text}" for option, texts in zip(options, values, strict=True) for text in texts)


def _as_tuple(texts: Iterable[str]) -> tuple[str, ...]:
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
    name, *inner = names
    if isinstance(container, list):
        plugins = [entry if isinstance(entry, dict) else {str(entry): {}} for entry in container]
        entries = [str(next(iter(plugin), "")).partition("[")[0].strip() for plugin in plugins]
        if entries.count(name) != 1 and not (name.isdecimal() and int(name) < len(entries)):
            raise GahbenchError(
                f"'{name}' is not the name of a single entry; accepted: {listing(entries)}, or an index from 0 below "
                f"{len(entries)}"
            )
        index = entries.index(name) if entries.count(name) == 1 else int(name)
        if not inner:
            container[index] = value
            return (index,)
        container[index], plugin = plugins[index], entries[index]
        # The path may leave out the name of the plugin.
        inner = inner if inner[0] == plugin and len(inner) > 1 else [plugin, *inner]
        return (index, *_set_field(container[index], inner, value))
    if not isinstance(container, dict):
        raise GahbenchError(f"'{name}' is not a field, since {brief(repr(container), 60)} has no fields")
    if not inner:
        container[name] = value
        return (name,)
    if container.get(name) is None:
        container[name] = {}
    return (name, *_set_field(container[name], inner, value))


def select_plugins(
    plugins: tuple[Configured, ...], patterns: Sequence[str], option: str, keep: Collection[str | None] = ()
) -> tuple[Configured, ...]:
    """Return the plugins whose label or name matches a pattern or is in ``keep``; without patterns, all plugins."""

    def is_match(plugin: Configured, pattern: str) -> bool:
        # An architecture with a checkpoint is the plugin 'pretrained', so its name is only in the label.
        return matches(plugin.label, pattern) or matches(plugin.plugin.name, pattern)

    for pattern in patterns:
        if not any(is_match(plugin, pattern) for plugin in plugins):
            labels = [plugin.label for plugin in plugins]
            near = suggestion(pattern, [*labels, *(plugin.plugin.name for plugin in plugins)])
            raise ParameterError(
                f"{option} {pattern}: matches none of {listing(labels)}{near or ';'} it selects plugins of the suite; "
                f"{ENTRANT} NAME adds an entrant, and {SET} replaces the lists datasets and scoring.metrics"
            )
    return tuple(
        plugin
        for plugin in plugins
        if not patterns or plugin.label in keep or any(is_match(plugin, pattern) for pattern in patterns)
    )
