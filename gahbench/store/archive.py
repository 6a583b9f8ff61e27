"""Archives of results folders: ZIP files, possibly of other people, which are read like folders."""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from gahbench._util.errors import ResultsError
from gahbench._util.files import open_regular

#: Limits of an archive: the number of members, and the bytes of all members when unpacked.
MAX_MEMBERS, MAX_BYTES = 100_000, 4 * 2**30


def is_archive(path: Path) -> bool:
    """Return whether a path is named like an archive, and is a file."""
    return path.suffix == ".zip" and path.is_file()


@contextlib.contextmanager
def open_folder(path: Path) -> Iterator[Path]:
    """Yield a results folder, or a temporary folder of the archive's name to which the archive is unpacked."""
    if not is_archive(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="gahbench-archive-") as scratch:
        try:
            with open_regular(path) as content, zipfile.ZipFile(content) as archive:
                members = archive.infolist()
                if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_BYTES:
                    raise ValueError(f"too large; accepted: {MAX_MEMBERS:,} members of {MAX_BYTES:,} bytes in total")
                # zipfile writes only regular files inside the folder, and no more bytes than the recorded sizes.
                archive.extractall(folder := Path(scratch) / path.stem)
        except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ResultsError(f"{path}: cannot be unpacked ({error}); expected an archive of results") from error
        yield folder
