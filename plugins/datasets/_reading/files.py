"""Images from files, ready to be read by the row."""

from __future__ import annotations

import functools
import hashlib
import stat
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench import DataError, Dataset, spec_of
from gahbench._util.files import open_regular
from gahbench._util.readable import brief

from . import arrays
from .cache import cached, damaged
from .decode import Decoding
from .encoded import Encoded, Folder, Zip
from .preprocess import Preprocessing, grey_levels, has_colours

OnError = Literal["raise", "skip"]

#: Name in the cache.
KIND = "images"
ARRAY_SUFFIXES = (".npz", ".npy", ".pt")
ACCEPTED = "accepted: a folder of images, or a file .zip, .parquet, .npz, .npy or .pt"
#: How many files an error or a note names.
SHOWN = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class Source(Sized):
    """Base of what was read of a source: SHA-256 of the pixels as files hold them, and why some files are unusable."""

    digest: str
    had_colours: bool = False
    unusable: Mapping[str, str] = field(default_factory=dict)

    @abstractmethod
    def __len__(self) -> int:
        """Return how many images can be used."""

    def check_usable(self, dataset: Dataset, on_error: OnError, where: str) -> None:
        """Raise ``DataError`` if images cannot be used and are not to be skipped, or none can."""
        if not self.unusable or (on_error == "skip" and len(self)):
            return
        spec = spec_of(dataset)
        example = f", as in {spec[:-1]},on_error=skip]" if spec and spec.endswith("]") else ""
        advice = f"; on_error=skip leaves them out{example}" if len(self) else ""
        raise DataError(f"{where}: {self._described()}{advice}")

    def unusable_notes(self) -> tuple[str, ...]:
        """Return the note of a dataset that leaves out images."""
        return (f"{self._described()}; they are left out (on_error=skip)",) if self.unusable else ()

    def _described(self) -> str:
        return describe(self.unusable, len(self) + len(self.unusable))


@dataclass(frozen=True, eq=False, kw_only=True)
class Images(Source):
    """All images of a source, preprocessed to one size: (N, C, H, W), uint8 or floating point, maybe on the disk."""

    stored: NDArray[Any]
    #: Gives small copies in which to look for near repeats, shape (N, P), float32.
    pooled: Callable[[], Tensor]
    #: The person on each image, and whether it is for training (0), validation (1) or testing (2), where known.
    identity: NDArray[np.int64] | None = None
    partition: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.stored)

    def rows(self, places: NDArray[np.int64]) -> Tensor:
        """Return the images at these places, float32 in [0, 1]; no others are read."""
        return grey_levels(self.stored[places])


def describe(unusable: Mapping[str, str], total: int) -> str:
    """Return how many of all images cannot be used, the first of their names, and why."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in list(unusable.items())[:SHOWN]:
        by_reason.setdefault(reason, []).append(name)
    parts = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    more = [f"and {len(unusable) - SHOWN} more"] if len(unusable) > SHOWN else []
    return f"{len(unusable)} of {total} images cannot be used: {'; '.join([*parts, *more])}"


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
    return Images(stored=stored, pooled=pooled, digest=digest.hexdigest(), identity=identity, had_colours=had_colours)


def from_encoded(encoded: Encoded, preprocessing: Preprocessing) -> Images:
    """Decode and preprocess image files, or take them from the cache if that was done before."""
    make = functools.partial(_decode_all, encoded, preprocessing)
    folder, facts = cached(KIND, encoded.key(preprocessing.description), make)
    try:
        stored = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        pooled = np.load(folder / "pooled.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise damaged(folder, error) from error
    unusable: dict[int, str] = dict(facts["unusable"])
    kept = np.array([place for place in range(len(encoded.names)) if place not in unusable])
    people, partition = encoded.identity(), encoded.partition()
    return Images(
        stored=stored[: len(kept)],
        pooled=lambda: torch.from_numpy(np.array(pooled[: len(kept)])),
        digest=facts["digest"],
        identity=None if people is None else people[kept],
        partition=None if partition is None else partition[kept],
        had_colours=facts["colours"],
        unusable=encoded.named(unusable),
    )


def _decode_all(encoded: Encoded, preprocessing: Preprocessing, folder: Path) -> dict[str, Any]:
    """Decode every file into ``images.npy`` and ``pooled.npy``; return the digest of the pixels, and unusable files."""
    decoding, total = Decoding(encoded), len(encoded.names)
    stored: np.memmap[Any, np.dtype[Any]] | None = None
    end = 0
    sizes: dict[tuple[int, ...], list[int]] = {}
    for places, batch in _batches(decoding):
        channels_first = batch.transpose(0, 3, 1, 2)
        try:
            images = preprocessing(channels_first, "")
            small = preprocessing.pooled(channels_first)
        except DataError as error:
            size = preprocessing.size
            is_small = size is not None and size > min(batch.shape[1:3])
            why = f"smaller than {size}x{size} pixels (size={size})" if is_small else str(error).removeprefix(": ")
            decoding.unusable |= dict.fromkeys(places, why)
            continue
        sizes.setdefault(images.shape[2:], []).extend(places)
        if stored is None:
            new = functools.partial(np.lib.format.open_memmap, mode="w+")
            stored = new(folder / "images.npy", dtype=np.uint8, shape=(total, *images.shape[1:]))
            pooled = new(folder / "pooled.npy", dtype=np.float32, shape=(total, small.shape[1]))
        # Images of another size are refused below, all at once.
        if images.shape[1:] == stored.shape[1:]:
            for image in batch:
                decoding.count(image)
            stored[end : end + len(batch)], pooled[end : end + len(batch)] = images, small
            end += len(batch)
    named = encoded.named(decoding.unusable)
    if len(sizes) > 1:
        raise DataError(_unequal(encoded, sizes) + (f"; and {describe(named, total)}" if named else ""))
    if stored is None:
        raise DataError(f"{encoded.path}: {describe(named, total)}")
    # Before the folder gets its name: after a power cut a folder of that name is complete.
    stored.flush()
    pooled.flush()
    return decoding.facts()


def _batches(decoding: Decoding) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Yield the places of images of one size that follow each other, and their pixels, (N, H, W, 3)."""
    batch: list[NDArray[np.uint8]] = []
    places: list[int] = []
    for place, image in decoding:
        if batch and (image.shape != batch[0].shape or len(arrays.parts(len(batch) + 1, image.shape)) > 1):
            yield places, np.stack(batch)
            batch, places = [], []
        batch.append(image)
        places.append(place)
    if batch:
        yield places, np.stack(batch)


def _unequal(encoded: Encoded, sizes: dict[tuple[int, ...], list[int]]) -> str:
    frequent = sorted(sizes.items(), key=lambda item: -len(item[1]))[:SHOWN]
    counts = [
        f"{height}x{width} ({len(places)}, such as {brief(encoded.names[places[0]])})"
        for (height, width), places in frequent
    ]
    return (
        f"{encoded.path}: images of {len(sizes)} sizes, {', '.join(counts)}; give a size to all (with on_error=skip "
        f"smaller ones are left out), or take images as they are with whole[path={encoded.path}]"
    )
