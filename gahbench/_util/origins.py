"""Where plugins from outside gahbench come from, as plans record it: packages by name, files by name and content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = "package '"
#: Hexadecimal digits of the digest of a file.
_DIGITS = 16


def package_origin(package: str) -> str:
    """Return the origin of the plugins of an installed package."""
    return f"{_PACKAGE}{package}'"


def portable_origin(origin: str) -> str:
    """Return the origin of a plugin without the folder of its file: the same for a copy of the file elsewhere."""
    if origin.startswith(_PACKAGE):
        return origin
    file = Path(origin)
    name = f"{file.parent.name}/{file.name}" if file.name == "__init__.py" else file.name
    return f"{name} {_digest(file)}"


def origin_name(origin: str) -> str:
    """Return a portable origin as people read it: the package, or the name of the file."""
    return origin if origin.startswith(_PACKAGE) else origin.rpartition(" ")[0]


def packages_of(origins: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the installed packages among portable origins."""
    return tuple(origin[len(_PACKAGE) : -1] for origin in origins if origin.startswith(_PACKAGE))


class PluginFiles:
    """The plugin files of a registry, found by their portable origins."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._origins = [(file, portable_origin(str(file))) for file in files]

    def of(self, origins: Iterable[str]) -> tuple[Path, ...]:
        """Return the files of portable origins, in the order of the registry."""
        wanted: set[str] = set()
        known = {own for _, own in self._origins}
        for origin in origins:
            same_name = {own for own in known if origin_name(own) == origin_name(origin)}
            wanted |= {origin} if origin in known else same_name
        return tuple(file for file, own in self._origins if own in wanted)


def _digest(file: Path) -> str:
    """Return a digest of the content of a file; of one that is gone, nothing that a file has."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:_DIGITS]
    except OSError:
        return "missing"
