"""Files written whole or not at all, and read only if they are files."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import stat
import uuid
from pathlib import Path
from typing import Any

from gahbench._util.errors import ParameterError, ResultsError


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


def open_regular(path: Path, follow: bool = True) -> io.BufferedReader:
    """Open a file for reading; never wait for one that is none, as a FIFO would have it.

    Parameters
    ----------
    path
        The file.
    follow
        Whether it may be a symbolic link to one.

    Raises
    ------
    OSError
        If it cannot be opened; ``EINVAL`` for a folder, a FIFO, a device or a socket, ``ELOOP`` for a link that is not
        followed.
    """
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    handle = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path, follow: bool = True) -> bytes:
    """Return the content of a file, as :func:`open_regular` opens it."""
    with open_regular(path, follow) as file:
        return file.read()


def delete_entry(path: Path) -> None:
    """Delete what stands under a name, if anything: a file, a link, or a folder with all in it.

    Raises
    ------
    OSError
        If it is there and cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError:
        if not path.is_dir() or path.is_symlink():
            raise
        delete_folder(path)


def delete_folder(folder: Path) -> None:
    """Delete a folder, renamed first: one that is deleted in part does not stand under its name.

    Raises
    ------
    OSError
        If it is there and cannot be renamed.
    """
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
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # Some file systems cannot; a rename is still atomic.
    finally:
        os.close(handle)


def write_output(content: bytes, file: Path) -> None:
    """Write a file that a user requested, and make its folder if there is none.

    Raises
    ------
    ParameterError
        If it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise ParameterError(f"{file}: cannot be written: {error.strerror or error}") from error
