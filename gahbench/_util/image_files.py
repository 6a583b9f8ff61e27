"""Open image files and files of arrays, and check the declared size of images before memory is allocated."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from gahbench._util.errors import DataError
from gahbench._util.files import open_regular
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
            check_pixels(image.height, image.width, where)
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: cannot be read as an image: not an image of a known format") from error
    except Exception as error:
        raise DataError(f"{where}: cannot be read as an image: {brief(error)}") from error


def check_pixels(height: int, width: int, where: str) -> None:
    """Raise ``DataError`` if the declared size of an image has no pixels or too many."""
    if not 1 <= height * width <= MAX_PIXELS:
        raise DataError(
            f"{where}: an image of {height}x{width} = {height * width:,} pixels; accepted: at least 1, and up to "
            f"{MAX_PIXELS:,} in one file; make it smaller, or split it into several files"
        )


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Load arrays of an .npy or .npz file, without unpickling; raise ``DataError`` if it cannot be read.

    The array of an .npy file is memory-mapped, and returned under the first of the names. If an .npz file does not have
    the first name, all its arrays are loaded.
    """
    try:
        open_regular(path).close()
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {names[0]: loaded}
        with loaded:
            assert loaded.zip is not None
            size = sum(entry.file_size for entry in loaded.zip.infolist())
            if size > MAX_UNPACKED:
                raise ValueError(f"its arrays have {size:,} bytes, more than {MAX_UNPACKED:,}; use .npy files")
            chosen = names if names[0] in loaded else loaded.files
            return {name: loaded[name] for name in chosen if name in loaded}
    except Exception as error:
        # On damaged files, zipfile and numpy raise errors of many types.
        raise DataError(
            f"{path}: cannot be read: {brief(error)}; accepted: an .npy file of one array of numbers, or an .npz file "
            f"of such arrays, such as '{names[0]}'"
        ) from error
