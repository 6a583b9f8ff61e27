"""Display names of entrants and datasets, such as "U-Net, given σ" for ``unet[width=16,blind=false]``.

Results, plans and files that programs read hold labels: specs, or the ``label:`` of a suite. Display names are computed
when a board is shown. The class of a plugin may have an attribute ``display_name``, a string with fields in braces:

``{alpha}``
    The value of a parameter; for a parameter that names a plugin, the display name of that plugin.
``{alpha:superscript}``
    The value as a superscript.
``{name:text}``
    The value unchanged, for a parameter that does not name a plugin, although its value may equal a plugin's name.
``{blind=false:, given σ}``, ``{blind!=true:, given σ}``
    The text after the colon, if the label has, or lacks, this value.

The first field for a value also shows the positional value of a label, such as ``db4`` in ``wavelet[db4]``. If a label
lacks a value, the comma-separated part of the template that shows the value is left out. A name begins with a capital
letter, except within another name or a sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ParameterError
from gahbench.contracts.row_labels import split_label
from gahbench.registry.spec import format_value, parse_spec

if TYPE_CHECKING:
    from gahbench.registry.configured import Kind
    from gahbench.registry.registry import Registry

_ENTRANTS: tuple[Kind, ...] = ("architecture", "reference")
#: Kinds of plugins that parameters name, in the order in which a name is looked up.
_NESTED: tuple[Kind, ...] = ("basis", "architecture", "dataset", "reference", "metric")
_CONDITION = re.compile(r"\{(\w+)(!?=)([^:{}]*):([^{}]*)\}")
_VALUE = re.compile(r"\{(\w+)(?::(superscript|text))?\}")
_SUPERSCRIPTS = str.maketrans("0123456789.-", "⁰¹²³⁴⁵⁶⁷⁸⁹·⁻")
#: The label of an entrant with the name of its part, in combined results.
_PART = re.compile(r"(?s:(.*))( \([^()]*\))")
#: The key of a positional value.
_UNNAMED = ""


@dataclass(frozen=True)
class DisplayNames:
    """Display names by label, as they are within a sentence; a label without a display name stands for itself."""

    entrants: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)

    def entrant(self, label: str) -> str:
        """Return the display name of an entrant, or of its row in a sweep."""
        name = self.entrant_phrase(label)
        return _capitalise(name) if split_label(label)[0] in self.entrants else name

    def entrant_phrase(self, label: str) -> str:
        """Return the display name of an entrant within a sentence, such as ``linear Wiener filter``."""
        base, number = split_label(label)
        name = self.entrants.get(base, base)
        return name if number is None else f"{name}, N = {number}"

    def dataset(self, label: str) -> str:
        """Return the display name of a dataset."""
        return _capitalise(self.datasets[label]) if label in self.datasets else label

    def dataset_phrase(self, label: str) -> str:
        """Return the display name of a dataset within a sentence, such as ``discs``."""
        return self.datasets.get(label, label)


def _capitalise(name: str) -> str:
    return name[:1].upper() + name[1:]


def display_names(registry: Registry, entrants: Iterable[str], datasets: Mapping[str, str]) -> DisplayNames:
    """Return the display names of labels of entrants or rows, and of datasets, whose specs are given by label.

    An unknown spec is empty. Labels whose plugin is not registered, and datasets whose label differs from their spec,
    have no display name.
    """
    bases = dict.fromkeys(split_label(label)[0] for label in entrants)
    parts = {base: _PART.fullmatch(base) for base in bases}
    specs = {base: match[1] if match else base for base, match in parts.items()}
    names = _distinct_names(registry, _ENTRANTS, list(specs.values()))
    suffixes = {base: match[2] if match else "" for base, match in parts.items()}
    return DisplayNames(
        {base: names[spec] + suffixes[base] for base, spec in specs.items() if spec in names},
        _distinct_names(registry, ("dataset",), [label for label, spec in datasets.items() if spec in (label, "")]),
    )


def basis_names(registry: Registry, bases: Iterable[str]) -> dict[str, str]:
    """Return the display name of each basis; names of unknown bases, such as ``learned``, stand for themselves."""
    specs = list(dict.fromkeys(bases))
    names = _distinct_names(registry, ("basis",), specs)
    return {spec: _capitalise(names[spec]) if names.get(spec, spec) != spec else spec for spec in specs}


def _distinct_names(registry: Registry, kinds: Sequence[Kind], labels: Sequence[str]) -> dict[str, str]:
    """Return distinct names by label; equal names are followed by the parameters in which their labels differ."""
    described = {label: item for label in labels if (item := _describe(registry, kinds, label))}
    names = {}
    for label, (name, details) in described.items():
        others = [other_details for other, other_details in described.values() if other == name]
        differing = [key for key in details if len({other.get(key) for other in others}) > 1]
        names[label] = ", ".join([name, *(details[key] for key in differing)])
    counts = Counter([*names.values(), *(label for label in dict.fromkeys(labels) if label not in described)])
    return {label: name for label, name in names.items() if counts[name] == 1}


def _describe(registry: Registry, kinds: Sequence[Kind], label: str) -> tuple[str, dict[str, str]] | None:
    """Return the name of a plugin for its spec, and the parameters that the name does not show, as text.

    The value is ``None`` for labels that are not specs, and for unknown plugins.
    """
    try:
        spec = parse_spec(label)
    except ParameterError:
        return None
    plugin = next((plugin for kind in kinds if (plugin := registry.find(kind, spec.name))), None)
    if plugin is None:
        return None
    given = {**({_UNNAMED: spec.positional[0]} if spec.positional else {}), **spec.keywords}
    nested = {
        key: inner
        for key, value in given.items()
        if isinstance(value, str) and (inner := _describe(registry, _NESTED, value))
    }
    values = {key: _text(value) for key, value in (plugin.preset | given).items()}
    named = values | {key: inner_name for key, (inner_name, _) in nested.items()}
    name, shown = _fill(plugin.display_name, values, named)
    details = {}
    for key, value in given.items():
        if key not in shown:
            details[key] = _phrase(key, value, named[key])
        if key in nested:
            details |= {f"{key}.{inner_key}": text for inner_key, text in nested[key][1].items()}
    return name or plugin.name.replace("-", " "), details


def _fill(template: str, values: Mapping[str, str], named: Mapping[str, str]) -> tuple[str, set[str]]:
    """Return a template filled with values, or with names of plugins, and the keys of the values that it shows."""
    shown = {match[1] for match in _CONDITION.finditer(template)}
    template = _CONDITION.sub(lambda m: m[4] if (named.get(m[1]) == m[3]) == (m[2] == "=") else "", template)
    keys = {name: name for name, _ in _VALUE.findall(template)}
    if keys and (first := next(iter(keys))) not in values:
        keys[first] = _UNNAMED

    def fill(match: re.Match[str]) -> str:
        key = keys[match[1]]
        return values[key] if match[2] == "text" else named[key].translate(_SUPERSCRIPTS if match[2] else {})

    parts = [part for part in template.split(", ") if all(keys[name] in values for name, _ in _VALUE.findall(part))]
    return _VALUE.sub(fill, ", ".join(parts)), shown | {*keys.values()}


def _text(value: Any) -> str:
    """Format a value for a name; a path is reduced to its file name, as in labels."""
    return PurePath(value).name if isinstance(value, str) and "/" in value else format_value(value)


def _phrase(key: str, value: Any, text: str) -> str:
    """Return a parameter and its value in words, such as ``width 16`` or ``without bias``."""
    name = re.sub(r"[._]", " ", key)
    if isinstance(value, bool):
        return f"{'with' if value else 'without'} {name}"
    return f"{name} {text}".strip()
