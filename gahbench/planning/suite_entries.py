"""Entries of a suite: plugins with grids of parameters, labels, and the training of architectures."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pydantic

from gahbench._util.core_yaml import Document, Location
from gahbench._util.errors import GahbenchError, ParameterError, PluginError, listing, suggestion
from gahbench._util.readable import brief
from gahbench.contracts.row_labels import split_label
from gahbench.registry.configured import Configured, Kind
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec, format_value, parse_spec
from gahbench.training.recipe import BUDGETS, Training

#: Maximum number of configurations of an entry.
MAX_CONFIGURATIONS = 10_000
#: Name of the reference that an architecture with a ``checkpoint`` stands for.
PRETRAINED = "pretrained"
#: Parameters of an entry that are not parameters of the plugin.
LABEL, TRAINING = "label", "training"
MAX_LABEL = 200
#: Fields of the training that an entrant cannot override, since they set the rows and training images of the suite.
SUITE_FIELDS = ("train_images", "halves", "same_initialisation", "snapshots", "split")
_OWN_FIELDS = [name for name in Training.model_fields if name not in SUITE_FIELDS]
ENTRANTS: tuple[Kind, ...] = ("architecture", "reference")


@dataclass(frozen=True)
class Resolved:
    """A plugin of a suite, the place of its entry, and the training that the entry sets."""

    configured: Configured
    place: str
    training: Training | None = None


@dataclass(frozen=True)
class Entries:
    """Resolves the entries of a suite file; ``training`` has the fields that the training of the suite sets.

    ``grid`` has those of them that are lists of values, which train every architecture once for each value.
    """

    document: Document
    registry: Registry
    training: Mapping[str, Any]
    grid: Mapping[str, list[Any]]

    def resolve(self, location: Location, kinds: tuple[Kind, ...], specs: Sequence[Spec]) -> list[Resolved]:
        """Return the plugins of a field, without duplicates."""
        locations = [(*location, index, spec.name) for index, spec in enumerate(specs)]
        expanded = [self._expand(where, kinds, spec) for where, spec in zip(locations, specs, strict=True)]
        with self._located(location):
            return unique(itertools.chain.from_iterable(expanded))

    def _expand(self, location: Location, kinds: tuple[Kind, ...], spec: Spec) -> list[Resolved]:
        """Return the plugins of an entry: a grid, if values of its parameters are lists."""
        values = dict(spec.keywords)
        fields = values.pop(TRAINING, None)
        with self._located(location, values):
            plugins = filter(None, (self.registry.find(kind, spec.name) for kind in kinds))
            lists = {parameter.name for plugin in plugins for parameter in plugin.parameters if parameter.is_sequence}
            members = [
                configure_entrant(self.registry, replace(spec, keywords=keywords), kinds)
                for keywords in _combinations(values, lists)
            ]
            if fields and members[0].kind != "architecture":
                raise ParameterError(f"{members[0].where} is not trained; training is accepted for architectures")
        given = (self.document.place(location), LABEL in values, fields, (*location, TRAINING))
        return [item for member in members for item in self.train(member, *given)]

    def train(
        self, configured: Configured, place: str, has_label: bool, fields: Any = None, location: Location = (TRAINING,)
    ) -> list[Resolved]:
        """Return an entrant once for each combination of listed values of its training, which its label shows."""
        if configured.kind != "architecture" or not (fields or self.grid):
            return [Resolved(configured, place)]
        if fields and not isinstance(fields, dict):
            raise self.document.unknown_field((*location, fields), _OWN_FIELDS)
        trained = []
        with self._located(location):
            combinations = _combinations({**self.grid, **(fields or {})})
        for own in combinations:
            shown = ",".join(f"{TRAINING}.{name}={format_value(value)}" for name, value in own.items())
            label = configured.label if has_label else _append(configured.label, shown)
            trained.append(Resolved(replace(configured, label=label), place, self._own_training(location, own)))
        return trained

    def _own_training(self, location: Location, fields: Mapping[str, Any]) -> Training:
        """Return the training of an entrant that overrides fields of the suite's training."""
        for name in fields:
            if name not in _OWN_FIELDS:
                raise self.document.unknown_field((*location, name), _OWN_FIELDS)
        budgets = BUDGETS if any(name in fields for name in BUDGETS) else ()
        inherited = {name: value for name, value in self.training.items() if name not in budgets}
        try:
            return Training.model_validate({**inherited, **fields})
        except pydantic.ValidationError as error:
            raise self.document.validation_error(error, lambda _: _OWN_FIELDS, location) from error

    @contextlib.contextmanager
    def _located(self, location: Location, parameters: Iterable[str] = ()) -> Iterator[None]:
        """Add a place to errors: that of the parameter that a message names first, or of the entry."""
        try:
            yield
        except GahbenchError as error:
            named = re.search(rf"\b({'|'.join(map(re.escape, parameters))})['=:]", str(error))
            raise self.document.error((*location, *(named.groups() if named else ())), str(error)) from error


def configure_entrant(registry: Registry, spec: Spec, kinds: tuple[Kind, ...] = ENTRANTS) -> Configured:
    """Resolve an entrant, or another plugin of a suite, with its label; an architecture may have a ``checkpoint``."""
    found = [kind for kind in kinds if registry.find(kind, spec.name)]
    if len(found) != 1 and kinds == ENTRANTS:
        names = [name for kind in kinds for name in registry.names(kind)]
        problem, near = ("ambiguous", "") if found else ("unknown", suggestion(spec.name, names))
        raise PluginError(
            f"{problem} entrant '{spec.name}'{near or ';'} architectures and references: {listing(names)}"
            f"{registry.missing}"
        )
    kind, keywords = (*found, *kinds)[0], dict(spec.keywords)
    # The labels of metrics are the names of their scores.
    label = None if kind == "metric" else keywords.pop(LABEL, None)
    spec = replace(spec, keywords=keywords)
    if kind == "architecture" and "checkpoint" in keywords:
        plugins = registry.get(kind, spec.name), registry.get("reference", PRETRAINED)
        own, outer = ({parameter.name for parameter in plugin.parameters} for plugin in plugins)
        if "checkpoint" not in own:
            outside = {name: keywords.pop(name) for name in list(keywords) if name in outer - own}
            network = registry.configure("architecture", replace(spec, keywords=keywords))
            kind, spec = "reference", Spec(PRETRAINED, (), {"architecture": network.text, **outside})
    configured = registry.configure(kind, spec)
    if configured.plugin.name == PRETRAINED:
        # The label of an architecture with a checkpoint is name[key=value,checkpoint=FILE].
        inside = configured.nested["architecture"]
        assert isinstance(inside, Configured)
        shown = configured.label.removeprefix(f"{PRETRAINED}[{inside.label},").removesuffix("]")
        configured = replace(configured, label=_append(inside.label, shown))
    return configured if label is None else replace(configured, label=validate_label(label))


def _combinations(values: Mapping[str, Any], lists: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return a mapping for each combination of the values that are lists; ``lists`` names those whose value is a list.

    For these, a list of lists is a list of values.
    """
    axes = [
        value if isinstance(value, list) and (name not in lists or isinstance(next(iter(value), None), list))
        else [value] for name, value in values.items()
    ]  # fmt: skip
    if not 1 <= (count := math.prod(map(len, axes))) <= MAX_CONFIGURATIONS:
        raise ParameterError(f"{count} combinations of values; accepted: 1 to {MAX_CONFIGURATIONS}")
    return [dict(zip(values, axis, strict=True)) for axis in itertools.product(*axes)]


def _append(label: str, parameters: str) -> str:
    """Return a label with further parameters inside its brackets."""
    return f"{label[:-1]},{parameters}]" if label.endswith("]") else f"{label}[{parameters}]"


def validate_label(label: Any) -> str:
    """Return a label without surrounding spaces; raise if it is invalid."""
    text = label.strip() if isinstance(label, str) else ""
    is_line = 0 < len(text) <= MAX_LABEL and text.isprintable()
    if not is_line or text.startswith("_") or split_label(text)[1] is not None:
        raise ParameterError(
            f"label={brief(repr(label))}; accepted: a single line of at most {MAX_LABEL} characters that does not "
            "begin with an underscore, or end as rows of numbers of training images do (N=3)"
        )
    return text


def unique(items: Iterable[Resolved]) -> list[Resolved]:
    """Return distinct plugins; raise if a label has several of them, or several labels have the same one."""
    by_label: dict[str, Resolved] = {}
    labels: dict[tuple[str, Training | None], str] = {}
    for item in items:
        label, text = item.configured.label, item.configured.text
        first = by_label.setdefault(label, item)
        if (first.configured.text, first.training) != (text, item.training):
            texts = f"{first.configured.text} and {text}, or different training"
            raise ParameterError(f"two entries have the label '{label}': {texts}; set a different label")
        if (same := labels.setdefault((text, item.training), label)) != label:
            raise ParameterError(f"'{same}' and '{label}' are the same {item.configured.kind}; remove one of them")
    return list(by_label.values())


def configure_denoiser(registry: Registry, text: str) -> Configured:
    """Resolve a denoiser that needs no training: a reference, or an architecture with weights."""
    configured = configure_entrant(registry, parse_spec(text))
    if configured.kind == "architecture":
        raise ParameterError(
            f"architecture '{configured.label}' has no weights: give a checkpoint, as in "
            f"{configured.plugin.name}[checkpoint=FILE]; untrained[{configured.label}] has random weights"
        )
    return configured
