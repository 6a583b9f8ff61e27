"""Grids: the specs that an entry of a suite stands for, where a parameter has a list of values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any, cast

from gahbench._util.errors import GahbenchError, SuiteError
from gahbench.planning.yaml_lines import Document, Location
from gahbench.registry.parameters import Parameter
from gahbench.registry.plugin import Kind, Plugin
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec

#: Bound of the configurations that a field of a suite stands for.
MAX_CONFIGURATIONS = 10_000


class Grid:
    """Expands lists of values, also in the parameters of plugins that a parameter names by a mapping."""

    def __init__(self, document: Document, registry: Registry) -> None:
        self._document, self._registry = document, registry

    def specs(self, location: Location, name: str, given: dict[str, Any], plugin: Plugin | None) -> Iterator[Spec]:
        """Yield a spec for each combination of values."""
        known = {parameter.name: parameter for parameter in (plugin.parameters if plugin else ())}
        axes = [self._values((*location, key), known.get(key), value) for key, value in given.items()]
        for values in self._combinations(location, axes):
            yield Spec(name, (), dict(zip(given, values, strict=True)))

    def error(self, location: Location, given: Iterable[str], error: GahbenchError) -> SuiteError:
        """Return the error about one of the given parameters, with the line of that parameter."""
        text = str(error)
        # The first that is named: a suggestion may name another.
        places = {key: [text.find(f"'{key}'"), text.find(f"{key}=")] for key in given}
        named = {key: min(place for place in found if place >= 0) for key, found in places.items() if max(found) >= 0}
        wrong = min(named, key=named.__getitem__, default=None)
        return self._document.error((*location, wrong) if wrong else location[:-1], str(error))

    def _values(self, location: Location, parameter: Parameter | None, value: Any) -> list[Any]:
        """Return the values of one parameter: those in a list, unless a list is one value."""
        several = parameter is not None and parameter.is_sequence
        is_grid = isinstance(value, list) and (not several or (bool(value) and isinstance(value[0], list)))
        if is_grid and not value:
            raise self._document.error(location, f"{location[-1]}: an empty list of values")
        if parameter is None or parameter.names is None:
            return value if is_grid else [value]
        kind = cast(Kind, parameter.names)
        if not is_grid:
            return self._named(location, kind, value)
        return [found for place, one in enumerate(value) for found in self._named((*location, place), kind, one)]

    def _combinations(self, location: Location, axes: list[list[Any]]) -> Iterator[tuple[Any, ...]]:
        count = math.prod(map(len, axes))
        if count > MAX_CONFIGURATIONS:
            raise too_many(self._document, location, count)
        return itertools.product(*axes)

    def _named(self, location: Location, kind: Kind, value: Any) -> list[Any]:
        """Return the texts that name a plugin, or lists of them, given as texts or as mappings."""
        if isinstance(value, list):
            items = [self._named((*location, place), kind, one) for place, one in enumerate(value)]
            return [list(combination) for combination in self._combinations(location, items)]
        if not isinstance(value, dict):
            return [value]
        try:
            name, given = self._registry.named(kind, value)
        except GahbenchError as error:
            raise self._document.error(location, f"{_parameter(location)}: {error}") from error
        # Lines are known by the words of the file.
        inside = (*location, *map(str, value))
        found = []
        for spec in self.specs(inside, name, given, self._registry.find(kind, name)):
            try:
                found.append(self._registry.configure(kind, spec).text)
            except GahbenchError as error:
                raise self.error(inside, given, error) from error
        return found


def too_many(document: Document, location: Location, count: int) -> SuiteError:
    """Return the error about a field that stands for too many configurations."""
    return document.error(location, f"{count} combinations of values; accepted are {MAX_CONFIGURATIONS} or fewer")


def _parameter(location: Location) -> str:
    """Return the name of the parameter at a location, or above a place in a list."""
    return next(str(part) for part in reversed(location) if isinstance(part, str))
