"""Origins of external plugins, as plans record them: packages by name, files by name and content."""

from __future__ import annotations

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
