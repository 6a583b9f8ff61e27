"""Registered plugins: their classes, parameters and origins."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gahbench._util.errors import ParameterError, PluginError
from gahbench.registry.behaviour import behaviour_digest
from gahbench.registry.parameters import FILLED_IN, Parameter, constructor_parameters
from gahbench.registry.source import class_attribute, summary
from gahbench.registry.spec import format_value

Kind = Literal["architecture", "dataset", "reference", "basis", "metric", "engine", "tracker", "claim"]

#: Hook of each kind of plugin, in the order in which kinds are listed.
HOOKS: dict[Kind, str] = {
    "architecture": "register_architectures",
    "dataset": "register_datasets",
    "reference": "register_references",
    "basis": "register_bases",
    "metric": "register_metrics",
    "engine": "register_engines",
    "tracker": "register_trackers",
    "claim": "register_claims",
}
KINDS = tuple(HOOKS)
BUILT_IN = "built-in"


@dataclass(frozen=True)
class Plugin:
    """A registered plugin: the class or function that builds it, its origin, and preset parameters."""

    kind: Kind
    name: str
    target: Any
    origin: str
    preset: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The kind and name, for error messages."""
        return f"{self.kind} '{self.name}'"

    @property
    def is_built_in(self) -> bool:
        """Whether the plugin comes with gahbench."""
        return self.origin == BUILT_IN

    @property
    def summary(self) -> str:
        """First line of the docstring, read without importing a plugin that is registered as ``"module:Class"``."""
        if self.kind == "claim" and "file" in self.preset:
            return _first_line(str(self.preset["file"]))
        text = summary(self.target)
        preset = ", ".join(f"{key}={format_value(value)}" for key, value in self.preset.items())
        return f"{text} ({preset})" if preset else text

    @property
    def display_name(self) -> str:
        """The template of the display name, read without an import; by default it follows from the registered name.

        :mod:`gahbench.board.display_names` describes templates.
        """
        text = class_attribute(self.target, "display_name")
        return " ".join(text.split()) if isinstance(text, str) and text.strip() else self.name.replace("-", " ")

    @property
    def share_parts(self) -> tuple[str, ...]:
        """The parts of a metric that are shares, read without an import; empty by default."""
        return tuple(class_attribute(self.target, "share_parts") or ())

    @property
    def positive_parts(self) -> tuple[str, ...]:
        """The parts of a metric that are positive, read without an import; empty by default."""
        return tuple(class_attribute(self.target, "positive_parts") or ())

    @functools.cached_property
    def factory(self) -> Any:
        """The class or function, imported if necessary."""
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(f"{self.where} from {self.origin} cannot be imported: {reason}") from error

    @functools.cached_property
    def constructor(self) -> tuple[Parameter, ...]:
        """All parameters of the constructor."""
        return constructor_parameters(self.factory, self.where)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters that a suite may set."""
        hidden = (*FILLED_IN, *self.preset)
        return tuple(parameter for parameter in self.constructor if parameter.name not in hidden)

    @functools.cached_property
    def digest(self) -> str:
        """Digest of the behaviour of the plugin's code and its imports."""
        return behaviour_digest(self.factory)

    def build(self, parameters: dict[str, Any], filled_in: dict[str, Any]) -> Any:
        """Call the plugin's class or function."""
        arguments = {**self.preset, **parameters}
        for parameter in self.constructor:
            if parameter.name in FILLED_IN:
                if parameter.name in filled_in:
                    arguments[parameter.name] = filled_in[parameter.name]
                elif parameter.required:
                    raise ParameterError(f"{self.where}: '{parameter.name}' is required")
        try:
            return self.factory(**arguments)
        except ValueError as error:
            raise ParameterError(f"{self.where}: {error}") from error


def _first_line(file: str) -> str:
    """Return the text of the comment in the first line of a file."""
    try:
        with Path(file).open(encoding="utf-8") as lines:
            return lines.readline(1000).lstrip("# ").strip()
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read: {type(error).__name__}: {error}"
