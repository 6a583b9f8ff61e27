"""A plugin's parameters, read from its constructor's typed keyword arguments.

Any annotation that pydantic understands works, constraints included (``Annotated[int, Field(ge=1)]``). Three kinds of
argument are special: ``channels`` and ``shape`` are filled in from the dataset; an argument with the annotation
:class:`Names`, as in ``Annotated[Basis, Names("basis")]``, names another plugin, and the constructor receives the built
plugin; and an argument ``Annotated[str, File()]`` is the path of a file.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import glob
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import pydantic

from gahbench._util.core_yaml import as_number
from gahbench._util.errors import ParameterError, PluginError, listing, prefix_errors, suggestion
from gahbench._util.files import open_regular, sha256_of
from gahbench._util.readable import brief
from gahbench._util.records import canonical

FILLED_IN = ("channels", "shape")
#: Stands for a number in the path of a :class:`gahbench.File` with ``numbers``.
PLACEHOLDER = "{N}"
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_Metadata = TypeVar("_Metadata")


@dataclass(frozen=True)
class Names:
    """Annotation of a parameter that names a plugin of some kind.

    In suites the value is a spec, such as ``wavelet[db4]``, whose parameters are checked too. The constructor receives
    the built plugin or, for an architecture, which needs the shape of the images, a
    :class:`gahbench.ArchitectureFactory`. The parameter is annotated with the class of that object. A parameter
    annotated with a tuple, ``tuple[Basis, ...]``, names several plugins; a parameter that admits ``None`` is optional.

    Parameters
    ----------
    kind
        ``basis``, ``dataset``, ``reference``, ``architecture``, ``metric`` or ``engine``.
    default
        The default spec, or tuple of specs. In the constructor, the only possible default is ``None``.

    Examples
    --------
    >>> from typing import Annotated
    >>> import gahbench
    >>> class Shrinks(gahbench.Reference):
    ...     def __init__(self, basis: Annotated[gahbench.Basis, gahbench.Names("basis", default="sym4")]) -> None:
    ...         self.basis = basis
    """

    kind: str
    default: str | tuple[str, ...] | None = None


@dataclass(frozen=True)
class File:
    """Annotation of a string parameter that is the path of a file whose content decides the outcome.

    Keys depend on the SHA-256 of the file's content, and not on its name or folder; labels show only its name.

    Parameters
    ----------
    numbers
        Name of another parameter, a whole number or a list of them, each of which the path may contain as ``{N}``: the
        parameter then stands for several files.

    Examples
    --------
    >>> from typing import Annotated
    >>> import gahbench
    >>> class Lookup(gahbench.Reference):
    ...     def __init__(self, table: Annotated[str, gahbench.File()]) -> None:
    ...         self.table = table
    """

    numbers: str = ""


def _metadata(annotation: Any, kind: type[_Metadata]) -> _Metadata | None:
    """Return the annotation of a kind inside a type, such as ``File()`` in ``Annotated[str, File()] | None``."""
    if isinstance(annotation, kind):
        return annotation
    return next(filter(None, (_metadata(part, kind) for part in get_args(annotation))), None)


def _admits(annotation: Any, *types: type) -> bool:
    """Return whether a type, an alternative of a union, or the type of items is in ``types``."""
    is_type = annotation in types or get_origin(annotation) in types
    return is_type or any(_admits(part, *types) for part in get_args(annotation))


def _type_name(annotation: Any, text: str) -> str:
    """Return a type in words; ``text`` stands for strings."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        constraints = [part for item in arguments[1:] for part in (item, *getattr(item, "metadata", ()))]
        limits = [(sign, getattr(part, name, None)) for part in constraints for name, sign in _SIGNS.items()]
        bounds = [f"{sign} {limit}" for sign, limit in limits if limit is not None]
        return " ".join([_type_name(arguments[0], text), ", ".join(bounds)]).strip()
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (list, tuple):
        return f"list of {_type_name(arguments[0], text)}"
    if origin is dict:
        return "mapping"
    if arguments:
        return " or ".join(_type_name(part, text) for part in arguments)
    names = {str: text, bool: "true or false", NoneType: "null"}
    return names.get(annotation) or str(getattr(annotation, "__name__", annotation))


@dataclass(frozen=True)
class Parameter:
    """A parameter of a plugin that suites may set."""

    name: str
    annotation: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether the parameter has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def names(self) -> str | None:
        """The kind of plugin that this parameter names; ``None`` for other parameters."""
        return getattr(_metadata(self.annotation, Names), "kind", None)

    @property
    def is_path(self) -> bool:
        """Whether this parameter is the path of a file or folder; labels show only the last part."""
        return self.name == "path" or _metadata(self.annotation, File) is not None

    @property
    def is_sequence(self) -> bool:
        """Whether a list is a single value of this parameter, rather than a grid of values."""
        return _admits(self.annotation, list, tuple)

    @property
    def type_name(self) -> str:
        """The accepted type in words, for errors and descriptions."""
        is_file = _metadata(self.annotation, File) is not None
        text = f"{self.names} name" if self.names else "path of a file" if is_file else "text"
        return _type_name(self.annotation, text)

    @functools.cached_property
    def _adapter(self) -> pydantic.TypeAdapter[Any]:
        return pydantic.TypeAdapter(self.annotation)

    def check(self, value: Any) -> Any:
        """Return the value in the type that the constructor expects; raise ``ParameterError`` if it is invalid."""
        if isinstance(value, str) and self.is_path:
            value = _resolve_path(value)
        elif _admits(self.annotation, float):
            value = [as_number(item) for item in value] if isinstance(value, list | tuple) else as_number(value)
        try:
            # JSON mode is strict about types (no "3" for 3), yet accepts a list for a tuple, since YAML has no tuples.
            accepted = self._adapter.validate_json(json.dumps(value), strict=True)
            canonical(accepted)  # Keys hold finite numbers only.
            return accepted
        except pydantic.ValidationError as error:
            reason = error.errors()[0]["msg"]
        except (TypeError, ValueError):
            reason = "not a plain, finite value"
        forms = ', written as "name" or "name[key=value]"' if self.names else ""
        raise ParameterError(
            f"{self.name}={brief(repr(value))}: {reason[0].lower()}{reason[1:]} (accepted: {self.type_name}{forms})"
        )

    def files(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the files that a path names, given the values of all parameters: one for each number in the path."""
        path, file = values[self.name], _metadata(self.annotation, File)
        if file is None or path is None:
            return ()
        numbers = values[file.numbers] if file.numbers and PLACEHOLDER in path else PLACEHOLDER
        numbers = numbers if isinstance(numbers, list | tuple) else (numbers,)
        return tuple(path.replace(PLACEHOLDER, str(number)) for number in numbers if number is not None)


def constructor_parameters(target: Any, where: str) -> tuple[Parameter, ...]:
    """Return the parameters in the signature of a class or factory, including ``channels`` and ``shape``."""
    function = target
    if inspect.isclass(target):
        owner = next(base for base in target.__mro__ if "__init__" in vars(base))
        if owner is object or owner.__module__ == "torch.nn.modules.module":
            return ()
        function = target.__init__
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise PluginError(f"{where}: cannot read its type annotations: {error}") from error
    parameters = []
    for name, item in inspect.signature(target).parameters.items():
        if item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD):
            raise PluginError(f"{where}: '{item}' hides parameters; name each parameter, with its type")
        if name not in hints:
            raise PluginError(f"{where}: parameter '{name}' needs a type annotation, such as '{name}: int'")
        try:
            canonical(item.default)  # Keys hold finite numbers only.
        except ValueError as error:
            text = f"the default {name}={item.default} is not finite; None may stand for no bound"
            raise PluginError(f"{where}: {text}") from error
        parameters.append(_parameter(name, hints[name], item.default, where))
    return tuple(parameters)


def _parameter(name: str, annotation: Any, default: Any, where: str) -> Parameter:
    """Return a parameter; suites name plugins by strings where a constructor receives objects."""
    if (names := _metadata(annotation, Names)) is None:
        # The default 1 of a parameter of type float is 1.0; a default may lie outside the range that suites accept.
        with contextlib.suppress(ParameterError), relative_to(None):
            try:
                default = Parameter(name, annotation).check(default)
            except pydantic.PydanticSchemaGenerationError as error:
                kind = inspect.formatannotation(annotation)
                text = f"parameter '{name}' has the type {kind}, which suites cannot write"
                accepted = "numbers, text, lists, and Annotated[..., gahbench.Names(kind)] for plugins"
                raise PluginError(f"{where}: {text}; accepted: {accepted}") from error
        return Parameter(name, annotation, default)
    if default not in (None, inspect.Parameter.empty):
        raise PluginError(
            f"{where}: parameter '{name}' receives an object; write its default as Names('{names.kind}', default=...)"
        )
    spec: Any = tuple[str, ...] if _admits(annotation, list, tuple) else str
    spec = spec | None if _admits(annotation, NoneType) else spec
    constraints = get_args(annotation)[1:] if get_origin(annotation) is Annotated else (names,)
    return Parameter(name, Annotated[(spec, *constraints)], default if names.default is None else names.default)


def resolve(parameters: tuple[Parameter, ...], given: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the values of all parameters: the given values, after checks, and the defaults of other parameters."""
    names = [parameter.name for parameter in parameters]
    for name in (name for name in given if name not in names):
        extra = " ('channels' and 'shape' come from the dataset)" if name in FILLED_IN else ""
        near = suggestion(name, names) or ";"
        raise ParameterError(f"{where}: unknown parameter '{name}'{extra}{near} accepted: {listing(names)}")
    resolved = {}
    with prefix_errors(where):
        for parameter in parameters:
            if parameter.name in given:
                resolved[parameter.name] = parameter.check(given[parameter.name])
            elif parameter.required:
                filled_in = next((name for name in FILLED_IN if name in parameter.name), None)
                near = f"; is it '{filled_in}', which the dataset gives?" if filled_in else ""
                raise ParameterError(f"parameter '{parameter.name}' ({parameter.type_name}) is required{near}")
            else:
                resolved[parameter.name] = parameter.default
        for parameter in parameters:
            for path in parameter.files(resolved):
                try:
                    open_regular(Path(path).expanduser()).close()
                except (OSError, RuntimeError) as error:
                    reason = brief(error)
                    text = f"{parameter.name}={brief(path)!r}: {reason[0].lower()}{reason[1:]}"
                    raise ParameterError(text) from error
    return resolved


def file_digest(path: str) -> str:
    """Return the SHA-256 of the content of a file, in hexadecimal.

    Parameters
    ----------
    path
        The path; a leading ``~`` is the home folder.

    Raises
    ------
    ParameterError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "empty"
    ...     file.touch()
    ...     file_digest(str(file))[:16]
    'e3b0c44298fc1c14'
    """
    try:
        file = Path(path).expanduser()
        status = file.stat()
        return _digest(file, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError, RuntimeError) as error:
        raise ParameterError(f"{brief(path)}: cannot be read: {brief(error)}") from error


@functools.lru_cache(maxsize=64)
def _digest(file: Path, modified: int, size: int) -> str:
    """Return the SHA-256 of a file, cached until its time of modification or size changes."""
    return sha256_of(file)


_FOLDER: contextvars.ContextVar[Path | None] = contextvars.ContextVar("folder of relative paths", default=None)


@contextlib.contextmanager
def relative_to(folder: Path | None) -> Iterator[None]:
    """Resolve relative paths among parameters against a folder; ``None``, the default, is the current folder."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def _resolve_path(path: str) -> str:
    """Return a path, resolved against the folder of :func:`relative_to` if it exists there, for any number in it."""
    folder = _FOLDER.get()
    pattern = glob.escape(path).replace(PLACEHOLDER, "*")
    # Path.glob refuses absolute paths.
    return str(folder / path) if folder and path and glob.glob(pattern, root_dir=folder) else path  # noqa: PTH207
