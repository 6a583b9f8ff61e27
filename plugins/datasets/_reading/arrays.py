"""Images in one array: .npz, .npy and .pt files, none of which may hold pickled objects."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench import DataError, listing

#: Keys of the images, and of their persons, in an .npz or .pt file.
KEY = "images"
PEOPLE = "identity"
#: Images at a time, so that a large file never is in memory as a whole.
CHUNK = 256


class Arrays(NamedTuple):
    """Images as a file holds them, not yet checked, and the person on each, shape (N,), if known."""

    images: NDArray[Any]
    identity: NDArray[np.int64] | None


def read_arrays(path: Path) -> Arrays:
    """Read the images of an .npz, .npy or .pt file; an .npy file stays on the disk and is memory-mapped.

    Raises
    ------
    DataError
        If the file cannot be read or holds pickled objects, or its list of persons is not accepted.
    """
    found = _read(path)
    if KEY not in found:
        raise DataError(f"{path}: no key '{KEY}'; it holds {listing(found)}; accepted: images under '{KEY}'")
    images = found[KEY]
    identity = found.get(PEOPLE)
    if identity is None:
        return Arrays(images, None)
    if identity.shape != images.shape[:1] or identity.dtype.kind not in "iu":
        raise DataError(
            f"{path}: '{PEOPLE}' of shape {identity.shape} and type {identity.dtype}; "
            "accepted: an integer for each image"
        )
    return Arrays(images, identity.astype(np.int64))


def read_named(path: Path) -> dict[str, NDArray[Any]]:
    """Return photographs by name: the images under ``images``, numbered, or else each array of an .npz or .pt file.

    Raises
    ------
    DataError
        If the file cannot be read or holds pickled objects.
    """
    found = _read(path)
    if KEY not in found:
        return dict(sorted(found.items()))
    return {f"image {number}": image for number, image in enumerate(found[KEY])}


def checked(array: NDArray[Any], where: str) -> NDArray[Any]:
    """Return images as (N, C, H, W), having checked that there are any, and their type and range."""
    if array.dtype != np.uint8:
        if array.dtype.kind != "f":
            raise DataError(f"{where}: pixels of type {array.dtype}; accepted: uint8 in 0-255 or floating point in 0-1")
        for first in range(0, len(array) if array.ndim else 0, CHUNK):
            part = array[first : first + CHUNK]
            # Not a number fails this comparison too.
            if part.size and not (part.min() >= 0 and part.max() <= 1):
                raise DataError(
                    f"{where}: pixels from {part.min():g} to {part.max():g}; "
                    "accepted: floating point in 0-1, or uint8 in 0-255"
                )
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
    """Add pixels to a digest, with their type and shape, as the files hold them.

    Resized ones would make the digest depend on the machine's rounding.
    """
    order = array.dtype.newbyteorder("<")
    digest.update(f"{order.str}{array.shape}".encode())
    for first in range(0, len(array), CHUNK):
        digest.update(np.ascontiguousarray(array[first : first + CHUNK], dtype=order).tobytes())


def _read(path: Path) -> dict[str, NDArray[Any]]:
    return {".npz": _read_npz, ".npy": _read_npy, ".pt": _read_pt}[path.suffix.lower()](path)


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        with archive:
            wanted = [name for name in archive.files if name in (KEY, PEOPLE)]
            return {name: np.asarray(archive[name]) for name in (wanted if KEY in wanted else archive.files)}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read: {error}; accepted: an .npz file with plain arrays of images under '{KEY}'"
        ) from error


def _read_npy(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return {KEY: np.load(path, mmap_mode="r", allow_pickle=False)}
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}; accepted: an .npy file of one plain array") from error


def _read_pt(path: Path) -> dict[str, NDArray[Any]]:
    accepted = f"accepted: a .pt file with one tensor, or a dictionary of tensors with the images under '{KEY}'"
    try:
        with warnings.catch_warnings():
            # Of pickles of another kind, which are refused anyway.
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, ValueError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read without running its content: {reason}; {accepted}") from error
    if isinstance(found, Tensor):
        found = {KEY: found}
    if not isinstance(found, dict):
        raise DataError(f"{path}: it holds a {type(found).__name__}; {accepted}")
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    try:
        return {name: value.detach().numpy() for name, value in tensors.items()}
    except (TypeError, RuntimeError) as error:
        raise DataError(f"{path}: {error}; {accepted}") from error
