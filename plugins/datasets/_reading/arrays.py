"""Images in one array: .npz, .npy and .pt files, none of which may hold pickled objects."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gahbench import DataError
from gahbench._util.array_files import load_arrays
from gahbench._util.image_files import check_pixels
from gahbench._util.readable import brief

from ..._torch_files import fault, load_torch

#: Keys of the images, and of their persons, in an .npz or .pt file.
KEY = "images"
PEOPLE = "identity"
#: Images at a time, and pixels of them, so that a large file never is in memory as a whole.
CHUNK = 256
CHUNK_PIXELS = 1 << 23


class Arrays(NamedTuple):
    """Images as a file holds them, not yet checked, and the person on each, shape (N,), if known."""

    images: NDArray[Any]
    identity: NDArray[np.int64] | None


def read_arrays(path: Path) -> Arrays:
    """Read the images of an .npz, .npy or .pt file; an .npy file stays on the disk and is memory-mapped."""
    content = _read(path)
    if KEY not in content:
        raise DataError(
            f"{path}: no key '{KEY}'; it holds {', '.join(content) or 'none'}; accepted: images under '{KEY}'"
        )
    images = content[KEY]
    identity = content.get(PEOPLE)
    if identity is None:
        return Arrays(images, None)
    if identity.shape != images.shape[:1] or identity.dtype.kind not in "iu":
        raise DataError(
            f"{path}: '{PEOPLE}' of shape {identity.shape} and type {identity.dtype}; "
            "accepted: an integer for each image"
        )
    return Arrays(images, identity.astype(np.int64))


def read_named(path: Path) -> dict[str, NDArray[Any]]:
    """Return photographs by name: the images under ``images``, numbered, or else each array of an .npz or .pt file."""
    content = _read(path)
    if KEY not in content:
        return dict(sorted(content.items()))
    return {f"image {number}": image for number, image in enumerate(content[KEY])}


def parts(count: int, shape: tuple[int, ...]) -> list[slice]:
    """Divide images of a shape into parts that are small enough to work on."""
    length = max(1, min(CHUNK, CHUNK_PIXELS // max(1, math.prod(shape))))
    return [slice(first, first + length) for first in range(0, count, length)]


def checked(array: NDArray[Any], where: str) -> NDArray[Any]:
    """Return images as (N, C, H, W), having checked that there are any, and their size, type and range."""
    images = _channels_first(array, where)
    check_pixels(images.shape[2], images.shape[3], where)
    if array.dtype != np.uint8:
        if array.dtype.kind != "f":
            raise DataError(f"{where}: pixels of type {array.dtype}; accepted: uint8 in 0-255 or floating point in 0-1")
        for part in parts(len(array), array.shape[1:]):
            values = array[part]
            # Not a number fails this comparison too.
            if not (values.min() >= 0 and values.max() <= 1):
                raise DataError(
                    f"{where}: pixels from {values.min():g} to {values.max():g}; "
                    "accepted: floating point in 0-1, or uint8 in 0-255"
                )
    return images


def _channels_first(array: NDArray[Any], where: str) -> NDArray[Any]:
    if array.ndim and not len(array):
        raise DataError(f"{where}: holds 0 images; accepted: at least one")
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
    """Add pixels to a digest, with their type and shape, as the files hold them."""
    order = array.dtype.newbyteorder("<")
    digest.update(f"{order.str}{array.shape}".encode())
    for part in parts(len(array), array.shape[1:]):
        digest.update(np.ascontiguousarray(array[part], dtype=order).tobytes())


def _read(path: Path) -> dict[str, NDArray[Any]]:
    return _read_pt(path) if path.suffix.lower() == ".pt" else load_arrays(path, (KEY, PEOPLE))


def _read_pt(path: Path) -> dict[str, NDArray[Any]]:
    accepted = f"accepted: a .pt file with one tensor, or a dictionary of tensors with the images under '{KEY}'"
    try:
        loaded = load_torch(path)
    except ValueError as error:
        raise DataError(f"{path}: cannot be read without running its content: {error}; {accepted}") from error
    if isinstance(loaded, Tensor):
        loaded = {KEY: loaded}
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: it holds a {type(loaded).__name__}; {accepted}")
    tensors = {brief(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    for name, tensor in tensors.items():
        if (why := fault(tensor)) is not None:
            raise DataError(f"{path}: '{name}' {why}; {accepted}")
    try:
        return {name: value.detach().numpy() for name, value in tensors.items()}
    except (TypeError, RuntimeError) as error:
        raise DataError(f"{path}: {brief(error)}; {accepted}") from error
