"""The image files of a zip archive."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from gahbench import DataError, brief

from .encoded import DEPTH, LARGEST, Encoded, images_among, stamp_of


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
        super().__init__(path, images_among(self._files, below))

    def contents(self, first: int, last: int) -> list[bytes]:
        """Return the bytes of files ``first`` to ``last``."""
        return [self._read(name) for name in self.names[first:last]]

    def stamp(self) -> list[Any]:
        """Return size and time of change of the archive, and the names in use."""
        return [stamp_of(self.path), self.names]

    def text(self, name: str) -> str | None:
        """Return a text file of that name."""
        found = next((file for file in self._files if PurePosixPath(file).name == name), None)
        return self._read(found).decode("utf-8", errors="replace") if found else None

    def _read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except Exception as error:
            raise DataError(f"{self.path}: {brief(name)} cannot be read: {brief(error)}") from error


def _walking_order(file: str) -> list[tuple[bool, str]]:
    parts = file.split("/")
    return [(place < len(parts) - 1, part) for place, part in enumerate(parts)]


def _is_near(file: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in file.parts)
    return not hidden and len(file.parts) <= DEPTH + 1


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    parts = entry.filename.replace("\\", "/").split("/")
    outside = not parts[0] or ".." in parts or parts[0].endswith(":")
    why = (
        "lies outside of the archive"
        if outside
        else "is a link"
        if stat.S_ISLNK(entry.external_attr >> 16)
        else "is encrypted"
        if entry.flag_bits & 1
        else "is too large for an image"
        if entry.file_size > LARGEST
        else None
    )
    if why:
        raise DataError(f"{path}: its entry '{brief(entry.filename)}' {why}; accepted: plain files within the archive")
