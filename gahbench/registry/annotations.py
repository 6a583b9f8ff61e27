"""Annotations of parameters that name plugins, code, files or downloads."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin


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

    Keys depend on the SHA-256 of the file's content, and not on its name or folder; labels show only its name. The
    parameter is also :class:`External`.

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


@dataclass(frozen=True)
class External:
    """Annotation of a parameter that makes a plugin read files or use the network, such as a folder or a repository.

    A results folder from another person chooses the parameters of its plugins. ``gahbench site`` builds a plugin with
    such a parameter only with ``--trust``, unless its value is the default, ``None`` or ``False``. A parameter
    named ``path`` is treated as if it had this annotation.

    Examples
    --------
    >>> from typing import Annotated
    >>> import gahbench
    >>> class Scans(gahbench.Dataset):
    ...     def __init__(self, folder: Annotated[str, gahbench.External()]) -> None:
    ...         self.folder = folder
    """


@dataclass(frozen=True)
class Code:
    """Annotation of a parameter that names code which the plugin runs: an import, or a file with code.

    ``gahbench site`` builds a plugin with such a parameter only with ``--trust``, as for :class:`External`. Units of a
    built-in plugin that uses such a parameter run in a separate process.

    Examples
    --------
    >>> from typing import Annotated
    >>> import gahbench
    >>> class Imported(gahbench.Reference):
    ...     def __init__(self, function: Annotated[str, gahbench.Code()]) -> None:
    ...         self.function = function
    """


def metadata_of(annotation: Any) -> tuple[Any, ...]:
    """Return the metadata of an ``Annotated`` type, or of the alternatives in a union."""
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[1:]
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(item for argument in get_args(annotation) for item in metadata_of(argument))
    return ()


def replace_classes(annotation: Any) -> Any:
    """Return an annotation with ``str``, the type of specs in suites, in place of every class."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (type(None), ...):
        return annotation
    if origin is Annotated:
        return Annotated[(replace_classes(arguments[0]), *arguments[1:])]
    if origin in (tuple, list):
        return origin[tuple(map(replace_classes, arguments))]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(replace_classes, arguments))]  # noqa: UP007
    return str
