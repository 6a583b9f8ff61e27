"""Keyword arguments of imported constructors, written as a single parameter of a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from gahbench._util.core_yaml import dump_flow, load_scalar


def as_text(arguments: Any) -> str:
    """Return arguments as text in a canonical form, such as ``{depth: 2, width: 32}``, given a mapping or YAML."""
    if isinstance(arguments, str):
        try:
            arguments = load_scalar(arguments)
        except yaml.YAMLError as error:
            raise ValueError(f"'{arguments}' is not YAML; a mapping such as {{width: 32}} is accepted") from error
    if not isinstance(arguments, Mapping) or not all(isinstance(name, str) for name in arguments):
        raise ValueError("a mapping from names to values is accepted, such as {width: 32}")
    return dump_flow(dict(arguments))


def as_mapping(arguments: str) -> dict[str, Any]:
    """Return the mapping of arguments, given its text."""
    mapping: dict[str, Any] = load_scalar(as_text(arguments))
    return mapping
