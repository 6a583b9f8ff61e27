"""Image files, decoded: few at a time, as memory allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gahbench import DataError, brief, cpu_count, open_image

if TYPE_CHECKING:
    from .encoded import Encoded

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2")
)
#: PIL's modes of 8 bits a channel, which convert to RGB without loss of range.
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
#: Pixels of the images that are decoded at a time, or are waiting for those before them: at most some 300 MB, if one
#: image alone is not larger.
IN_FLIGHT = 1 << 25
#: Pixels that are copied out of PIL at a time.
STRIP = 1 << 20


def decode(content: bytes, where: str) -> NDArray[np.uint8]:
    """Return the RGB pixels of an image file, shape (H, W, 3)."""
    with open_image(content, where) as image:
        if image.mode not in EIGHT_BIT_MODES:
            raise DataError(f"{where}: an image of mode {image.mode}; accepted: 8 bits a channel")
        # PIL reads 16-bit colour PNG as if it had 8; only the raw mode shows it.
        if any(";16" in str(tile[3]) for tile in image.tile):
            raise DataError(f"{where}: an image of 16 bits a channel; accepted: 8 bits a channel")
        ImageOps.exif_transpose(image, in_place=True)
        # Transparency would cost the palette a warning.
        image.info.pop("transparency", None)
        return _pixels(image if image.mode == "RGB" else image.convert("RGB"))


def decoded(encoded: Encoded) -> Iterator[NDArray[np.uint8] | DataError]:
    """Yield the pixels (H, W, 3) of each image of a source, in order, or why the image cannot be read."""
    threads = cpu_count()
    waiting: deque[tuple[int, Future[NDArray[np.uint8]]]] = deque()
    in_flight = 0
    with ThreadPoolExecutor(threads) as pool:
        for place, name in enumerate(encoded.names):
            where = f"{encoded.path}: {brief(name)}"
            failed: DataError | None = None
            content, pixels = b"", 0
            try:
                (content,) = encoded.contents(place, place + 1)
                with open_image(content, where) as image:
                    pixels = image.width * image.height
            except DataError as error:
                failed = error
            while waiting and (in_flight + pixels > IN_FLIGHT or len(waiting) > 2 * threads):
                size, future = waiting.popleft()
                in_flight -= size
                yield _result(future)
            waiting.append((pixels, _failed(failed) if failed else pool.submit(decode, content, where)))
            in_flight += pixels
        while waiting:
            yield _result(waiting.popleft()[1])


def _failed(error: DataError) -> Future[NDArray[np.uint8]]:
    future: Future[NDArray[np.uint8]] = Future()
    future.set_exception(error)
    return future


def _result(future: Future[NDArray[np.uint8]]) -> NDArray[np.uint8] | DataError:
    try:
        return future.result()
    except DataError as error:
        return error


def reason(error: DataError, encoded: Encoded, place: int) -> str:
    """Return why an image of a source cannot be used, without the names of the source and of the image."""
    name = encoded.names[place]
    text = str(error)
    for prefix in (f"{encoded.path}: {brief(name)}: ", f"{encoded.path / name}: ", f"{encoded.path}: {brief(name)} "):
        text = text.removeprefix(prefix)
    return text


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Copy the pixels of an RGB image, shape (H, W, 3), strip by strip: PIL makes two copies of what it hands over."""
    width, height = image.size
    found = np.empty((height, width, 3), dtype=np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        found[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return found
