"""Load .npy and .npz files, and check their size before memory is allocated."""

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

#: Maximum size in bytes of the unpacked arrays of an .npz file. Arrays of .npy files are memory-mapped.
MAX_UNPACKED = 1 << 30


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Load arrays of an .npy or .npz file, without unpickling.

    Parameters
    ----------
    path
        Path of the file. The array of an .npy file is memory-mapped.
    names
        Arrays to load from an .npz file. If the file does not have the first name, all arrays are loaded. The array of
        an .npy file is returned under the first name.

    Raises
    ------
    DataError
        If the file cannot be read, is not a regular file, contains pickled objects, or unpacks to more than 1 GiB.

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
        return _unpack(path, names) if is_packed else {names[0]: _map_array(path)}
    except DataError:
        raise
    except Exception as error:
        # On damaged files, zipfile and numpy raise errors of many types.
        plain = (
            f"an .npz file with plain arrays, such as '{names[0]}'" if is_packed else "an .npy file of one plain array"
        )
        raise DataError(f"{path}: cannot be read: {brief(error)}; accepted: {plain}") from error


def _map_array(path: Path) -> NDArray[Any]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError("the file contains several arrays, like an .npz file")
    return array


def _unpack(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("the file contains a single array")
    with archive:
        requested = [name for name in names if name in archive.files] if names[0] in archive.files else archive.files
        assert archive.zip is not None
        members = set(requested) | {f"{name}.npy" for name in requested}
        size = sum(entry.file_size for entry in archive.zip.infolist() if entry.filename in members)
        if size > MAX_UNPACKED:
            raise DataError(
                f"{path}: its arrays unpack to {size:,} bytes; accepted: up to {MAX_UNPACKED:,} in an .npz file, or an "
                ".npy file, which stays on the disk"
            )
        for entry in archive.zip.infolist():
            if entry.filename in members and entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{brief(entry.filename)} is compressed by a method that numpy does not use")
        return {name: np.asarray(archive[name]) for name in requested}
