"""Registered plugins, and plugins with resolved parameters: their keys, objects built from them, and citations."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from gahbench._util.errors import GahbenchError, ParameterError, PluginError, error_text
from gahbench._util.files import portable_origin
from gahbench._util.plugin_checks import add_basis_checks, add_image_checks
from gahbench._util.records import key_of
from gahbench._util.shapes import Shape
from gahbench.contracts.bases import Basis
from gahbench.contracts.citation import Citation, as_citation
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.preparation import Preparable
from gahbench.contracts.references import ArchitectureFactory, Reference
from gahbench.registry.behaviour import behaviour_digest
from gahbench.registry.parameters import FILLED_IN, Parameter, constructor_parameters, file_digest
from gahbench.registry.spec import Spec, format_value

if TYPE_CHECKING:
    from gahbench.registry.registry import Registry

Kind = Literal["architecture", "dataset", "reference", "basis", "metric", "engine", "tracker", "claim"]

KINDS: tuple[Kind, ...] = get_args(Kind)
#: Hook of each kind of plugin, in the order in which kinds are listed.
HOOKS = {kind: "register_bases" if kind == "basis" else f"register_{kind}s" for kind in KINDS}
BUILT_IN = "built-in"
#: The attribute of built objects that holds their ``id``, which a copy does not have, and their spec.
_SPEC = "_gahbench_spec"
#: Methods of :class:`Preparable`.
_METHODS = ("missing", "prepare")


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
            with contextlib.suppress(OSError, ValueError):
                return Path(self.preset["file"]).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
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


@dataclass(frozen=True)
class Configured:
    """A plugin with all its parameters resolved."""

    plugin: Plugin
    parameters: dict[str, Any]
    label: str
    nested: dict[str, Configured | tuple[Configured, ...]]
    registry: Registry = field(compare=False, repr=False)

    @property
    def text(self) -> str:
        """The spec for :func:`gahbench.registry.spec.parse_spec`: the label, with complete paths."""
        return self._format(self.parameters, full_paths=True)

    @property
    def default_label(self) -> str:
        """The label that the plugin has unless a suite sets a label."""
        labels = {name: map_values(lambda plugin: plugin.label, inner) for name, inner in self.nested.items()}
        return self._format(self.parameters | labels, full_paths=False)

    def _format(self, values: dict[str, Any], full_paths: bool) -> str:
        """Return the spec with the parameters that differ from their defaults or are always shown."""
        always_shown = getattr(self.plugin.factory, "label_parameters", ())
        parts = []
        for index, parameter in enumerate(self.plugin.parameters):
            value = values[parameter.name]
            is_always_shown = value is not None and (parameter.name in always_shown or parameter.required)
            if is_always_shown or value != parameter.default:
                # Folders differ between machines.
                shown = Path(value).name if parameter.is_path and value is not None and not full_paths else value
                name = "" if index == 0 and isinstance(value, str) else f"{parameter.name}="
                parts.append(f"{name}{format_value(shown)}")
        return f"{self.plugin.name}[{','.join(parts)}]" if parts else self.plugin.name

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """All properties of the plugin and its nested plugins that determine results, as plain JSON."""
        # A fingerprint covers the content of the path. The fingerprint of a dataset enters keys elsewhere.
        fingerprint = None if self.kind == "dataset" else self._fingerprint
        excluded = {*self.nested, *(() if fingerprint is None else ("path",))}
        parameters = {name: value for name, value in self.parameters.items() if name not in excluded}
        for parameter in self.plugin.parameters:
            if parameter.name in parameters and (files := parameter.files(self.parameters)):
                digests = [file_digest(file) for file in files]
                parameters[parameter.name] = {"sha256": digests[0] if len(digests) == 1 else digests}
        return {
            "kind": self.kind,
            "name": self.plugin.name,
            "preset": self.plugin.preset,
            "parameters": parameters,
            "source": self.plugin.digest,
            **({"fingerprint": fingerprint} if fingerprint is not None else {}),
            "nested": {name: map_values(self._nested_identity, inner) for name, inner in self.nested.items()},
        }

    @functools.cached_property
    def published(self) -> Reference | None:
        """A reference with published weights whose training images are known; ``None`` for other plugins."""
        default = Reference.select_weights
        if getattr(self.plugin.factory, "select_weights", default) is default:
            return None
        built: Reference = self.build()
        return built if built.published_images else None

    @functools.cached_property
    def identity_key(self) -> str:
        """The hash of :attr:`identity`."""
        return key_of(self.identity)

    @functools.cached_property
    def origins(self) -> tuple[str, ...]:
        """The external files and packages that define the plugin and its nested plugins."""
        plugins = [item.plugin for item in iterate_nested(self)]
        return tuple(sorted({portable_origin(plugin.origin) for plugin in plugins if not plugin.is_built_in}))

    @functools.cached_property
    def _fingerprint(self) -> str | None:
        """The result of the plugin's method ``fingerprint``; ``None`` without such a method."""
        factory = self.plugin.factory
        if self.kind != "dataset" and not callable(getattr(factory, "fingerprint", None)):
            return None
        try:
            if self.kind == "architecture":
                fingerprint = factory.fingerprint(**self.plugin.preset, **self.parameters)
            else:
                fingerprint = self.build().fingerprint()
        except GahbenchError:
            raise
        except Exception as error:
            raise ParameterError(f"{self.where}: its fingerprint: {error_text(error)}") from error
        if not isinstance(fingerprint, str | None):
            raise PluginError(f"{self.where}: its fingerprint is {fingerprint!r}; accepted: a string, or None")
        return fingerprint

    def _nested_identity(self, nested: Configured) -> dict[str, Any]:
        """Return the identity of a nested plugin; for a dataset, include the fingerprint of its images."""
        if nested.kind != "dataset" or self.kind == "dataset" or nested._fingerprint is None:
            return nested.identity
        return {**nested.identity, "fingerprint": nested._fingerprint}

    @property
    def kind(self) -> Kind:
        """Kind of the plugin."""
        return self.plugin.kind

    @property
    def where(self) -> str:
        """The kind and label, for error messages."""
        return f"{self.kind} '{self.label}'"

    def build(self, shape: Shape | None = None, channels: int | None = None) -> Any:
        """Build a new object, after building the plugins that its parameters name."""
        objects = {name: map_values(Configured._build_argument, inner) for name, inner in self.nested.items()}
        filled_in = {"channels": channels if shape is None else shape[0], "shape": shape}
        accepted = {}
        for parameter in (parameter for parameter in self.plugin.constructor if parameter.name in FILLED_IN):
            if (value := filled_in[parameter.name]) is not None:
                accepted[parameter.name] = value
            elif parameter.required and parameter.name not in self.plugin.preset:
                raise ParameterError(f"{self.plugin.where}: '{parameter.name}' is required")
        try:
            built = self.plugin.factory(**self.plugin.preset, **(self.parameters | objects), **accepted)
        except ValueError as error:
            raise ParameterError(f"{self.plugin.where}: {error}") from error
        # Built-in plugins need no checks here, since tests run the contract checks on them.
        # Code of the plugin may keep a reference to the object, so change its class in place.
        if not self.plugin.is_built_in and isinstance(built, Dataset):
            built.__class__ = add_image_checks(type(built), self.where)
        elif not self.plugin.is_built_in and isinstance(built, Basis):
            built.__class__ = add_basis_checks(type(built), self.where)
        with contextlib.suppress(TypeError):  # Some objects have no attributes.
            vars(built)[_SPEC] = (id(built), self.text)
        return built

    def _build_argument(self) -> Any:
        """Return the object to pass to a constructor whose parameter names this plugin."""
        # An architecture needs the shape of the images, which is not known yet.
        if self.kind != "architecture":
            return self.build()

        def with_parameters(**changes: Any) -> ArchitectureFactory:
            spec = Spec(self.plugin.name, (), {**self.parameters, **changes})
            changed: ArchitectureFactory = self.registry.configure(self.kind, spec)._build_argument()
            return changed

        return ArchitectureFactory(self.label, self.build, self.parameters, with_parameters)


def map_values(function: Callable[[Any], Any], values: Any) -> Any:
    """Apply a function to each item of a tuple, or to a single value."""
    return tuple(map(function, values)) if isinstance(values, tuple) else function(values)


def get_spec(built: object) -> str | None:
    """Return the spec from which gahbench built an object: the plugin's name and the non-default parameters.

    The spec and the object's class determine the results, so both together can be the key of a cache.

    Parameters
    ----------
    built
        An object that a constructor received as a plugin, or that :func:`gahbench.create` returned.

    Returns
    -------
    str or None
        The spec, such as ``wavelet[db4,levels=3]``; ``None`` for an object that was constructed directly, or copied.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.get_spec(gahbench.create("basis", "wavelet[db4]"))
    'wavelet[db4]'
    """
    owner, spec = getattr(built, "__dict__", {}).get(_SPEC, (None, None))
    return spec if owner == id(built) else None


def citations(plugin: Plugin) -> tuple[Citation, ...]:
    """Return the works in the attribute ``citation`` of a plugin's class; empty without such an attribute."""
    citation = getattr(plugin.factory, "citation", None)
    works = citation if isinstance(citation, tuple) else () if citation is None else (citation,)
    try:
        return tuple(map(as_citation, works))
    except ValueError as error:
        raise PluginError(f"{plugin.where}: its citation is {error}") from error


def iterate_nested(configured: Configured) -> Iterator[Configured]:
    """Yield a plugin and, recursively, the plugins that its parameters name."""
    yield configured
    for inner in configured.nested.values():
        for plugin in inner if isinstance(inner, tuple) else (inner,):
            yield from iterate_nested(plugin)


def citation_rows(entries: Iterable[Configured]) -> list[dict[str, Any]]:
    """Return the rows of the table ``citations`` of results for some plugins."""
    rows = [
        {"entry": entry.label, "plugin": item.plugin.name, **asdict(work)}
        for entry in entries
        for item in iterate_nested(entry)
        for work in citations(item.plugin)
    ]
    return list({tuple(row.values()): row for row in rows}.values())


def preparation(configured: Configured) -> Preparable | None:
    """Return the methods ``missing`` and ``prepare`` of a plugin; ``None`` if its class defines neither."""
    factory = configured.plugin.factory
    if configured.kind == "architecture":
        # Only methods of the class count, since a network may have methods of these names for other purposes.
        members = {name: inspect.getattr_static(factory, name, None) for name in _METHODS}
        names = [name for name, member in members.items() if isinstance(member, staticmethod | classmethod)]
        steps, parameters = Preparable(), {**configured.plugin.preset, **configured.parameters}
        vars(steps).update({name: functools.partial(getattr(factory, name), **parameters) for name in names})
        return steps if names else None
    built = configured.build() if not isinstance(factory, type) or _is_prepared(factory) else None
    return built if _is_prepared(type(built)) else None


def _is_prepared(plugin: type) -> bool:
    own = [getattr(plugin, name, None) for name in _METHODS]
    return issubclass(plugin, Preparable) and own != [Preparable.missing, Preparable.prepare]
