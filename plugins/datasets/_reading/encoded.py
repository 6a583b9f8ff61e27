"""Sources of many image files, folders and zip archives, and the lists of CelebA that come with them."""

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
#: How deep below a folder its images may lie.
DEPTH = 2
#: Image files of more bytes than this take long to decode: more than ten seconds on one core.
LONG = 1 << 26
#: The most bytes of one file: an image of as many pixels as are accepted needs no more.
LARGEST = 1 << 28
#: Name of the folder that CelebA's images come in, and of the lists beside it, as published and as CSV.
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
                f"{path}: no images, up to {DEPTH} folders deep; accepted: {', '.join(sorted(SUFFIXES))} of up to "
                "8 bits a channel"
            )
        self.path = path
        self.names = names

    @abstractmethod
    def content(self, place: int) -> bytes:
        """Return the bytes of a file."""

    @abstractmethod
    def stamp(self) -> list[Any]:
        """Return facts that change when a file does, as plain JSON."""

    def key(self, settings: Any) -> list[Any]:
        """Return what decides how the files are decoded, as plain JSON."""
        return [str(self.path.resolve()), self.stamp(), settings]

    def size(self) -> int:
        """Return the size of the files in bytes."""
        return self.path.stat().st_size

    @property
    def is_long(self) -> bool:
        """Whether the files take long to decode."""
        return self.size() > LONG

    def text(self, name: str) -> str | None:
        """Return a text file of that name beside the images, or between the path and them; ``None`` if none is."""
        return None

    def identity(self) -> NDArray[np.int64] | None:
        """Return the number of the person on each image, shape (N,), if the source or a list beside it has them."""
        return self._listed(IDENTITY, None)

    def partition(self) -> NDArray[np.int64] | None:
        """Return 0 (training), 1 (validation) or 2 (testing) for each image, shape (N,), where a list says so."""
        return self._listed(PARTITION, {"0", "1", "2"})

    def _listed(self, names: tuple[str, ...], accepted: set[str] | None) -> NDArray[np.int64] | None:
        """Return the number that a list has for each image."""
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
                    f"{self.path}: {name}, line {number}: '{brief(line)}'; accepted: an image's name and {kinds}"
                )
            values[fields[0]] = int(fields[1])
        try:
            return np.array([values[PurePosixPath(image).name] for image in self.names], dtype=np.int64)
        except KeyError as error:
            raise DataError(
                f"{self.path}: {name} does not list {brief(error.args[0])}; accepted: a list with every image"
            ) from error

    def named(self, reasons: Mapping[int, str]) -> dict[str, str]:
        """Return why files cannot be used, by their names, given by their places."""
        return {brief(self.names[place]): why for place, why in sorted(reasons.items())}


class Folder(Encoded):
    """The images of a folder, sorted: its own, then those of its folders, up to two deep."""

    def __init__(self, path: Path, below: str | None = None) -> None:
        self._stats = {name: (status.st_size, status.st_mtime_ns) for name, status in _walk(path, "", DEPTH)}
        super().__init__(path, _images_among(list(self._stats), None if path.name == below else below))

    def content(self, place: int) -> bytes:
        return _read(self.path / self.names[place])

    def stamp(self) -> list[Any]:
        """Return names, sizes and times of change."""
        return [[name, *self._stats[name]] for name in self.names]

    def size(self) -> int:
        return sum(self._stats[name][0] for name in self.names)

    def text(self, name: str) -> str | None:
        """Return a text file of that name, which may lie beside the folder where that is CelebA's of the images."""
        text_file = next((self.path / file for file in self._stats if PurePosixPath(file).name == name), None)
        folder = self.path.resolve()
        while text_file is None and folder.name == CELEBA:
            folder = folder.parent
            text_file = folder / name if (folder / name).is_file() else None
        return _read(text_file).decode("utf-8", errors="replace") if text_file else None


class Zip(Encoded):
    """The images of a zip archive, as those of the folder that it would unpack to; nothing is unpacked."""

    def __init__(self, path: Path, below: str | None = None) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:
            # Damaged archives make it raise all kinds.
            raise DataError(f"{path}: cannot be read as a zip archive: {brief(error)}") from error
        entries = [entry for entry in self._archive.infolist() if not (entry.filename and entry.is_dir())]
        for entry in entries:
            _check_entry(path, entry)
        files = (entry.filename for entry in entries)
        # As a folder is walked: the files of a folder before those of the folders in it.
        self._files = sorted((file for file in files if _is_near(PurePosixPath(file))), key=_walking_order)
        super().__init__(path, _images_among(self._files, below))

    def content(self, place: int) -> bytes:
        return self._read(self.names[place])

    def stamp(self) -> list[Any]:
        """Return size and time of change of the archive, and the names in use."""
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
    """Return size and time of change of one file."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _read(file: Path) -> bytes:
    try:
        return read_regular(file, LARGEST)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {brief(error)}") from error


def _images_among(files: list[str], below: str | None) -> list[str]:
    """Return the images among files, all or only those somewhere below a folder of that name."""
    images = [name for name in files if PurePosixPath(name).suffix.lower() in SUFFIXES]
    return [name for name in images if below is None or below in PurePosixPath(name).parts[:-1]]


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


def _walking_order(file: str) -> list[tuple[bool, str]]:
    parts = file.split("/")
    return [(place < len(parts) - 1, part) for place, part in enumerate(parts)]


def _is_near(file: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in file.parts)
    return not hidden and len(file.parts) <= DEPTH + 1


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    parts = entry.filename.replace("\\", "/").split("/")
    faults = {
        "lies outside of the archive": not parts[0] or ".." in parts or parts[0].endswith(":"),
        "is a link": stat.S_ISLNK(entry.external_attr >> 16),
        "is encrypted": entry.flag_bits & 1,
        "is too large for an image": entry.file_size > LARGEST,
    }
    for fault, is_so in faults.items():
        if is_so:
            raise DataError(
                f"{path}: its entry '{brief(entry.filename)}' {fault}; accepted: plain files within the archive"
            )


def missing_celeba(path: Path) -> DataError:
    """Return the error for a path where CelebA is not."""
    return DataError(
        f"{path}: no CelebA there; expected, as torchvision has it,\n"
        f"  celeba/{CELEBA}/000001.jpg ... 202599.jpg\n"
        f"  celeba/{PARTITION[0]} (optional: the published splits)\n"
        f"  celeba/{IDENTITY[0]} (optional: the persons on the images)\n"
        f"or, as Kaggle has it, {CELEBA}/{CELEBA}/*.jpg with {PARTITION[1]}. "
        f"CelebA is {CELEBA_LICENCE} and is not downloaded for you: {CELEBA_HOME}"
    )
