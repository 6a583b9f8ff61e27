"""Atomic writes, reads of regular files only, and the origins of plugins: packages by name, files by content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gahbench._util.errors import ParameterError, ResultsError

#: The beginning of the origin of plugins of an installed package, ``package 'name'``.
PACKAGE = "package '"


class StorageError(OSError):
    """A file of a results folder cannot be read or written; this does not count as a failure of the unit."""


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Convert errors of the file system to :class:`StorageError` with the name of the file."""
    try:
        yield
    except OSError as error:
        raise StorageError(error.errno, error.strerror or str(error), str(error.filename or path)) from error


def open_regular(path: str | Path, follow: bool = True) -> io.BufferedReader:
    """Open a regular file, or a link to a regular file if ``follow`` is set, for reading bytes.

    Other files are refused with an ``OSError`` whose ``strerror`` says why: opening a FIFO may block forever, and
    ``/dev/zero`` never ends. Open and close a file by this function before a library opens it by name.
    """
    try:
        # Check before opening, since opening a device may already have effects.
        if not stat.S_ISREG(Path(path).stat(follow_symlinks=follow).st_mode):
            raise OSError(errno.EINVAL, "is a folder, link or special file; expected a regular file", str(path))
        return Path(path).open("rb")
    except ValueError as error:
        raise OSError(errno.EINVAL, f"is not a valid path: {error}", str(path)) from error


def read_regular(path: str | Path, max_bytes: int | None = None, follow: bool = True) -> bytes:
    """Read a regular file; raise the errors of :func:`open_regular`, or for more than ``max_bytes`` bytes."""
    with open_regular(path, follow) as file:
        size = os.fstat(file.fileno()).st_size
        if max_bytes is not None and size > max_bytes:
            raise OSError(errno.EFBIG, f"has {size:,} bytes; accepted: up to {max_bytes:,}", str(path))
        # Limit the read, since the file may grow meanwhile.
        return file.read(size)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the content of a regular file, in hexadecimal."""
    with open_regular(path) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def temporary_name(path: Path) -> Path:
    """Return a hidden path in the same folder that no other process on any machine uses."""
    return path.with_name(f".{path.name[:80]}.{os.getpid()}-{uuid.uuid4().hex}.tmp")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically: write a temporary file, flush it to disk, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_atomically(path, json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """Return the content of a JSON file."""
    return (json.dumps(content, indent=1, default=str) + "\n").encode()


def delete_file(folder: Path, name: str) -> None:
    """Delete a file or link in a folder; do nothing for folders, and for files behind a link."""
    file = folder.resolve() / name
    if file.parent.resolve() == file.parent and (file.is_symlink() or file.is_file()):
        file.unlink()


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder except hidden names; return an empty list if the folder does not exist."""
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]  # noqa: PTH208, paths are slower
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise ResultsError(f"{folder}: is a file; expected a folder") from error


def flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk, if its file system can; renames are atomic in any case."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_output(content: bytes, file: Path) -> None:
    """Write a file that a user requested, and create its folder if necessary."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise ParameterError(f"{file}: cannot be written: {error.strerror or error}") from error


def packages_of(origins: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the installed packages among portable origins, ``package 'name'``."""
    return tuple(origin.split("'")[1] for origin in origins if origin.startswith(PACKAGE))


def portable_origin(origin: str) -> str:
    """Return the origin of a plugin without the folder of its file, so that copies of the file have equal origins."""
    return origin if origin.startswith(PACKAGE) else f"{_name(Path(origin))} {sha256_of(Path(origin))[:16]}"


def files_of(origins: Iterable[str], files: Iterable[Path]) -> tuple[Path, ...]:
    """Return the plugin files with the names of portable origins."""
    names = {origin.rpartition(" ")[0] for origin in origins}
    return tuple(file for file in files if _name(file) in names)


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}" if file.name == "__init__.py" else file.name
