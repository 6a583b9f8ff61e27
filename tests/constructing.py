"""Direct construction of plugins in tests, with specs for nested plugins."""

from __future__ import annotations

from typing import Any, TypeVar

import gahbench
from gahbench.registry.parameters import constructor_parameters
from gahbench.registry.registry import Registry

T = TypeVar("T")


def construct(plugin: type[T], *values: Any, **parameters: Any) -> T:
    """Call a plugin's constructor; specs of nested plugins, and their defaults, are replaced by built plugins."""
    declared = constructor_parameters(plugin, plugin.__name__)
    arguments = dict(zip([parameter.name for parameter in declared], values, strict=False)) | parameters
    for parameter in declared:
        spec = arguments.get(parameter.name, parameter.default)
        if parameter.names and isinstance(spec, str):
            arguments[parameter.name] = _build_argument(parameter.names, spec)
        elif parameter.names and isinstance(spec, tuple):
            arguments[parameter.name] = tuple(_build_argument(parameter.names, item) for item in spec)
    return plugin(**arguments)


def _build_argument(kind: str, spec: str) -> Any:
    if kind == "architecture":
        return Registry().configure("architecture", spec)._build_argument()
    return gahbench.create(kind, spec)
