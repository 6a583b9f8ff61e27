"""Registered plugins: their classes, parameters and origins."""

from __future__ import annotations

import ast
import functools
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from gahbench._util.errors import ParameterError, PluginError, error_text
from gahbench.registry.behaviour import behaviour_digest
from gahbench.registry.parameters import FILLED_IN, Parameter, constructor_parameters
from gahbench.registry.spec import format_value

Kind = Literal["architecture", "dataset", "reference", "basis", "metric", "engine", "tracker", "claim"]

KINDS: tuple[Kind, ...] = get_args(Kind)
#: Hook of each kind of plugin, in the order in which kinds are listed.
HOOKS = {kind: "register_bases" if kind == "basis" else f"register_{kind}s" for kind in KINDS}
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
        """First line of the docstring, read without importing a plugin that is registered as ``"module:Class"``.

        The summary of a file of claims is the comment in its first line.
        """
        if self.kind == "claim" and "file" in self.preset:
            try:
                with Path(self.preset["file"]).open(encoding="utf-8") as file:
                    return file.readline(1000).lstrip("# ").strip()
            except (OSError, UnicodeDecodeError) as error:
                return f"cannot be read: {error_text(error)}"
        target = self.target
        doc = ast.get_docstring(_definition(target)) if isinstance(target, str) else target.__doc__
        preset = ", ".join(f"{key}={format_value(value)}" for key, value in self.preset.items())
        return (doc or "").strip().partition("\n")[0] + (f" ({preset})" if preset else "")

    @property
    def display_name(self) -> str:
        """The template of the display name, read without an import; by default it follows from the registered name.

        :mod:`gahbench.board.display_names` describes templates.
        """
        text = self.attribute("display_name")
        return " ".join(text.split()) if isinstance(text, str) and text.strip() else self.name.replace("-", " ")

    def attribute(self, name: str) -> Any:
        """Return an attribute of the class, or a literal of ``"module:Class"``, without an import; else ``None``."""
        if not isinstance(self.target, str):
            return getattr(self.target, name, None)
        for item in _definition(self.target).body:
            match item:
                case ast.Assign([ast.Name(key)], value) | ast.AnnAssign(ast.Name(key), _, ast.expr() as value):
                    if key == name:
                        return ast.literal_eval(value)
        return None

    @functools.cached_property
    def factory(self) -> Any:
        """The class or function, imported if necessary."""
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise PluginError(f"{self.where} from {self.origin} cannot be imported: {error_text(error)}") from error

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
        names = [parameter.name for parameter in self.constructor]
        accepted = {name: value for name, value in filled_in.items() if name in names and value is not None}
        try:
            return self.factory(**self.preset, **parameters, **accepted)
        except ValueError as error:
            raise ParameterError(f"{self.where}: {error}") from error


@functools.cache
def _definition(target: str) -> ast.ClassDef | ast.FunctionDef | ast.Module:
    """Return the syntax tree of ``"module:name"``, without an import; an empty tree without such a name."""
    module, _, name = target.partition(":")
    try:
        spec = importlib.util.find_spec(module)
        tree = ast.parse(Path(spec.origin).read_bytes()) if spec is not None and spec.origin else ast.Module([], [])
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        # The error takes the place of the docstring.
        return ast.parse(repr(f"cannot be read: {error_text(error)}"))
    definitions = (node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef))
    return next((node for node in definitions if node.name == name), ast.Module([], []))
