"""Entries of a suite: plugins with grids of parameters, labels, and the training of architectures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pydantic

from gahbench._util.core_yaml import Document, Location
from gahbench._util.errors import GahbenchError, ParameterError, PluginError, SuiteError, listing, suggestion
from gahbench._util.readable import brief
from gahbench.contracts.row_labels import split_label
from gahbench.planning.suite_fields import Entry
from gahbench.registry.configured import Configured, iterate_nested
from gahbench.registry.parameters import Parameter
from gahbench.registry.plugin import Kind, Plugin
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec, format_value, parse_spec
from gahbench.training.recipe import BUDGETS, Training

#: Maximum number of configurations of a field of a suite.
MAX_CONFIGURATIONS = 10_000
#: Name of the reference that an architecture with a ``checkpoint`` stands for.
PRETRAINED = "pretrained"
#: Parameters of an entry that are not parameters of the plugin.
LABEL, TRAINING = "label", "training"
MAX_LABEL = 200
#: Fields of the training that an entrant cannot override, since they set the rows and training images of the suite.
SUITE_FIELDS = ("train_images", "halves", "same_initialisation", "snapshots", "split")

_KINDS: dict[str, tuple[Kind, ...]] = {
    "datasets": ("dataset",),
    "entrants": ("architecture", "reference"),
    "metrics": ("metric",),
}


class Grid:
    """Expands lists of parameter values, including those of nested plugins, to all combinations."""

    def __init__(self, document: Document, registry: Registry) -> None:
        self._document, self._registry = document, registry

    def specs(self, location: Location, name: str, values: dict[str, Any], plugin: Plugin | None) -> Iterator[Spec]:
        """Yield a spec for each combination of the values of parameters."""
        parameters = {parameter.name: parameter for parameter in (plugin.parameters if plugin else ())}
        axes = [self._values((*location, key), parameters.get(key), value) for key, value in values.items()]
        for combination in self._combinations(location, axes):
            yield Spec(name, (), dict(zip(values, combination, strict=True)))

    def error(self, location: Location, names: Iterable[str], error: GahbenchError) -> SuiteError:
        """Return an error with the line of the parameter that its message names."""
        text = str(error)
        # Use the first parameter in the message, since a suggestion may name another parameter later.
        positions = {key: [text.find(f"'{key}'"), text.find(f"{key}=")] for key in names}
        first_positions = {
            key: min(position for position in hits if position >= 0)
            for key, hits in positions.items()
            if max(hits) >= 0
        }
        parameter = min(first_positions, key=first_positions.__getitem__, default=None)
        return self._document.error((*location, parameter) if parameter else location[:-1], str(error))

    def _values(self, location: Location, parameter: Parameter | None, value: Any) -> list[Any]:
        """Return the values of a parameter: the items of a list, unless the parameter itself is a list."""
        is_sequence = parameter is not None and parameter.is_sequence
        is_grid = isinstance(value, list) and (not is_sequence or (bool(value) and isinstance(value[0], list)))
        if is_grid and not value:
            raise self._document.error(location, f"{location[-1]}: an empty list of values")
        if parameter is None or parameter.names is None:
            return value if is_grid else [value]
        kind = cast(Kind, parameter.names)
        if not is_grid:
            return self._plugin_texts(location, kind, value)
        return [text for index, item in enumerate(value) for text in self._plugin_texts((*location, index), kind, item)]

    def _combinations(self, location: Location, axes: list[list[Any]]) -> Iterator[tuple[Any, ...]]:
        count = math.prod(map(len, axes))
        if count > MAX_CONFIGURATIONS:
            raise too_many(self._document, location, count)
        return itertools.product(*axes)

    def _plugin_texts(self, location: Location, kind: Kind, value: Any) -> list[Any]:
        """Return the specs of nested plugins, or lists of specs, from strings or mappings."""
        if isinstance(value, list):
            items = [self._plugin_texts((*location, index), kind, item) for index, item in enumerate(value)]
            return [list(combination) for combination in self._combinations(location, items)]
        if not isinstance(value, dict):
            return [value]
        try:
            name, values = self._registry.parse_mapping(kind, value)
        except GahbenchError as error:
            raise self._document.error(location, f"{_parameter(location)}: {error}") from error
        # Lines are indexed by the keys of the file.
        inside = (*location, *map(str, value))
        texts = []
        for spec in self.specs(inside, name, values, self._registry.find(kind, name)):
            try:
                texts.append(self._registry.configure(kind, spec).text)
            except GahbenchError as error:
                raise self.error(inside, values, error) from error
        return texts


def too_many(document: Document, location: Location, count: int) -> SuiteError:
    """Return the error about a field with too many configurations."""
    return document.error(location, f"{count} combinations of values; accepted: at most {MAX_CONFIGURATIONS}")


def _parameter(location: Location) -> str:
    """Return the name of the parameter at a location, ignoring indices of lists."""
    return next(str(part) for part in reversed(location) if isinstance(part, str))


@dataclass(frozen=True)
class Entries:
    """Resolves the entries of a suite file to plugins."""

    document: Document
    registry: Registry
    training: Mapping[str, Any]
    #: Files and lines of plugins, by their ``where``.
    places: dict[str, str] = field(default_factory=dict)
    #: Training of entrants that override the suite's training, by label.
    trainings: dict[str, Training] = field(default_factory=dict)
    #: Labels that the suite sets for metrics, by their default labels.
    titles: dict[str, str] = field(default_factory=dict)
    _trained: dict[tuple[str, str], Training | None] = field(default_factory=dict)

    def resolve(self, location: Location, entries: tuple[Entry, ...]) -> tuple[Configured, ...]:
        """Return the plugins of a field without duplicates."""
        plugins: list[Configured] = []
        for index, entry in enumerate(entries):
            expanded = self._expand((*location, index), entry, str(location[-1]))
            plugins += expanded
            if len(plugins) > MAX_CONFIGURATIONS:
                raise too_many(self.document, (*location, index), len(plugins))
            for configured in expanded:
                self.places.setdefault(configured.where, self.document.place((*location, index)))
        try:
            distinct = unique(plugins)
        except ParameterError as error:
            raise self.document.error(location, str(error)) from error
        for key, training in self._trained.items():
            if training is not None and key in distinct:
                self.trainings[distinct[key].label] = training
        return tuple(distinct.values())

    def add_requested(
        self, file_entrants: tuple[Configured, ...], requested_entrants: Sequence[Configured]
    ) -> tuple[tuple[Configured, ...], tuple[str, ...], tuple[str, ...]]:
        """Return all entrants, the labels of the requested entrants, and which of these labels are not in the file."""
        distinct = unique([*file_entrants, *requested_entrants])
        for entrant in file_entrants:
            # Labels become longer if another entrant has a file of the same name.
            if (training := self.trainings.pop(entrant.label, None)) is not None:
                self.trainings[distinct[_key(entrant)].label] = training
        requested = tuple(distinct[_key(entrant)].label for entrant in requested_entrants)
        if conflicts := [label for label in requested if label in self.trainings]:
            raise ParameterError(f"'{conflicts[0]}' is in the suite with its own training; use a different label")
        file_labels = {distinct[_key(entrant)].label for entrant in file_entrants}
        return tuple(distinct.values()), requested, tuple(label for label in requested if label not in file_labels)

    def _expand(self, location: Location, entry: Entry, field_name: str) -> list[Configured]:
        """Resolve an entry to the plugins of its grid of values."""
        if isinstance(entry, str):
            try:
                spec = parse_spec(entry)
                plugin = self._plugin(spec.name, field_name)
                label = _pop_label(spec, plugin)
                return [self._finish(configure(self.registry, spec, field_name), label, None, field_name)]
            except GahbenchError as error:
                raise self.document.error(location, str(error)) from error
        if len(entry) != 1:
            raise self.document.error(
                location, f"an entry has {len(entry)} plugins: {listing(entry)}; accepted: a single plugin"
            )
        ((name, values),) = entry.items()
        grid, name_location, values = Grid(self.document, self.registry), (*location, name), dict(values or {})
        try:
            plugin = self._plugin(name, field_name)
            label = values.pop(LABEL) if LABEL in values and not _has(plugin, LABEL) else None
            # An empty mapping overrides no field.
            training_fields = (
                (values.pop(TRAINING) or None) if TRAINING in values and not _has(plugin, TRAINING) else None
            )
            specs = list(grid.specs(name_location, name, values, plugin))
        except SuiteError:
            raise
        except GahbenchError as error:
            raise self.document.error(location, str(error)) from error
        if label is not None and len(specs) > 1:
            raise self.document.error(
                (*name_location, LABEL),
                f"a single label for a grid of {len(specs)} entries; accepted: a label for a single entry",
            )
        training = None if training_fields is None else self._own_training(name_location, plugin, training_fields)
        expanded = []
        for spec in specs:
            try:
                expanded.append(self._finish(configure(self.registry, spec, field_name), label, training, field_name))
            except GahbenchError as error:
                raise grid.error(name_location, values, error) from error
        return expanded

    def _plugin(self, name: str, field_name: str) -> Plugin | None:
        return next(filter(None, (self.registry.find(kind, name) for kind in _KINDS[field_name])), None)

    def _own_training(
        self, name_location: Location, plugin: Plugin | None, values: Any
    ) -> tuple[Training, dict[str, Any]]:
        """Return the training of an entrant that overrides fields of the suite's training, and these fields."""
        location = (*name_location, TRAINING)
        if plugin is not None and plugin.kind != "architecture":
            raise self.document.error(
                location, f"{plugin.where} is not trained; training is accepted for architectures only"
            )
        accepted = [name for name in Training.model_fields if name not in SUITE_FIELDS]
        if not isinstance(values, dict):
            raise self.document.error(location, f"expected fields with values; accepted: {', '.join(accepted)}")
        for name in values:
            if name not in accepted:
                problem = "must be set for the whole suite" if name in SUITE_FIELDS else "unknown field"
                near = (name not in SUITE_FIELDS and suggestion(str(name), accepted)) or ";"
                raise self.document.error(
                    (*location, name), f"training.{name}: {problem}{near} accepted: {listing(accepted)}"
                )
        budgets = BUDGETS if any(name in values for name in BUDGETS) else ()
        inherited = {name: value for name, value in self.training.items() if name not in budgets}
        try:
            return Training.model_validate({**inherited, **values}), values
        except pydantic.ValidationError as error:
            raise self.document.validation_error(error, lambda field_location: accepted, location) from error

    def _finish(
        self, configured: Configured, label: Any, training: tuple[Training, dict[str, Any]] | None, field_name: str
    ) -> Configured:
        """Return a plugin with its label, and record its training."""
        if label is not None:
            label = validate_label(label)
        if field_name == "metrics":
            if label is not None:
                self.titles[configured.label] = label
            return configured
        if label is None and training is not None:
            label = _with_training(configured.label, training[1])
        if label is not None:
            configured = replace(configured, label=label)
        if training is not None and configured.kind != "architecture":
            raise ParameterError(f"{configured.where} is not trained; training is accepted for architectures only")
        if field_name == "entrants":
            own_training = None if training is None else training[0]
            if self._trained.setdefault(_key(configured), own_training) != own_training:
                raise ParameterError(
                    f"label '{configured.label}': two entrants with different training have this label"
                )
        return configured


def configure(registry: Registry, spec: Spec, field_name: str = "entrants") -> Configured:
    """Resolve a spec in a field of a suite."""
    return (
        configure_entrant(registry, spec)
        if field_name == "entrants"
        else registry.configure(_KINDS[field_name][0], spec)
    )


def configure_entrant(registry: Registry, spec: Spec) -> Configured:
    """Resolve an entrant: a reference, or an architecture with or without a ``checkpoint``."""
    names_by_kind = {kind: registry.names(kind) for kind in _KINDS["entrants"]}
    kinds = [kind for kind, names in names_by_kind.items() if spec.name in names]
    if not kinds:
        names = [name for kind_names in names_by_kind.values() for name in kind_names]
        lists = "; ".join(f"{kind}s: {listing(kind_names)}" for kind, kind_names in names_by_kind.items())
        raise PluginError(
            f"unknown entrant '{spec.name}'{suggestion(spec.name, names) or ';'} {lists}{registry.missing}"
        )
    if len(kinds) > 1:
        raise PluginError(f"'{spec.name}' is both an architecture and a reference; rename one of the plugins")
    spec = replace(spec, keywords=dict(spec.keywords))
    label = _pop_label(spec, registry.get(kinds[0], spec.name))
    configured = _entrant(registry, spec, kinds[0])
    return configured if label is None else replace(configured, label=validate_label(label))


def _entrant(registry: Registry, spec: Spec, kind: Kind) -> Configured:
    if kind == "architecture" and "checkpoint" in spec.keywords:
        architecture_parameters = {parameter.name for parameter in registry.get("architecture", spec.name).parameters}
        if "checkpoint" not in architecture_parameters:
            reference_spec = _pretrained_spec(registry, spec, architecture_parameters)
            try:
                return _label_pretrained(registry.configure("reference", reference_spec))
            except ParameterError as error:
                # Name the architecture in the message, since the user did not name the reference.
                prefix = registry.get("reference", PRETRAINED).where
                raise ParameterError(f"architecture '{spec.name}'{str(error).removeprefix(prefix)}") from error
    configured = registry.configure(kind, spec)
    return _label_pretrained(configured) if configured.plugin.name == PRETRAINED else configured


def _pretrained_spec(registry: Registry, spec: Spec, architecture_parameters: set[str]) -> Spec:
    """Split the parameters of an architecture with a checkpoint between the architecture and the reference."""
    reference_parameters = {
        parameter.name for parameter in registry.get("reference", PRETRAINED).parameters
    } - architecture_parameters
    architecture_values = {name: value for name, value in spec.keywords.items() if name not in reference_parameters}
    network = registry.configure("architecture", Spec(spec.name, spec.positional, architecture_values))
    reference_values = {name: value for name, value in spec.keywords.items() if name in reference_parameters}
    return Spec(PRETRAINED, (), {"architecture": network.text, **reference_values})


def _label_pretrained(configured: Configured) -> Configured:
    """Label an architecture with a checkpoint as ``name[key=value,checkpoint=FILE]``."""
    inner = configured.nested["architecture"]
    assert isinstance(inner, Configured)
    suffix = configured.label.removeprefix(f"{PRETRAINED}[{inner.label},")
    prefix = f"{inner.label[:-1]}," if inner.label.endswith("]") else f"{inner.label}["
    return replace(configured, label=prefix + suffix)


def _has(plugin: Plugin | None, name: str) -> bool:
    """Return whether a plugin has a parameter of this name, which then takes precedence over the field of entries."""
    return plugin is not None and any(parameter.name == name for parameter in plugin.parameters)


def _pop_label(spec: Spec, plugin: Plugin | None) -> Any:
    """Remove the label from the parameters of a spec, and return the label."""
    return None if _has(plugin, LABEL) else spec.keywords.pop(LABEL, None)


def validate_label(label: Any) -> str:
    """Return a label without surrounding spaces; raise if it is invalid."""
    accepted = f"accepted: a single line of at most {MAX_LABEL} characters that does not begin with an underscore"
    if (
        not isinstance(label, str)
        or not label.strip()
        or label.strip().startswith("_")
        or len(label) > MAX_LABEL
        or not label.isprintable()
    ):
        raise ParameterError(f"label={brief(repr(label))}; {accepted}")
    if split_label(label.strip())[1] is not None:
        raise ParameterError(
            f"label={label!r}: the ending is reserved for rows of numbers of training images; {accepted}"
        )
    return label.strip()


def _with_training(label: str, training: Mapping[str, Any]) -> str:
    parts = ",".join(f"{TRAINING}.{name}={format_value(value)}" for name, value in training.items())
    return f"{label[:-1]},{parts}]" if label.endswith("]") else f"{label}[{parts}]"


def unique(plugins: Sequence[Configured]) -> dict[tuple[str, str], Configured]:
    """Return distinct plugins by key; labels show the folders of files that have the same name."""
    distinct = {_key(plugin): plugin for plugin in reversed(plugins)}
    by_label: dict[str, list[Configured]] = {}
    for plugin in distinct.values():
        by_label.setdefault(plugin.label, []).append(plugin)
    for label, group in by_label.items():
        if len(group) > 1:
            labels = _longer_labels(group)
            if len(set(labels.values())) < len(group) or label in labels.values():
                texts = listing(plugin.text for plugin in group)
                raise ParameterError(f"two entries have the label '{label}': {texts}; set a different label")
            distinct |= {_key(plugin): replace(plugin, label=labels[plugin.text]) for plugin in group}
    return {_key(plugin): distinct[_key(plugin)] for plugin in plugins}


def _key(configured: Configured) -> tuple[str, str]:
    return configured.label, configured.text


def _longer_labels(plugins: list[Configured]) -> dict[str, str]:
    """Return labels by the specs of plugins, with the shortest distinct suffixes of the paths of files."""
    paths = {plugin.text: _paths(plugin) for plugin in plugins}
    labels = {plugin.text: plugin.label for plugin in plugins}
    longest = max((len(path) for plugin_paths in paths.values() for path in plugin_paths), default=0)
    for depth in range(2, longest + 1):
        longer = {text: labels[text] for text in labels}
        for text, plugin_paths in paths.items():
            for parts in plugin_paths:
                longer[text] = longer[text].replace(parts[-1], "/".join(parts[-depth:]), 1)
        if len(set(longer.values())) == len(longer):
            return longer
    return labels


def _paths(configured: Configured) -> list[tuple[str, ...]]:
    """Return the parts of all paths in the parameters of a plugin and its nested plugins."""
    return [
        tuple(str(value).split("/"))
        for item in iterate_nested(configured)
        for parameter in item.plugin.parameters
        if parameter.is_path and (value := item.parameters[parameter.name])
    ]


def configure_denoiser(registry: Registry, text: str, checkpoint: str | Path | None, verb: str) -> Configured:
    """Resolve a denoiser that needs no training: a reference, or an architecture with weights."""
    spec = parse_spec(text)
    if checkpoint is not None:
        if spec.name not in registry.names("architecture") and spec.name in registry.names("reference"):
            raise ParameterError(
                f"checkpoint={checkpoint}: '{spec.name}' is a reference; accepted for architectures only"
            )
        if "checkpoint" in spec.keywords:
            raise ParameterError(f"'{text}' already has a checkpoint; accepted: a single checkpoint")
        spec = Spec(spec.name, spec.positional, spec.keywords | {"checkpoint": str(checkpoint)})
    configured = configure_entrant(registry, spec)
    if configured.kind == "architecture":
        raise ParameterError(
            f"architecture '{configured.label}' has no weights: give a checkpoint, as in "
            f"{spec.name}[checkpoint=FILE] or --checkpoint FILE, or {verb} untrained[{configured.label}]"
        )
    return configured
