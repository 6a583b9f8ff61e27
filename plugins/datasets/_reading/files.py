"""Images from files, ready to be read by the row."""

from __future__ import annotations

import functools
import hashlib
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench import DataError, brief, listing, open_regular

from . import arrays, celeba
from .cache import cached, cached_facts
from .decode import decoded, reason
from .encoded import Encoded, Folder
from .preprocess import Preprocessing, grey_levels, has_colours
from .unusable import SHOWN, described
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
    unusable
        Why each file that is left out cannot be used, by name.
    """

    stored: NDArray[Any]
    pooled: Callable[[], Tensor]
    digest: str
    identity: NDArray[np.int64] | None = None
    partition: NDArray[np.int64] | None = None
    had_colours: bool = False
    unusable: Mapping[str, str] = field(default_factory=dict)

    def rows(self, places: NDArray[np.int64]) -> Tensor:
        """Return the images at these places, float32 in [0, 1]; no others are read."""
        return grey_levels(self.stored[places])


def source_path(path: str) -> Path:
    """Return the path of images as a user gave it, with ``~`` for the home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{brief(path)}: {brief(error)}; {ACCEPTED}") from error


def open_encoded(path: Path, below: str | None = None) -> Encoded | None:
    """Return the image files of a folder, zip archive or Parquet table; ``None`` for an array file."""
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
    """Decode and preprocess image files, or take them from the cache if that was done before."""
    decides = _decides(encoded, preprocessing)
    folder, facts = cached(KIND, decides, functools.partial(_decode_all, encoded, preprocessing))
    try:
        stored = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        pooled = np.load(folder / "pooled.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{folder}: damaged ({error}); remove it, and it is made anew") from error
    unusable: dict[int, str] = dict(facts.get("unusable", ()))
    kept = np.array([place for place in range(len(encoded.names)) if place not in unusable])
    people = encoded.identity()
    people = celeba.identity(encoded) if people is None else people
    partition = celeba.partition(encoded)
    return Images(
        stored[: len(kept)],
        lambda: torch.from_numpy(np.array(pooled[: len(kept)])),
        facts["digest"],
        None if people is None else people[kept],
        None if partition is None else partition[kept],
        facts.get("colours", False),
        {brief(encoded.names[place]): why for place, why in unusable.items()},
    )


def decoded_digest(encoded: Encoded, preprocessing: Preprocessing) -> str | None:
    """Return the digest of the pixels of image files that were decoded before; ``None`` for others."""
    facts = cached_facts(KIND, _decides(encoded, preprocessing))
    return None if facts is None else str(facts["digest"])


def _decides(encoded: Encoded, preprocessing: Preprocessing) -> list[Any]:
    return [str(encoded.path.resolve()), encoded.stamp(), preprocessing.description]


def _decode_all(encoded: Encoded, preprocessing: Preprocessing, folder: Path) -> dict[str, Any]:
    """Decode every file into ``images.npy`` and ``pooled.npy``; return the digest of the pixels, and unusable files."""
    digest, total = hashlib.sha256(), len(encoded.names)
    waiting = Waiting(f"decoding {encoded.path.name}", total)
    stored: np.memmap[Any, np.dtype[Any]] | None = None
    had_colours, end = False, 0
    unusable: dict[int, str] = {}
    sizes: dict[tuple[int, ...], list[int]] = {}
    for places, batch in _batches(encoded, unusable):
        channels_first = batch.transpose(0, 3, 1, 2)
        try:
            images = preprocessing(channels_first, "")
            small = preprocessing.pooled(channels_first)
        except DataError as error:
            unusable |= dict.fromkeys(places, _why(error, batch, preprocessing))
            continue
        sizes.setdefault(images.shape[2:], []).extend(places)
        if stored is None:
            stored = _new_file(folder / "images.npy", (total, *images.shape[1:]), np.uint8)
            pooled = _new_file(folder / "pooled.npy", (total, small.shape[1]), np.float32)
        # Images of another size are refused below, all at once.
        if images.shape[1:] == stored.shape[1:]:
            for image in batch:
                arrays.update(digest, image)
            had_colours |= has_colours(channels_first)
            stored[end : end + len(batch)], pooled[end : end + len(batch)] = images, small
            end += len(batch)
        waiting(places[-1] + 1)
    named = {brief(encoded.names[place]): why for place, why in sorted(unusable.items())}
    if len(sizes) > 1:
        raise DataError(_unequal(encoded, sizes) + (f"; and {described(named, total)}" if named else ""))
    if stored is None:
        raise DataError(f"{encoded.path}: {described(named, total)}")
    # Before the folder gets its name: after a power cut a folder of that name is complete.
    stored.flush()
    pooled.flush()
    return {"digest": digest.hexdigest(), "images": end, "colours": had_colours, "unusable": sorted(unusable.items())}


def _why(error: DataError, batch: NDArray[np.uint8], preprocessing: Preprocessing) -> str:
    size = preprocessing.size
    if size is not None and size > min(batch.shape[1:3]):
        return f"smaller than {size}x{size} pixels (size={size})"
    return str(error).removeprefix(": ")


def _batches(encoded: Encoded, unusable: dict[int, str]) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Yield the places of images of one size that follow each other, and their pixels, (N, H, W, 3)."""
    found: list[NDArray[np.uint8]] = []
    places: list[int] = []
    for place, image in enumerate(decoded(encoded)):
        if isinstance(image, DataError):
            unusable[place] = reason(image, encoded, place)
            continue
        if found and (image.shape != found[0].shape or len(arrays.parts(len(found) + 1, image.shape)) > 1):
            yield places, np.stack(found)
            found, places = [], []
        found.append(image)
        places.append(place)
    if found:
        yield places, np.stack(found)


def _new_file(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> np.memmap[Any, np.dtype[Any]]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(kind), shape=shape)


def _unequal(encoded: Encoded, sizes: dict[tuple[int, ...], list[int]]) -> str:
    frequent = sorted(sizes.items(), key=lambda item: -len(item[1]))[:SHOWN]
    counts = [
        f"{height}x{width} ({len(places)}, such as {brief(encoded.names[places[0]])})"
        for (height, width), places in frequent
    ]
    return (
        f"{encoded.path}: images of {len(sizes)} sizes, {listing(counts)}; give a size to all (with on_error=skip "
        f"smaller ones are left out), or take images as they are with whole[path={encoded.path}]"
    )
