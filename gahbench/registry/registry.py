"""The registry: every plugin, built in or not, by kind and name.

Plugins have three sources: the built-in package ``gahbench_plugins``, installed packages with an entry point in the
group ``gahbench``, and files or folders of files given by the user.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pluggy

from gahbench._util.error_text import error_text
from gahbench._util.errors import ParameterError, PluginError, UntrustedError, listing, suggestion
from gahbench._util.origins import package_origin
from gahbench._util.readable import brief
from gahbench._util.shapes import Shape
from gahbench.registry import hookspecs
from gahbench.registry.configured import Configured, each
from gahbench.registry.hookspecs import Register
from gahbench.registry.parameters import is_finite, resolve
from gahbench.registry.plugin import BUILT_IN, HOOKS, KINDS, Kind, Plugin, watch
from gahbench.registry.plugin_files import load_file, plugin_files, with_own
from gahbench.registry.spec import Spec, parse_spec

#: The folder of gahbench: an error that is raised in it is about a call in the plugin's file.
_GAHBENCH = Path(__file__).parents[1]


@dataclass(frozen=True)
class Problem:
    """A plugin that could not be loaded or registered: it is listed with its error and breaks nothing else."""

    origin: str
    error: str
    line: int | None = None
    is_loaded: bool = True

    @classmethod
    def of(cls, origin: str, error: BaseException) -> Problem:
        """Return the problem of an exception, with the line of the plugin's file, and of the file that raised it."""
        reason = error_text(error)
        if isinstance(error, SyntaxError) and error.filename == origin:
            return cls(origin, f"SyntaxError: {error.msg}", error.lineno, False)
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == origin), None)
        last = frames[-1] if frames else None
        if line is not None and last is not None and last.filename != origin:
            # A file beside the plugin, or a library, raised it; the text of a syntax error names the file.
            outside = _GAHBENCH not in Path(last.filename).parents and not isinstance(error, SyntaxError)
            reason += f" (raised at {last.filename}:{last.lineno})" if outside else ""
        return cls(origin, reason, line, False)

    @property
    def place(self) -> str:
        """The origin, with the line."""
        return self.origin if self.line is None else f"{self.origin}:{self.line}"


class Registry:
    """All registered plugins.

    If plugins of one kind share a name, the registry keeps the first and lists the others in ``problems``.

    Parameters
    ----------
    sources
        Plugin files, or folders whose files (and packages) are plugins.
    packages
        Names of the installed packages whose plugins are loaded; ``None`` for all.
    trust
        Whether parameters may name code, files and downloads. ``False`` for the parameters of another person's results
        folder: :meth:`configure` refuses them before it imports, reads or builds anything.

    Raises
    ------
    PluginError
        If a source does not exist.
    """

    def __init__(
        self, sources: tuple[Path, ...] = (), packages: Collection[str] | None = None, trust: bool = True
    ) -> None:
        self.trust = trust
        self.sources = tuple(Path(source).resolve() for source in sources)
        self.problems: list[Problem] = []
        self.manager = pluggy.PluginManager("gahbench")
        self.manager.add_hookspecs(hookspecs)
        self._plugins: dict[tuple[Kind, str], Plugin] = {}
        self._add_module(BUILT_IN, lambda: importlib.import_module("gahbench_plugins"))
        for package, entry in plugin_packages():
            if packages is None or package in packages:
                self._add_module(package_origin(package), entry.load)
        files = [file for source in self.sources for file in plugin_files(source)]
        #: The plugin files that the sources hold.
        self.files = [file for file in files if file.is_file()]
        for file in files:
            self._add_module(str(file), functools.partial(load_file, file))

    def require_files(self) -> None:
        """Refuse a plugin file that was given by its name, rather than by its folder, and could not be loaded.

        Raises
        ------
        PluginError
            Naming file, line and error.
        """
        for problem in self.problems:
            if not problem.is_loaded and Path(problem.origin) in self.sources:
                raise PluginError(f"{problem.place}: cannot be loaded: {problem.error}")

    def names(self, kind: Kind) -> list[str]:
        """Return the names of one kind, sorted."""
        return sorted(name for other, name in self._plugins if other == kind)

    def plugins(self, kind: Kind) -> list[Plugin]:
        """Return the plugins of one kind, sorted by name."""
        return [self._plugins[kind, name] for name in self.names(kind)]

    def find(self, kind: Kind, name: str) -> Plugin | None:
        """Return one plugin; ``None`` if the name is unknown."""
        return self._plugins.get((kind, name))

    def get(self, kind: Kind, name: str) -> Plugin:
        """Return one plugin.

        Raises
        ------
        PluginError
            If the name is unknown; the error lists the registered names, and the files that failed to load.
        """
        if kind not in HOOKS:
            raise PluginError(f"unknown kind '{kind}'{suggestion(str(kind), KINDS) or ';'} accepted: {listing(KINDS)}")
        if (kind, name) in self._plugins:
            return self._plugins[kind, name]
        names = self.names(kind)
        raise PluginError(
            f"unknown {kind} '{name}'{suggestion(name, names) or ';'} registered: {listing(names)}{self.missing}"
        )

    @property
    def missing(self) -> str:
        """Reasons why a plugin may be missing, for errors: files that failed to load, or that were not given."""
        reasons = [f"note that {problem.place} failed to load: {problem.error}" for problem in self.problems]
        if not self.sources:
            reasons.append("a plugin in a file of yours is found by --plugins-dir FILE_OR_FOLDER")
        return "".join(f"; {reason}" for reason in reasons)

    def configure(self, kind: Kind, spec: Spec | str, **keywords: Any) -> Configured:
        """Resolve a plugin's name and parameters into a :class:`Configured`.

        A parameter that names a plugin may be a text, ``wavelet[levels=3]``, or ``{"wavelet": {"levels": 3}}``.

        Raises
        ------
        PluginError, ParameterError
            If the name or a parameter is not accepted.
        UntrustedError
            If a parameter, or one of a plugin that it names, names code, files or a download without ``trust``.
        """
        if isinstance(spec, str):
            spec = parse_spec(spec)
        plugin = self.get(kind, spec.name)
        values = _by_name(plugin, spec, keywords)
        if not self.trust:
            _refuse_untrusted(plugin, values)
        resolved = resolve(plugin.parameters, self._as_texts(plugin, values), plugin.where)
        nested: dict[str, Configured | tuple[Configured, ...]] = {}
        for parameter in plugin.parameters:
            value = resolved[parameter.name]
            if parameter.names is None or value is None:
                continue
            named = cast(Kind, parameter.names)
            configure = functools.partial(self._nested, named, f"{plugin.where}: {parameter.name}")
            nested[parameter.name] = each(configure, value if isinstance(value, str) else tuple(value))
            resolved[parameter.name] = each(lambda one: one.text, nested[parameter.name])
        unlabelled = Configured(plugin, resolved, "", nested, self)
        return replace(unlabelled, label=unlabelled.unlabelled)

    def named(self, kind: Kind, given: dict[Any, Any]) -> tuple[str, dict[str, Any]]:
        """Return the name and the parameters in a mapping that names a plugin, ``{name: {parameter: value}}``.

        Raises
        ------
        ParameterError
            If the mapping has another form.
        """
        form = "{name: {parameter: value}}"
        if len(given) != 1:
            names = listing(map(str, given))
            raise ParameterError(f"expected one {kind} in a mapping, not {len(given)}: {names}; accepted: {form}")
        ((key, parameters),) = given.items()
        if not isinstance(parameters, dict | None):
            raise ParameterError(f"{key}: expected parameters with values, not {parameters!r}; accepted: {form}")
        return str(key), {str(name): value for name, value in (parameters or {}).items()}

    def _as_texts(self, plugin: Plugin, given: dict[str, Any]) -> dict[str, Any]:
        """Return values with a text in place of every mapping that names a plugin."""
        kinds = {parameter.name: parameter.names for parameter in plugin.parameters if parameter.names is not None}

        def text(name: str, value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [text(name, one) for one in value]
            if not isinstance(value, dict):
                return value
            kind = cast(Kind, kinds[name])
            try:
                inner, parameters = self.named(kind, value)
                return self.configure(kind, Spec(inner, (), parameters)).text
            except (ParameterError, PluginError) as error:
                raise type(error)(f"{plugin.where}: {name}: {error}") from error

        return {name: text(name, value) if name in kinds else value for name, value in given.items()}

    def _nested(self, kind: Kind, where: str, value: str) -> Configured:
        """Resolve the value of a parameter that names a plugin."""
        try:
            return self.configure(kind, value)
        except (ParameterError, PluginError) as error:
            raise type(error)(f"{where}={value}: {error}") from error

    def create(self, kind: Kind, spec: Spec | str, shape: Shape | None = None, **keywords: Any) -> Any:
        """Build a plugin by name and parameters."""
        return self.configure(kind, spec, **keywords).build(shape)

    def _add_module(self, origin: str, load: Callable[[], Any]) -> None:
        """Register a plugin module and the plugins that its hooks register, or record why it failed."""
        module: Any = None
        try:
            with watch(origin, is_outside=origin != BUILT_IN):
                module = load()
            if self.manager.is_registered(module):
                return
            self.manager.register(module)
            # A misspelt hook raises here, where it would otherwise be ignored.
            self.manager.check_pending()
            plugins: list[Plugin] = []
            others = [other for other in self.manager.get_plugins() if other is not module]
            for kind, hook in HOOKS.items():
                caller = self.manager.subset_hook_caller(hook, others)
                caller(register=_registrar(kind, origin, plugins))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            if module is not None and self.manager.is_registered(module):
                self.manager.unregister(module)
            self.problems.append(Problem.of(origin, error))
            return
        for plugin in plugins:
            first = self._plugins.setdefault((plugin.kind, plugin.name), plugin)
            if first is not plugin:
                by = f"by {first.origin} and by {origin}"
                reason = f"{plugin.where} is registered twice, {by}: the first is kept; rename the other"
                self.problems.append(Problem(origin, reason))


def _by_name(plugin: Plugin, spec: Spec, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a spec, and further ones, by parameter."""
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
    return given


def _refuse_untrusted(plugin: Plugin, given: dict[str, Any]) -> None:
    """Refuse values that name code, files or a download."""
    for parameter in plugin.parameters:
        name = parameter.name
        if name in given and parameter.needs_trust(given[name]):
            what = "code to run" if parameter.is_code else "files or a download"
            raise UntrustedError(
                f"{plugin.where}: {name}={brief(repr(given[name]))} names {what}; a results folder "
                "may do so only with 'gahbench site --trust'"
            )


def _registrar(kind: Kind, origin: str, plugins: list[Plugin]) -> Register:
    """Return the ``register`` callback of one hook, which is a decorator if it is given a name alone."""

    def register(name: str, target: Any = None, /, **preset: Any) -> Any:
        if target is None:
            return functools.partial(register, name, **preset)
        if isinstance(target, functools.partial) or not (isinstance(target, str) or callable(target)):
            accepted = "a class or 'module:Class', and keywords as preset parameters"
            raise TypeError(f"register('{name}', ...) takes {accepted}, not {target!r}")
        if not is_finite(preset):
            raise ValueError(f"register('{name}', ...): accepted are finite values, not {preset}")
        if parse_spec(name) != Spec(name):
            raise ValueError(f"register('{name}', ...): accepted is a name alone; parameters are preset by keywords")
        plugins.append(Plugin(kind, name, target, origin, preset))
        return target

    return register


def plugin_packages() -> list[tuple[str, importlib.metadata.EntryPoint]]:
    """Return the names of the installed packages that hold plugins, with their entry points."""
    entries = sorted(importlib.metadata.entry_points(group="gahbench"))
    return [(entry.dist.name if entry.dist else entry.value, entry) for entry in entries]


def open_registry(plugins: Sequence[str | Path] = (), trust: bool = True) -> Registry:
    """Return a registry of the installed plugins, the given files and folders, and those of ``GAHBENCH_PLUGINS``."""
    sources = with_own(plugins)
    # Files, unlike installed packages, may have changed since they were last loaded.
    return Registry(sources, trust=trust) if sources else _installed(trust)


@functools.cache
def _installed(trust: bool) -> Registry:
    return Registry(trust=trust)


def create(
    kind: Kind,
    name: str,
    *,
    channels: int = 1,
    shape: tuple[int, int, int] | None = None,
    plugins: Sequence[str | Path] = (),
    **parameters: Any,
) -> Any:
    """Build any registered plugin outside a suite.

    Parameters
    ----------
    kind
        ``architecture``, ``dataset``, ``reference``, ``basis``, ``metric`` or ``engine``.
    name
        Its name, or its name with parameters: ``wavelet[db4,levels=3]``.
    channels, shape
        For an architecture that asks for them: channels, or shape (C, H, W), of its images.
    plugins
        Plugin files, or folders of them.
    **parameters
        The plugin's own parameters.

    Raises
    ------
    PluginError, ParameterError
        If there is no such plugin, or it does not accept a parameter.

    Examples
    --------
    >>> import gahbench
    >>> images = gahbench.create("dataset", "c-alpha", alpha=2.0, size=32).images("test", 4)
    >>> tuple(images.shape)
    (4, 1, 32, 32)
    """
    return open_registry(plugins).configure(kind, name, **parameters).build(shape, channels)
