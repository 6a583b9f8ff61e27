"""The images that a denoiser is inspected on: one of a dataset or of a file, and others to compare it with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench._util.array_files import load_arrays
from gahbench._util.errors import DataError, ParameterError, listing
from gahbench._util.files import read_regular
from gahbench._util.image_files import MAX_BYTES, check_pixels, open_image
from gahbench._util.readable import brief
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset
from gahbench.jacobian import LARGEST_EXACT
from gahbench.registry.configured import Configured

#: The side of the square that is cut from the centre of a file's image, unless another is given.
SIDE = 40
#: Suffixes of array files; all others are for PIL.
ARRAYS = (".npy", ".npz")


@dataclass(frozen=True, eq=False)
class Images:
    """Images that a denoiser is inspected on."""

    clean: Tensor
    place: int
    start: int
    dataset: Dataset | None
    label: str


@dataclass(frozen=True)
class Choice:
    """The image to inspect: a test image of a dataset, or that of a file."""

    dataset: str
    index: int = 0
    file: str | Path | None = None
    size: int | None = None
    colour: bool = False


def chosen_images(choice: Choice, family: Configured, others: int) -> Images:
    """Return the inspected image, and others."""
    if choice.file is None:
        if choice.size is not None or choice.colour:
            raise ParameterError("size and colour belong to an image file; a dataset has its own parameters")
        whole: Dataset = family.build()
        return of_dataset(whole, family.label, choice.index, others)
    if choice.index:
        raise ParameterError(f"index={choice.index}: accepted for an image file: 0, since it holds one image")
    try:
        file = Path(choice.file).expanduser()
    except RuntimeError as error:
        raise DataError(f"{brief(choice.file)}: {brief(error)}") from error
    return of_file(file, choice.size, choice.colour, others)


def of_dataset(dataset: Dataset, label: str, index: int, others: int) -> Images:
    """Return a test image of a dataset and the next ones; near the end of the split, some before it instead."""
    check_size(dataset.shape, label)
    held = dataset.available("test")
    if held is not None and index >= held:
        raise DataError(f"{label}: test image {index} requested, but the split holds {held}: 0 to {held - 1}")
    count = others + 1 if held is None else min(others + 1, held)
    start = index if held is None else min(index, held - count)
    return Images(dataset.images("test", count, start), index - start, start, dataset, f"{label}, test image {index}")


def of_file(file: Path, size: int | None, colour: bool, others: int) -> Images:
    """Return the centre of a file's image, and other squares of it, none overlapping."""
    values = _values(file)
    channels, (height, width) = 3 if colour else 1, values.shape[:2]
    side = min(height, width, SIDE) if size is None else size
    if not 1 <= side <= min(height, width):
        raise ParameterError(f"size={side}: accepted for {file}, {height}x{width} pixels: 1 to {min(height, width)}")
    check_size((channels, side, side), str(file))
    middle = ((height - side) // 2, (width - side) // 2)
    # A grid of squares of which the one in the centre is one.
    rows, columns = (
        range(centre % side, length - side + 1, side) for centre, length in zip(middle, (height, width), strict=True)
    )
    free = [(row, column) for row in rows for column in columns if (row, column) != middle]
    chosen = [free[int((place + 0.5) * len(free) / others)] for place in range(others)] if len(free) > others else free
    squares = [
        _as_image(values[row : row + side, column : column + side], colour, file) for row, column in [middle, *chosen]
    ]
    return Images(torch.stack(squares), 0, 0, None, f"{file.name}, central {side}×{side} of {height}×{width} pixels")


def check_size(shape: Shape, where: str) -> None:
    """Refuse images (C, H, W) with too many eigenvectors."""
    if math.prod(shape) > LARGEST_EXACT:
        side = math.isqrt(LARGEST_EXACT // shape[0])
        raise ParameterError(
            f"{where}: all eigenvectors of {'x'.join(map(str, shape))} = {math.prod(shape)} values are too many; "
            f"accepted with {shape[0]} channel{'s' if shape[0] > 1 else ''}: up to {side}x{side}, by the dataset's "
            "parameters or, of an image file, by size"
        )


def read_image(file: Path, colour: bool) -> Tensor:
    """Return the image of a file, shape (1, H, W), or (3, H, W) in colour: float32 in [0, 1]."""
    return _as_image(_values(file), colour, file)


def _values(file: Path) -> NDArray[Any]:
    """Return the image of a file, shape (H, W, C), as it is held there."""
    values = _array(file) if file.suffix.lower() in ARRAYS else _picture(file)
    if values.ndim == 3 and values.shape[2] not in (1, 3, 4) and values.shape[0] in (1, 3, 4):
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or 0 in values.shape:
        raise DataError(
            f"{file}: an array of shape {values.shape}; accepted: one image, of shape (H, W), (H, W, C) or (C, H, W), "
            "with C = 1, 3 or 4"
        )
    check_pixels(values.shape[0], values.shape[1], str(file))
    # Written so that NaN is refused.
    if np.issubdtype(values.dtype, np.floating) and not (values.min() >= 0 and values.max() <= 1):
        raise DataError(f"{file}: values from {values.min():g} to {values.max():g}; accepted: from 0 to 1")
    return values


def _as_image(values: NDArray[Any], colour: bool, file: Path) -> Tensor:
    """Return an image, or a part of one, as :func:`read_image` does."""
    scaled = _scaled(values[:, :, :3], file)
    if not colour:
        scaled = scaled.mean(2, keepdims=True)
    elif scaled.shape[2] == 1:
        scaled = scaled.repeat(3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(scaled, 2, 0))).float()


def _scaled(values: NDArray[Any], file: Path) -> NDArray[np.float64]:
    """Return values in units where an image lies in [0, 1]."""
    if values.dtype in (np.uint8, np.uint16):
        return np.asarray(values / float(np.iinfo(values.dtype).max))
    if values.dtype == np.bool_ or np.issubdtype(values.dtype, np.floating):
        return values.astype(np.float64)
    raise DataError(
        f"{file}: values of type {values.dtype}; accepted: uint8, uint16, bool, or floating point in [0, 1]"
    )


def _array(file: Path) -> NDArray[Any]:
    found = load_arrays(file, ["images"])
    if len(found) != 1:
        names = listing(map(brief, found))
        raise DataError(f"{file}: arrays {names}; accepted: one array, or one named images")
    return next(iter(found.values()))


def _picture(file: Path) -> NDArray[Any]:
    from PIL import ImageOps

    try:
        content = read_regular(file, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{brief(file)}: cannot be read as an image: {brief(error)}") from error
    with open_image(content, str(file)) as image:
        ImageOps.exif_transpose(image, in_place=True)
        # Transparency would cost the palette a warning.
        image.info.pop("transparency", None)
        if image.mode.startswith("I"):
            # 16 bits, which PIL may hold in 32.
            deep = np.asarray(image)
            if deep.min() < 0 or deep.max() > 65535:
                raise DataError(f"{file}: values from {deep.min()} to {deep.max()}; accepted: 8 or 16 bits a channel")
            return deep.astype(np.uint16)
        if image.mode in ("1", "L", "LA", "F"):
            return np.asarray(image.convert("F" if image.mode == "F" else "L"))
        return np.asarray(image.convert("RGB"))
