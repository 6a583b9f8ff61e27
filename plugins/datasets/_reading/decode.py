"""Image files, decoded: few at a time, as memory allows."""

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

#: PIL's modes of 8 bits a channel, which convert to RGB without loss of range.
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
#: Pixels of the images that are decoded at a time, or are waiting for those before them: at most some 300 MB, if one
#: image alone is not larger.
IN_FLIGHT = 1 << 25
#: Pixels that are copied out of PIL at a time.
STRIP = 1 << 20


class Decoding:
    """Decodes the image files of a source in order, and collects their digest, and the files that are unusable."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded
        #: Reasons why files cannot be used, by the numbers of the files.
        self.unusable: dict[int, str] = {}
        self._digest = hashlib.sha256()
        self._had_colours = False

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield number and pixels, shape (H, W, 3), of each image that can be read."""
        threads, count = cpu_count(), len(self.encoded.names)
        progress = Progress(f"decoding {self.encoded.path.name}", count)
        # Number of the image, count of its pixels, and the pixels to come.
        queue: deque[tuple[int, int, Future[NDArray[np.uint8]]]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for place in range(count):
                where = f"{self.encoded.path}: {brief(self.encoded.names[place])}"
                try:
                    content = self.encoded.content(place)
                    with open_image(content, where) as image:
                        pixels = image.width * image.height
                except DataError as error:
                    self.unusable[place] = self._reason(error, place)
                    continue
                while queue and (sum(size for _, size, _ in queue) + pixels > IN_FLIGHT or len(queue) > 2 * threads):
                    yield from self._results(queue.popleft(), progress)
                queue.append((place, pixels, pool.submit(decode, content, where)))
            for entry in queue:
                yield from self._results(entry, progress)

    def count(self, image: NDArray[np.uint8]) -> None:
        """Count an image, shape (H, W, 3), among those that are used."""
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
        """Yield the one image of an entry of the queue, if it can be decoded."""
        place, _, future = entry
        try:
            yield place, future.result()
        except DataError as error:
            self.unusable[place] = self._reason(error, place)
        progress(place + 1)

    def _reason(self, error: DataError, place: int) -> str:
        """Return why an image cannot be used, without the names of the source and of the image."""
        path, name = self.encoded.path, self.encoded.names[place]
        text = str(error)
        for prefix in (f"{path}: {brief(name)}: ", f"{path / name}: ", f"{path}: {brief(name)} "):
            text = text.removeprefix(prefix)
        return text


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


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Copy the pixels of an RGB image, shape (H, W, 3), strip by strip: PIL makes two copies of what it hands over."""
    width, height = image.size
    copied = np.empty((height, width, 3), dtype=np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        copied[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return copied
