"""Open image files, and check their declared size before decoding."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image
from PIL.ImageFile import ImageFile

from gahbench._util.errors import DataError
from gahbench._util.readable import brief

#: Maximum number of pixels of an image file, 8192x8192, more than a camera of 60 megapixels takes.
MAX_PIXELS = 1 << 26
#: Maximum number of bytes of an image file: the size of an uncompressed image with the maximum number of pixels.
MAX_BYTES = 1 << 28
#: Accepted formats. For some other formats, PIL would start external programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")


@contextmanager
def open_image(content: bytes, where: str) -> Iterator[ImageFile]:
    """Open an image file with PIL, for a ``with`` statement that decodes it.

    Pixels are not decoded yet, so that a small file that declares a large image costs no memory. Accepted formats are
    PNG, JPEG, BMP, GIF, TIFF, WebP, PPM and JPEG 2000.

    Parameters
    ----------
    content
        Bytes of the file.
    where
        Name of the file in error messages.

    Raises
    ------
    DataError
        If the file is not an image of an accepted format, or declares more than 2^26 pixels. Errors within the ``with``
        statement are converted to ``DataError`` too, since decoders raise errors of many types on damaged files.

    Examples
    --------
    >>> with open_image(b"P5 3 2 255 " + bytes(6), "here") as image:
    ...     image.size
    (3, 2)
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
    """Raise if the declared size of an image has no pixels or too many.

    Parameters
    ----------
    height, width
        Size in pixels.
    where
        Name of the image in error messages.

    Raises
    ------
    DataError
        If the size is out of range.
    """
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
