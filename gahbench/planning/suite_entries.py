"""The entries of a suite: plugins with grids of parameters, labels, and for architectures their own training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pydantic

from gahbench._util.errors import GahbenchError, ParameterError, PluginError, SuiteError, listing, suggestion
from gahbench._util.readable import brief
from gahbench.contracts.row_labels import split_label
from gahbench.planning.suite_fields import Entry
from gahbench.planning.yaml_lines import Document, Location
from gahbench.registry.configured import Configured
from gahbench.registry.parameters import Parameter
from gahbench.registry.plugin import Kind, Plugin
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec, format_value, parse_spec
from gahbench.training.recipe import BUDGETS, Training

#: Bound of the configurations that a field of a suite stands for.
MAX_CONFIGURATIONS = 10_000
#: The reference that an architecture with a ``checkpoint`` is short for.
PRETRAINED = "pretrained"
#: Parameters of an entry that are not the plugin's.
LABEL, TRAINING = "label", "training"
MAX_LABEL = 200
#: Fields of the training that decide how many rows there are, and what they learn from, for the whole suite.
OF_SUITE = ("train_images", "halves", "same_initialisation", "snapshots", "split")

_KINDS: dict[str, tuple[Kind, ...]] = {
    "datasets": ("dataset",),
    "entrants": ("architecture", "reference"),
    "metrics": ("metric",),
}


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


@dataclass(frozen=True)
class Entries:
    """Resolves the entries of a suite's file."""

    document: Document
    registry: Registry
    training: Mapping[str, Any]
    #: Lines of plugins, by their ``where``.
    lines: dict[str, int] = field(default_factory=dict)
    #: The training of entrants that have their own, by label.
    trainings: dict[str, Training] = field(default_factory=dict)
    #: The labels that metrics are given, by their names.
    titles: dict[str, str] = field(default_factory=dict)
    _trained: dict[tuple[str, str], Training | None] = field(default_factory=dict)

    def resolve(self, location: Location, entries: tuple[Entry, ...]) -> tuple[Configured, ...]:
        """Return the plugins of a field, each once."""
        found: list[Configured] = []
        for place, entry in enumerate(entries):
            expanded = self._expand((*location, place), entry, str(location[-1]))
            found += expanded
            if len(found) > MAX_CONFIGURATIONS:
                raise too_many(self.document, (*location, place), len(found))
            for configured in expanded:
                self.lines.setdefault(configured.where, self.document.line((*location, place)))
        try:
            named = unique(found)
        except ParameterError as error:
            raise self.document.error(location, str(error)) from error
        for key, training in self._trained.items():
            if training is not None and key in named:
                self.trainings[named[key].label] = training
        return tuple(named.values())

    def with_further(
        self, own: tuple[Configured, ...], further: Sequence[Configured]
    ) -> tuple[tuple[Configured, ...], tuple[str, ...], tuple[str, ...]]:
        """Return the entrants of the file and further ones, their labels, and which are not in the file."""
        named = unique([*own, *further])
        for one in own:
            # A file of the same name may have made its label longer.
            if (training := self.trainings.pop(one.label, None)) is not None:
                self.trainings[named[_key(one)].label] = training
        asked = tuple(named[_key(one)].label for one in further)
        if taken := [label for label in asked if label in self.trainings]:
            raise ParameterError(f"'{taken[0]}' is in the suite with a training of its own; give another label")
        known = {named[_key(one)].label for one in own}
        return tuple(named.values()), asked, tuple(label for label in asked if label not in known)

    def _expand(self, location: Location, entry: Entry, of: str) -> list[Configured]:
        """Resolve one entry, whose lists of values make a grid."""
        if isinstance(entry, str):
            try:
                spec = parse_spec(entry)
                plugin = self._plugin(spec.name, of)
                label = _taken(spec, plugin)
                return [self._finished(configure(self.registry, spec, of), label, None, of)]
            except GahbenchError as error:
                raise self.document.error(location, str(error)) from error
        if len(entry) != 1:
            raise self.document.error(location, f"expected one plugin in an entry, not {len(entry)}: {listing(entry)}")
        ((name, given),) = entry.items()
        grid, inside, given = Grid(self.document, self.registry), (*location, name), dict(given or {})
        try:
            plugin = self._plugin(name, of)
            label = given.pop(LABEL) if LABEL in given and not _has(plugin, LABEL) else None
            # Without fields it is none.
            own = (given.pop(TRAINING) or None) if TRAINING in given and not _has(plugin, TRAINING) else None
            specs = list(grid.specs(inside, name, given, plugin))
        except SuiteError:
            raise
        except GahbenchError as error:
            raise self.document.error(location, str(error)) from error
        if label is not None and len(specs) > 1:
            raise self.document.error((*inside, LABEL), f"one label, and its lists stand for {len(specs)} entries")
        training = None if own is None else self._own_training(inside, plugin, own)
        found = []
        for spec in specs:
            try:
                found.append(self._finished(configure(self.registry, spec, of), label, training, of))
            except GahbenchError as error:
                raise grid.error(inside, given, error) from error
        return found

    def _plugin(self, name: str, of: str) -> Plugin | None:
        return next(filter(None, (self.registry.find(kind, name) for kind in _KINDS[of])), None)

    def _own_training(self, inside: Location, plugin: Plugin | None, given: Any) -> tuple[Training, dict[str, Any]]:
        """Return the training of an entrant that has its own, and the fields that it gives."""
        location = (*inside, TRAINING)
        if plugin is not None and plugin.kind != "architecture":
            raise self.document.error(location, f"{plugin.where} is not trained; accepted with an architecture")
        accepted = [name for name in Training.model_fields if name not in OF_SUITE]
        if not isinstance(given, dict):
            raise self.document.error(location, f"expected fields with values; accepted: {', '.join(accepted)}")
        for name in given:
            if name not in accepted:
                why = "is of the whole suite" if name in OF_SUITE else "unknown field"
                near = (name not in OF_SUITE and suggestion(str(name), accepted)) or ";"
                raise self.document.error(
                    (*location, name), f"training.{name}: {why}{near} accepted: {listing(accepted)}"
                )
        budgets = BUDGETS if any(name in given for name in BUDGETS) else ()
        rest = {name: value for name, value in self.training.items() if name not in budgets}
        try:
            return Training.model_validate({**rest, **given}), given
        except pydantic.ValidationError as error:
            raise self.document.validation_error(error, lambda place: accepted, location) from error

    def _finished(
        self, configured: Configured, label: Any, training: tuple[Training, dict[str, Any]] | None, of: str
    ) -> Configured:
        """Return a plugin under its label, with its training noted."""
        if label is not None:
            label = checked_label(label)
        if of == "metrics":
            if label is not None:
                self.titles[configured.label] = label
            return configured
        if label is None and training is not None:
            label = _with_training(configured.label, training[1])
        if label is not None:
            configured = replace(configured, label=label)
        if training is not None and configured.kind != "architecture":
            raise ParameterError(f"{configured.where} is not trained; training is accepted with an architecture")
        if of == "entrants":
            own = None if training is None else training[0]
            if self._trained.setdefault(_key(configured), own) != own:
                raise ParameterError(f"label '{configured.label}': two entrants of different training have it")
        return configured


def configure(registry: Registry, spec: Spec, of: str = "entrants") -> Configured:
    """Resolve a spec of a field of a suite."""
    return configure_entrant(registry, spec) if of == "entrants" else registry.configure(_KINDS[of][0], spec)


def configure_entrant(registry: Registry, spec: Spec) -> Configured:
    """Resolve an entrant: an architecture, with weights from a ``checkpoint`` or to be trained, or a reference."""
    known = {kind: registry.names(kind) for kind in _KINDS["entrants"]}
    found = [kind for kind, names in known.items() if spec.name in names]
    if not found:
        names = [name for group in known.values() for name in group]
        lists = "; ".join(f"{kind}s: {listing(group)}" for kind, group in known.items())
        raise PluginError(
            f"unknown entrant '{spec.name}'{suggestion(spec.name, names) or ';'} {lists}{registry.missing}"
        )
    if len(found) > 1:
        raise PluginError(f"'{spec.name}' is both an architecture and a reference; rename one of the plugins")
    spec = replace(spec, keywords=dict(spec.keywords))
    label = _taken(spec, registry.get(found[0], spec.name))
    configured = _entrant(registry, spec, found[0])
    return configured if label is None else replace(configured, label=checked_label(label))


def _entrant(registry: Registry, spec: Spec, kind: Kind) -> Configured:
    if kind == "architecture" and "checkpoint" in spec.keywords:
        own = {parameter.name for parameter in registry.get("architecture", spec.name).parameters}
        if "checkpoint" not in own:
            short = _pretrained(registry, spec, own)
            try:
                return _short(registry.configure("reference", short))
            except ParameterError as error:
                # Named as it was given.
                place = registry.get("reference", PRETRAINED).where
                raise ParameterError(f"architecture '{spec.name}'{str(error).removeprefix(place)}") from error
    configured = registry.configure(kind, spec)
    return _short(configured) if configured.plugin.name == PRETRAINED else configured


def _pretrained(registry: Registry, spec: Spec, own: set[str]) -> Spec:
    """Share out the parameters of an architecture with a checkpoint; those of the architecture come first."""
    shared = {parameter.name for parameter in registry.get("reference", PRETRAINED).parameters} - own
    theirs = {name: value for name, value in spec.keywords.items() if name not in shared}
    network = registry.configure("architecture", Spec(spec.name, spec.positional, theirs))
    rest = {name: value for name, value in spec.keywords.items() if name in shared}
    return Spec(PRETRAINED, (), {"architecture": network.text, **rest})


def _short(configured: Configured) -> Configured:
    """Label an architecture with a checkpoint by its short form."""
    inner = configured.nested["architecture"]
    assert isinstance(inner, Configured)
    rest = configured.label.removeprefix(f"{PRETRAINED}[{inner.label},")
    head = f"{inner.label[:-1]}," if inner.label.endswith("]") else f"{inner.label}["
    return replace(configured, label=head + rest)


def _has(plugin: Plugin | None, name: str) -> bool:
    """Whether a parameter of a plugin has one of the names that entries use otherwise: then it is the plugin's."""
    return plugin is not None and any(parameter.name == name for parameter in plugin.parameters)


def _taken(spec: Spec, plugin: Plugin | None) -> Any:
    """Take the label out of the parameters of a spec."""
    return None if _has(plugin, LABEL) else spec.keywords.pop(LABEL, None)


def checked_label(label: Any) -> str:
    """Return a label if it can be one."""
    accepted = f"accepted: a text of one line, {MAX_LABEL} characters at most, that begins with no underscore"
    if (
        not isinstance(label, str)
        or not label.strip()
        or label.strip().startswith("_")
        or len(label) > MAX_LABEL
        or not label.isprintable()
    ):
        raise ParameterError(f"label={brief(repr(label))}: {accepted}")
    if split_label(label.strip())[1] is not None:
        raise ParameterError(f"label={label!r}: ends as rows of several numbers of training images do; {accepted}")
    return label.strip()


def _with_training(label: str, given: Mapping[str, Any]) -> str:
    parts = ",".join(f"{TRAINING}.{name}={format_value(value)}" for name, value in given.items())
    return f"{label[:-1]},{parts}]" if label.endswith("]") else f"{label}[{parts}]"


def unique(found: Sequence[Configured]) -> dict[tuple[str, str], Configured]:
    """Drop repeats, and distinguish files of one name by the folders above them."""
    named = {_key(one): one for one in reversed(found)}
    by_label: dict[str, list[Configured]] = {}
    for one in named.values():
        by_label.setdefault(one.label, []).append(one)
    for label, alike in by_label.items():
        if len(alike) > 1:
            longer = _distinguished(alike)
            if len(set(longer.values())) < len(alike) or label in longer.values():
                texts = listing(one.text for one in alike)
                raise ParameterError(f"two entries have the label '{label}': {texts}; give another to one")
            named |= {_key(one): replace(one, label=longer[one.text]) for one in alike}
    return {_key(one): named[_key(one)] for one in found}


def _key(configured: Configured) -> tuple[str, str]:
    return configured.label, configured.text


def _distinguished(alike: list[Configured]) -> dict[str, str]:
    """Return labels with as much of the paths of their files as distinguishes them, by the plugins' texts."""
    paths = {one.text: _paths(one) for one in alike}
    labels = {one.text: one.label for one in alike}
    longest = max((len(path) for found in paths.values() for path in found), default=0)
    for depth in range(2, longest + 1):
        longer = {text: labels[text] for text in labels}
        for text, found in paths.items():
            for parts in found:
                longer[text] = longer[text].replace(parts[-1], "/".join(parts[-depth:]), 1)
        if len(set(longer.values())) == len(longer):
            return longer
    return labels


def _paths(configured: Configured) -> list[tuple[str, ...]]:
    """Return the parts of the paths among the parameters of a plugin, and of those that they name."""
    values = [configured.parameters[one.name] for one in configured.plugin.parameters if one.is_path]
    found = [tuple(str(value).split("/")) for value in values if value]
    for inner in configured.nested.values():
        for one in inner if isinstance(inner, tuple) else (inner,):
            found += _paths(one)
    return found


def untrained_here(registry: Registry, text: str, checkpoint: str | Path | None, verb: str) -> Configured:
    """Resolve a denoiser that needs no training here: a reference, or an architecture with weights."""
    spec = parse_spec(text)
    if checkpoint is not None:
        if spec.name not in registry.names("architecture") and spec.name in registry.names("reference"):
            raise ParameterError(
                f"checkpoint={checkpoint}: '{spec.name}' is a reference; accepted with an architecture"
            )
        if "checkpoint" in spec.keywords:
            raise ParameterError(f"'{text}' has a checkpoint already; accepted: one")
        spec = Spec(spec.name, spec.positional, spec.keywords | {"checkpoint": str(checkpoint)})
    configured = configure_entrant(registry, spec)
    if configured.kind == "architecture":
        raise ParameterError(
            f"architecture '{configured.label}' has no weights: give a checkpoint, as in "
            f"{spec.name}[checkpoint=FILE] or --checkpoint FILE, or {verb} untrained[{configured.label}]"
        )
    return configured
