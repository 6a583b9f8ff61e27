"""Preprocessed images from files."""

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

from gahbench import DataError, Dataset, get_spec
from gahbench._util.files import open_regular
from gahbench._util.readable import brief

from . import arrays
from .cache import damage_error, load_or_build
from .decode import Decoding
from .encoded import Encoded, Folder, Zip
from .preprocess import Preprocessing, grey_levels, has_colours

OnError = Literal["raise", "skip"]

#: Kind of the entries in the cache.
KIND = "images"
ARRAY_SUFFIXES = (".npz", ".npy", ".pt")
ACCEPTED = "accepted: a folder of images, or a file .zip, .parquet, .npz, .npy or .pt"
#: Maximum number of files that an error or a note names.
SHOWN = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class Source(Sized):
    """Base class of images of a source, with the SHA-256 of the pixels in files, and reasons why files are unusable."""

    digest: str
    had_colours: bool = False
    unusable: Mapping[str, str] = field(default_factory=dict)

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of usable images."""

    def check_usable(self, dataset: Dataset, on_error: OnError, where: str) -> None:
        """Raise ``DataError`` if unusable images are not to be skipped, or all images are unusable."""
        if not self.unusable or (on_error == "skip" and len(self)):
            return
        spec = get_spec(dataset)
        example = f", as in {spec[:-1]},on_error=skip]" if spec and spec.endswith("]") else ""
        advice = f"; on_error=skip leaves them out{example}" if len(self) else ""
        raise DataError(f"{where}: {self._describe_unusable()}{advice}")

    def unusable_notes(self) -> tuple[str, ...]:
        """Return a note on the images that are left out."""
        return (f"{self._describe_unusable()}; they are left out (on_error=skip)",) if self.unusable else ()

    def _describe_unusable(self) -> str:
        return describe(self.unusable, len(self) + len(self.unusable))


@dataclass(frozen=True, eq=False, kw_only=True)
class Images(Source):
    """All images of a source, preprocessed to a common size: (N, C, H, W), uint8 or floating point."""

    stored: NDArray[Any]
    #: Returns small copies for the search for near duplicates, shape (N, P), float32.
    pooled: Callable[[], Tensor]
    #: Number of the person in each image, and split of each image: training (0), validation (1) or testing (2), if
    #: known.
    identity: NDArray[np.int64] | None = None
    partition: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.stored)

    def rows(self, indices: NDArray[np.int64]) -> Tensor:
        """Read the images of these indices, float32 in [0, 1]."""
        return grey_levels(self.stored[indices])


def describe(unusable: Mapping[str, str], total: int) -> str:
    """Return the number of unusable images, the first of their names, and the reasons."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in list(unusable.items())[:SHOWN]:
        by_reason.setdefault(reason, []).append(name)
    parts = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    more = [f"and {len(unusable) - SHOWN} more"] if len(unusable) > SHOWN else []
    return f"{len(unusable)} of {total} images cannot be used: {'; '.join([*parts, *more])}"


def source_path(path: str) -> Path:
    """Expand ``~`` in the user's path of images."""
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
        raise DataError(f"{path}: not a known type of file; {ACCEPTED}")
    return None


def from_array(
    array: NDArray[Any], preprocessing: Preprocessing, where: str, identity: NDArray[np.int64] | None = None
) -> Images:
    """Preprocess the images of an array: (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floating point in 0-1."""
    images = arrays.check(array, where)
    digest = hashlib.sha256()
    arrays.update(digest, array)
    parts = arrays.split_images(len(images), images.shape[1:])
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
    """Decode and preprocess image files, or load the result from the cache."""
    build = functools.partial(_decode_all, encoded, preprocessing)
    folder, facts = load_or_build(KIND, encoded.key(preprocessing.description), build)
    try:
        stored = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        pooled = np.load(folder / "pooled.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise damage_error(folder, error) from error
    unusable: dict[int, str] = dict(facts["unusable"])
    kept = np.array([index for index in range(len(encoded.names)) if index not in unusable])
    people, partition = encoded.identity(), encoded.partition()
    return Images(
        stored=stored[: len(kept)],
        pooled=lambda: torch.from_numpy(np.array(pooled[: len(kept)])),
        digest=facts["digest"],
        identity=None if people is None else people[kept],
        partition=None if partition is None else partition[kept],
        had_colours=facts["colours"],
        unusable=encoded.reasons_by_name(unusable),
    )


def _decode_all(encoded: Encoded, preprocessing: Preprocessing, folder: Path) -> dict[str, Any]:
    """Decode every file into ``images.npy`` and ``pooled.npy``, and return the facts of the decoding."""
    decoding, total = Decoding(encoded), len(encoded.names)
    stored: np.memmap[Any, np.dtype[Any]] | None = None
    end = 0
    sizes: dict[tuple[int, ...], list[int]] = {}
    for indices, batch in _batches(decoding):
        channels_first = batch.transpose(0, 3, 1, 2)
        try:
            images = preprocessing(channels_first, "")
            small = preprocessing.pooled(channels_first)
        except DataError as error:
            size = preprocessing.size
            is_small = size is not None and size > min(batch.shape[1:3])
            reason = f"smaller than {size}x{size} pixels (size={size})" if is_small else str(error).removeprefix(": ")
            decoding.unusable |= dict.fromkeys(indices, reason)
            continue
        sizes.setdefault(images.shape[2:], []).extend(indices)
        if stored is None:
            create = functools.partial(np.lib.format.open_memmap, mode="w+")
            stored = create(folder / "images.npy", dtype=np.uint8, shape=(total, *images.shape[1:]))
            pooled = create(folder / "pooled.npy", dtype=np.float32, shape=(total, small.shape[1]))
        # Several sizes raise an error below, which names all of them.
        if images.shape[1:] == stored.shape[1:]:
            for image in batch:
                decoding.add(image)
            stored[end : end + len(batch)], pooled[end : end + len(batch)] = images, small
            end += len(batch)
    named = encoded.reasons_by_name(decoding.unusable)
    if len(sizes) > 1:
        raise DataError(_unequal(encoded, sizes) + (f"; and {describe(named, total)}" if named else ""))
    if stored is None:
        raise DataError(f"{encoded.path}: {describe(named, total)}")
    # Flush before the folder is renamed, so that it is complete after a power failure.
    stored.flush()
    pooled.flush()
    return decoding.facts()


def _batches(decoding: Decoding) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Yield the indices of consecutive images of the same size, and their pixels, (N, H, W, 3)."""
    batch: list[NDArray[np.uint8]] = []
    indices: list[int] = []
    for index, image in decoding:
        if batch and (image.shape != batch[0].shape or len(arrays.split_images(len(batch) + 1, image.shape)) > 1):
            yield indices, np.stack(batch)
            batch, indices = [], []
        batch.append(image)
        indices.append(index)
    if batch:
        yield indices, np.stack(batch)


def _unequal(encoded: Encoded, sizes: dict[tuple[int, ...], list[int]]) -> str:
    frequent = sorted(sizes.items(), key=lambda item: -len(item[1]))[:SHOWN]
    counts = [
        f"{height}x{width} ({len(indices)}, such as {brief(encoded.names[indices[0]])})"
        for (height, width), indices in frequent
    ]
    return (
        f"{encoded.path}: images of {len(sizes)} sizes, {', '.join(counts)}; set a 'size' (with on_error=skip "
        f"smaller images are left out), or use whole photographs with whole[path={encoded.path}]"
    )
