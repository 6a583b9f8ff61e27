"""Changes to a suite from the command line: settings, added entrants, and selections of plugins."""

from __future__ import annotations

import json
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gahbench._util.core_yaml import Document, Location, load_scalar
from gahbench._util.errors import GahbenchError, ParameterError, listing, suggestion
from gahbench._util.readable import brief
from gahbench.contracts.row_labels import matches
from gahbench.planning.suite_fields import entry_name
from gahbench.registry.configured import Configured

SET, ENTRANT = "--set", "--entrant"
#: Options that select plugins of a suite, and how to add a plugin instead.
_ALTERNATIVES = {
    "--dataset": f"{SET} datasets=[...] replaces the list",
    "--only": f"{ENTRANT} NAME adds an entrant",
    "--metric": f"{SET} scoring.metrics=[...] replaces the list",
}


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
        settings = (*_as_tuple(settings), *_seed_settings(seeds))
        return cls(*map(_as_tuple, (entrants, settings, datasets, metrics, only)))

    @property
    def options(self) -> tuple[str, ...]:
        """The changes as command-line options."""
        texts_by_option = {
            SET: self.settings,
            "--entrant": self.entrants,
            "--only": self.only,
            "--dataset": self.datasets,
            "--metric": self.metrics,
        }
        return tuple(f"{option} {text}" for option, texts in texts_by_option.items() for text in texts)


def _as_tuple(texts: Iterable[str]) -> tuple[str, ...]:
    # A string is one value, not a sequence of characters.
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _seed_settings(seeds: Iterable[int]) -> tuple[str, ...]:
    """Return the setting that sets the seeds; an empty tuple without seeds."""
    try:
        numbers = [operator.index(seed) for seed in seeds]
    except TypeError:
        raise ParameterError(f"seeds={seeds!r}; accepted: a list of integers, such as [0, 1]") from None
    return (f"seeds={numbers}",) if numbers else ()


def _format_setting(name: str, value: Any) -> str:
    try:
        return f"{name}={json.dumps(value, ensure_ascii=False)}"
    except (TypeError, ValueError) as error:
        raise GahbenchError(f"settings: '{name}' is set to a {type(value).__name__}: {error}") from error


def apply_settings(document: Document, settings: Iterable[str]) -> None:
    """Set fields in the content of a suite file; errors about these fields then name the setting."""
    for text in settings:
        path, equals, value = text.partition("=")
        names = [name.strip() for name in path.split(".")]
        if not equals or not all(names):
            raise GahbenchError(f"{SET} {text}; accepted: FIELD=VALUE, such as training.steps=100")
        if names[0] == "plugins":
            raise GahbenchError(
                f"{SET} {text}: plugins are loaded before settings are applied; use --plugins-dir instead"
            )
        try:
            parsed = load_scalar(value)
        except yaml.YAMLError as error:
            raise GahbenchError(f"{SET} {text}: '{value}' cannot be read: {error}") from error
        _set_field(document, text, names, parsed)


def _set_field(document: Document, text: str, names: list[str], value: Any) -> None:
    where = f"{SET} {text}"
    container: Any = document.content
    location: Location = ()
    remaining = list(names)
    while len(remaining) > 1:
        key = _find_key(container, remaining.pop(0), where)
        location = (*location, key)
        if isinstance(container, list):
            container[key] = _as_mapping(container[key], where)
            # The path may leave out the name of the plugin.
            container, (key, *_) = container[key], container[key]
            location = (*location, key)
            if remaining[0] == key and len(remaining) > 1:
                del remaining[0]
        # Copy the child, since a YAML alias may share it with other fields.
        child = container.get(key)
        container[key] = list(child) if isinstance(child, list) else dict(child) if isinstance(child, dict) else child
        if child is None:
            container[key] = {}
            document.mark(location, where)
        container = container[key]
    key = _find_key(container, remaining[0], where)
    container[key] = value
    document.mark((*location, key), where)


def _as_mapping(entry: Any, where: str) -> dict[str, Any]:
    """Convert an entry of a list of plugins to a mapping from its name to its parameters."""
    if isinstance(entry, str) and "[" not in entry:
        return {entry: {}}
    if isinstance(entry, dict) and entry:
        return dict(entry)
    raise GahbenchError(f"{where}: the entry {brief(repr(entry), 60)} has no parameters by name; set the whole entry")


def _find_key(holder: Any, name: str, where: str) -> Any:
    if isinstance(holder, dict):
        return name
    if not isinstance(holder, list):
        raise GahbenchError(f"{where}: '{name}' is not a field, since {brief(repr(holder), 60)} has no fields")
    if name.isdigit() and int(name) < len(holder):
        return int(name)
    names = [entry_name(entry) if isinstance(entry, str | dict) else str(entry) for entry in holder]
    if names.count(name) == 1:
        return names.index(name)
    problem = "is ambiguous: use its index, from 0" if name in names else "is not in the list"
    raise GahbenchError(f"{where}: '{name}' {problem}; accepted: {listing(names)}, or an index below {len(holder)}")


def select_plugins(
    plugins: tuple[Configured, ...], patterns: Sequence[str], option: str, keep: Collection[str | None] = ()
) -> tuple[Configured, ...]:
    """Return the plugins whose label or name matches a pattern or is in ``keep``; without patterns, all plugins."""
    if not patterns:
        return plugins
    for pattern in patterns:
        if not any(_matches(plugin, pattern) for plugin in plugins):
            labels = [plugin.label for plugin in plugins]
            near = suggestion(pattern, [*labels, *(plugin.plugin.name for plugin in plugins)])
            raise ParameterError(
                f"{option} {pattern}: matches none of {listing(labels)}{near or ';'} it selects plugins of the suite; "
                f"{_ALTERNATIVES[option]}"
            )
    return tuple(
        plugin for plugin in plugins if plugin.label in keep or any(_matches(plugin, pattern) for pattern in patterns)
    )


def _matches(configured: Configured, pattern: str) -> bool:
    # An architecture with a checkpoint is the plugin 'pretrained', so its name is only in the label.
    return matches(configured.label, pattern) or matches(configured.plugin.name, pattern)
