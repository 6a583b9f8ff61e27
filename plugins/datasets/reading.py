"""Read images from folders of image files and from files of arrays, for datasets of images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import skimage
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from gahbench import DataError

Colour = Literal["mean", "luma", "rgb"]
OnError = Literal["raise", "skip"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2")
ACCEPTED = "accepted: a folder of images, or a file .npz or .npy"
#: Maximum depth of images below a folder.
MAX_DEPTH = 2
#: Maximum number of pixels of an image, 8192x8192, and of bytes of the unpacked arrays of an .npz file.
MAX_PIXELS = 1 << 26
MAX_UNPACKED = 1 << 30
#: Formats and modes of Pillow that are accepted. For some other formats, Pillow would start external programs.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "I", "F")
#: Quarter turns, counter-clockwise, of the orientations that cameras write.
TURNS = {3: 2, 6: 3, 8: 1}
#: Weights of R, G and B by ITU-R 601-2, as in JPEG.
LUMA = (0.299, 0.587, 0.114)
#: Maximum number of files that an error or a note names.
SHOWN = 12


def cache_folder() -> Path:
    """Return the folder of downloads and decoded images: ``$GAHBENCH_CACHE``, or else ``~/.cache/gahbench``."""
    return Path(os.environ.get("GAHBENCH_CACHE") or "~/.cache/gahbench").expanduser()


def user_path(path: str, accepted: str = ACCEPTED) -> Path:
    """Return the path of a folder or file that the user gave, with ``~`` expanded."""
    try:
        expanded = Path(path).expanduser()
        if expanded.is_dir() or expanded.is_file():
            return expanded
        problem = "not a regular file" if expanded.exists() else "no such file or folder"
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: {error}; {accepted}") from error
    raise DataError(f"{path}: {problem}; {accepted}")


def embedded_file(name: str) -> Path:
    """Return a file that scikit-image installs with its code."""
    file = Path(str(skimage.__file__)).parent / "data" / name
    if not file.is_file():
        raise DataError(f"{file}: does not exist; install scikit-image 0.25 or 0.26, which has it, or give a 'path'")
    return file


def image_files(folder: Path, depth: int = MAX_DEPTH) -> dict[str, Path]:
    """Return the image files of a folder by name, sorted: first its files, then the files of its folders.

    Hidden files and folders, and files without the suffix of an image, are left out.

    Raises
    ------
    DataError
        If the folder cannot be read, or has no images.
    """

    def walk(inner: Path, depth: int) -> list[Path]:
        children = sorted(child for child in inner.iterdir() if not child.name.startswith("."))
        folders = [child for child in children if child.is_dir()]
        files = [child for child in children if child.suffix.lower() in SUFFIXES and child not in folders]
        return files + [file for child in folders if depth for file in walk(child, depth - 1)]

    try:
        files = walk(folder, depth)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if not files:
        raise DataError(f"{folder}: no images, up to {depth} folders deep; accepted: {', '.join(SUFFIXES)}")
    names = [file.relative_to(folder).as_posix() for file in files]
    return {name if name.isprintable() else ascii(name)[1:-1]: file for name, file in zip(names, files, strict=True)}


def read_image(file: Path) -> NDArray[Any]:
    """Read an image file by scikit-image, without transparency, upright if a camera wrote its orientation.

    The declared size is checked before the image is decoded, so that a small file cannot fill the memory.

    Returns
    -------
    ndarray
        Shape (H, W) or (H, W, 3), with the type of the file: 8 or 16 bits, or floating point.

    Raises
    ------
    DataError
        If the file cannot be read, is not one image, or is of an unknown kind. The error does not name the file.
    """
    from skimage.io import imread

    try:
        if not file.is_file():
            raise ValueError("not a regular file")
        turns = _check_header(file)
        pixels: NDArray[Any] = imread(file)
    except Exception as error:
        # Decoders raise errors of many types on damaged files.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"cannot be read as an image: {reason}") from error
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., 0]
    return np.rot90(pixels, turns) if turns else pixels


def _check_header(file: Path) -> int:
    """Check the declared size and kind of an image file, and return by how many quarter turns it is upright."""
    if file.suffix.lower() in (".tif", ".tiff"):
        import tifffile

        with tifffile.TiffFile(file) as opened:
            page: Any = opened.pages[0]
            check_size(page.imagelength, page.imagewidth, len(opened.pages))
            if page.photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB):
                raise ValueError(f"a TIFF file of kind {page.photometric!s}; accepted: grey (MINISBLACK) or RGB")
        return 0
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError("not an image of a known format") from error
    with image:
        check_size(image.height, image.width, getattr(image, "n_frames", 1))
        # Pillow reads colours of 16 bits as 8 bits; only the raw mode shows the difference.
        is_deep = image.mode.startswith("RGB") and any(";16" in str(tile[3]) for tile in image.tile)
        if is_deep or image.mode not in MODES:
            kind = "of colours with 16 bits per channel" if is_deep else f"of mode {image.mode}"
            raise ValueError(f"an image {kind}; accepted: grey, or RGB of 8 bits per channel; 16-bit colours as TIFF")
        return TURNS.get(image.getexif().get(0x0112, 1), 0) if image.format == "JPEG" else 0


def check_count(where: str, split: str, wanted: int, held: int, advice: str = "") -> None:
    """Raise ``DataError`` if a split holds fewer images than are wanted."""
    if wanted > held:
        raise DataError(f"{where}: {wanted} {split} images requested, but the split holds {held}{advice}")


def check_size(height: int, width: int, frames: int = 1) -> None:
    """Raise ``DataError`` if a file of images declares several images, or one of no or too many pixels."""
    if not 1 <= height * width <= MAX_PIXELS:
        raise DataError(
            f"an image of {height}x{width} = {height * width:,} pixels; accepted: at least 1, and up to {MAX_PIXELS:,}"
        )
    if frames > 1:
        raise DataError(f"a file of {frames} images; accepted: one image in each file")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz file, or the array of an .npy file as ``images``, without unpickling.

    Raises
    ------
    DataError
        If the file cannot be read, or unpacks to more than 1 GiB. Arrays of .npy files are memory-mapped.
    """
    try:
        if not path.is_file():
            raise ValueError("not a regular file")
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"images": loaded}
        with loaded:
            if (size := sum(entry.file_size for entry in loaded.zip.infolist())) > MAX_UNPACKED:
                raise ValueError(f"its arrays have {size:,} bytes, more than {MAX_UNPACKED:,}; use .npy files")
            return {name: loaded[name] for name in loaded.files}
    except Exception as error:
        # On damaged files, zipfile and numpy raise errors of many types.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{path}: cannot be read: {reason}; accepted: a folder of images, an .npy file of one array of numbers, or "
            "an .npz file of such arrays"
        ) from error


def add_to_digest(digest: hashlib._Hash, array: NDArray[Any]) -> None:
    """Add the type, shape and values of an array to a digest."""
    dtype = array.dtype.newbyteorder("<")
    digest.update(f"{dtype.str}{array.shape}".encode())
    for part in array:
        digest.update(np.ascontiguousarray(part, dtype=dtype).tobytes())


def channels_first(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image of shape (H, W) or (H, W, C) with the shape (C, H, W)."""
    return np.atleast_3d(image).transpose(2, 0, 1)


def has_colours(image: NDArray[Any]) -> bool:
    """Return whether an image (C, H, W) has three different channels."""
    return len(image) == 3 and bool((image[:1] != image[1:]).any())


def mix_channels(image: NDArray[Any], colour: Colour) -> Tensor:
    """Return an image (C, H, W) with the channels of ``colour``, float32 in [0, 1]; 8 bits are divided by 255."""
    levels = torch.from_numpy(image.astype(np.float32))
    if colour == "rgb" and len(levels) != 3:
        raise DataError("grey images; colour=rgb accepts images of 3 channels")
    return mix(levels.div_(255) if image.dtype == np.uint8 else levels, colour)


def mix(levels: Tensor, colour: Colour) -> Tensor:
    """Return grey levels (C, H, W) with the channels of ``colour``: unchanged (``rgb``), or a weighted mean."""
    if colour == "rgb":
        return levels
    weights = LUMA if colour == "luma" and len(levels) == 3 else (1 / len(levels),) * len(levels)
    return (levels * levels.new_tensor(weights).view(-1, 1, 1)).sum(0, keepdim=True)


def to_bytes(levels: Tensor) -> NDArray[np.uint8]:
    """Return grey levels in [0, 1] as 8-bit pixels."""
    return (levels * 255).round().to(torch.uint8).numpy()


def colour_notes(colour: Colour, had_colours: bool) -> tuple[str, ...]:
    """Return a note if colour images were converted to grey by default."""
    note = "colour images are converted to grey (colour=mean); colour=rgb keeps their colours"
    return (note,) if colour == "mean" and had_colours else ()


def unusable_notes(unusable: Mapping[str, str], usable: int, on_error: OnError, where: str) -> tuple[str, ...]:
    """Return a note on unusable images, given the reason of each; raise ``DataError`` unless they may be left out."""
    if not unusable:
        return ()
    by_reason: dict[str, list[str]] = {}
    for name, reason in list(unusable.items())[:SHOWN]:
        by_reason.setdefault(reason, []).append(name)
    parts = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    parts += [f"and {len(unusable) - SHOWN} more"] if len(unusable) > SHOWN else []
    text = f"{len(unusable)} of {usable + len(unusable)} images cannot be used: {'; '.join(parts)}"
    if on_error == "skip" and usable:
        return (f"{text}; they are left out (on_error=skip)",)
    raise DataError(f"{where}: {text}" + ("; on_error=skip leaves them out" if usable else ""))
