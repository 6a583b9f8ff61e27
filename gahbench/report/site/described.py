"""Plugins as runs used them: with the parameters of their plans, and what is documented and can be measured of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gahbench._util.errors import GahbenchError, UntrustedError
from gahbench._util.shapes import Shape
from gahbench.contracts.citation import Citation
from gahbench.planning.payloads import configured_as
from gahbench.planning.suite_entries import configure_entrant
from gahbench.registry.citation import citations, with_nested
from gahbench.registry.configured import Configured
from gahbench.registry.plugin import Kind, Plugin
from gahbench.registry.preparation import preparation
from gahbench.registry.registry import Registry
from gahbench.registry.spec import format_value, parse_spec
from gahbench.report.site.catalogue import Run
from gahbench.report.site.docstrings import Description, description

if TYPE_CHECKING:
    from gahbench.explore.description import Fact
    from gahbench.explore.preview import Preview

Noun = Literal["entrant", "dataset"]
_KINDS: dict[Noun, tuple[Kind, ...]] = {"entrant": ("architecture", "reference"), "dataset": ("dataset",)}


@dataclass(frozen=True)
class Measures:
    """What is measured of plugins for their pages."""

    network: Callable[[Configured, Shape | None], Iterable[Fact]]
    dataset: Callable[[Configured], tuple[Preview, Sequence[tuple[str, str]]]]


@dataclass(frozen=True, eq=False)
class Described:
    """A plugin as runs used it."""

    configured: Configured | None
    plugin: Plugin | None
    parameters: Mapping[str, Any]
    network: Configured | None = None
    withheld: str = ""

    @property
    def text(self) -> Description:
        """What its docstring says; nothing where it cannot be imported."""
        try:
            return description(self.plugin.factory) if self.plugin else Description("", {})
        except GahbenchError:
            return Description("", {})

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Name, value and meaning of each parameter."""
        meanings = self.text.parameters
        return [(name, format_value(value), meanings.get(name, "")) for name, value in self.parameters.items()]

    @property
    def networks(self) -> list[Configured]:
        """The architecture that it is, or those that it trains or loads."""
        if self.configured is None:
            return [self.network] if self.network else []
        return [one for one in with_nested(self.configured) if one.kind == "architecture"]


def described(runs: Iterable[Run], noun: Noun, label: str, registry: Registry) -> Described:
    """Return a plugin as the first of some runs used it that records its parameters."""
    recorded = next((run.described[noun, label] for run in runs if (noun, label) in run.described), None)
    if recorded is None:
        return _of_label(noun, label, registry)
    name, given = str(recorded.get("name")), recorded.get("parameters")
    parameters = given if isinstance(given, Mapping) else {}
    kind = next((kind for kind in _KINDS[noun] if name in registry.names(kind)), None)
    if kind is None:
        return Described(None, None, parameters)
    plugin, withheld = registry.find(kind, name), ""
    try:
        found = configured_as(registry, kind, {"name": name, "parameters": parameters, "label": label})
        return Described(found, plugin, parameters)
    except UntrustedError as error:
        withheld = str(error)
    except (GahbenchError, TypeError, ValueError):
        pass
    inner = parameters.get("architecture") if noun == "entrant" else None
    network = _of_label("entrant", inner, registry).configured if isinstance(inner, str) else None
    if network is not None and network.kind != "architecture":
        network = None
    return Described(None, plugin, parameters, network, withheld)


def _of_label(noun: Noun, label: str, registry: Registry) -> Described:
    """Return the plugin that a label names."""
    try:
        spec = parse_spec(label)
    except GahbenchError:
        return Described(None, None, {})
    try:
        found = configure_entrant(registry, spec) if noun == "entrant" else registry.configure("dataset", spec)
        return Described(found, found.plugin, found.parameters)
    except UntrustedError as error:
        plugins = filter(None, (registry.find(kind, spec.name) for kind in _KINDS[noun]))
        return Described(None, next(plugins, None), spec.keywords, withheld=str(error))
    except GahbenchError:
        return Described(None, None, {})


def works_of(runs: Sequence[Run], label: str, found: Described) -> Iterator[Citation]:
    """Yield the works that a plugin follows: those that boards record, or else those that it has here."""
    recorded = dict.fromkeys(work for run in runs for work in _recorded(run, label))
    if recorded or found.configured is None:
        yield from recorded
        return
    for one in with_nested(found.configured):
        try:
            yield from citations(one.plugin)
        except GahbenchError:
            continue


def _recorded(run: Run, label: str) -> Iterator[Citation]:
    """Yield the works of an entry of a board."""
    rows = run.results.citations
    entries = rows.loc[rows["entry"] == label]
    known = {(work.title, work.year): work for work in run.results.works}
    for title, year in zip(entries["title"], entries["year"], strict=True):
        yield known[str(title), int(year)]


def missing(configured: Configured) -> bool:
    """Return whether a plugin, or one that it names, needs something from elsewhere: nothing is downloaded."""
    found = [preparation(one) for one in with_nested(configured)]
    return any(one.missing() for one in found if one is not None)
