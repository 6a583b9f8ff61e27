"""Read pairs and bursts of recorded images with 8 to 16 bits or in floating point."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench import DataError
from gahbench._util.image_files import check_pixels, load_arrays, open_image
from gahbench._util.readable import brief

from .decode import EIGHT_BIT_MODES, decode
from .encoded import Folder
from .preprocess import LUMA, Colour

#: Names of the folders, or of the arrays of an .npz file.
CLEAN, NOISY, BURSTS = "clean", "noisy", "bursts"
ACCEPTED = (
    f"accepted: a folder with the folders {CLEAN} and {NOISY}, which hold images of equal names, or {NOISY} alone; a "
    f"folder with a folder of repeated captures for each scene; or an .npz file with the arrays {CLEAN} and {NOISY}, "
    f"{NOISY} alone, or {BURSTS}"
)
#: PIL's modes with 16 or 32 bits for the single channel of an image.
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")
_TIFF_STARTS = (b"II", b"MM")
#: Fewest captures in a burst: one noisy image, and at least two others for the mean and its variance.
MIN_CAPTURES = 3
_TWELVE_BITS = 4095


@dataclass(frozen=True)
class Levels:
    """The grey levels of black and white, by default those of the type of the pixels, and the colours to return."""

    black: float | None
    white: float | None
    colour: Colour

    def apply(self, pixels: NDArray[Any]) -> Tensor:
        """Return pixels (H, W) or (H, W, C) in units where black is 0 and white is 1, shape (C, H, W), float32."""
        if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
            white = float(np.iinfo(pixels.dtype).max)
        elif pixels.dtype.kind == "f":
            white = 1.0
        elif pixels.dtype.kind in "iu" and self.white is not None:
            white = self.white
        else:
            raise DataError(f"pixels of type {pixels.dtype}; accepted: 8 or 16 bits, floating point, or a 'white'")
        black, white = self.black or 0.0, white if self.white is None else self.white
        channels = torch.from_numpy(np.atleast_3d(pixels).astype(np.float64)).permute(2, 0, 1)[:3]
        if len(channels) == 2:
            channels = channels[:1]
        image = (channels - black) / (white - black)
        if self.colour == "rgb":
            return image.expand(3, -1, -1).float()
        weights = LUMA if self.colour == "luma" and len(image) == 3 else (1 / len(image),) * len(image)
        return (image * torch.tensor(weights, dtype=image.dtype).view(-1, 1, 1)).sum(0, keepdim=True).float()


def read_recording(content: bytes, where: str) -> NDArray[Any]:
    """Return the pixels of an image file, shape (H, W) or (H, W, C), with the type of the file."""
    try:
        with open_image(content, where) as image:
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise DataError(f"{where}: a file of {frames} images; accepted: one image in each file")
            has_deep_colours = image.mode in EIGHT_BIT_MODES and any(";16" in str(tile[3]) for tile in image.tile)
            if image.mode in DEEP_MODES:
                pixels = np.asarray(image)
                is_short = image.mode == "I" and image.format in ("PNG", "PPM")
                return pixels.astype(np.uint16) if is_short else pixels
            mode, is_tiff = image.mode, image.format == "TIFF"
    except DataError:
        if not content.startswith(_TIFF_STARTS):
            raise
        return _read_tiff(content, where)
    if is_tiff and (has_deep_colours or mode not in EIGHT_BIT_MODES):
        return _read_tiff(content, where)
    if has_deep_colours:
        raise DataError(f"{where}: a colour image with 16 bits per channel; accepted: 8 bits, or a TIFF file")
    return decode(content, where)


def _read_tiff(content: bytes, where: str) -> NDArray[Any]:
    """Return the pixels of a TIFF file of a kind that PIL does not read, such as colours of 16 bits."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            if len(file.pages) != 1:
                raise DataError(f"{where}: a file of {len(file.pages)} images; accepted: one image in each file")
            page: Any = file.pages[0]
            check_pixels(page.imagelength, page.imagewidth, where)
            pixels: NDArray[Any] = page.asarray()
    except DataError:
        raise
    except Exception as error:
        # Damaged files raise errors of many types.
        raise DataError(f"{where}: cannot be read as an image: {brief(error)}") from error
    if pixels.ndim == 3 and page.planarconfig == 2:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] > 4):
        raise DataError(f"{where}: pixels of shape {pixels.shape}; accepted: grey or RGB")
    return pixels


#: Recorded images by name: the pixels, or the reason why they cannot be read.
Recordings = Mapping[str, NDArray[Any] | str]


@dataclass(frozen=True)
class Recorded:
    """Recorded images: clean and noisy images by name, or captures of a scene by the name of the scene.

    ``clean`` is ``None`` if there are noisy images alone.
    """

    clean: Recordings | None
    noisy: Recordings
    bursts: Mapping[str, list[NDArray[Any]] | str]


def read_recorded(path: Path) -> Recorded:
    """Read the pairs or bursts of a folder or .npz file."""
    if path.suffix.lower() == ".npz":
        return _from_arrays(path)
    if not path.is_dir():
        raise DataError(f"{brief(path)}: no such folder; {ACCEPTED}")
    present = [name for name in (CLEAN, NOISY) if (path / name).is_dir()]
    if len(present) == 2:
        clean, noisy = (dict(_read_all(path / name)) for name in (CLEAN, NOISY))
        return Recorded(clean, noisy, {})
    if present == [NOISY]:
        return Recorded(None, dict(_read_all(path / NOISY)), {})
    if present:
        raise DataError(f"{path}: has the folder '{CLEAN}', but no folder '{NOISY}'; {ACCEPTED}")
    scenes: dict[str, list[NDArray[Any]] | str] = {}
    for name, pixels in _read_all(path):
        scene = str(PurePosixPath(name).parent)
        if scene == ".":
            raise DataError(f"{path}: has the image {brief(name)} outside of a folder; {ACCEPTED}")
        captures = scenes.setdefault(scene, [])
        if isinstance(captures, list):
            if isinstance(pixels, str):
                scenes[scene] = f"{PurePosixPath(name).name}: {pixels}"
            else:
                captures.append(pixels)
    return Recorded({}, {}, scenes)


def _read_all(folder: Path) -> Iterator[tuple[str, NDArray[Any] | str]]:
    """Yield the names without suffix of the images of a folder, and their pixels or why they cannot be read."""
    files, seen = Folder(folder), dict[str, str]()
    for index, file in enumerate(files.names):
        name = str(PurePosixPath(file).with_suffix(""))
        if name in seen:
            raise DataError(f"{folder}: {brief(seen[name])} and {brief(file)} have one name; accepted: distinct names")
        seen[name] = file
        try:
            yield name, read_recording(files.content(index), "")
        except DataError as error:
            yield name, str(error).removeprefix(": ")


def _from_arrays(path: Path) -> Recorded:
    arrays = load_arrays(path, (CLEAN, NOISY, BURSTS))
    if NOISY in arrays:
        named = {
            kind: {f"image {i}": image for i, image in enumerate(_split(path, kind, arrays[kind], 3))}
            for kind in (CLEAN, NOISY)
            if kind in arrays
        }
        return Recorded(named.get(CLEAN), named[NOISY], {})
    if len(arrays) == 1 and BURSTS not in arrays and CLEAN not in arrays:
        arrays = load_arrays(path, (BURSTS,))
    if BURSTS not in arrays:
        raise DataError(f"{path}: has the arrays {', '.join(arrays) or 'none'}; {ACCEPTED}")
    bursts = _split(path, BURSTS, arrays[BURSTS], 4)
    return Recorded({}, {}, {f"burst {i}": list(burst) for i, burst in enumerate(bursts)})


def _split(path: Path, name: str, array: NDArray[Any], dimensions: int) -> NDArray[Any]:
    """Return an array of images, (N, H, W) or (N, H, W, C), or of bursts, with an axis for captures after the first."""
    if array.ndim == dimensions or (array.ndim == dimensions + 1 and array.shape[-1] in (1, 3)):
        return array
    if array.ndim == dimensions + 1 and array.shape[-3] in (1, 3):
        return np.moveaxis(array, -3, -1)
    axes = "N, captures, H, W" if dimensions == 4 else "N, H, W"
    raise DataError(
        f"{path}: '{name}' has the shape {array.shape}; accepted: ({axes}), or with an axis of 1 or 3 channels"
    )


def looks_dark(pixels: NDArray[Any], levels: Levels) -> bool:
    """Return whether pixels of 16 bits without a given white seem to hold 12 bits or fewer."""
    return levels.white is None and pixels.dtype == np.uint16 and int(pixels.max(initial=0)) <= _TWELVE_BITS
