"""A plugin with all its parameters resolved: its key, the object built from it, and the works that it follows."""

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
from gahbench.registry.checked_images import checking
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
        """Name and parameters as :func:`gahbench.registry.spec.parse_spec` reads them: the label, with whole paths."""
        return _format(self.plugin, self.parameters, whole_paths=True)

    @property
    def unlabelled(self) -> str:
        """The label that the plugin has by default."""
        labels = {name: each(lambda one: one.label, inner) for name, inner in self.nested.items()}
        return _format(self.plugin, self.parameters | labels)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides an outcome, of the plugin and of the plugins that its parameters name: plain JSON."""
        files = {parameter.name for parameter in self.plugin.parameters if parameter.is_file}
        # A fingerprint covers the content of the path; that of a dataset is asked for elsewhere.
        left_out = {*self.nested, *(() if self._fingerprint is None else ("path",))}
        parameters = {name: value for name, value in self.parameters.items() if name not in left_out}
        return {
            "kind": self.kind,
            "name": self.plugin.name,
            "preset": self.plugin.preset,
            "parameters": {
                name: {"sha256": file_digest(value)} if name in files and value is not None else value
                for name, value in parameters.items()
            },
            "source": self.plugin.digest,
            **({"fingerprint": self._fingerprint} if self._fingerprint is not None else {}),
            "nested": {
                name: [self._identity_of(one) for one in inner]
                if isinstance(inner, tuple)
                else self._identity_of(inner)
                for name, inner in self.nested.items()
            },
        }

    @functools.cached_property
    def identity_key(self) -> str:
        """The key of :attr:`identity`."""
        return key_of(self.identity)

    @functools.cached_property
    def origins(self) -> tuple[str, ...]:
        """The files and packages outside gahbench that hold the plugin, and the plugins that its parameters name."""
        origins = set()
        for one in with_nested(self):
            if not one.plugin.is_built_in:
                origins.add(portable_origin(one.plugin.origin))
            elif any(item.is_code and one.parameters[item.name] is not None for item in one.plugin.parameters):
                origins.add(package_origin(one.label))
        return tuple(sorted(origins))

    @functools.cached_property
    def _fingerprint(self) -> str | None:
        """The text by which the plugin's class states what else decides the outcome; ``None`` if it states nothing."""
        factory = self.plugin.factory
        if self.kind in ("dataset", "engine") or not callable(getattr(factory, "fingerprint", None)):
            return None
        if self.kind == "architecture":
            return self._checked_fingerprint(lambda: factory.fingerprint(**self.plugin.preset, **self.parameters))
        return self._checked_fingerprint(lambda: self.build().fingerprint())

    def _checked_fingerprint(self, call: Callable[[], Any]) -> str | None:
        try:
            found = call()
        except (ValueError, OSError) as error:
            raise ParameterError(f"{self.plugin.where}: {brief(error)}") from error
        except GahbenchError:
            raise
        except Exception as error:
            raise PluginError(f"{self.where}: its fingerprint: {type(error).__name__}: {brief(error)}") from error
        if not isinstance(found, str | None):
            raise PluginError(f"{self.where}: its fingerprint is a {type(found).__name__}; accepted: a text, or None")
        return found

    def _identity_of(self, nested: Configured) -> dict[str, Any]:
        """Return the identity of a plugin that a parameter names: of a dataset, with the images that it reads."""
        found = nested.identity
        if nested.kind != "dataset" or self.kind == "dataset":
            return found
        fingerprint = nested._checked_fingerprint(lambda: nested.build().fingerprint())
        return found if fingerprint is None else {**found, "fingerprint": fingerprint}

    @property
    def kind(self) -> Kind:
        """Kind of the plugin."""
        return self.plugin.kind

    @property
    def where(self) -> str:
        """Its name in errors."""
        return f"{self.kind} '{self.label}'"

    def build(self, shape: Shape | None = None, channels: int | None = None) -> Any:
        """Build the plugin, and before it those that its parameters name: new objects at every call."""
        objects = {name: each(Configured._argument, inner) for name, inner in self.nested.items()}
        filled_in: dict[str, Any] = {} if channels is None else {"channels": channels}
        if shape is not None:
            filled_in = {"channels": shape[0], "shape": shape}
        factory = self.plugin.factory
        # Built-in datasets pass the contract checks.
        is_checked = self.kind == "dataset" and not self.plugin.is_built_in
        if is_checked and isinstance(factory, type) and issubclass(factory, Dataset):
            factory = checking(factory, self.where)
        built = self.plugin.build(factory, self.parameters | objects, filled_in)
        if is_checked and not isinstance(factory, type) and isinstance(built, Dataset):
            # A function has built the object, which may be known elsewhere, so that a copy would not do.
            built.__class__ = checking(type(built), self.where)
        record_spec(built, self.text)
        return built

    def _argument(self) -> Any:
        """Return the object passed to a constructor whose parameter names this plugin."""
        # The shape of the images, for which an architecture is built, is not known yet.
        if self.kind != "architecture":
            return self.build()

        def with_parameters(**changes: Any) -> ArchitectureFactory:
            spec = Spec(self.plugin.name, (), {**self.parameters, **changes})
            changed: ArchitectureFactory = self.registry.configure(self.kind, spec)._argument()
            return changed

        return ArchitectureFactory(self.label, self.build, self.parameters, with_parameters)


def each(function: Callable[[Any], Any], values: Any) -> Any:
    """Apply a function to the value of a parameter that names a plugin, or to each value of one that names several."""
    return tuple(map(function, values)) if isinstance(values, tuple) else function(values)


def _format(plugin: Plugin, resolved: dict[str, Any], whole_paths: bool = False) -> str:
    """Write a configured plugin canonically: parameters that differ from the defaults, and those always shown."""
    shown = getattr(plugin.factory, "label_parameters", ())
    parts = []
    for place, parameter in enumerate(plugin.parameters):
        value = resolved[parameter.name]
        always = value is not None and (parameter.name in shown or parameter.required)
        if always or value != parameter.default:
            if parameter.is_path and value is not None and not whole_paths:
                # Folders differ between machines.
                value = Path(value).name
            bare = place == 0 and isinstance(value, str)
            text = format_value(value)
            parts.append(text if bare else f"{parameter.name}={text}")
    return f"{plugin.name}[{','.join(parts)}]" if parts else plugin.name


#: By ``id``: objects may be equal without being the same, or have no hash.
_SPECS: dict[int, tuple[weakref.ref[object], str]] = {}


def record_spec(built: object, spec: str) -> None:
    """Remember the spec of an object for as long as it lives; skip objects without weak references."""
    place = id(built)
    try:
        reference = weakref.ref(built, lambda _: _SPECS.pop(place, None))
    except TypeError:
        return
    _SPECS[place] = (reference, spec)


def spec_of(built: object) -> str | None:
    """Return the spec that gahbench built an object from: its plugin's name, and the parameters that differ.

    Together with the object's class it determines the results, so it can be part of the key of a cache.

    Parameters
    ----------
    built
        An object from a parameter that names a plugin, or from :func:`gahbench.create`.

    Returns
    -------
    str or None
        As in ``wavelet[db4,levels=3]``; ``None`` for an object that was constructed directly, or copied.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.spec_of(gahbench.create("basis", "wavelet[db4]"))
    'wavelet[db4]'
    """
    reference, spec = _SPECS.get(id(built), (None, None))
    return spec if reference is not None and reference() is built else None


def citations(plugin: Plugin) -> tuple[Citation, ...]:
    """Return the works that a plugin's class has as ``citation``; none where it has no such attribute."""
    citation = getattr(plugin.factory, "citation", None)
    works = citation if isinstance(citation, tuple) else () if citation is None else (citation,)
    for work in works:
        if not isinstance(work, Citation):
            raise PluginError(
                f"{plugin.where}: its citation is of type {type(work).__name__}; accepted: a gahbench.Citation, a "
                "tuple of them, or None"
            )
    return works


def with_nested(configured: Configured) -> Iterator[Configured]:
    """Yield a plugin, the plugins that its parameters name, and so on."""
    yield configured
    for inner in configured.nested.values():
        for one in inner if isinstance(inner, tuple) else (inner,):
            yield from with_nested(one)


def citation_rows(entries: Iterable[Configured]) -> list[dict[str, Any]]:
    """Return the works that plugins follow, as the table ``citations`` of results holds them."""
    rows = [
        {"entry": entry.label, "plugin": one.plugin.name, **asdict(work)}
        for entry in entries
        for one in with_nested(entry)
        for work in citations(one.plugin)
    ]
    return list({tuple(row.values()): row for row in rows}.values())
