"""Sources of many image files, and folders of them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gahbench import DataError, brief, listing, read_regular

from .decode import SUFFIXES

#: How deep below a folder its images may lie.
DEPTH = 2
#: Image files of more bytes than this take long to decode: more than ten seconds on one core.
LONG = 1 << 26
#: The most bytes of one file: an image of as many pixels as are accepted needs no more.
LARGEST = 1 << 28
#: Name of the folder that CelebA's images come in; its lists lie beside it.
CELEBA = "img_align_celeba"


class Encoded(ABC):
    """The image files of a source, in order."""

    def __init__(self, path: Path, names: list[str]) -> None:
        if not names:
            raise DataError(
                f"{path}: no images, up to {DEPTH} folders deep; accepted: {listing(sorted(SUFFIXES))} of up to "
                "8 bits a channel"
            )
        self.path = path
        self.names = names

    @abstractmethod
    def contents(self, first: int, last: int) -> list[bytes]:
        """Return the bytes of files ``first`` to ``last``."""

    @abstractmethod
    def stamp(self) -> list[Any]:
        """Return facts that change when a file does, as plain JSON."""

    def size(self) -> int:
        """Return the size of the files in bytes."""
        return self.path.stat().st_size

    def text(self, name: str) -> str | None:
        """Return a text file of that name beside the images, or between the path and them; ``None`` if none is."""
        return None

    def identity(self) -> NDArray[np.int64] | None:
        """Return the person on each image, if the source has them."""
        return None


class Folder(Encoded):
    """The images of a folder, sorted: its own, then those of its folders, up to two deep."""

    def __init__(self, path: Path, below: str | None = None) -> None:
        self._stats: dict[str, tuple[int, int]] = {}
        self._files: list[str] = []
        for name, status in _walk(path, "", DEPTH):
            self._files.append(name)
            self._stats[name] = (status.st_size, status.st_mtime_ns)
        super().__init__(path, images_among(self._files, None if path.name == below else below))

    def contents(self, first: int, last: int) -> list[bytes]:
        """Return the bytes of files ``first`` to ``last``."""
        try:
            return [read_regular(self.path / name, LARGEST) for name in self.names[first:last]]
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read: {brief(error)}") from error

    def stamp(self) -> list[Any]:
        """Return names, sizes and times of change."""
        return [[name, *self._stats[name]] for name in self.names]

    def size(self) -> int:
        """Return the size of the images in bytes."""
        return sum(self._stats[name][0] for name in self.names)

    def text(self, name: str) -> str | None:
        """Return a text file of that name, which may lie beside the folder where that is CelebA's of the images."""
        found = next((self.path / file for file in self._files if PurePosixPath(file).name == name), None)
        folder = self.path.resolve()
        while found is None and folder.name == CELEBA:
            folder = folder.parent
            found = folder / name if (folder / name).is_file() else None
        try:
            return read_regular(found, LARGEST).decode("utf-8", errors="replace") if found else None
        except OSError as error:
            raise DataError(f"{found}: cannot be read: {brief(error)}") from error


def images_among(files: list[str], below: str | None) -> list[str]:
    """Return the images among files, all or only those somewhere below a folder of that name."""
    images = [name for name in files if PurePosixPath(name).suffix.lower() in SUFFIXES]
    return [name for name in images if below is None or below in PurePosixPath(name).parts[:-1]]


def stamp_of(file: Path) -> list[Any]:
    """Return size and time of change of one file."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _walk(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    """Yield names and states of the files of a folder, sorted, hidden ones left out, then those of its folders."""
    try:
        with os.scandir(folder / prefix) as scan:
            children = sorted((child for child in scan if not child.name.startswith(".")), key=lambda entry: entry.name)
        for child in children:
            if child.is_file():
                yield prefix + child.name, child.stat()
            elif not child.is_dir() and PurePosixPath(child.name).suffix.lower() in SUFFIXES:
                # Without it the others would be another dataset.
                raise DataError(f"{child.path}: has the name of an image, and is no file; accepted: regular files")
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {brief(error)}") from error
    if depth:
        for child in children:
            if child.is_dir():
                yield from _walk(folder, f"{prefix}{child.name}/", depth - 1)
