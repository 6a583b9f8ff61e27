"""Images in arrays: .npz, .npy and .pt files without pickled objects."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gahbench import DataError
from gahbench._util.image_files import check_pixels, load_arrays
from gahbench._util.readable import brief

from ..._torch_files import find_fault, load_torch

#: Keys of the images, and of the people in the images, in an .npz or .pt file.
KEY = "images"
PEOPLE = "identity"
#: Maximum number of images and of pixels that are processed at a time, so that a large file is not read as a whole.
CHUNK = 256
CHUNK_PIXELS = 1 << 23


class Arrays(NamedTuple):
    """Unchecked images of a file, and the number of the person in each image, shape (N,), if known."""

    images: NDArray[Any]
    identity: NDArray[np.int64] | None


def read_arrays(path: Path) -> Arrays:
    """Read the images of an .npz, .npy or .pt file; an .npy file is memory-mapped."""
    content = _read(path)
    if KEY not in content:
        raise DataError(
            f"{path}: no key '{KEY}'; its keys: {', '.join(content) or 'none'}; accepted: images under '{KEY}'"
        )
    images = content[KEY]
    identity = content.get(PEOPLE)
    if identity is None:
        return Arrays(images, None)
    if identity.shape != images.shape[:1] or identity.dtype.kind not in "iu":
        raise DataError(
            f"{path}: '{PEOPLE}' of shape {identity.shape} and type {identity.dtype}; accepted: an integer per image"
        )
    return Arrays(images, identity.astype(np.int64))


def read_named(path: Path) -> dict[str, NDArray[Any]]:
    """Return photographs by name: numbered images of the key ``images``, or each array of an .npz or .pt file."""
    content = _read(path)
    if KEY not in content:
        return dict(sorted(content.items()))
    return {f"image {number}": image for number, image in enumerate(content[KEY])}


def split_images(count: int, shape: tuple[int, ...]) -> list[slice]:
    """Divide ``count`` images of the given shape into parts that fit in memory."""
    length = max(1, min(CHUNK, CHUNK_PIXELS // max(1, math.prod(shape))))
    return [slice(first, first + length) for first in range(0, count, length)]


def check(array: NDArray[Any], where: str) -> NDArray[Any]:
    """Check number, size, type and range of images, and return them as (N, C, H, W)."""
    images = _channels_first(array, where)
    check_pixels(images.shape[2], images.shape[3], where)
    if array.dtype != np.uint8:
        if array.dtype.kind != "f":
            raise DataError(f"{where}: pixels of type {array.dtype}; accepted: uint8 in 0-255 or floating point in 0-1")
        for part in split_images(len(array), array.shape[1:]):
            values = array[part]
            # NaN fails this comparison too.
            if not (values.min() >= 0 and values.max() <= 1):
                raise DataError(
                    f"{where}: pixels from {values.min():g} to {values.max():g}; "
                    "accepted: floating point in 0-1, or uint8 in 0-255"
                )
    return images


def _channels_first(array: NDArray[Any], where: str) -> NDArray[Any]:
    if array.ndim and not len(array):
        raise DataError(f"{where}: 0 images; accepted: at least 1")
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return array.transpose(0, 3, 1, 2)
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return array
    raise DataError(
        f"{where}: images of shape {tuple(array.shape)}; "
        "accepted: (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3"
    )


def update(digest: hashlib._Hash, array: NDArray[Any]) -> None:
    """Add the pixels of an array to a digest, with their type and shape."""
    dtype = array.dtype.newbyteorder("<")
    digest.update(f"{dtype.str}{array.shape}".encode())
    for part in split_images(len(array), array.shape[1:]):
        digest.update(np.ascontiguousarray(array[part], dtype=dtype).tobytes())


def _read(path: Path) -> dict[str, NDArray[Any]]:
    return _read_pt(path) if path.suffix.lower() == ".pt" else load_arrays(path, (KEY, PEOPLE))


def _read_pt(path: Path) -> dict[str, NDArray[Any]]:
    accepted = f"accepted: a .pt file with a tensor, or a dictionary of tensors with the images under '{KEY}'"
    try:
        loaded = load_torch(path)
    except ValueError as error:
        raise DataError(f"{path}: cannot be read without running its content: {error}; {accepted}") from error
    if isinstance(loaded, Tensor):
        loaded = {KEY: loaded}
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: contains a {type(loaded).__name__}; {accepted}")
    tensors = {brief(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    for name, tensor in tensors.items():
        if (reason := find_fault(tensor)) is not None:
            raise DataError(f"{path}: '{name}' {reason}; {accepted}")
    try:
        return {name: value.detach().numpy() for name, value in tensors.items()}
    except (TypeError, RuntimeError) as error:
        raise DataError(f"{path}: {brief(error)}; {accepted}") from error
