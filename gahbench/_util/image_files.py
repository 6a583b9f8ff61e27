"""Image files whose declared size is checked before anything is decoded."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image
from PIL.ImageFile import ImageFile

from gahbench._util.errors import DataError
from gahbench._util.readable import brief

#: The most pixels of one image file, 8192x8192: more than a camera of 60 megapixels takes.
MAX_PIXELS = 1 << 26
#: The most bytes of one image file: as many as that, without compression.
MAX_BYTES = 1 << 28
#: Formats that are decoded; some others of PIL would start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")


@contextmanager
def open_image(content: bytes, where: str) -> Iterator[ImageFile]:
    """Open an image file with PIL, for a ``with`` statement that decodes it.

    Its pixels are not decoded yet, so that a small file that declares a large image costs nothing. Formats are PNG,
    JPEG, BMP, GIF, TIFF, WebP, PPM and JPEG 2000.

    Parameters
    ----------
    content
        The bytes of the file.
    where
        How errors name it.

    Raises
    ------
    DataError
        If it is no such file, or declares more than 2^26 pixels; and for any error within the ``with`` statement that
        is not gahbench's own, since damaged files make decoders raise all kinds.

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
        raise DataError(_described(error, where)) from error


def check_pixels(height: int, width: int, where: str) -> None:
    """Refuse the declared size of an image if it has no pixels or too many.

    Parameters
    ----------
    height, width
        The size, in pixels.
    where
        How errors name the image.

    Raises
    ------
    DataError
        With the size, the limit, and what to do.
    """
    if height < 1 or width < 1:
        raise DataError(f"{where}: an image of {height}x{width} pixels; accepted: at least 1x1")
    if height * width > MAX_PIXELS:
        raise DataError(_too_large(f"{height}x{width} = {height * width:,}", where))


def _described(error: Exception, where: str) -> str:
    """Say why, without PIL's address of an object in memory."""
    text = brief(error)
    declared = re.search(r"Image size \((\d+) pixels\)", text)
    if declared:
        return _too_large(f"{int(declared[1]):,}", where)
    reason = "not an image of a known format" if "cannot identify" in text else text
    return f"{where}: cannot be read as an image: {reason}"


def _too_large(size: str, where: str) -> str:
    return (
        f"{where}: an image of {size} pixels; accepted: up to {MAX_PIXELS:,} in one file; make it smaller, "
        "or cut it into several files"
    )
