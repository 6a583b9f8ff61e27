"""Origins of external plugins, as plans record them: packages by name, files by name and content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gahbench._util.files import sha256_of

_PACKAGE = "package '"
#: Number of hexadecimal digits of the digest of a file.
_DIGITS = 16


def package_origin(package: str) -> str:
    """Return the origin of the plugins of an installed package."""
    return f"{_PACKAGE}{package}'"


def portable_origin(origin: str) -> str:
    """Return the origin of a plugin without the folder of its file, so that copies of the file have equal origins."""
    if origin.startswith(_PACKAGE):
        return origin
    file = Path(origin)
    name = f"{file.parent.name}/{file.name}" if file.name == "__init__.py" else file.name
    try:
        return f"{name} {sha256_of(file)[:_DIGITS]}"
    except OSError:
        return f"{name} missing"


def packages_of(origins: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the installed packages among portable origins."""
    return tuple(origin[len(_PACKAGE) : -1] for origin in origins if origin.startswith(_PACKAGE))


class PluginFiles:
    """Plugin files of a registry, indexed by their portable origins."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._origins = {file: portable_origin(str(file)) for file in files}

    def find(self, origins: Iterable[str]) -> tuple[Path, ...]:
        """Return the files of portable origins, or files of their names with other content, in order."""
        requested = set(origins)
        changed = {_file_name(origin) for origin in requested.difference(self._origins.values())}
        files = self._origins.items()
        return tuple(file for file, origin in files if origin in requested or _file_name(origin) in changed)


def _file_name(origin: str) -> str:
    return origin.rpartition(" ")[0]
