"""The registry of all plugins, by kind and name.

Plugins have three sources: the built-in package ``gahbench_plugins``, installed packages with an entry point in the
group ``gahbench``, and files or folders of files given by the user.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
import types
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pluggy

from gahbench._util.errors import ParameterError, PluginError, error_with_location, listing, prefix_errors, suggestion
from gahbench._util.files import PACKAGE, open_regular
from gahbench._util.records import key_of
from gahbench._util.shapes import Shape
from gahbench.registry import hookspecs
from gahbench.registry.behaviour import Sources, imports_of, is_ours
from gahbench.registry.configured import BUILT_IN, HOOKS, KINDS, Configured, Kind, Plugin, map_values
from gahbench.registry.hookspecs import Register, hookimpl
from gahbench.registry.parameters import resolve
from gahbench.registry.spec import Spec, format_value, parse_spec

#: Suffixes of files of claims.
CLAIM_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Problem:
    """A plugin that could not be loaded or registered; it is listed with its error, and other plugins still work."""

    origin: str
    error: str


class Registry:
    """All registered plugins.

    If several plugins of a kind have the same name, the registry keeps the first and lists the others in ``problems``.

    Parameters
    ----------
    sources
        Plugin files, or folders whose files are plugins.
    packages
        Names of the installed packages whose plugins are loaded; ``None`` for all.

    Raises
    ------
    PluginError
        If a source does not exist.

    Examples
    --------
    >>> import gahbench
    >>> registry = gahbench.Registry(packages=())
    >>> "haar" in registry.names("basis")
    True
    >>> registry.configure("dataset", "discs[size=16]").build().shape
    (1, 16, 16)
    """

    def __init__(self, sources: tuple[Path, ...] = (), packages: Collection[str] | None = None) -> None:
        self.sources = tuple(Path(source).resolve() for source in sources)
        self.problems: list[Problem] = []
        self.manager = pluggy.PluginManager("gahbench")
        self.manager.add_hookspecs(hookspecs)
        self._plugins: dict[tuple[Kind, str], Plugin] = {}
        self._add_module(BUILT_IN, lambda: importlib.import_module("gahbench_plugins"))
        for entry in sorted(importlib.metadata.entry_points(group="gahbench")):
            package = entry.dist.name if entry.dist else entry.value
            if packages is None or package in packages:
                self._add_module(f"{PACKAGE}{package}'", entry.load)
        #: The plugin files in the sources.
        self.files = [file for source in self.sources for file in plugin_files(source)]
        for file in self.files:
            self._add_module(str(file), functools.partial(load_file, file))

    def require_files(self) -> None:
        """Raise an error if a source that is a plugin file, rather than a folder, could not be loaded or registered.

        Raises
        ------
        PluginError
            If there is such a file; the message names file, line and error.
        """
        for problem in self.problems:
            if Path(problem.origin) in self.sources:
                raise PluginError(f"{problem.origin}: cannot be loaded: {problem.error}")

    def names(self, kind: Kind) -> list[str]:
        """Return the sorted names of the plugins of a kind."""
        return sorted(name for plugin_kind, name in self._plugins if plugin_kind == kind)

    def plugins(self, kind: Kind) -> list[Plugin]:
        """Return the plugins of a kind, sorted by name."""
        return [self._plugins[kind, name] for name in self.names(kind)]

    def find(self, kind: Kind, name: str) -> Plugin | None:
        """Return the plugin of a kind with a name; ``None`` if the name is unknown."""
        return self._plugins.get((kind, name))

    def get(self, kind: Kind, name: str) -> Plugin:
        """Return the plugin of a kind with a name.

        Raises
        ------
        PluginError
            If the name is unknown; the error lists the registered names, and the files that failed to load.
        """
        if kind not in HOOKS:
            raise PluginError(f"unknown kind '{kind}'{suggestion(str(kind), KINDS) or ';'} accepted: {listing(KINDS)}")
        if (plugin := self.find(kind, name)) is not None:
            return plugin
        names = self.names(kind)
        raise PluginError(
            f"unknown {kind} '{name}'{suggestion(name, names) or ';'} registered: {listing(names)}{self.missing}"
        )

    @property
    def missing(self) -> str:
        """Possible reasons why a plugin is unknown, for errors: files that failed to load, or were not given."""
        reasons = [f"note that {problem.origin} failed to load: {problem.error}" for problem in self.problems]
        if not self.sources:
            reasons.append("--plugins-dir FILE_OR_FOLDER loads plugins from your own files")
        return "".join(f"; {reason}" for reason in reasons)

    def configure(self, kind: Kind, spec: Spec | str, **keywords: Any) -> Configured:
        """Resolve a plugin's name and parameters into a :class:`Configured`.

        The value of a parameter that names a plugin is a string, such as ``"wavelet[levels=3]"``.

        Raises
        ------
        PluginError, ParameterError
            If the name or a parameter is not accepted.
        """
        spec = parse_spec(spec) if isinstance(spec, str) else spec
        plugin = self.get(kind, spec.name)
        names, named = [parameter.name for parameter in plugin.parameters], spec.keywords | keywords
        positional = dict(zip(names, spec.positional, strict=False))
        if len(positional) < len(spec.positional) or positional.keys() & named.keys():
            given = listing([*map(format_value, spec.positional), *(f"{name}=..." for name in named)])
            raise ParameterError(
                f"{plugin.where}: cannot assign the values {given}; accepted, once each: {listing(names)}"
            )
        resolved = resolve(plugin.parameters, positional | named, plugin.where)
        nested: dict[str, Configured | tuple[Configured, ...]] = {}
        for parameter in plugin.parameters:
            if parameter.names and (value := resolved[name := parameter.name]) is not None:
                with prefix_errors(f"{plugin.where}: {name}={format_value(value)}"):
                    nested[name] = map_values(functools.partial(self.configure, cast(Kind, parameter.names)), value)
                resolved[name] = map_values(lambda inner: inner.text, nested[name])
        configured = Configured(plugin, resolved, "", nested, self)
        return replace(configured, label=configured.default_label)

    def create(self, kind: Kind, spec: Spec | str, shape: Shape | None = None, **keywords: Any) -> Any:
        """Build a plugin from its name and parameters."""
        return self.configure(kind, spec, **keywords).build(shape)

    def _add_module(self, origin: str, load: Callable[[], Any]) -> None:
        """Register a plugin module and the plugins that its hooks register; record an error as a problem."""
        module: Any = None
        plugins: list[Plugin] = []
        try:
            module = load()
            if self.manager.is_registered(module):
                return
            self.manager.register(module)
            # pluggy ignores misspelt hooks unless this check raises an error.
            self.manager.check_pending()
            others = [other for other in self.manager.get_plugins() if other is not module]
            for kind, hook in HOOKS.items():
                self.manager.subset_hook_caller(hook, others)(register=_registrar(kind, origin, plugins))
        except (Exception, SystemExit) as error:
            if module is not None and self.manager.is_registered(module):
                self.manager.unregister(module)
            self.problems.append(Problem(origin, error_with_location(error)))
            return
        for plugin in plugins:
            first = self._plugins.setdefault((plugin.kind, plugin.name), plugin)
            if first is not plugin:
                twice = f"registered twice, by {first.origin} and by {origin}: the first is kept; rename the second"
                self.problems.append(Problem(origin, f"{plugin.where} is {twice}"))


def _registrar(kind: Kind, origin: str, plugins: list[Plugin]) -> Register:
    """Return the ``register`` callback of a hook, which returns a decorator if it is called with only a name."""

    def register(name: str, target: Any = None, /, **preset: Any) -> Any:
        if target is None:
            return functools.partial(register, name, **preset)
        is_target = isinstance(target, str) or (callable(target) and not isinstance(target, functools.partial))
        if not is_target or parse_spec(name) != Spec(name):
            accepted = "a name, a class or 'module:Class', and keywords as preset parameters"
            raise TypeError(f"register('{name}', {target!r}): accepted: {accepted}")
        plugins.append(Plugin(kind, name, target, origin, preset))
        return target

    return register


def plugin_files(source: Path) -> list[Path]:
    """Return the plugin files of a source: the file itself, or the files of a folder that begin with no underscore."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise PluginError(f"{source}: no such plugin file or folder")
    return sorted(child for child in source.glob("[!_]*.py") if child.is_file())


def source_files(file: Path) -> dict[str, Path]:
    """Return the files of a plugin file and of its imports from its folder, by the names of modules."""
    files: dict[str, Path] = {}

    def read(module: str, path: Path) -> list[str]:
        if is_ours(module):
            return []
        files[module] = path
        return [target for _, target in imports_of(path.read_bytes(), module, path.name == "__init__.py")]

    # The file may have the name of an installed package.
    name = f"gahbench_plugin_{file.stem}"
    Sources(name, file).walk(name, read)
    return files


def load_file(file: Path) -> types.ModuleType:
    """Import a plugin file under a unique name, unless it is unchanged; it may import other files in its folder."""
    open_regular(file).close()
    if file.suffix in CLAIM_SUFFIXES:
        # A file of claims is registered by its name, and read later.
        def register_claims(register: Register) -> None:
            register(file.stem.replace("_", "-"), "gahbench:read_claims", file=str(file))

        claims = types.ModuleType(f"gahbench_claims_{key_of(str(file))}")
        vars(claims)["register_claims"] = hookimpl(register_claims)
        return claims
    if file.suffix != ".py":
        raise PluginError("not a plugin file, which ends in .py, nor a file of claims, which ends in .yaml")
    files = source_files(file)
    name = f"gahbench_plugin_{file.stem}_{key_of({str(path): path.read_bytes() for path in files.values()})[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    helpers = {helper: path for helper, path in files.items() if path != file}
    for helper, path in helpers.items():
        origin = getattr(sys.modules.get(helper), "__file__", None)
        if origin is not None and Path(origin).resolve() != path.resolve():
            raise ImportError(f"'{helper}' would be imported from {origin}, not from {path}; rename one of the files")
    for helper in helpers:
        sys.modules.pop(helper, None)  # The file may have changed.
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    sys.modules[name] = module = types.ModuleType(name)
    vars(module)["__file__"] = str(file)
    try:
        # Cached bytecode, which a loader would use, is stale if the file is edited twice within a second.
        exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def open_registry(plugins: Sequence[str | Path] = ()) -> Registry:
    """Return a registry of installed plugins, and of the given files and folders."""
    # A registry with files is not cached, since files may have changed.
    return Registry(tuple(map(Path, plugins))) if plugins else _installed_registry()


@functools.cache
def built_in_registry() -> Registry:
    """Return a registry of the built-in plugins, which runs no code of other plugins."""
    return Registry(packages=())


_installed_registry = functools.cache(Registry)


def create(
    kind: Kind,
    name: str,
    *,
    channels: int = 1,
    shape: tuple[int, int, int] | None = None,
    plugins: Sequence[str | Path] = (),
    **parameters: Any,
) -> Any:
    """Build a registered plugin outside a suite.

    Parameters
    ----------
    kind
        ``architecture``, ``dataset``, ``reference``, ``basis``, ``metric`` or ``engine``.
    name
        The name of the plugin, with or without parameters, such as ``wavelet[db4,levels=3]``.
    channels
        Number of channels of the images, for an architecture whose constructor has this parameter.
    shape
        Shape (C, H, W) of the images, for an architecture whose constructor has this parameter.
    plugins
        Plugin files, or folders of plugin files.
    **parameters
        The parameters of the plugin.

    Raises
    ------
    PluginError, ParameterError
        If the plugin is unknown, or does not accept a parameter.

    Examples
    --------
    >>> import gahbench
    >>> images = gahbench.create("dataset", "c-alpha", alpha=2.0, size=32).images("test", 4)
    >>> tuple(images.shape)
    (4, 1, 32, 32)
    """
    return open_registry(plugins).configure(kind, name, **parameters).build(shape, channels)
