"""Images on which a denoiser is inspected: an image of a dataset or file, and images to compare it with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench._util.errors import DataError, ParameterError, listing
from gahbench._util.files import read_regular
from gahbench._util.image_files import MAX_BYTES, check_pixels, load_arrays, open_image
from gahbench._util.readable import brief
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset
from gahbench.explore.eigenvectors import MAX_VALUES, is_small
from gahbench.registry.configured import Configured

#: Default side of the square that is cropped from the centre of an image file.
SIDE = 40
#: Suffixes of array files. PIL opens all other files.
ARRAYS = (".npy", ".npz")


@dataclass(frozen=True, eq=False)
class Images:
    """Images (N, C, H, W) on which a denoiser is inspected; the inspected image is ``clean[index]``."""

    clean: Tensor
    index: int
    start: int
    dataset: Dataset | None
    label: str


def load_images(
    family: Configured, index: int, file: str | Path | None, size: int | None, colour: bool, others: int
) -> Images:
    """Load a test image of a dataset, or an image file, and the images to compare it with."""
    if file is None:
        if size is not None or colour:
            raise ParameterError("size and colour belong to an image file; set the parameters of the dataset instead")
        return load_dataset_images(family.build(), family.label, index, others)
    if index:
        raise ParameterError(f"index={index}: accepted for an image file: 0, since it holds a single image")
    try:
        path = Path(file).expanduser()
    except RuntimeError as error:
        raise DataError(f"{brief(file)}: {brief(error)}") from error
    return load_file_images(path, size, colour, others)


def load_dataset_images(dataset: Dataset, label: str, index: int, others: int) -> Images:
    """Load a test image of a dataset and the images after it, or before it near the end of the split."""
    check_size(dataset.shape, label)
    # Larger images are not compared.
    others = others if is_small(dataset.shape) else 0
    available = dataset.available("test")
    if available is not None and index >= available:
        raise DataError(f"{label}: test image {index} requested; accepted: 0 to {available - 1}")
    count = others + 1 if available is None else min(others + 1, available)
    start = index if available is None else min(index, available - count)
    return Images(dataset.images("test", count, start), index - start, start, dataset, f"{label}, test image {index}")


def load_file_images(file: Path, size: int | None, colour: bool, others: int) -> Images:
    """Load the central square of an image file, and squares of the image that do not overlap."""
    values = _load_raw(file)
    channels, (height, width) = 3 if colour else 1, values.shape[:2]
    side = min(height, width, SIDE) if size is None else size
    if not 1 <= side <= min(height, width):
        raise ParameterError(f"size={side}: accepted for {file}, {height}x{width} pixels: 1 to {min(height, width)}")
    check_size((channels, side, side), str(file))
    others = others if is_small((channels, side, side)) else 0
    central = ((height - side) // 2, (width - side) // 2)
    # Corners of a grid of squares that includes the central square.
    rows, columns = (
        range(corner % side, length - side + 1, side) for corner, length in zip(central, (height, width), strict=True)
    )
    corners = [(row, column) for row in rows for column in columns if (row, column) != central]
    if len(corners) > others:
        corners = [corners[int((index + 0.5) * len(corners) / others)] for index in range(others)]
    squares = [
        _convert_image(values[row : row + side, column : column + side], colour, file)
        for row, column in [central, *corners]
    ]
    return Images(torch.stack(squares), 0, 0, None, f"{file.name}, central {side}×{side} of {height}×{width} pixels")


def check_size(shape: Shape, where: str) -> None:
    """Raise if images (C, H, W) have too many values for eigenvectors."""
    if math.prod(shape) > MAX_VALUES:
        side = math.isqrt(MAX_VALUES // shape[0])
        raise ParameterError(
            f"{where}: images of {'x'.join(map(str, shape))} = {math.prod(shape)} values are too large; "
            f"accepted with {shape[0]} channel{'s' if shape[0] > 1 else ''}: up to {side}x{side}; reduce the size by "
            "the parameters of the dataset or, for an image file, by size"
        )


def check_finite(denoised: Tensor) -> None:
    """Raise if a denoised image (N, C, H, W) has values that are infinite or NaN."""
    bad = int((~denoised.isfinite().flatten(1).all(dim=1)).sum())
    if bad:
        raise ParameterError(
            f"{bad} of {len(denoised)} denoised images have infinite or NaN values; accepted: denoisers that return "
            "finite values"
        )


def _load_raw(file: Path) -> NDArray[Any]:
    """Load the raw values of an image file, shape (H, W, C)."""
    values = _load_array(file) if file.suffix.lower() in ARRAYS else _load_picture(file)
    if values.ndim == 3 and values.shape[2] not in (1, 3, 4) and values.shape[0] in (1, 3, 4):
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or 0 in values.shape:
        raise DataError(
            f"{file}: an array of shape {values.shape}; accepted: an image of shape (H, W), (H, W, C) or (C, H, W), "
            "with C = 1, 3 or 4"
        )
    check_pixels(values.shape[0], values.shape[1], str(file))
    # The negated comparison refuses NaN too.
    if np.issubdtype(values.dtype, np.floating) and not (values.min() >= 0 and values.max() <= 1):
        raise DataError(f"{file}: values from {values.min():g} to {values.max():g}; accepted: from 0 to 1")
    return values


def _convert_image(values: NDArray[Any], colour: bool, file: Path) -> Tensor:
    """Convert raw values (H, W, C) to a float32 image (1, H, W), or (3, H, W) in colour."""
    scaled = _scale(values[:, :, :3], file)
    if not colour:
        scaled = scaled.mean(2, keepdims=True)
    elif scaled.shape[2] == 1:
        scaled = scaled.repeat(3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(scaled, 2, 0))).float()


def _scale(values: NDArray[Any], file: Path) -> NDArray[np.float64]:
    """Scale raw values to the range [0, 1]."""
    if values.dtype in (np.uint8, np.uint16):
        return np.asarray(values / float(np.iinfo(values.dtype).max))
    if values.dtype == np.bool_ or np.issubdtype(values.dtype, np.floating):
        return values.astype(np.float64)
    raise DataError(
        f"{file}: values of type {values.dtype}; accepted: uint8, uint16, bool, or floating point in [0, 1]"
    )


def _load_array(file: Path) -> NDArray[Any]:
    arrays = load_arrays(file, ["images"])
    if len(arrays) != 1:
        names = listing(map(brief, arrays))
        raise DataError(f"{file}: arrays {names}; accepted: a single array, or an array named images")
    return next(iter(arrays.values()))


def _load_picture(file: Path) -> NDArray[Any]:
    from PIL import ImageOps

    try:
        content = read_regular(file, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{brief(file)}: cannot be read as an image: {brief(error)}") from error
    with open_image(content, str(file)) as image:
        ImageOps.exif_transpose(image, in_place=True)
        # Avoid PIL's warning about palettes with transparency.
        image.info.pop("transparency", None)
        if image.mode.startswith("I"):
            # PIL may store 16-bit values in 32 bits.
            raw = np.asarray(image)
            if raw.min() < 0 or raw.max() > 65535:
                raise DataError(f"{file}: values from {raw.min()} to {raw.max()}; accepted: 8 or 16 bits a channel")
            return raw.astype(np.uint16)
        if image.mode in ("1", "L", "LA", "F"):
            return np.asarray(image.convert("F" if image.mode == "F" else "L"))
        return np.asarray(image.convert("RGB"))
