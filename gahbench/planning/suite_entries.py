"""Entries of a suite: plugins with grids of parameters, labels, and the training of architectures."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Resolved:
    """A plugin of a suite, the place of its entry, and the training and title that the entry sets."""

    configured: Configured
    place: str
    training: Training | None = None
    title: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Label and spec, by which duplicates are dropped."""
        return self.configured.label, self.configured.text


@dataclass(frozen=True)
class Entries:
    """Resolves the entries of a suite file; ``training`` has the fields that the training of the suite sets."""

    document: Document
    registry: Registry
    training: Mapping[str, Any]

    def resolve(self, location: Location, entries: Sequence[Entry]) -> tuple[Resolved, ...]:
        """Return the plugins of a field without duplicates."""
        resolved: list[Resolved] = []
        for index, entry in enumerate(entries):
            resolved += self._expand((*location, index), entry, str(location[-1]))
            if len(resolved) > MAX_CONFIGURATIONS:
                raise self._too_many((*location, index), len(resolved))
        with self._located(location):
            return tuple(unique(resolved).values())

    def _expand(self, location: Location, entry: Entry, field_name: str) -> list[Resolved]:
        """Resolve an entry to the plugins of its grid of values."""
        if isinstance(entry, str):
            with self._located(location):
                spec = parse_spec(entry)
                label = _pop(spec.keywords, LABEL, self._plugin(spec.name, field_name))
                return [self._configure(location, spec, field_name, label)]
        if len(entry) != 1:
            raise self.document.error(
                location, f"an entry has {len(entry)} plugins: {listing(entry)}; accepted: a single plugin"
            )
        ((name, given),) = entry.items()
        values, inside = dict(given or {}), (*location, name)
        with self._located(location):
            plugin = self._plugin(name, field_name)
            # An empty mapping overrides no field of the training.
            label, fields = _pop(values, LABEL, plugin), _pop(values, TRAINING, plugin)
            specs = list(self._specs(inside, name, values, plugin))
        if label is not None and len(specs) > 1:
            raise self.document.error(
                (*inside, LABEL),
                f"a single label for a grid of {len(specs)} entries; accepted: a label for a single entry",
            )
        training = self._own_training((*inside, TRAINING), plugin, fields) if fields else None
        with self._located(location, (name, values)):
            resolved = [self._configure(location, spec, field_name, label) for spec in specs]
            if training is None:
                return resolved
            return [_with_training(item, training, fields if label is None else {}) for item in resolved]

    def _configure(self, location: Location, spec: Spec, field_name: str, label: Any) -> Resolved:
        label, place = None if label is None else validate_label(label), self.document.place(location)
        if field_name == "metrics":
            return Resolved(self.registry.configure("metric", spec), place, title=label)
        if field_name == "datasets":
            configured = self.registry.configure("dataset", spec)
        else:
            configured = configure_entrant(self.registry, spec)
        return Resolved(configured if label is None else replace(configured, label=label), place)

    def _own_training(self, location: Location, plugin: Plugin | None, values: Any) -> Training:
        """Return the training of an entrant that overrides fields of the suite's training."""
        if plugin is not None and plugin.kind != "architecture":
            raise self.document.error(
                location, f"{plugin.where} is not trained; training is accepted for architectures only"
            )
        accepted = [name for name in Training.model_fields if name not in SUITE_FIELDS]
        if not isinstance(values, dict):
            raise self.document.error(location, f"expected fields with values; accepted: {', '.join(accepted)}")
        if shared := [name for name in values if name in SUITE_FIELDS]:
            raise self.document.error(
                (*location, shared[0]),
                f"training.{shared[0]}: must be set for the whole suite; accepted: {listing(accepted)}",
            )
        budgets = BUDGETS if any(name in values for name in BUDGETS) else ()
        inherited = {name: value for name, value in self.training.items() if name not in budgets}
        try:
            return Training.model_validate({**inherited, **values})
        except pydantic.ValidationError as error:
            raise self.document.validation_error(error, lambda field_location: accepted, location) from error

    def _specs(self, location: Location, name: str, values: dict[str, Any], plugin: Plugin | None) -> Iterator[Spec]:
        """Yield a spec for each combination of the values of parameters."""
        parameters = {parameter.name: parameter for parameter in (plugin.parameters if plugin else ())}
        axes = [self._values((*location, key), parameters.get(key), value) for key, value in values.items()]
        for combination in self._combinations(location, axes):
            yield Spec(name, (), dict(zip(values, combination, strict=True)))

    def _values(self, location: Location, parameter: Parameter | None, value: Any) -> list[Any]:
        """Return the values of a parameter: the items of a list, unless the parameter itself is a list."""
        is_sequence = parameter is not None and parameter.is_sequence
        is_grid = isinstance(value, list) and (not is_sequence or (bool(value) and isinstance(value[0], list)))
        if is_grid and not value:
            raise self.document.error(location, f"{location[-1]}: an empty list of values")
        if parameter is None or parameter.names is None:
            return value if is_grid else [value]
        kind = cast(Kind, parameter.names)
        if not is_grid:
            return self._plugin_texts(location, kind, value)
        return [text for index, item in enumerate(value) for text in self._plugin_texts((*location, index), kind, item)]

    def _combinations(self, location: Location, axes: list[list[Any]]) -> Iterator[tuple[Any, ...]]:
        count = math.prod(map(len, axes))
        if count > MAX_CONFIGURATIONS:
            raise self._too_many(location, count)
        return itertools.product(*axes)

    def _plugin_texts(self, location: Location, kind: Kind, value: Any) -> list[Any]:
        """Return the specs of nested plugins, or lists of specs, from strings or mappings."""
        if isinstance(value, list):
            items = [self._plugin_texts((*location, index), kind, item) for index, item in enumerate(value)]
            return [list(combination) for combination in self._combinations(location, items)]
        if not isinstance(value, dict):
            return [value]
        try:
            name, values = self.registry.parse_mapping(kind, value)
        except GahbenchError as error:
            # Name the parameter, ignoring indices of lists.
            parameter = next(part for part in reversed(location) if isinstance(part, str))
            raise self.document.error(location, f"{parameter}: {error}") from error
        # Places are indexed by the keys of the file.
        inside = (*location, *map(str, value))
        with self._located(inside[:-1], (str(inside[-1]), values)):
            specs = self._specs(inside, name, values, self.registry.find(kind, name))
            return [self.registry.configure(kind, spec).text for spec in specs]

    def _plugin(self, name: str, field_name: str) -> Plugin | None:
        return next(filter(None, (self.registry.find(kind, name) for kind in _KINDS[field_name])), None)

    def _too_many(self, location: Location, count: int) -> SuiteError:
        return self.document.error(location, f"{count} combinations of values; accepted: at most {MAX_CONFIGURATIONS}")

    @contextlib.contextmanager
    def _located(self, location: Location, inside: tuple[str, Iterable[str]] | None = None) -> Iterator[None]:
        """Add a place to errors: of the entry, or of the parameter ``inside`` the plugin that a message names first."""
        try:
            yield
        except SuiteError:
            raise
        except GahbenchError as error:
            text = str(error)
            if inside is not None:
                plugin, names = inside
                # A suggestion may name another parameter later.
                positions = {key: _find(text, key) for key in names if _find(text, key) >= 0}
                if positions:
                    location = (*location, plugin, min(positions, key=positions.__getitem__))
            raise self.document.error(location, text) from error


def _find(text: str, parameter: str) -> int:
    """Return the first position at which a message names a parameter, or -1."""
    return min((text.find(name) for name in (f"'{parameter}'", f"{parameter}=") if name in text), default=-1)


def _with_training(resolved: Resolved, training: Training, shown: Mapping[str, Any]) -> Resolved:
    """Return an entrant with its own training, whose label ends in the fields ``shown``."""
    configured = resolved.configured
    if configured.kind != "architecture":
        raise ParameterError(f"{configured.where} is not trained; training is accepted for architectures only")
    if shown:
        fields = ",".join(f"{TRAINING}.{name}={format_value(value)}" for name, value in shown.items())
        label = configured.label
        label = f"{label[:-1]},{fields}]" if label.endswith("]") else f"{label}[{fields}]"
        configured = replace(configured, label=label)
    return replace(resolved, configured=configured, training=training)


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
    label = _pop(spec.keywords, LABEL, registry.get(kinds[0], spec.name))
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


def _pop(keywords: dict[str, Any], name: str, plugin: Plugin | None) -> Any:
    """Remove a field of entries from keywords, and return it; a parameter of the plugin of this name has precedence."""
    is_parameter = plugin is not None and any(parameter.name == name for parameter in plugin.parameters)
    return None if is_parameter else keywords.pop(name, None)


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


def unique(plugins: Sequence[Resolved]) -> dict[tuple[str, str], Resolved]:
    """Return distinct plugins by their key; labels show the folders of files that have the same name."""
    distinct: dict[tuple[str, str], Resolved] = {}
    for plugin in plugins:
        if distinct.setdefault(plugin.key, plugin).training != plugin.training:
            raise ParameterError(
                f"label '{plugin.configured.label}': two entrants with different training have this label"
            )
    by_label: dict[str, list[Resolved]] = {}
    for plugin in distinct.values():
        by_label.setdefault(plugin.configured.label, []).append(plugin)
    for label, group in by_label.items():
        if len(group) > 1:
            labels = _longer_labels([plugin.configured for plugin in group])
            if len(set(labels.values())) < len(group) or label in labels.values():
                texts = listing(plugin.configured.text for plugin in group)
                raise ParameterError(f"two entries have the label '{label}': {texts}; set a different label")
            for plugin in group:
                configured = replace(plugin.configured, label=labels[plugin.configured.text])
                distinct[plugin.key] = replace(plugin, configured=configured)
    return distinct


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
