"""Changes to a suite that are not in its file: settings, further entrants, and which of its plugins are run."""

from __future__ import annotations

import json
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gahbench._util.core_yaml import load_scalar
from gahbench._util.errors import GahbenchError, ParameterError, listing, suggestion
from gahbench._util.readable import brief
from gahbench.contracts.row_labels import matches
from gahbench.planning.suite_fields import entry_name
from gahbench.planning.yaml_lines import Document, Location
from gahbench.registry.configured import Configured

SET, ENTRANT = "--set", "--entrant"
#: The setting that stands for the option ``--seed``.
SEEDS = f"{SET} seeds="
#: Options that choose among the plugins of a suite, and how one is added to it.
_ADDED = {
    "--dataset": f"{SET} datasets=[...] names others",
    "--only": f"{ENTRANT} NAME adds one",
    "--metric": f"{SET} scoring.metrics=[...] names others",
}


@dataclass(frozen=True)
class SuiteChanges:
    """Changes to a suite for a run, in plain values."""

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
        seeds: Iterable[int] = (),
    ) -> SuiteChanges:
        """Return changes; settings may be a mapping too, ``{"training.steps": 100}``, and seeds are one of them."""
        if isinstance(settings, Mapping):
            settings = [_setting(str(name), value) for name, value in settings.items()]
        settings = (*_several(settings), *_seeds(seeds))
        return cls(*map(_several, (entrants, settings, datasets, metrics, only)))

    @property
    def options(self) -> tuple[str, ...]:
        """The changes as options of the command line."""
        given = {
            SET: self.settings,
            "--entrant": self.entrants,
            "--only": self.only,
            "--dataset": self.datasets,
            "--metric": self.metrics,
        }
        return tuple(f"{option} {text}" for option, texts in given.items() for text in texts)


def united_options(before: Sequence[str], now: Sequence[str]) -> tuple[str, ...]:
    """Return the changes to the suite of a folder that keeps what earlier runs did, as options."""

    def of(options: Sequence[str], *names: str) -> list[str]:
        return [option for option in options if option.startswith(tuple(f"{name} " for name in names))]

    found = [option for option in of(now, SET) if not option.startswith(SEEDS)] + of([*before, *now], ENTRANT)
    for name in (SEEDS, *_ADDED):
        sides = [[option for option in side if option.startswith(name)] for side in (before, now)]
        if all(sides):
            found += [*sides[0], *sides[1]]
    return tuple(dict.fromkeys(found))


def _several(texts: Iterable[str]) -> tuple[str, ...]:
    # A single text is one, not its letters.
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _seeds(seeds: Iterable[int]) -> tuple[str, ...]:
    """Return the setting of the seeds, if there are any."""
    try:
        numbers = [operator.index(seed) for seed in seeds]
    except TypeError:
        raise ParameterError(f"seeds={seeds!r}: expected a list of whole numbers, such as [0, 1]") from None
    return (f"seeds={numbers}",) if numbers else ()


def _setting(name: str, value: Any) -> str:
    try:
        return f"{name}={json.dumps(value, ensure_ascii=False)}"
    except (TypeError, ValueError) as error:
        raise GahbenchError(f"settings: '{name}' is set to a {type(value).__name__}: {error}") from error


def apply_settings(document: Document, settings: Iterable[str]) -> None:
    """Set fields in the content of a suite's file; errors about them then name the setting."""
    for text in settings:
        path, equals, value = text.partition("=")
        names = [name.strip() for name in path.split(".")]
        if not equals or not all(names):
            raise GahbenchError(f"{SET} {text}: expected FIELD=VALUE, such as training.steps=100")
        if names[0] == "plugins":
            raise GahbenchError(f"{SET} {text}: plugins are found before settings; give --plugins-dir")
        try:
            found = load_scalar(value)
        except yaml.YAMLError as error:
            raise GahbenchError(f"{SET} {text}: '{value}' cannot be read: {error}") from error
        _set(document, text, names, found)


def _set(document: Document, text: str, names: list[str], value: Any) -> None:
    where = f"{SET} {text}"
    holder: Any = document.content
    location: Location = ()
    left = list(names)
    while len(left) > 1:
        place = _place(holder, left.pop(0), where)
        location = (*location, place)
        if isinstance(holder, list):
            holder[place] = _as_mapping(holder[place], where)
            # The parameters of a plugin follow its name, which may be left out.
            holder, (place, *_) = holder[place], holder[place]
            location = (*location, place)
            if left[0] == place and len(left) > 1:
                del left[0]
        # A copy: what is there may stand for several parts, by an alias.
        child = holder.get(place)
        holder[place] = list(child) if isinstance(child, list) else dict(child) if isinstance(child, dict) else child
        if child is None:
            holder[place] = {}
            document.mark(location, where)
        holder = holder[place]
    place = _place(holder, left[0], where)
    holder[place] = value
    document.mark((*location, place), where)


def _as_mapping(entry: Any, where: str) -> dict[str, Any]:
    """Return an entry of a list of plugins as a mapping of its name to its parameters."""
    if isinstance(entry, str) and "[" not in entry:
        return {entry: {}}
    if isinstance(entry, dict) and entry:
        return dict(entry)
    raise GahbenchError(f"{where}: the entry {brief(repr(entry), 60)} has no parameters by name; set the whole entry")


def _place(holder: Any, name: str, where: str) -> Any:
    if isinstance(holder, dict):
        return name
    if not isinstance(holder, list):
        raise GahbenchError(f"{where}: '{name}' is looked for in {brief(repr(holder), 60)}, which has no fields")
    if name.isdigit() and int(name) < len(holder):
        return int(name)
    named = [entry_name(entry) if isinstance(entry, str | dict) else str(entry) for entry in holder]
    if named.count(name) == 1:
        return named.index(name)
    why = "is there more than once: give its number, from 0" if name in named else "is not in the list"
    raise GahbenchError(f"{where}: '{name}' {why}; accepted: {listing(named)}, or a number below {len(holder)}")


def named_by(
    found: tuple[Configured, ...], patterns: Sequence[str], option: str, keep: Collection[str | None] = ()
) -> tuple[Configured, ...]:
    """Return the plugins that match one of some patterns, by label or name; all without patterns."""
    if not patterns:
        return found
    for pattern in patterns:
        if not any(_matches(one, pattern) for one in found):
            labels = [one.label for one in found]
            near = suggestion(pattern, [*labels, *(one.plugin.name for one in found)])
            raise ParameterError(
                f"{option} {pattern}: matches none of {listing(labels)}{near or ';'} it chooses among these, of the "
                f"suite; {_ADDED[option]}"
            )
    return tuple(one for one in found if one.label in keep or any(_matches(one, pattern) for pattern in patterns))


def _matches(configured: Configured, pattern: str) -> bool:
    # An architecture with a checkpoint is named by its label, and is a reference.
    return matches(configured.label, pattern) or matches(configured.plugin.name, pattern)
