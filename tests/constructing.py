"""Plugins of tests, constructed directly, with objects in place of the specs of what they name."""

from __future__ import annotations

from typing import Any, TypeVar

import gahbench
from gahbench.registry.parameters import constructor_parameters
from gahbench.registry.registry import Registry

T = TypeVar("T")


def construct(plugin: type[T], *values: Any, **parameters: Any) -> T:
    """Call a plugin's constructor; a spec, or a default, of what it names stands for the built object."""
    declared = constructor_parameters(plugin, plugin.__name__)
    given = dict(zip([parameter.name for parameter in declared], values, strict=False)) | parameters
    for parameter in declared:
        spec = given.get(parameter.name, parameter.default)
        if parameter.names and isinstance(spec, str):
            given[parameter.name] = _argument(parameter.names, spec)
        elif parameter.names and isinstance(spec, tuple):
            given[parameter.name] = tuple(_argument(parameter.names, one) for one in spec)
    return plugin(**given)


def _argument(kind: str, spec: str) -> Any:
    if kind == "architecture":
        return Registry().configure("architecture", spec)._build_argument()
    return gahbench.create(kind, spec)
