"""Arrays of .npy and .npz files, which are checked before memory is taken for them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gahbench._util.errors import DataError
from gahbench._util.files import check_regular
from gahbench._util.readable import brief

#: The most bytes that the arrays of an .npz file may unpack to; those of an .npy file stay on the disk.
MAX_UNPACKED = 1 << 30


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Load arrays of an .npy or .npz file; nothing is unpickled.

    Parameters
    ----------
    path
        The file. The array of an .npy file stays on the disk, and is memory-mapped.
    names
        The arrays of an .npz file to load, if the file has the first of them, and otherwise all arrays. The array of an
        .npy file is returned under the first name.

    Raises
    ------
    DataError
        If it cannot be read, is no regular file, holds pickled objects, or unpacks to more than 1 GiB.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "two.npz"
    >>> numpy.savez(file, images=numpy.zeros((2, 8, 8)), other=numpy.zeros(3))
    >>> list(load_arrays(file, ["images", "identity"]))
    ['images']
    """
    is_packed = path.suffix.lower() == ".npz"
    try:
        check_regular(path)
        return _unpacked(path, names) if is_packed else {names[0]: _mapped(path)}
    except DataError:
        raise
    except Exception as error:
        # Damaged files make zipfile and numpy raise all kinds.
        plain = (
            f"an .npz file with plain arrays, such as '{names[0]}'" if is_packed else "an .npy file of one plain array"
        )
        raise DataError(f"{path}: cannot be read: {brief(error)}; accepted: {plain}") from error


def _mapped(path: Path) -> NDArray[Any]:
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError("it holds several arrays, as an .npz file does")
    return found


def _unpacked(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("it holds a single array")
    with archive:
        wanted = [name for name in names if name in archive.files] if names[0] in archive.files else archive.files
        assert archive.zip is not None
        members = set(wanted) | {f"{name}.npy" for name in wanted}
        size = sum(entry.file_size for entry in archive.zip.infolist() if entry.filename in members)
        if size > MAX_UNPACKED:
            raise DataError(
                f"{path}: its arrays unpack to {size:,} bytes; accepted: up to {MAX_UNPACKED:,} in an .npz file, or an "
                ".npy file, which stays on the disk"
            )
        for entry in archive.zip.infolist():
            if entry.filename in members and entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{brief(entry.filename)} is compressed by another method than numpy's")
        return {name: np.asarray(archive[name]) for name in wanted}
