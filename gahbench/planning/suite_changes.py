"""Changes to a suite that are not in its file: settings, further entrants, and which of its plugins are run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from gahbench._util.core_yaml import load_scalar
from gahbench._util.errors import GahbenchError, ParameterError, listing
from gahbench._util.patterns import matches
from gahbench.planning.suite_fields import entry_name
from gahbench.planning.yaml_lines import Document, Location
from gahbench.registry.configured import Configured

SET = "--set"


@dataclass(frozen=True)
class SuiteChanges:
    """Changes to a suite for a run, in plain values.

    Parameters
    ----------
    entrants
        Further entrants, each ``name[key=value]``.
    settings
        Fields that are set, each ``training.steps=100``: a path of names, where an entry of a list is given by its
        plugin or its number from 0, and a value as in the file.
    datasets, metrics, only
        Labels, plugins' names or patterns such as ``unet*``: of the datasets, metrics and entrants of the file those
        that match one; empty for all.
    """

    entrants: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        entrants: Iterable[str] = (),
        settings: Mapping[str, Any] | Iterable[str] = (),
        datasets: Iterable[str] = (),
        metrics: Iterable[str] = (),
        only: Iterable[str] = (),
    ) -> SuiteChanges:
        """Return changes; settings may be a mapping too, ``{"training.steps": 100}``."""
        if isinstance(settings, Mapping):
            settings = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
        return cls(tuple(entrants), tuple(settings), tuple(datasets), tuple(metrics), tuple(only))

    def record(self) -> dict[str, Any]:
        """Return all of it as plain JSON."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> SuiteChanges:
        """Return the changes of a record."""
        return cls(**{name: tuple(value) for name, value in record.items()})


def apply_settings(document: Document, settings: Iterable[str]) -> None:
    """Set fields in the content of a suite's file; errors about them then name the setting.

    Raises
    ------
    GahbenchError
        If one is not ``path=value``, or its path leads nowhere.
    """
    for text in settings:
        path, equals, value = text.partition("=")
        names = [name.strip() for name in path.split(".")]
        if not equals or not all(names):
            raise GahbenchError(f"{SET} {text}: expected FIELD=VALUE, such as training.steps=100")
        try:
            found = load_scalar(value)
        except yaml.YAMLError as error:
            raise GahbenchError(f"{SET} {text}: '{value}' cannot be read: {error}") from error
        _set(document, text, names, found)


def _set(document: Document, text: str, names: list[str], value: Any) -> None:
    where = f"{SET} {text}"
    holder: Any = document.content
    location: Location = ()
    for name in names[:-1]:
        place = _place(holder, name, where)
        location = (*location, place)
        if isinstance(holder, list):
            entry = holder[place]
            if isinstance(entry, str) and "[" in entry:
                raise GahbenchError(f"{where}: '{entry}' has its parameters in brackets; set the whole entry")
            # The parameters of a plugin follow its name.
            plugin = entry_name(entry)
            holder[place] = {plugin: {}} if isinstance(entry, str) else entry
            holder, place = holder[place], plugin
            location = (*location, plugin)
        if holder.get(place) is None:
            holder[place] = {}
        holder = holder[place]
    place = _place(holder, names[-1], where)
    holder[place] = value
    document.mark((*location, place), where)


def _place(holder: Any, name: str, where: str) -> Any:
    if isinstance(holder, dict):
        return name
    if not isinstance(holder, list):
        raise GahbenchError(f"{where}: '{name}' is looked for in {holder!r}, which has no fields")
    if name.isdigit() and int(name) < len(holder):
        return int(name)
    named = [entry_name(entry) if isinstance(entry, str | dict) else str(entry) for entry in holder]
    if named.count(name) == 1:
        return named.index(name)
    why = "is there more than once: give its number, from 0" if name in named else "is not in the list"
    raise GahbenchError(f"{where}: '{name}' {why}; accepted: {listing(named)}, or a number below {len(holder)}")


def chosen(
    found: tuple[Configured, ...], patterns: Sequence[str], option: str, keep: str | None = None
) -> tuple[Configured, ...]:
    """Return the plugins that match one of some patterns, by label or name; all without patterns.

    Parameters
    ----------
    option
        The option that the patterns are of, for errors.
    keep
        The label of one that stays in any case: the baseline.

    Raises
    ------
    ParameterError
        If a pattern matches none.
    """
    if not patterns:
        return found
    for pattern in patterns:
        if not any(_matches(one, pattern) for one in found):
            raise ParameterError(f"{option} {pattern}: matches none of {listing(one.label for one in found)}")
    return tuple(one for one in found if one.label == keep or any(_matches(one, pattern) for pattern in patterns))


def _matches(configured: Configured, pattern: str) -> bool:
    return matches(configured.label, pattern, configured.plugin.name)
