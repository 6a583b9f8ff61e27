"""Images from files, ready to be read by the row."""

from __future__ import annotations

import functools
import hashlib
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench import DataError, brief, open_regular

from . import arrays, celeba
from .cache import cached, cached_facts
from .decode import decoded
from .encoded import Encoded, Folder
from .preprocess import Preprocessing, grey_levels, has_colours
from .waiting import Waiting

#: Name in the cache.
KIND = "images"
ARRAY_SUFFIXES = (".npz", ".npy", ".pt")
ACCEPTED = "accepted: a folder of images, or a file .zip, .parquet, .npz, .npy or .pt"


@dataclass(frozen=True, eq=False)
class Images:
    """All images of a source.

    Parameters
    ----------
    stored
        The images preprocessed, shape (N, C, H, W), uint8 in 0-255 or floating point in 0-1; may lie on the disk.
    pooled
        Gives small copies in which to look for near repeats, shape (N, P), float32.
    digest
        SHA-256 of the pixels as the files hold them.
    identity
        Who is on each, shape (N,), int64; ``None`` where that is not known.
    partition
        Whether each is for training (0), validation (1) or testing (2), shape (N,), int64; ``None`` where the source
        does not say.
    had_colours
        Whether the files have colours.
    """

    stored: NDArray[Any]
    pooled: Callable[[], Tensor]
    digest: str
    identity: NDArray[np.int64] | None = None
    partition: NDArray[np.int64] | None = None
    had_colours: bool = False

    def rows(self, places: NDArray[np.int64]) -> Tensor:
        """Return the images at these places, float32 in [0, 1]; no others are read."""
        return grey_levels(self.stored[places])


def source_path(path: str) -> Path:
    """Return the path of images as a user gave it, with ``~`` for the home folder.

    Raises
    ------
    DataError
        If there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{brief(path)}: {brief(error)}; {ACCEPTED}") from error


def open_encoded(path: Path, below: str | None = None) -> Encoded | None:
    """Return the image files of a folder, zip archive or Parquet table; ``None`` for an array file.

    Parameters
    ----------
    path
        Where they are.
    below
        Leave out files of a folder or archive that are not somewhere below a folder of this name.

    Raises
    ------
    DataError
        If there is nothing at that path, or it cannot be read.
    """
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return Folder(path, below)
        open_regular(path).close()
    except FileNotFoundError as error:
        raise DataError(f"{brief(path)}: no such file or folder; {ACCEPTED}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{brief(path)}: cannot be read: {brief(error)}; {ACCEPTED}") from error
    if path.suffix.lower() == ".zip":
        from .zips import Zip

        return Zip(path, below)
    if path.suffix.lower() in (".parquet", ".pq"):
        from .parquet import Parquet

        return Parquet(path)
    if path.suffix.lower() not in ARRAY_SUFFIXES:
        raise DataError(f"{path}: not a file of images that is known; {ACCEPTED}")
    return None


def from_array(
    array: NDArray[Any], preprocessing: Preprocessing, where: str, identity: NDArray[np.int64] | None = None
) -> Images:
    """Preprocess the images of an array: (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floating point in 0-1."""
    images = arrays.checked(array, where)
    digest = hashlib.sha256()
    arrays.update(digest, array)
    parts = arrays.parts(len(images), images.shape[1:])
    stored = preprocessing(images[parts[0]], where)
    if np.may_share_memory(stored, images):
        stored = preprocessing(images, where)
    else:
        stored = np.empty((len(images), *stored.shape[1:]), dtype=stored.dtype)
        for part in parts:
            stored[part] = preprocessing(images[part], where)

    def pooled() -> Tensor:
        return torch.from_numpy(np.concatenate([preprocessing.pooled(images[part]) for part in parts]))

    had_colours = any(has_colours(images[part]) for part in parts)
    return Images(stored, pooled, digest.hexdigest(), identity, had_colours=had_colours)


def from_encoded(encoded: Encoded, preprocessing: Preprocessing) -> Images:
    """Decode and preprocess image files, or take them from the cache if that was done before.

    Raises
    ------
    DataError
        If a file cannot be decoded, or images come out at different sizes; names the files.
    """
    decides = _decides(encoded, preprocessing)
    folder, facts = cached(KIND, decides, functools.partial(_decode_all, encoded, preprocessing))
    try:
        stored = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        pooled = np.load(folder / "pooled.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{folder}: damaged ({error}); remove it, and it is made anew") from error
    people = encoded.identity()
    return Images(
        stored,
        lambda: torch.from_numpy(np.array(pooled)),
        facts["digest"],
        celeba.identity(encoded) if people is None else people,
        celeba.partition(encoded),
        facts.get("colours", False),
    )


def decoded_digest(encoded: Encoded, preprocessing: Preprocessing) -> str | None:
    """Return the digest of the pixels of image files that were decoded before; ``None`` for others."""
    facts = cached_facts(KIND, _decides(encoded, preprocessing))
    return None if facts is None else str(facts["digest"])


def _decides(encoded: Encoded, preprocessing: Preprocessing) -> list[Any]:
    return [str(encoded.path.resolve()), encoded.stamp(), preprocessing.description]


def _decode_all(encoded: Encoded, preprocessing: Preprocessing, folder: Path) -> dict[str, Any]:
    """Decode every file into ``images.npy`` and ``pooled.npy``, and return the digest of the pixels."""
    digest, total = hashlib.sha256(), len(encoded.names)
    waiting = Waiting(f"decoding {encoded.path.name}", total)
    stored: np.memmap[Any, np.dtype[Any]] | None = None
    had_colours = False
    for place, where, batch in _batches(encoded):
        for image in batch:
            arrays.update(digest, image)
        channels_first = batch.transpose(0, 3, 1, 2)
        had_colours |= has_colours(channels_first)
        images = preprocessing(channels_first, where)
        small = preprocessing.pooled(channels_first)
        if stored is None:
            stored = _new_file(folder / "images.npy", (total, *images.shape[1:]), np.uint8)
            pooled = _new_file(folder / "pooled.npy", (total, small.shape[1]), np.float32)
        if images.shape[1:] != stored.shape[1:]:
            raise DataError(_unequal(encoded, place, images.shape, stored.shape))
        end = place + len(batch)
        stored[place:end], pooled[place:end] = images, small
        waiting(end)
    if stored is not None:
        # Before the folder gets its name: after a power cut a folder of that name is complete.
        stored.flush()
        pooled.flush()
    return {"digest": digest.hexdigest(), "images": total, "colours": had_colours}


def _batches(encoded: Encoded) -> Iterator[tuple[int, str, NDArray[np.uint8]]]:
    """Yield the place and name of the first of consecutive images of one size, and their pixels, (N, H, W, 3)."""
    found: list[NDArray[np.uint8]] = []
    start, first = 0, ""
    for place, (where, image) in enumerate(decoded(encoded)):
        if found and (image.shape != found[0].shape or len(arrays.parts(len(found) + 1, image.shape)) > 1):
            yield start, first, np.stack(found)
            found = []
        if not found:
            start, first = place, where
        found.append(image)
    if found:
        yield start, first, np.stack(found)


def _new_file(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> np.memmap[Any, np.dtype[Any]]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(kind), shape=shape)


def _unequal(encoded: Encoded, place: int, shape: tuple[int, ...], first: tuple[int, ...]) -> str:
    return (
        f"{encoded.path}: {encoded.names[0]} is {first[2]}x{first[3]} but {encoded.names[place]} "
        f"{shape[2]}x{shape[3]}; give a size to all, or take images as they are with whole[path={encoded.path}]"
    )
