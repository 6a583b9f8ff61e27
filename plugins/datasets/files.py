"""Images from files: decoded, checked, cropped and resized."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from gahbench.errors import DataError, listing

#: Key of the images in an .npz file.
KEY = "images"
#: How deep below a folder its images may lie.
DEPTH = 2
#: A size of at least this share of the smaller side is cropped, not resized.
CROP_ONLY = 0.9
#: PIL's modes of 8 bits a channel, which convert to RGB without loss of range.
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")


class Decoded(NamedTuple):
    """All images of a source, and the SHA-256 of their pixels as the files hold them."""

    images: Tensor
    digest: str


def read_images(path: Path, size: int | None, *, colour: bool) -> Decoded:
    """Read an .npz file or a folder of images.

    Parameters
    ----------
    path
        An .npz file with the key ``images``, uint8 in 0-255 or floating point in 0-1, of shape (N, H, W), (N,
        H, W, C) or (N, C, H, W) with C = 1 or 3; or a folder whose images, up to two folders deep, are taken
        in sorted order.
    size
        Height and width to give the images, see :func:`fit`.
    colour
        Whether to keep 3 channels rather than their unweighted mean.

    Returns
    -------
    Decoded
        Images float32 of shape (N, C, size, size), values in [0, 1].

    Raises
    ------
    DataError
        If the path or what it holds is not accepted.
    """
    if path.is_dir():
        return _read_folder(path, size, colour=colour)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; accepted: an .npz file or a folder of images")
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path}: not an .npz file; accepted: an .npz file or a folder of images")
    return from_array(_read_npz(path), size, colour=colour, where=str(path))


def from_array(array: NDArray[Any], size: int | None, *, colour: bool, where: str) -> Decoded:
    """Turn an array of images into float32 images; see :func:`read_images`."""
    images = _channels(_grey_levels(array, where), where)
    digest = hashlib.sha256()
    _update(digest, array)
    return Decoded(fit(_colours(images, where, colour=colour), size, where), digest.hexdigest())


def fit(images: Tensor, size: int | None, where: str) -> Tensor:
    """Give images (N, C, H, W) the height and width ``size``; ``None`` leaves them as they are.

    A size within 10 % of the smaller side is cropped from the centre, which keeps every pixel as it was. A
    smaller one is resized, bicubic and anti-aliased, from the largest centred square.

    Raises
    ------
    DataError
        If the images are smaller than ``size``: enlarged images would have no fine detail to denoise.
    """
    if size is None:
        return images
    height, width = images.shape[-2:]
    side = min(height, width)
    if size > side:
        raise DataError(f"{where}: images of {height}x{width} pixels; size={size} accepts at least {size}x{size}")
    if size >= CROP_ONLY * side:
        return _centre(images, size)
    resized = functional.interpolate(_centre(images, side), (size, size), mode="bicubic", antialias=True)
    # Bicubic interpolation overshoots at edges.
    return resized.clamp(0, 1)


def _read_npz(path: Path) -> NDArray[Any]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        with archive:
            if KEY not in archive:
                raise DataError(f"{path}: no key '{KEY}'; it holds {listing(archive.files)}")
            return np.asarray(archive[KEY])
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read: {error}; accepted: an .npz file with plain arrays of images under '{KEY}'"
        ) from error


def _read_folder(path: Path, size: int | None, *, colour: bool) -> Decoded:
    readable = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = [file for file in _walk(path, DEPTH) if file.suffix.lower() in readable]
    if not files:
        raise DataError(f"{path}: no images, up to {DEPTH} folders deep; accepted: .png, .jpg and what else PIL reads")
    digest = hashlib.sha256()
    images: list[Tensor] = []
    for file in files:
        array = _decode(file)
        _update(digest, array)
        image = _channels(_grey_levels(array[None], str(file)), str(file))
        images.append(fit(_colours(image, str(file), colour=colour), size, str(file)))
        if images[-1].shape != images[0].shape:
            sizes = [f"{height}x{width}" for height, width in (images[0].shape[-2:], images[-1].shape[-2:])]
            raise DataError(f"{path}: {files[0].name} is {sizes[0]} but {file.name} {sizes[1]}; give a size to all")
    return Decoded(torch.cat(images), digest.hexdigest())


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the files of a folder, sorted, hidden ones left out, then those of its folders."""
    children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    yield from (child for child in children if child.is_file())
    if depth:
        for child in children:
            if child.is_dir():
                yield from _walk(child, depth - 1)


def _decode(file: Path) -> NDArray[Any]:
    """Return the RGB pixels of one file, shape (H, W, 3), uint8."""
    try:
        with Image.open(file) as image:
            if image.mode not in EIGHT_BIT_MODES:
                raise DataError(f"{file}: an image of mode {image.mode}; accepted: 8 bits a channel")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: cannot be read as an image: {error}") from error


def _grey_levels(array: NDArray[Any], where: str) -> Tensor:
    """Return pixels as float32 in [0, 1]."""
    if array.dtype == np.uint8:
        return torch.from_numpy(array.astype(np.float32)) / 255
    if array.dtype.kind != "f":
        raise DataError(f"{where}: pixels of type {array.dtype}; accepted: uint8 in 0-255 or floating point in 0-1")
    # Not a number fails this comparison too.
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise DataError(
            f"{where}: pixels from {array.min():g} to {array.max():g}; "
            "accepted: floating point in 0-1, or uint8 in 0-255"
        )
    return torch.from_numpy(array.astype(np.float32))


def _channels(images: Tensor, where: str) -> Tensor:
    """Return images as (N, C, H, W)."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return images.permute(0, 3, 1, 2).contiguous()
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    raise DataError(
        f"{where}: images of shape {tuple(images.shape)}; accepted: "
        "(N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3"
    )


def _colours(images: Tensor, where: str, *, colour: bool) -> Tensor:
    if not colour:
        return images.mean(1, keepdim=True)
    if images.shape[1] != 3:
        raise DataError(f"{where}: grey images; colour=true accepts images of 3 channels")
    return images


def _centre(images: Tensor, size: int) -> Tensor:
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


def _update(digest: hashlib._Hash, array: NDArray[Any]) -> None:
    """Add pixels, with their type and shape, as the files hold them.

    Resized ones would make the digest depend on the machine's rounding.
    """
    plain = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    digest.update(f"{plain.dtype.str}{plain.shape}".encode())
    digest.update(plain.tobytes())
