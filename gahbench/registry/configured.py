"""Plugins with resolved parameters: their keys, the objects built from them, and their citations."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import GahbenchError, ParameterError, PluginError
from gahbench._util.keys import key_of
from gahbench._util.origins import package_origin, portable_origin
from gahbench._util.readable import brief
from gahbench._util.shapes import Shape
from gahbench.contracts.architectures import ArchitectureFactory
from gahbench.contracts.citation import Citation
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.published import Published, PublishedTraining
from gahbench.registry.checked_images import add_image_checks
from gahbench.registry.parameters import file_digest
from gahbench.registry.plugin import Kind, Plugin
from gahbench.registry.spec import Spec, format_value

if TYPE_CHECKING:
    from gahbench.registry.registry import Registry


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
        return _format_spec(self.plugin, self.parameters, full_paths=True)

    @property
    def default_label(self) -> str:
        """The label that the plugin has unless a suite sets a label."""
        labels = {name: map_values(lambda plugin: plugin.label, inner) for name, inner in self.nested.items()}
        return _format_spec(self.plugin, self.parameters | labels)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """All properties of the plugin and its nested plugins that determine results, as plain JSON."""
        fingerprint = self._fingerprint
        # A fingerprint covers the content of the path. The fingerprint of a dataset enters keys elsewhere.
        excluded = {*self.nested, *(() if fingerprint is None else ("path",))}
        parameters = {name: value for name, value in self.parameters.items() if name not in excluded}
        for parameter in self.plugin.parameters:
            if parameter.name in parameters and (files := parameter.files(self.parameters)):
                digests = [file_digest(file) for file in files]
                parameters[parameter.name] = {"sha256": digests[0] if len(digests) == 1 else digests}
        nested = {name: map_values(self._nested_identity, inner) for name, inner in self.nested.items()}
        return {
            "kind": self.kind,
            "name": self.plugin.name,
            "preset": self.plugin.preset,
            "parameters": parameters,
            "source": self.plugin.digest,
            **({"fingerprint": fingerprint} if fingerprint is not None else {}),
            "nested": {name: list(inner) if isinstance(inner, tuple) else inner for name, inner in nested.items()},
        }

    @functools.cached_property
    def published_training(self) -> PublishedTraining | None:
        """The training images of a reference with published weights; ``None`` for other plugins."""
        factory = self.plugin.factory
        if not (isinstance(factory, type) and issubclass(factory, Published)):
            return None
        built: Published = self.build()
        return built.published_training

    @functools.cached_property
    def identity_key(self) -> str:
        """The hash of :attr:`identity`."""
        return key_of(self.identity)

    @functools.cached_property
    def origins(self) -> tuple[str, ...]:
        """The external files and packages that define the plugin and its nested plugins."""
        origins = set()
        for item in iterate_nested(self):
            code = [parameter.name for parameter in item.plugin.parameters if parameter.is_code]
            if not item.plugin.is_built_in:
                origins.add(portable_origin(item.plugin.origin))
            elif any(item.parameters[name] is not None for name in code):
                origins.add(package_origin(item.label))
        return tuple(sorted(origins))

    @functools.cached_property
    def _fingerprint(self) -> str | None:
        """The result of the plugin's method ``fingerprint``; ``None`` without such a method, and for datasets."""
        factory = self.plugin.factory
        if self.kind in ("dataset", "engine") or not callable(getattr(factory, "fingerprint", None)):
            return None
        if self.kind == "architecture":
            return self._call_fingerprint(lambda: factory.fingerprint(**self.plugin.preset, **self.parameters))
        return self._call_fingerprint(lambda: self.build().fingerprint())

    def _call_fingerprint(self, call: Callable[[], Any]) -> str | None:
        try:
            fingerprint = call()
        except (ValueError, OSError) as error:
            raise ParameterError(f"{self.plugin.where}: {brief(error)}") from error
        except GahbenchError:
            raise
        except Exception as error:
            raise PluginError(f"{self.where}: its fingerprint: {type(error).__name__}: {brief(error)}") from error
        if not isinstance(fingerprint, str | None):
            type_name = type(fingerprint).__name__
            raise PluginError(f"{self.where}: its fingerprint is a {type_name}; accepted: a string, or None")
        return fingerprint

    def _nested_identity(self, nested: Configured) -> dict[str, Any]:
        """Return the identity of a nested plugin; for a dataset, include the fingerprint of its images."""
        identity = nested.identity
        if nested.kind != "dataset" or self.kind == "dataset":
            return identity
        fingerprint = nested._call_fingerprint(lambda: nested.build().fingerprint())
        return identity if fingerprint is None else {**identity, "fingerprint": fingerprint}

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
        given = {name: value for name, value in filled_in.items() if value is not None}
        built = self.plugin.build(self.parameters | objects, given)
        # Built-in datasets need no checks here, since tests run the contract checks on them.
        if not self.plugin.is_built_in and isinstance(built, Dataset):
            # Code of the plugin may keep a reference to the object, so change its class in place.
            built.__class__ = add_image_checks(type(built), self.where)
        record_spec(built, self.text)
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


def _format_spec(plugin: Plugin, resolved: dict[str, Any], full_paths: bool = False) -> str:
    """Return the canonical spec, with the parameters that differ from their defaults or are always shown."""
    always_shown = getattr(plugin.factory, "label_parameters", ())
    parts = []
    for index, parameter in enumerate(plugin.parameters):
        value = resolved[parameter.name]
        is_always_shown = value is not None and (parameter.name in always_shown or parameter.required)
        if is_always_shown or value != parameter.default:
            # Folders differ between machines.
            shown = Path(value).name if parameter.is_path and value is not None and not full_paths else value
            is_positional = index == 0 and isinstance(value, str)
            parts.append(f"{'' if is_positional else f'{parameter.name}='}{format_value(shown)}")
    return f"{plugin.name}[{','.join(parts)}]" if parts else plugin.name


#: Specs of built objects by ``id``, because distinct objects may be equal, and some have no hash.
_SPECS: dict[int, tuple[weakref.ref[object], str]] = {}


def record_spec(built: object, spec: str) -> None:
    """Remember the spec of an object during its lifetime; skip objects that do not support weak references."""
    key = id(built)
    try:
        reference = weakref.ref(built, lambda _: _SPECS.pop(key, None))
    except TypeError:
        return
    _SPECS[key] = (reference, spec)


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
    reference, spec = _SPECS.get(id(built), (None, None))
    return spec if reference is not None and reference() is built else None


def citations(plugin: Plugin) -> tuple[Citation, ...]:
    """Return the works in the attribute ``citation`` of a plugin's class; empty without such an attribute."""
    citation = getattr(plugin.factory, "citation", None)
    works = citation if isinstance(citation, tuple) else () if citation is None else (citation,)
    for work in works:
        if not isinstance(work, Citation):
            raise PluginError(
                f"{plugin.where}: its citation is of type {type(work).__name__}; accepted: a gahbench.Citation, a "
                "tuple of them, or None"
            )
    return works


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
