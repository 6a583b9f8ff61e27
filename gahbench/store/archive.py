"""Archives of results folders: ZIP files from elsewhere, which are unpacked with suspicion.

An archive from elsewhere chooses the names, kinds and sizes of its members. Only regular files inside the target folder
are written, up to a limit on their number and their unpacked size; nothing in an archive is executed.
"""

from __future__ import annotations

import contextlib
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from gahbench._util.checks import is_inside
from gahbench._util.errors import ResultsError
from gahbench._util.files import open_regular
from gahbench._util.readable import brief

#: The suffix of archives.
SUFFIX = ".zip"
#: Limits of an archive: the number of members, and the bytes of all members when unpacked.
MAX_MEMBERS, MAX_BYTES = 100_000, 4 * 2**30
#: Decompression by other methods needs memory that their streams choose.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: The flag of members that are encrypted.
_ENCRYPTED = 0x1


def is_archive(path: Path) -> bool:
    """Return whether a path is named like an archive, and is a file."""
    return path.suffix == SUFFIX and path.is_file()


@contextlib.contextmanager
def open_folder(path: Path) -> Iterator[Path]:
    """Yield a results folder, or a temporary folder of the archive's name to which the archive is unpacked."""
    if not is_archive(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="gahbench-archive-") as scratch:
        folder = Path(scratch) / path.stem
        unpack(path, folder)
        yield folder


def unpack(file: Path, folder: Path) -> None:
    """Unpack an archive to a new folder.

    Raises
    ------
    ResultsError
        If the file is not an archive, is damaged, has too many or too large members, or a member is a link or
        another special file, is encrypted, is there twice, or has a name that leads out of the folder.
    """
    try:
        with open_regular(file) as content, zipfile.ZipFile(content) as archive:
            members = _check_members(file, archive.infolist())
            folder.mkdir(parents=True)
            left = MAX_BYTES
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as unpacked_file:
                    # The recorded size may be wrong, so bytes are counted as they are written.
                    while chunk := source.read(2**20):
                        left -= len(chunk)
                        if left < 0:
                            raise ResultsError(f"{file}: unpacks to more than {MAX_BYTES:,} bytes")
                        unpacked_file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ResultsError(f"{file}: not an archive of results ({error}); expected a ZIP file") from error
    except OSError as error:
        raise ResultsError(f"{file}: cannot be unpacked: {error.strerror or error}") from error


def _check_members(file: Path, members: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """Return the members that are files; raise an error before anything is written if a member is not accepted."""
    if len(members) > MAX_MEMBERS:
        raise ResultsError(f"{file}: has {len(members):,} members; accepted: up to {MAX_MEMBERS:,}")
    if (size := sum(member.file_size for member in members)) > MAX_BYTES:
        raise ResultsError(f"{file}: unpacks to {size:,} bytes; accepted: up to {MAX_BYTES:,}")
    files, names = [], set()
    for member in members:
        where = f"{file}: {brief(repr(member.filename))}"
        name = member.filename
        if "\\" in name or ":" in name or not is_inside(name):
            raise ResultsError(f"{where} leads out of the folder; accepted: relative paths")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ResultsError(f"{where} is a link or another special file; accepted: regular files")
        if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
            raise ResultsError(f"{where} is encrypted, or compressed in another way than by 'deflate'")
        # File systems may ignore case.
        if (folded := str(PurePosixPath(name)).casefold()) in names:
            raise ResultsError(f"{where} is in the archive twice")
        names.add(folded)
        if not member.is_dir():
            files.append(member)
    return files
