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
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import pydantic

from gahbench._util.core_yaml import ACCEPTED_INTEGERS, INTEGERS, as_number
from gahbench._util.errors import ParameterError, PluginError, listing, prefix_errors, suggestion
from gahbench._util.files import check_regular, sha256_of
from gahbench._util.readable import brief
from gahbench.registry.annotations import Code, External, File, Names, metadata_of, replace_classes

FILLED_IN = ("channels", "shape")
#: Stands for a number in the path of a :class:`gahbench.File` with ``numbers``.
PLACEHOLDER = "{N}"
#: An example of a plugin of each kind, without and with parameters, for errors.
_EXAMPLES = {
    "architecture": ("unet", "unet[width=16,levels=2]"),
    "dataset": ("discs", "c-alpha[alpha=2]"),
    "reference": ("bayes-shrink", "threshold[sym4]"),
    "basis": ("haar", "wavelet[db4,levels=3]"),
    "metric": ("psnr", "decay[min_terms=8]"),
    "engine": ("inline", "local[workers_per_gpu=2]"),
    "tracker": ("tensorboard", "wandb[folder=runs/wandb]"),
    "claim": ("kadkhodaie-2024", "mohan-2020"),
}
_Metadata = TypeVar("_Metadata")


def _metadata(annotation: Any, kind: type[_Metadata]) -> _Metadata | None:
    return next((item for item in metadata_of(annotation) if isinstance(item, kind)), None)


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
    def is_file(self) -> bool:
        """Whether this parameter is the path of a file whose content decides the outcome."""
        return _metadata(self.annotation, File) is not None

    @property
    def is_path(self) -> bool:
        """Whether this parameter is the path of a file or folder; labels show only the last part."""
        return self.name == "path" or self.is_file

    @property
    def is_code(self) -> bool:
        """Whether this parameter names code that the plugin runs."""
        return _metadata(self.annotation, Code) is not None

    @property
    def is_external(self) -> bool:
        """Whether this parameter makes the plugin read files or use the network."""
        return self.is_path or _metadata(self.annotation, External) is not None

    def needs_trust(self, value: Any) -> bool:
        """Return whether a value names code, files or a download, other than by the parameter's default."""
        return (self.is_code or self.is_external) and value not in (None, False, self.default)

    @property
    def is_sequence(self) -> bool:
        """Whether a list is a single value of this parameter, rather than a grid of values."""
        return _admits(self.annotation, (list, tuple))

    @property
    def type_name(self) -> str:
        """The accepted type in words, for errors and descriptions."""
        return _type_name(self.annotation)

    @property
    def accepted(self) -> str:
        """The accepted type in words, with examples if it is a plugin."""
        if self.names is None:
            return self.type_name
        plain, full = _EXAMPLES[self.names]
        mapping = f"{{{full.partition('[')[0]}: {{...}}}}"
        values = f'["{plain}", "{full}", {mapping}]' if self.is_sequence else f'"{plain}" or "{full}", or {mapping}'
        return f"{self.type_name}, such as {values}"

    @property
    def converted_default(self) -> Any:
        """The default, converted like a value from a suite: 1.0 for ``width: float = 1``."""
        try:
            # A path in the default is not relative to the suite's folder.
            with relative_to(None):
                return self.check(self.default)
        except ParameterError:
            # A default may lie outside the accepted range, or be an object that suites cannot write.
            return self.default

    def check(self, value: Any) -> Any:
        """Return the value in the type that the constructor expects; raise ``ParameterError`` if it is invalid."""
        if isinstance(value, str) and self.is_path:
            value = resolve_path(value)
        elif _admits(self.annotation, (float,)):
            value = [as_number(item) for item in value] if isinstance(value, list | tuple) else as_number(value)
        try:
            # JSON mode is strict about types (no "3" for 3), yet accepts a list for a tuple, since YAML has no tuples.
            accepted = pydantic.TypeAdapter(self.annotation).validate_json(json.dumps(value), strict=True)
            reason = find_unplain(accepted)
        except pydantic.ValidationError as error:
            message = error.errors()[0]["msg"]
            reason = message[0].lower() + message[1:]
        except TypeError:
            reason = "not a plain value"
        if reason is not None:
            raise ParameterError(f"{self.name}={brief(repr(value))}: {reason} (accepted: {self.accepted})")
        return accepted

    def files(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the files that a path names, given the values of all parameters: one for each number in the path."""
        path, file = values[self.name], _metadata(self.annotation, File)
        if file is None or not isinstance(path, str):
            return ()
        if not file.numbers or PLACEHOLDER not in path:
            return (path,)
        numbers = values.get(file.numbers) or ()
        numbers = numbers if isinstance(numbers, list | tuple) else (numbers,)
        return tuple(path.replace(PLACEHOLDER, str(number)) for number in numbers)

    def check_files(self, values: Mapping[str, Any]) -> None:
        """Raise ``ParameterError`` if the path is not a regular file."""
        for path in self.files(values):
            try:
                check_regular(Path(path).expanduser())
            except (OSError, RuntimeError) as error:
                is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
                reason = f"no such file in {Path.cwd()}" if is_missing else brief(error)
                raise ParameterError(f"{self.name}={brief(path)!r}: {reason} (accepted: {self.accepted})") from error


def _has_constructor(target: type) -> bool:
    """Return whether a class has a constructor other than those of ``object`` and ``torch.nn.Module``."""
    owner = next(base for base in target.__mro__ if "__init__" in vars(base))
    return owner is not object and owner.__module__ != "torch.nn.modules.module"


def constructor_parameters(target: Any, where: str) -> tuple[Parameter, ...]:
    """Return the parameters in the signature of a class or factory, including ``channels`` and ``shape``."""
    if inspect.isclass(target) and not _has_constructor(target):
        return ()
    signature = inspect.signature(target)
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise PluginError(f"{where}: cannot read its type annotations: {error}") from error
    parameters = []
    for name, item in signature.parameters.items():
        if item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD):
            raise PluginError(f"{where}: '{item}' hides parameters; name each parameter, with its type")
        if name not in hints:
            raise PluginError(f"{where}: parameter '{name}' needs a type annotation, such as '{name}: int'")
        if (reason := find_unplain(item.default)) is not None:
            raise PluginError(f"{where}: the default {name}={item.default}: {reason}; None may stand for no bound")
        parameters.append(_parameter(name, hints[name], item.default, where))
    return tuple(parameters)


def _parameter(name: str, annotation: Any, default: Any, where: str) -> Parameter:
    """Return a parameter; a constructor annotates a parameter that names plugins with the classes of the plugins."""
    if (names := _metadata(annotation, Names)) is None:
        return Parameter(name, annotation, default)
    if not (default is None or default is inspect.Parameter.empty):
        raise PluginError(
            f"{where}: parameter '{name}' receives an object, so write its default as a spec in its annotation: "
            f"Names('{names.kind}', default=...)"
        )
    spec_annotation = replace_classes(annotation)
    if spec_annotation == annotation:
        class_name = "ArchitectureFactory" if names.kind == "architecture" else names.kind.capitalize()
        raise PluginError(
            f"{where}: parameter '{name}' receives a built plugin: annotate it with the plugin's class, such as "
            f"Annotated[gahbench.{class_name}, gahbench.Names('{names.kind}')]"
        )
    return Parameter(name, spec_annotation, default if names.default is None else names.default)


def resolve(parameters: tuple[Parameter, ...], given: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the values of all parameters: the given values, after checks, and the defaults of other parameters."""
    names = [parameter.name for parameter in parameters]
    for name in given:
        if name not in names:
            extra = " ('channels' and 'shape' come from the dataset)" if name in FILLED_IN else ""
            raise ParameterError(
                f"{where}: unknown parameter '{name}'{extra}{suggestion(name, names) or ';'} accepted: {listing(names)}"
            )
    resolved = {}
    with prefix_errors(where):
        for parameter in parameters:
            if parameter.name in given:
                resolved[parameter.name] = parameter.check(given[parameter.name])
            elif parameter.required:
                raise ParameterError(f"parameter '{parameter.name}' ({parameter.type_name}) is required")
            else:
                resolved[parameter.name] = parameter.converted_default
        for parameter in parameters:
            if parameter.name in given:
                parameter.check_files(resolved)
    return resolved


def find_unplain(value: Any) -> str | None:
    """Return why a nested value has a number that keys and tables cannot hold; ``None`` if it has no such number."""
    if isinstance(value, dict | list | tuple | set | frozenset):
        return next(filter(None, map(find_unplain, value.values() if isinstance(value, dict) else value)), None)
    if isinstance(value, float) and not math.isfinite(value):
        return "not a finite number"
    return f"not accepted; {ACCEPTED_INTEGERS}" if isinstance(value, int) and value not in INTEGERS else None


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


def _admits(annotation: Any, types: tuple[type, ...]) -> bool:
    """Return whether a type, or an alternative of a union, is in ``types``."""
    origin = get_origin(annotation)
    if annotation in types or origin in types:
        return True
    return any(_admits(argument, types) for argument in get_args(annotation) if origin is not None)


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        null = " or null" if type(None) in get_args(arguments[0]) else ""
        if (names := _metadata(annotation, Names)) is not None:
            is_sequence = _admits(arguments[0], (list, tuple))
            return (f"list of plugins of kind {names.kind}" if is_sequence else f"a {names.kind}") + null
        if _metadata(annotation, File) is not None:
            return "path of a file" + null
        bounds = [text for item in arguments[1:] for text in _bounds(item)]
        return " ".join([_type_name(arguments[0]), ", ".join(bounds)]).strip()
    if str(origin) == "typing.Literal":
        return " or ".join(repr(argument) for argument in arguments)
    if annotation is type(None):
        return "null"
    if arguments and (origin in (list, tuple)):
        return "list of " + _type_name(arguments[0])
    if arguments:
        return " or ".join(_type_name(argument) for argument in arguments)
    return {"str": "text", "bool": "true or false"}.get(getattr(annotation, "__name__", ""), "") or getattr(
        annotation, "__name__", str(annotation)
    )


def _bounds(constraint: Any) -> list[str]:
    """Return the bounds in a constraint such as ``Field(ge=1)``, as text."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {bound}"
        for item in (constraint, *getattr(constraint, "metadata", ()))
        for attribute, sign in signs.items()
        if (bound := getattr(item, attribute, None)) is not None
    ]
    return list(dict.fromkeys(bounds))


_FOLDER: contextvars.ContextVar[Path | None] = contextvars.ContextVar("folder of relative paths", default=None)


@contextlib.contextmanager
def relative_to(folder: Path | None) -> Iterator[None]:
    """Resolve relative paths among parameters against a folder; ``None``, the default, is the current folder."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def resolve_path(path: str) -> str:
    """Return a path, resolved against the folder of :func:`relative_to` if it exists there."""
    folder = _FOLDER.get()
    if folder is None or not path or "\0" in path or path.startswith("~") or Path(path).is_absolute():
        return path
    with contextlib.suppress(OSError, ValueError):
        if _exists(folder, path):
            return str(folder / path)
        if _exists(Path(), path):
            warnings.warn(
                f"{path}: does not exist in the suite's folder, {folder}, against which a suite's paths are resolved; "
                f"using the current folder, {Path.cwd()}",
                stacklevel=2,
            )
    return path


def _exists(folder: Path, path: str) -> bool:
    """Return whether a file or folder of this path exists in a folder, for any number in the path."""
    if PLACEHOLDER not in path:
        return os.path.lexists(folder / path)
    pattern = "*".join(map(glob.escape, path.split(PLACEHOLDER)))
    return any(folder.glob(pattern))
