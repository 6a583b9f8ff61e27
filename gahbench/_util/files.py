"""Files written whole or not at all, and read only if they are files."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gahbench._util.errors import ParameterError, ResultsError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class StorageError(OSError):
    """A file of a results folder cannot be read or written: the fault of the file system, not of a unit."""


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Raise errors of the file system as :class:`StorageError`, which names the file."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(error.errno, error.strerror or str(error), str(error.filename or path)) from error


def open_regular(path: str | Path, follow: bool = True) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading its bytes.

    Opening anything else may wait without end, as a FIFO does, or never come to an end, as ``/dev/zero`` does.

    Parameters
    ----------
    path
        The file.
    follow
        Whether it may be a symbolic link to one.

    Returns
    -------
    io.BufferedReader
        The open file; close it, or use it in a ``with`` statement.

    Raises
    ------
    OSError
        If it is not there, may not be read, or is a folder, FIFO, socket or device, or a link that is not followed;
        ``strerror`` says which.

    Examples
    --------
    >>> open_regular("/dev/null")
    Traceback (most recent call last):
        ...
    OSError: [Errno 22] is a device; expected a regular file: '/dev/null'
    """
    try:
        # Before it is opened: opening a device may already change it.
        _refuse_special(Path(path).stat(follow_symlinks=follow), path)
        flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
        handle = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
    except ValueError as error:
        raise OSError(errno.EINVAL, f"is no path of a file: {error}", str(path)) from error
    try:
        _refuse_special(os.fstat(handle), path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: str | Path, max_bytes: int | None = None, follow: bool = True) -> bytes:
    """Return the content of a regular file.

    Parameters
    ----------
    path
        The file.
    max_bytes
        How large it may be; ``None`` for any size.
    follow
        Whether it may be a symbolic link to one.

    Raises
    ------
    OSError
        As :func:`open_regular` does, or if it is larger.
    """
    with open_regular(path, follow) as file:
        size = os.fstat(file.fileno()).st_size
        if max_bytes is not None and size > max_bytes:
            raise OSError(errno.EFBIG, f"has {size:,} bytes; accepted: up to {max_bytes:,}", str(path))
        # Not to its end: it may grow while it is read.
        return file.read(size)


def check_regular(path: str | Path) -> None:
    """Raise what :func:`open_regular` would, for a library that opens files by name."""
    open_regular(path).close()


def _refuse_special(status: os.stat_result, path: str | Path) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kind = next((name for is_one, name in _KINDS if is_one(status.st_mode)), "no file")
    number = {"a folder": errno.EISDIR, "a link": errno.ELOOP}.get(kind, errno.EINVAL)
    raise OSError(number, f"is {kind}; expected a regular file", str(path))


def temporary_name(path: Path) -> Path:
    """Return a hidden name beside a path that no other process has, on this machine or on another."""
    return path.with_name(f".{path.name[:80]}.{os.getpid()}-{uuid.uuid4().hex}.tmp")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a name of its own, flush it to disk, and rename it: readers never see a part of it."""
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
    """Write JSON as :func:`write_whole` does."""
    write_whole(path, (json.dumps(content, indent=1, default=str) + "\n").encode())


def delete_entry(path: Path) -> None:
    """Delete what stands under a name, if anything: a file, a link, or a folder with all in it."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        if not path.is_dir() or path.is_symlink():
            raise
        delete_folder(path)


def delete_file(folder: Path, name: str) -> None:
    """Delete a file in a folder, by its name there; what is no file, or lies behind a link, is left as it is."""
    file = folder / name
    behind_link = any(
        parent.is_symlink() for parent in file.parents if parent.is_relative_to(folder) and parent != folder
    )
    if not behind_link and (file.is_symlink() or file.is_file()):
        file.unlink(missing_ok=True)


def delete_folder(folder: Path) -> None:
    """Delete a folder, renamed first: one that is deleted in part does not stand under its name."""
    aside = temporary_name(folder)
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, but for hidden ones; none if there is no folder."""
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]  # noqa: PTH208, paths are slower
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise ResultsError(f"{folder}: is a file; expected a folder") from error


def flush(path: Path) -> None:
    """Have the system write a file, or the entries of a folder, to disk."""
    # Opening a FIFO would wait.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        os.fsync(handle)
    except OSError:
        pass  # Some file systems cannot; a rename is still atomic.
    finally:
        os.close(handle)


def write_output(content: bytes, file: Path) -> None:
    """Write a file that a user requested, and make its folder if it is missing."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise ParameterError(f"{file}: cannot be written: {error.strerror or error}") from error
