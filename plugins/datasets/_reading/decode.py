"""Decode image files in threads, with limited memory."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gahbench import DataError
from gahbench._util.image_files import open_image
from gahbench._util.readable import brief
from gahbench._util.resources import cpu_count

from . import arrays
from .cache import Progress
from .encoded import Encoded
from .preprocess import channels_first, has_colours

#: PIL's modes with 8 bits per channel, which convert to RGB without loss of range.
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
#: Maximum number of pixels of the images in the queue, about 300 MB, unless a single image is larger.
IN_FLIGHT = 1 << 25
#: Number of pixels that are copied out of PIL at a time.
STRIP = 1 << 20


class Decoding:
    """Decodes the image files of a source in order, and collects their digest and the unusable files."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded
        #: Reasons why files cannot be used, by index.
        self.unusable: dict[int, str] = {}
        self._digest = hashlib.sha256()
        self._had_colours = False

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield index and pixels, shape (H, W, 3), of each readable image."""
        threads, count = cpu_count(), len(self.encoded.names)
        progress = Progress(f"decoding {self.encoded.path.name}", count)
        # Index of the image, number of its pixels, and future of the pixels.
        queue: deque[tuple[int, int, Future[NDArray[np.uint8]]]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for index in range(count):
                where = f"{self.encoded.path}: {brief(self.encoded.names[index])}"
                try:
                    content = self.encoded.content(index)
                    with open_image(content, where) as image:
                        pixels = image.width * image.height
                except DataError as error:
                    self.unusable[index] = self._reason(error, index)
                    continue
                while queue and (sum(size for _, size, _ in queue) + pixels > IN_FLIGHT or len(queue) > 2 * threads):
                    yield from self._results(queue.popleft(), progress)
                queue.append((index, pixels, pool.submit(decode, content, where)))
            for entry in queue:
                yield from self._results(entry, progress)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Add an image in use, shape (H, W, 3), to the digest."""
        arrays.update(self._digest, image)
        self._had_colours |= has_colours(channels_first(image))

    def facts(self) -> dict[str, Any]:
        """Return, as plain JSON, the digest of the images in use, whether any has colours, and the unusable files."""
        return {
            "digest": self._digest.hexdigest(),
            "colours": self._had_colours,
            "unusable": sorted(self.unusable.items()),
        }

    def _results(
        self, entry: tuple[int, int, Future[NDArray[np.uint8]]], progress: Progress
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the image of an entry of the queue, if it can be decoded."""
        index, _, future = entry
        try:
            yield index, future.result()
        except DataError as error:
            self.unusable[index] = self._reason(error, index)
        progress(index + 1)

    def _reason(self, error: DataError, index: int) -> str:
        """Return the reason why an image cannot be used, without the names of the source and of the image."""
        path, name = self.encoded.path, self.encoded.names[index]
        text = str(error)
        for prefix in (f"{path}: {brief(name)}: ", f"{path / name}: ", f"{path}: {brief(name)} "):
            text = text.removeprefix(prefix)
        return text


def decode(content: bytes, where: str) -> NDArray[np.uint8]:
    """Return the RGB pixels of an image file, shape (H, W, 3)."""
    with open_image(content, where) as image:
        if image.mode not in EIGHT_BIT_MODES:
            raise DataError(f"{where}: an image of mode {image.mode}; accepted: 8 bits per channel")
        # PIL reads 16-bit colour PNG as 8-bit; only the raw mode shows the difference.
        if any(";16" in str(tile[3]) for tile in image.tile):
            raise DataError(f"{where}: an image with 16 bits per channel; accepted: 8 bits per channel")
        ImageOps.exif_transpose(image, in_place=True)
        # Converting a palette with transparency would raise a warning.
        image.info.pop("transparency", None)
        return _pixels(image if image.mode == "RGB" else image.convert("RGB"))


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Copy the pixels of an RGB image, shape (H, W, 3), strip by strip, since PIL makes two temporary copies."""
    width, height = image.size
    copied = np.empty((height, width, 3), dtype=np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        copied[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return copied
