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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ParameterError
from gahbench.contracts.row_labels import base_label, split_label
from gahbench.registry.spec import format_value, parse_spec

if TYPE_CHECKING:
    from gahbench.registry.configured import Kind
    from gahbench.registry.registry import Registry

#: Kinds of plugins that parameters name, in the order in which a name is looked up.
_NESTED: tuple[Kind, ...] = ("basis", "architecture", "dataset", "reference", "metric")
_CONDITION = re.compile(r"\{(\w+)(!?=)([^:{}]*):([^{}]*)\}")
_VALUE = re.compile(r"\{(\w+)(?::(superscript|text))?\}")
_SUPERSCRIPTS = str.maketrans("0123456789.-", "⁰¹²³⁴⁵⁶⁷⁸⁹·⁻")
#: The name of a part, which follows the label of an entrant in combined results.
_PART = re.compile(r" \([^()]*\)$")


@dataclass(frozen=True)
class DisplayNames:
    """Display names by label, as they are within a sentence; a label without a display name stands for itself."""

    entrants: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)

    def entrant(self, label: str, in_sentence: bool = False) -> str:
        """Return the display name of an entrant, or of its row in a sweep, such as ``linear Wiener filter``."""
        base, number = split_label(label)
        name = _name(self.entrants, base, in_sentence)
        return name if number is None else f"{name}, N = {number}"

    def dataset(self, label: str, in_sentence: bool = False) -> str:
        """Return the display name of a dataset, such as ``discs`` within a sentence."""
        return _name(self.datasets, label, in_sentence)


def _name(names: Mapping[str, str], label: str, in_sentence: bool) -> str:
    name = names.get(label, label)
    return name if in_sentence or label not in names else name[:1].upper() + name[1:]


def display_names(registry: Registry, entrants: Iterable[str], datasets: Mapping[str, str]) -> DisplayNames:
    """Return the display names of labels of entrants or rows, and of datasets, whose specs are given by label.

    An unknown spec is empty. Labels whose plugin is not registered, and datasets whose label differs from their spec,
    have no display name.
    """
    plain = [label for label, spec in datasets.items() if spec in (label, "")]
    return DisplayNames(
        _distinct_names(registry, ("architecture", "reference"), map(base_label, entrants)),
        _distinct_names(registry, ("dataset",), plain),
    )


def basis_names(registry: Registry, bases: Iterable[str]) -> dict[str, str]:
    """Return the display names of bases by spec; unknown bases, such as ``learned``, have none."""
    names = _distinct_names(registry, ("basis",), bases)
    return {spec: _name(names, spec, in_sentence=False) for spec in names}


def _distinct_names(registry: Registry, kinds: tuple[Kind, ...], labels: Iterable[str]) -> dict[str, str]:
    """Return distinct names by label; equal names are followed by the parameters in which their labels differ."""
    described = {label: _describe(registry, kinds, label) for label in labels}
    names = {}
    for label, (name, details) in described.items():
        others = [other_details for other, other_details in described.values() if other == name]
        differing = [key for key in details if len({other.get(key) for other in others}) > 1]
        names[label] = ", ".join([name or label, *(details[key] for key in differing)])
    counts = Counter(names.values())
    return {label: name for label, name in names.items() if counts[name] == 1 and described[label][0]}


def _describe(registry: Registry, kinds: tuple[Kind, ...], label: str) -> tuple[str, dict[str, str]]:
    """Return the name of a plugin for its spec, and the parameters that the name does not show, as text.

    The name is empty for labels that are not specs, and for unknown plugins.
    """
    part = "".join(_PART.findall(label))
    try:
        spec = parse_spec(label.removesuffix(part))
    except ParameterError:
        return "", {}
    plugin = next((plugin for kind in kinds if (plugin := registry.find(kind, spec.name))), None)
    if plugin is None:
        return "", {}
    template, preset = plugin.display_name, plugin.preset
    fields = [name for name, _ in _VALUE.findall(template)]
    key_of_positional = [name for name in fields[:1] if name not in preset] or [""]
    given = dict(zip(key_of_positional, spec.positional, strict=False)) | spec.keywords
    values = {key: _text(value) for key, value in (preset | given).items()}
    nested = {key: _describe(registry, _NESTED, value) for key, value in given.items() if isinstance(value, str)}
    named = values | {key: name for key, (name, _) in nested.items() if name}

    def fill(match: re.Match[str]) -> str:
        return values[match[1]] if match[2] == "text" else named[match[1]].translate(_SUPERSCRIPTS if match[2] else {})

    name = _CONDITION.sub(lambda m: m[4] if (named.get(m[1]) == m[3]) == (m[2] == "=") else "", template)
    parts = [text for text in name.split(", ") if all(field in values for field, _ in _VALUE.findall(text))]
    shown = {*fields, *(match[1] for match in _CONDITION.finditer(template))}
    details = {}
    for key, value in given.items():
        words = re.sub(r"[._]", " ", key)
        if key not in shown:
            is_switch = isinstance(value, bool)
            details[key] = f"{'with' if value else 'without'} {words}" if is_switch else f"{words} {named[key]}".strip()
        details |= {f"{key}.{inner_key}": text for inner_key, text in nested.get(key, ("", {}))[1].items()}
    return (_VALUE.sub(fill, ", ".join(parts)) or plugin.name.replace("-", " ")) + part, details


def _text(value: Any) -> str:
    """Format a value for a name; a path is reduced to its file name, as in labels."""
    return PurePath(value).name if isinstance(value, str) and "/" in value else format_value(value)
