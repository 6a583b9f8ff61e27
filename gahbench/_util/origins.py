"""Origins of external plugins, as plans record them: packages by name, files by name and content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gahbench._util.files import sha256_of

_PACKAGE = "package '"


def package_origin(package: str) -> str:
    """Return the origin of the plugins of an installed package."""
    return f"{_PACKAGE}{package}'"


def packages_of(origins: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the installed packages among portable origins."""
    return tuple(origin[len(_PACKAGE) : -1] for origin in origins if origin.startswith(_PACKAGE))


def portable_origin(origin: str) -> str:
    """Return the origin of a plugin without the folder of its file, so that copies of the file have equal origins."""
    if origin.startswith(_PACKAGE):
        return origin
    file = Path(origin)
    try:
        return f"{_name(file)} {sha256_of(file)[:16]}"
    except OSError:
        return f"{_name(file)} missing"


def files_of(origins: Iterable[str], files: Iterable[Path]) -> tuple[Path, ...]:
    """Return the plugin files with the names of portable origins."""
    names = {origin.rpartition(" ")[0] for origin in origins}
    return tuple(file for file in files if _name(file) in names)


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}" if file.name == "__init__.py" else file.name
