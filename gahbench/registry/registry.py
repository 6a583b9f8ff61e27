"""The one registry: every plugin, built in or not, by kind and name.

Plugins come through three doors: the built-in package ``gahbench_plugins``, installed packages with an entry point in
the group ``gahbench``, and files or folders of files given by the user.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import pluggy

from gahbench._util.errors import ParameterError, PluginError, listing, suggestion
from gahbench.registry import hookspecs
from gahbench.registry.behaviour import behaviour_digest
from gahbench.registry.parameters import FILLED_IN, Parameter, constructor_parameters, file_digest, resolve
from gahbench.registry.plugin_files import load_file, plugin_files
from gahbench.registry.source import lazy_summary, summary
from gahbench.registry.spec import Spec, format_value, parse_spec

Kind = Literal["architecture", "dataset", "reference", "basis", "metric", "engine"]

#: Hook of each kind of plugin, in the order of listings.
HOOKS: dict[Kind, str] = {
    "architecture": "register_architectures",
    "dataset": "register_datasets",
    "reference": "register_references",
    "basis": "register_bases",
    "metric": "register_metrics",
    "engine": "register_engines",
}
KINDS = tuple(HOOKS)
BUILT_IN = "built-in"
ENTRY_POINT_GROUP = "gahbench"


@dataclass(frozen=True)
class Plugin:
    """One registered plugin."""

    kind: Kind
    name: str
    target: Any
    origin: str
    preset: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """How errors name the plugin."""
        return f"{self.kind} '{self.name}'"

    @property
    def is_built_in(self) -> bool:
        """Whether the plugin comes with gahbench."""
        return self.origin == BUILT_IN

    @property
    def summary(self) -> str:
        """First line of the docstring, read without importing a lazy plugin."""
        text = lazy_summary(self.target) if isinstance(self.target, str) else summary(self.target)
        preset = ", ".join(f"{key}={format_value(value)}" for key, value in self.preset.items())
        return f"{text} ({preset})" if preset else text

    @functools.cached_property
    def factory(self) -> Any:
        """The class itself, imported if need be.

        Raises
        ------
        PluginError
            If the import fails.
        """
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
        """Digest of the behaviour of the plugin's code, with all that it uses."""
        return behaviour_digest(self.factory)

    def build(self, parameters: dict[str, Any], known: dict[str, Any] | None = None) -> Any:
        """Call the constructor with resolved parameters, and with what is known of the images.

        Parameters
        ----------
        parameters
            The plugin's own.
        known
            ``channels`` and ``shape`` of the images, for a constructor that asks for them.

        Raises
        ------
        ParameterError
            If the constructor refuses the values with a ``ValueError``, or asks for what is not known.
        """
        given = {**self.preset, **parameters}
        for parameter in self.constructor:
            if parameter.name in FILLED_IN:
                if parameter.name in (known or {}):
                    given[parameter.name] = (known or {})[parameter.name]
                elif parameter.required:
                    raise ParameterError(f"{self.where}: '{parameter.name}' is required")
        try:
            return self.factory(**given)
        except ValueError as error:
            raise ParameterError(f"{self.where}: {error}") from error


@dataclass(frozen=True)
class Configured:
    """A plugin with all its parameters resolved: what a suite's line means."""

    plugin: Plugin
    parameters: dict[str, Any]
    label: str
    #: The plugins that its parameters name, by parameter: one, or several where the parameter is a list.
    nested: dict[str, Configured | tuple[Configured, ...]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Name and parameters as :func:`gahbench.registry.spec.parse_spec` reads them: the label, with whole paths."""
        return _written(self.plugin, self.parameters, whole_paths=True)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What of the plugin decides an outcome, with the plugins that its parameters name: plain JSON.

        Raises
        ------
        ParameterError
            If a file that a parameter names cannot be read.
        """
        files = {parameter.name for parameter in self.plugin.parameters if parameter.is_file}

        def key_fields(name: str, value: Any) -> Any:
            return {"sha256": file_digest(value)} if name in files and value is not None else value

        return {
            "kind": self.kind,
            "name": self.plugin.name,
            "preset": self.plugin.preset,
            "parameters": {
                name: key_fields(name, value) for name, value in self.parameters.items() if name not in self.nested
            },
            "source": self.plugin.digest,
            **({"fingerprint": self._fingerprint} if self._fingerprint is not None else {}),
            "nested": {
                name: [one.identity for one in inner] if isinstance(inner, tuple) else inner.identity
                for name, inner in self.nested.items()
            },
        }

    @functools.cached_property
    def _fingerprint(self) -> str | None:
        """What an architecture says of what decides its outcome beyond its own source and parameters.

        Its class may have a static method ``fingerprint`` of its parameters.
        """
        told = getattr(self.plugin.factory, "fingerprint", None) if self.kind == "architecture" else None
        if not callable(told):
            return None
        try:
            return str(told(**self.plugin.preset, **self.parameters))
        except ValueError as error:
            raise ParameterError(f"{self.plugin.where}: {error}") from error

    @property
    def kind(self) -> Kind:
        """Kind of the plugin."""
        return self.plugin.kind

    @property
    def where(self) -> str:
        """How errors name it."""
        return f"{self.kind} '{self.label}'"

    def build(self, shape: tuple[int, int, int] | None = None) -> Any:
        """Build the plugin; an architecture may need the shape (C, H, W) of the images."""
        return self.plugin.build(self.parameters, {"channels": shape[0], "shape": shape} if shape else None)


@dataclass(frozen=True)
class Problem:
    """A plugin that could not be loaded: it is listed with its error and breaks nothing else."""

    origin: str
    error: str
    traceback: str


class Registry:
    """All plugins that can be found.

    Parameters
    ----------
    sources
        Plugin files, or folders whose files (and packages) are plugins.

    Raises
    ------
    PluginError
        If two plugins share a kind and a name (both origins are named), or a source does not exist.
    """

    def __init__(self, sources: tuple[Path, ...] = ()) -> None:
        self.sources = tuple(Path(source).resolve() for source in sources)
        self.problems: list[Problem] = []
        self.manager = pluggy.PluginManager("gahbench")
        self.manager.add_hookspecs(hookspecs)
        self._plugins: dict[tuple[Kind, str], Plugin] = {}
        self._add_module(BUILT_IN, lambda: importlib.import_module("gahbench_plugins"))
        for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)):
            package = entry.dist.name if entry.dist else entry.value
            self._add_module(f"package '{package}'", entry.load)
        #: The plugin files that the sources hold.
        self.files = [file for source in self.sources for file in plugin_files(source)]
        for file in self.files:
            self._add_module(str(file), functools.partial(load_file, file))

    def names(self, kind: Kind) -> list[str]:
        """Return the names of one kind, sorted."""
        return sorted(name for other, name in self._plugins if other == kind)

    def plugins(self, kind: Kind) -> list[Plugin]:
        """Return the plugins of one kind, sorted by name."""
        return [self._plugins[kind, name] for name in self.names(kind)]

    def get(self, kind: Kind, name: str) -> Plugin:
        """Return one plugin.

        Raises
        ------
        PluginError
            If there is none of that name; says which there are, and which failed to load.
        """
        if kind not in HOOKS:
            raise PluginError(f"unknown kind '{kind}'{suggestion(str(kind), KINDS) or ';'} accepted: {listing(KINDS)}")
        if (kind, name) in self._plugins:
            return self._plugins[kind, name]
        names = self.names(kind)
        broken = "".join(f"; note that {p.origin} failed to load: {p.error}" for p in self.problems)
        raise PluginError(
            f"unknown {kind} '{name}'{suggestion(name, names) or ';'} registered: {listing(names)}{broken}"
        )

    def configure(self, kind: Kind, spec: Spec | str, **keywords: Any) -> Configured:
        """Resolve a plugin's name and parameters into a :class:`Configured`.

        Raises
        ------
        PluginError, ParameterError
            If the name or a parameter is not accepted.
        """
        if isinstance(spec, str):
            spec = parse_spec(spec)
        plugin = self.get(kind, spec.name)
        names = [parameter.name for parameter in plugin.parameters]
        if len(spec.positional) > len(names):
            raise ParameterError(
                f"{plugin.where}: {len(spec.positional)} values without a name, for the parameters {listing(names)}"
            )
        given = dict(zip(names, spec.positional, strict=False))
        for name, value in {**spec.keywords, **keywords}.items():
            if name in given:
                raise ParameterError(f"{plugin.where}: '{name}' is given twice")
            given[name] = value
        resolved = resolve(plugin.parameters, given, plugin.where)
        nested: dict[str, Configured | tuple[Configured, ...]] = {}
        shown = dict(resolved)
        for parameter in plugin.parameters:
            value = resolved[parameter.name]
            if parameter.names is None or value is None:
                continue
            named, where = cast(Kind, parameter.names), f"{plugin.where}: {parameter.name}"
            if isinstance(value, str):
                inner = self._nested(named, value, where)
                nested[parameter.name] = inner
                resolved[parameter.name], shown[parameter.name] = inner.text, inner.label
            else:
                several = tuple(self._nested(named, item, where) for item in value)
                nested[parameter.name] = several
                resolved[parameter.name] = tuple(one.text for one in several)
                shown[parameter.name] = tuple(one.label for one in several)
        return Configured(plugin, resolved, _written(plugin, shown), nested)

    def _nested(self, kind: Kind, value: str, where: str) -> Configured:
        """Resolve the value of a parameter that names a plugin."""
        try:
            return self.configure(kind, value)
        except (ParameterError, PluginError) as error:
            raise type(error)(f"{where}={value}: {error}") from error

    def create(self, kind: Kind, spec: Spec | str, shape: tuple[int, int, int] | None = None, **keywords: Any) -> Any:
        """Build a plugin by name and parameters."""
        return self.configure(kind, spec, **keywords).build(shape)

    def _add_module(self, origin: str, load: Any) -> None:
        """Register one plugin module with all that its hooks register, or record why it failed."""
        module: Any = None
        try:
            module = load()
            if self.manager.is_registered(module):
                return
            self.manager.register(module)
            # A stranger's misspelt hook would otherwise do nothing, silently.
            self.manager.check_pending()
            found: list[Plugin] = []
            others = [other for other in self.manager.get_plugins() if other is not module]
            for kind, hook in HOOKS.items():
                caller = self.manager.subset_hook_caller(hook, others)
                caller(register=_registrar(kind, origin, found))
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            if module is not None and self.manager.is_registered(module):
                self.manager.unregister(module)
            reason = f"{type(error).__name__}: {error}"
            self.problems.append(Problem(origin, reason, traceback.format_exc()))
            return
        for plugin in found:
            known = self._plugins.get((plugin.kind, plugin.name))
            if known is not None:
                raise PluginError(f"{plugin.where} is registered twice: by {known.origin} and by {plugin.origin}")
            self._plugins[plugin.kind, plugin.name] = plugin


def _registrar(kind: Kind, origin: str, found: list[Plugin]) -> Any:
    """Return the ``register`` callback of one hook; used as a decorator it registers the class below it."""

    def register(name: str, target: Any = None, /, **preset: Any) -> Any:
        if target is None:
            return functools.partial(register, name, **preset)
        if not isinstance(target, str) and not callable(target):
            raise TypeError(f"register('{name}', ...) takes a class or 'module:Class', not {target!r}")
        parse_spec(name)
        found.append(Plugin(kind, name, target, origin, preset))
        return target

    return register


def _written(plugin: Plugin, resolved: dict[str, Any], whole_paths: bool = False) -> str:
    """Write a configured plugin canonically: what differs from the defaults, and what it always shows."""
    factory = plugin.factory
    shown = getattr(factory, "label_parameters", ())
    parts = []
    for place, parameter in enumerate(plugin.parameters):
        value = resolved[parameter.name]
        always = value is not None and (parameter.name in shown or parameter.required)
        if always or value != parameter.default:
            if (parameter.name == "path" or parameter.is_file) and value is not None and not whole_paths:
                # The file's name says enough; the folders above it are one machine's.
                value = Path(value).name
            bare = place == 0 and isinstance(value, str)
            # The one name of a plugin that YAML reads as something else is understood all the same.
            written = value if parameter.names and value in ("true", "false") else format_value(value)
            parts.append(written if bare else f"{parameter.name}={written}")
    return f"{plugin.name}[{','.join(parts)}]" if parts else plugin.name


_default: Registry | None = None


def default_registry() -> Registry:
    """Return the registry of this process: of the run that is under way, or else of what is installed."""
    global _default
    if _default is None:
        _default = Registry()
    return _default


def set_default_registry(registry: Registry) -> None:
    """Make a registry the one that plugins use to build other plugins in this process."""
    global _default
    _default = registry
