"""Open image files and files of arrays, and check their declared size before memory is allocated."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from gahbench._util.errors import DataError
from gahbench._util.files import check_regular
from gahbench._util.readable import brief

#: Maximum number of pixels of an image file, 8192x8192, more than a camera of 60 megapixels takes.
MAX_PIXELS = 1 << 26
#: Maximum number of bytes of an image file: the size of an uncompressed image with the maximum number of pixels.
MAX_BYTES = 1 << 28
#: Accepted formats. For some other formats, PIL would start external programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
#: Maximum size in bytes of the unpacked arrays of an .npz file. Arrays of .npy files are memory-mapped.
MAX_UNPACKED = 1 << 30


@contextmanager
def open_image(content: bytes, where: str) -> Iterator[ImageFile]:
    """Open an image file with PIL, for a ``with`` statement that decodes it; raise ``DataError`` if it is invalid.

    Pixels are not decoded yet, so that a small file that declares a large image costs no memory. Errors within the
    ``with`` statement are converted to ``DataError`` too, since decoders raise errors of many types on damaged files.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            check_pixels(height, width, where)
            yield image
    except DataError:
        raise
    except Exception as error:
        raise DataError(_describe(error, where)) from error


def check_pixels(height: int, width: int, where: str) -> None:
    """Raise ``DataError`` if the declared size of an image has no pixels or too many."""
    if height < 1 or width < 1:
        raise DataError(f"{where}: an image of {height}x{width} pixels; accepted: at least 1x1")
    if height * width > MAX_PIXELS:
        raise DataError(_too_large(f"{height}x{width} = {height * width:,}", where))


def _describe(error: Exception, where: str) -> str:
    """Format an error of PIL, without the memory address of an object."""
    text = brief(error)
    declared = re.search(r"Image size \((\d+) pixels\)", text)
    if declared:
        return _too_large(f"{int(declared[1]):,}", where)
    reason = "not an image of a known format" if "cannot identify" in text else text
    return f"{where}: cannot be read as an image: {reason}"


def _too_large(size: str, where: str) -> str:
    return (
        f"{where}: an image of {size} pixels; accepted: up to {MAX_PIXELS:,} in one file; make it smaller, "
        "or split it into several files"
    )


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Load arrays of an .npy or .npz file, without unpickling; raise ``DataError`` if it cannot be read.

    The array of an .npy file is memory-mapped, and returned under the first of the names. If an .npz file does not have
    the first name, all its arrays are loaded.
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
