"""Folders and zip archives of image files, and CelebA's lists of splits and people."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gahbench import DataError
from gahbench._util.files import read_regular
from gahbench._util.readable import brief

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2")
)
#: Maximum depth of images below a folder.
MAX_DEPTH = 2
#: Sources with more bytes than this are slow to decode: they take more than ten seconds on one core.
SLOW_BYTES = 1 << 26
#: Maximum number of bytes of a file, enough for the maximum number of pixels.
MAX_FILE_BYTES = 1 << 28
#: Name of the folder of CelebA's images, and names of its lists, as published and as CSV.
CELEBA = "img_align_celeba"
PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
IDENTITY = ("identity_CelebA.txt", "identity_CelebA.csv")
CELEBA_LICENCE = "for non-commercial research only"
CELEBA_HOME = "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


class Encoded(ABC):
    """The image files of a source, in order."""

    def __init__(self, path: Path, names: list[str]) -> None:
        if not names:
            raise DataError(
                f"{path}: no images, up to {MAX_DEPTH} folders deep; accepted: {', '.join(sorted(SUFFIXES))} of up to "
                "8 bits per channel"
            )
        self.path = path
        self.names = names

    @abstractmethod
    def content(self, index: int) -> bytes:
        """Return the bytes of a file."""

    @abstractmethod
    def stamp(self) -> list[Any]:
        """Return values that change if a file changes, as plain JSON."""

    def key(self, settings: Any) -> list[Any]:
        """Return the key of the decoded files in the cache, as plain JSON."""
        return [str(self.path.resolve()), self.stamp(), settings]

    def size(self) -> int:
        """Return the size of the files in bytes."""
        return self.path.stat().st_size

    @property
    def is_slow(self) -> bool:
        """Whether the files are slow to decode."""
        return self.size() > SLOW_BYTES

    def text(self, name: str) -> str | None:
        """Return the content of a text file that belongs to the images; ``None`` if it does not exist."""
        return None

    def identity(self) -> NDArray[np.int64] | None:
        """Return the number of the person in each image, shape (N,), if known from the source or a list."""
        return self._load_list(IDENTITY, None)

    def partition(self) -> NDArray[np.int64] | None:
        """Return 0 (training), 1 (validation) or 2 (testing) for each image, shape (N,), if there is a list."""
        return self._load_list(PARTITION, {"0", "1", "2"})

    def _load_list(self, names: tuple[str, ...], accepted: set[str] | None) -> NDArray[np.int64] | None:
        """Return the number that a list states for each image; ``None`` if there is no list."""
        name, text = next(((name, text) for name in names if (text := self.text(name)) is not None), ("", None))
        if text is None:
            return None
        values: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            fields = re.split(r"[,\s]+", line.strip())
            # The first line of a CSV file names its columns.
            if fields == [""] or (number == 1 and len(fields) == 2 and not fields[1].isdecimal()):
                continue
            if (
                len(fields) != 2
                or not re.fullmatch(r"[0-9]{1,18}", fields[1])
                or (accepted and fields[1] not in accepted)
            ):
                kinds = f"one of {', '.join(sorted(accepted))}" if accepted else "a number"
                raise DataError(
                    f"{self.path}: {name}, line {number}: '{brief(line)}'; accepted: the name of an image and {kinds}"
                )
            values[fields[0]] = int(fields[1])
        try:
            return np.array([values[PurePosixPath(image).name] for image in self.names], dtype=np.int64)
        except KeyError as error:
            raise DataError(
                f"{self.path}: {name} does not list {brief(error.args[0])}; accepted: a list with every image"
            ) from error

    def reasons_by_name(self, reasons: Mapping[int, str]) -> dict[str, str]:
        """Convert reasons by index to reasons by name."""
        return {brief(self.names[index]): reason for index, reason in sorted(reasons.items())}


class Folder(Encoded):
    """The images of a folder, sorted: first its files, then the files of its folders, up to two folders deep."""

    def __init__(self, path: Path, below: str | None = None) -> None:
        self._stats = {name: (status.st_size, status.st_mtime_ns) for name, status in _walk(path, "", MAX_DEPTH)}
        super().__init__(path, _images_among(list(self._stats), None if path.name == below else below))

    def content(self, index: int) -> bytes:
        return _read(self.path / self.names[index])

    def stamp(self) -> list[Any]:
        """Return names, sizes and modification times."""
        return [[name, *self._stats[name]] for name in self.names]

    def size(self) -> int:
        return sum(self._stats[name][0] for name in self.names)

    def text(self, name: str) -> str | None:
        """Return the content of a text file in the folder, or in the parents of CelebA's folder of images."""
        text_file = next((self.path / file for file in self._stats if PurePosixPath(file).name == name), None)
        folder = self.path.resolve()
        while text_file is None and folder.name == CELEBA:
            folder = folder.parent
            text_file = folder / name if (folder / name).is_file() else None
        return _read(text_file).decode("utf-8", errors="replace") if text_file else None


class Zip(Encoded):
    """The images of a zip archive, in the order of a folder; the archive is not unpacked."""

    def __init__(self, path: Path, below: str | None = None) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:
            # Damaged archives may raise any exception.
            raise DataError(f"{path}: cannot be read as a zip archive: {brief(error)}") from error
        entries = [entry for entry in self._archive.infolist() if not (entry.filename and entry.is_dir())]
        for entry in entries:
            _check_entry(path, entry)
        files = (entry.filename for entry in entries)
        # Same order as for folders: the files of a folder come before the files of its folders.
        self._files = sorted((file for file in files if _is_in_reach(PurePosixPath(file))), key=_walking_order)
        super().__init__(path, _images_among(self._files, below))

    def content(self, index: int) -> bytes:
        return self._read(self.names[index])

    def stamp(self) -> list[Any]:
        """Return size and modification time of the archive, and the names in use."""
        return [stamp_of(self.path), self.names]

    def text(self, name: str) -> str | None:
        entry = next((file for file in self._files if PurePosixPath(file).name == name), None)
        return self._read(entry).decode("utf-8", errors="replace") if entry else None

    def _read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except Exception as error:
            raise DataError(f"{self.path}: {brief(name)} cannot be read: {brief(error)}") from error


def stamp_of(file: Path) -> list[Any]:
    """Return size and modification time of a file."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _read(file: Path) -> bytes:
    try:
        return read_regular(file, MAX_FILE_BYTES)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {brief(error)}") from error


def _images_among(files: list[str], below: str | None) -> list[str]:
    """Return the images among files; with ``below``, only images in a folder of this name."""
    images = [name for name in files if PurePosixPath(name).suffix.lower() in SUFFIXES]
    return [name for name in images if below is None or below in PurePosixPath(name).parts[:-1]]


def _walk(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    """Yield sorted names and status of the files of a folder, except hidden files, then of the files of its folders."""
    try:
        with os.scandir(folder / prefix) as scan:
            children = sorted((child for child in scan if not child.name.startswith(".")), key=lambda entry: entry.name)
        for child in children:
            if child.is_file():
                yield prefix + child.name, child.stat()
            elif not child.is_dir() and PurePosixPath(child.name).suffix.lower() in SUFFIXES:
                # Skipping the entry would silently change the dataset.
                raise DataError(f"{child.path}: named like an image, but not a file; accepted: regular files")
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {brief(error)}") from error
    if depth:
        for child in children:
            if child.is_dir():
                yield from _walk(folder, f"{prefix}{child.name}/", depth - 1)


def _walking_order(file: str) -> list[tuple[bool, str]]:
    parts = file.split("/")
    return [(index < len(parts) - 1, part) for index, part in enumerate(parts)]


def _is_in_reach(file: PurePosixPath) -> bool:
    """Return whether a file is neither hidden nor too deep in folders."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in file.parts)
    return not hidden and len(file.parts) <= MAX_DEPTH + 1


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    parts = entry.filename.replace("\\", "/").split("/")
    faults = {
        "lies outside of the archive": not parts[0] or ".." in parts or parts[0].endswith(":"),
        "is a link": stat.S_ISLNK(entry.external_attr >> 16),
        "is encrypted": entry.flag_bits & 1,
        "is too large for an image": entry.file_size > MAX_FILE_BYTES,
    }
    for fault, is_present in faults.items():
        if is_present:
            raise DataError(
                f"{path}: its entry '{brief(entry.filename)}' {fault}; accepted: plain files within the archive"
            )


def missing_celeba(path: Path) -> DataError:
    """Return the error for a path without CelebA."""
    return DataError(
        f"{path}: no CelebA there; expected torchvision's layout,\n"
        f"  celeba/{CELEBA}/000001.jpg ... 202599.jpg\n"
        f"  celeba/{PARTITION[0]} (optional: the published splits)\n"
        f"  celeba/{IDENTITY[0]} (optional: the people on the images)\n"
        f"or Kaggle's layout, {CELEBA}/{CELEBA}/*.jpg with {PARTITION[1]}. "
        f"CelebA is {CELEBA_LICENCE} and is not downloaded for you: {CELEBA_HOME}"
    )
