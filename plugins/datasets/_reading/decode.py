"""One image file, decoded."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gahbench import DataError

#: Formats that are decoded here; some others of PIL would start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2")
)
#: PIL's modes of 8 bits a channel, which convert to RGB without loss of range.
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")


def decode(content: bytes, where: str) -> NDArray[np.uint8]:
    """Return the RGB pixels of an image file, shape (H, W, 3).

    Grey images get three equal channels, palettes and CMYK become RGB, transparency is ignored, the first of several
    frames is taken, and an image is turned upright as its EXIF data says.

    Raises
    ------
    DataError
        If it cannot be read, or has more than 8 bits a channel; names the file, ``where``.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.mode not in EIGHT_BIT_MODES:
                raise DataError(f"{where}: an image of mode {image.mode}; accepted: 8 bits a channel")
            # PIL reads 16-bit colour PNG as if it had 8; only the raw mode shows it.
            if any(";16" in str(tile[3]) for tile in image.tile):
                raise DataError(f"{where}: an image of 16 bits a channel; accepted: 8 bits a channel")
            upright = ImageOps.exif_transpose(image)
            # Transparency would cost the palette a warning.
            upright.info.pop("transparency", None)
            return np.asarray(upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: cannot be read as an image: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say why without PIL's address of an object in memory."""
    return "not an image of a known format" if "cannot identify" in str(error) else str(error)
