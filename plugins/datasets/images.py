"""Images from the user's files; the base class of datasets of finitely many images."""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench import Card, DataError, Dataset, Shape, Split, generator
from gahbench_plugins.datasets import reading

SplitRule = Literal["consecutive", "random"]
Indices = NDArray[np.int64]

#: Image files with more bytes than this take more than ten seconds to decode, so the result is cached.
SLOW_BYTES = 1 << 26
#: If the size is at least this fraction of the smaller side, images are cropped and not resized.
CROP_ONLY = 0.9
#: Side of the small copies that are compared, and correlation above which an image is a near duplicate.
POOLED, THRESHOLD = 20, 0.95
#: Default fraction of test images, and their maximum number.
TEST_SHARE, TEST_MAX = 0.24, 1024
#: Share of the training images that is for validation if a library has no such split, and their maximum number.
VALIDATION_SHARE, VALIDATION_MAX = 0.1, 1024
#: Splits in the order of published lists: 0 (training), 1 (validation), 2 (testing).
PUBLISHED: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Source:
    """Images before they are cropped, resized and mixed.

    Parameters
    ----------
    names
        Name of each image in errors and notes.
    read
        Returns the image of an index, shape (H, W) or (H, W, C), 8 bits or floating point in [0, 1]; or raises
        ``DataError``.
    digest
        SHA-256 of the pixels; by default it is computed from the usable images.
    identity
        Number of the person in each image, shape (N,); no person is in both halves of the training images.
    partition
        Split of each image: 0 (training), 1 (validation) or 2 (testing), shape (N,); by default splits are consecutive.
    files
        The files of the images, which are decoded into the cache if that takes long.
    """

    names: Sequence[str]
    read: Callable[[int], NDArray[Any]]
    digest: str | None = None
    identity: Indices | None = None
    partition: Indices | None = None
    files: tuple[Path, ...] = ()

    @classmethod
    def of_folder(cls, folder: Path) -> Source:
        """Return the images of a folder of image files with 8 bits per channel."""
        files = reading.image_files(folder)
        paths = tuple(files.values())

        def read(index: int) -> NDArray[Any]:
            pixels = reading.read_image(paths[index])
            if pixels.dtype != np.uint8:
                raise DataError(f"pixels of type {pixels.dtype}; accepted: 8 bits per channel")
            return pixels

        return cls(list(files), read, files=paths)

    @classmethod
    def of_array(cls, array: NDArray[Any], where: str) -> Source:
        """Return the images of an array: (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floating point in 0-1."""
        images = _check(array, where)
        digest = hashlib.sha256()
        reading.add_to_digest(digest, array)
        return cls([f"image {index}" for index in range(len(images))], images.__getitem__, digest.hexdigest())

    @classmethod
    def of_parts(cls, parts: Mapping[Split, Any], key: Any, seed: int) -> Source:
        """Return the images of a library: sequences of items for ``train`` and perhaps ``validation`` and ``test``.

        ``key`` is the key of the PIL image in an item. Training images are shuffled, since sources are often sorted by
        class. Without validation images, a tenth of the training images replaces them.
        """
        order = torch.randperm(len(parts["train"]), generator=generator("data", seed, "order")).tolist()
        items = [(part, index) for part in parts for index in (order if part == "train" else range(len(parts[part])))]
        partition = np.array([PUBLISHED.index(part) for part, _ in items])
        if "validation" not in parts:
            count = min(max(1, min(round(VALIDATION_SHARE * len(order)), VALIDATION_MAX)), len(order) - 1)
            partition[np.flatnonzero(partition == 0)[len(order) - count :]] = 1

        def read(index: int) -> NDArray[Any]:
            part, number = items[index]
            image = parts[part][number][key]
            if getattr(image, "mode", None) not in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"):
                raise DataError(f"{image!r:.80}; accepted: images with 8 bits per channel")
            return np.asarray(image.convert("RGB"))

        names = [f"image {number} of {part}" for part, number in items]
        return cls(names, read, partition=partition if set(parts) != {"train"} else None)

    def load(
        self, convert: Callable[[NDArray[Any]], Any], colour: reading.Colour, on_error: reading.OnError, where: str
    ) -> Loaded:
        """Read and convert all images; raise ``DataError`` if some are unusable, and may not be left out."""
        digest, had_colours = hashlib.sha256(), False
        results: dict[int, Any] = {}
        unusable: dict[str, str] = {}
        for index, name in enumerate(self.names):
            try:
                pixels = self.read(index)
                results[index] = convert(pixels)
            except DataError as error:
                unusable[name] = str(error)
                continue
            had_colours |= reading.has_colours(reading.channels_first(pixels))
            if self.digest is None:
                reading.add_to_digest(digest, pixels)
        notes = reading.unusable_notes(unusable, len(results), on_error, where)
        notes += reading.colour_notes(colour, had_colours)
        return Loaded(list(results), list(results.values()), self.digest or digest.hexdigest(), notes)


class Loaded(NamedTuple):
    """Indices of usable images, the converted images, the SHA-256 of their pixels, and notes."""

    usable: list[int]
    results: list[Any]
    digest: str
    notes: tuple[str, ...]


class Images(Dataset):
    """Images of any kind from a folder or an array file; by default, 100 faces that are embedded in scikit-image.

    All images must have the same size, unless ``size`` is given. There are half as many validation as test images, and
    the remaining images are for training; A and B are random halves of the training images. Image files that take long
    to decode are decoded once, into a cache: $GAHBENCH_CACHE, or else ~/.cache/gahbench; it may be removed at any time.
    For patches of photographs use ``photos``, for whole photographs ``whole``. The best possible denoiser is unknown.

    Datasets of images from elsewhere derive from this class and override :meth:`source`.

    Parameters
    ----------
    path
        A folder of images, up to two folders deep, in sorted order; or an .npz or .npy file of an array, uint8 in 0-255
        or floating point in 0-1, of shape (N, H, W), (N, H, W, C) or (N, C, H, W), in .npz files under the key
        ``images``. The default is 100 faces of 25x25 pixels: 64 for training, 12 for validation and 24 for testing.
    size
        Height and width of the result, in pixels. If it is at least 90 % of the smaller side, the centre is cropped (as
        from 25 to 24), which changes no pixel; otherwise the largest centred square is resized, bicubic and
        anti-aliased. By default images keep their size, which must be the same for all images.
    test
        Number of test images; by default 24 % of all images, at most 1024.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    near_duplicates
        Whether to ``drop`` or to ``keep`` near duplicates: images whose mean-removed correlation with an earlier image,
        both pooled to 20x20 pixels, is above 0.95 (Kadkhodaie 2024).
    seed
        Seed of the halves A and B, and of random splits.
    split
        ``consecutive``: training, validation and test images are consecutive in the order of the files. ``random``: the
        images are shuffled first, by the seed, so that every kind of image, and frames of the same scene, are in each
        split.
    on_error
        ``raise``: files that cannot be read, or are smaller than ``size``, raise an error that names all of them.
        ``skip``: such files are left out, and named in a note.
    """

    display_name = "images, {path}"
    citation: ClassVar[Any] = "kadkhodaie-2024"

    def __init__(
        self,
        path: str | None = None,
        size: Annotated[int, Field(ge=8)] | None = None,
        test: Annotated[int, Field(ge=1)] | None = None,
        colour: reading.Colour = "mean",
        near_duplicates: Literal["drop", "keep"] = "drop",
        seed: int = 0,
        split: SplitRule = "consecutive",
        on_error: reading.OnError = "raise",
    ) -> None:
        self.path = path
        self.where = path or "the embedded faces"
        self.size = size
        self.test = test
        self.colour: reading.Colour = colour
        self.near_duplicates = near_duplicates
        self.seed = seed
        self.split: SplitRule = split
        self.on_error: reading.OnError = on_error

    def source(self) -> Source:
        """Return the images before they are cropped, resized and mixed."""
        if self.path is None:
            # The images after the first 100 are not faces.
            faces = np.load(reading.embedded_file("lfw_subset.npy"), allow_pickle=False)[:100]
            return Source.of_array(faces, self.where)
        path = reading.user_path(self.path)
        if path.is_dir():
            return Source.of_folder(path)
        if path.suffix.lower() not in (".npz", ".npy"):
            raise DataError(f"{path}: not a known type of file; {reading.ACCEPTED}")
        arrays = reading.read_arrays(path)
        if "images" not in arrays:
            names = ascii(", ".join(arrays))[1:-1]
            raise DataError(f"{path}: no key 'images'; its keys: {names or 'none'}; accepted: images under 'images'")
        return Source.of_array(arrays["images"], self.path)

    def crop(self, pixels: NDArray[Any]) -> tuple[NDArray[Any], int | None]:
        """Return the part of an image (C, H, W) that is used, and the size of the result in pixels."""
        return pixels, self.size

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of an image."""
        channels, height, width = self._all["images"].shape[1:]
        return (channels, height, width)

    @property
    def card(self) -> Card:
        """Origin and licence of the source."""
        if self.path is None:
            return Card(
                "100 faces of Labeled Faces in the Wild (Huang et al. 2007), embedded in scikit-image",
                "for research; photographs from the news, whose copyright belongs to their owners: "
                "http://vis-www.cs.umass.edu/lfw/",
            )
        return Card(f"user's images from {Path(self.path).name}", "not known; ask their owners")

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W), float32 in [0, 1]."""
        indices = self._splits[split]
        total = sum(len(self._splits[name]) for name in PUBLISHED)
        advice = f" of {total}; ask for at most {len(indices)}, or change 'test'"
        reading.check_count(self.where, split, start + count, len(indices), advice)
        pixels = self._all["images"][indices[start : start + count]]
        levels = torch.from_numpy(pixels.astype(np.float32))
        return levels / 255 if pixels.dtype == np.uint8 else levels

    def available(self, split: Split) -> int:
        """Return the number of images of a split."""
        return len(self._splits[split])

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on omitted files and near duplicates, and on dropped colours."""
        count = len(self._all["images"])
        dropped = count - len(self._all["distinct"])
        repeats = f"{dropped} of {count} images are near duplicates and are left out (near_duplicates=drop)"
        return (*[repeats] * (dropped > 0), *self._all["notes"].tolist())

    def missing(self) -> tuple[str, ...]:
        """Return a description of the images if they take long to decode, and are not in the cache."""
        file = self._cache_file
        if file is None or file.exists():
            return ()
        return (f"{len(self._source.names):,} images of {self.where}, decoded into {file.parent}",)

    def prepare(self) -> None:
        """Decode the images, into the cache if that takes long."""
        _ = self._splits

    def fingerprint(self) -> str:
        """Return the SHA-256 of the pixels, before cropping and resizing, and of the lists of splits and people."""
        digest = str(self._all["digest"])
        lists = [labels for labels in (self._source.partition, self._source.identity) if labels is not None]
        if not lists:
            return digest
        values = [labels[self._all["usable"]].astype("<i8").tobytes() for labels in lists]
        return hashlib.sha256(digest.encode() + b"".join(values)).hexdigest()

    @functools.cached_property
    def _source(self) -> Source:
        return self.source()

    @functools.cached_property
    def _cache_file(self) -> Path | None:
        """The file of the cache for these images, if they take long to decode."""
        stamps = [
            (str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in self._source.files if file.exists()
        ]
        if sum(size for _, size, _ in stamps) <= SLOW_BYTES:
            return None
        settings = (type(self).__name__, self.size, self.colour, self.near_duplicates, self.on_error, stamps)
        return reading.cache_folder() / f"images-{hashlib.sha256(repr(settings).encode()).hexdigest()[:32]}.npz"

    @functools.cached_property
    def _all(self) -> dict[str, NDArray[Any]]:
        """The images (N, C, H, W), indices of usable images and, among these, of distinct images, and facts."""
        file = self._cache_file
        if file is None:
            return self._read()
        try:
            if file.exists():
                with np.load(file, allow_pickle=False) as loaded:
                    return dict(loaded)
            result = self._read()
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}.npz")
            np.savez(partial, **result)  # type: ignore[arg-type]
            partial.replace(file)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{file}: decoded images cannot be kept there: {error}; remove the file if it is damaged, or set "
                "GAHBENCH_CACHE to a writable folder with enough space"
            ) from error
        return result

    def _read(self) -> dict[str, NDArray[Any]]:
        """Read, crop, resize and mix all images."""
        usable, results, digest, notes = self._source.load(self._prepare, self.colour, self.on_error, self.where)
        images, small = zip(*results, strict=True)
        self._check_sizes([self._source.names[index] for index in usable], [image.shape[1:] for image in images])
        keeps = self.near_duplicates == "keep"
        return {
            "images": np.stack(images),
            "usable": np.array(usable),
            "distinct": np.arange(len(images)) if keeps else distinct_indices(torch.stack(small)).numpy(),
            "digest": np.array(digest),
            "notes": np.array(notes, dtype=str),
        }

    def _prepare(self, pixels: NDArray[Any]) -> tuple[NDArray[Any], Tensor]:
        """Return an image cropped, resized and mixed, shape (C, H, W), and a small copy of it, shape (400,)."""
        cropped, size = self.crop(reading.channels_first(pixels))
        small = functional.adaptive_avg_pool2d(reading.mix_channels(cropped, "mean")[None], POOLED).flatten()
        height, width = cropped.shape[1:]
        side = min(height, width)
        if size is not None and size > side:
            raise DataError(f"smaller than {size}x{size} pixels (size={size})")
        resizes = size is not None and size < CROP_ONLY * side
        if size is not None:
            kept = side if resizes else size
            top, left = (height - kept) // 2, (width - kept) // 2
            cropped = cropped[:, top : top + kept, left : left + kept]
        levels = reading.mix_channels(cropped, self.colour)
        if resizes:
            levels = functional.interpolate(levels[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
        return reading.to_bytes(levels) if pixels.dtype == np.uint8 else levels.numpy(), small

    def _check_sizes(self, names: list[str], shapes: list[tuple[int, ...]]) -> None:
        examples = dict(zip(shapes, names, strict=True))
        if len(examples) > 1:
            sizes = [f"{height}x{width}, such as {name}" for (height, width), name in list(examples.items())[:8]]
            raise DataError(
                f"{self.where}: images of {len(examples)} sizes: {'; '.join(sizes)}; set a 'size' (with on_error=skip "
                f"smaller images are left out), or use whole photographs with whole[path={self.where}]"
            )

    @functools.cached_property
    def _splits(self) -> dict[Split, Indices]:
        source, usable, kept = self._source, self._all["usable"], self._all["distinct"]
        if source.partition is None:
            parts = split_indices(order_indices(kept, self.split, self.seed), self.test, self.where)
        elif self.test is not None or self.split == "random":
            raise DataError(
                f"{self.where}: a list of the source sets the splits; accepted: no 'test', and split=consecutive"
            )
        else:
            numbers = source.partition[usable][kept]
            parts = {name: kept[numbers == number] for number, name in enumerate(PUBLISHED)}
        identity = None if source.identity is None else source.identity[usable]
        return parts | _halves(parts["train"], identity, self.seed)


def _check(array: NDArray[Any], where: str) -> NDArray[Any]:
    """Check number, size, type and range of images, and return them as (N, H, W) or (N, H, W, C)."""
    is_first = array.ndim == 4 and array.shape[3] not in (1, 3)
    images = array.transpose(0, 2, 3, 1) if is_first else array
    is_valid = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))
    if not is_valid or not len(images) or not 1 <= images.shape[1] * images.shape[2] <= reading.MAX_PIXELS:
        raise DataError(
            f"{where}: images of shape {array.shape}; accepted: (N, H, W), (N, H, W, C) or (N, C, H, W), with N at "
            f"least 1, C 1 or 3, and 1 to {reading.MAX_PIXELS:,} pixels"
        )
    accepted = "uint8 in 0-255 or floating point in 0-1"
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DataError(f"{where}: pixels of type {array.dtype}; accepted: {accepted}")
    # NaN fails this comparison too.
    if array.dtype != np.uint8 and not (array.min() >= 0 and array.max() <= 1):
        raise DataError(f"{where}: pixels from {array.min():g} to {array.max():g}; accepted: {accepted}")
    return images


def order_indices(indices: Indices, rule: SplitRule, seed: int) -> Indices:
    """Return indices, shape (N,), in the order in which they are split: unchanged, or shuffled by a seed."""
    if rule == "consecutive":
        return indices
    order: Indices = torch.randperm(len(indices), generator=generator("data", seed, "split")).numpy()
    return indices[order]


def split_indices(indices: Indices, test: int | None, where: str) -> dict[Split, Indices]:
    """Divide indices, in order, into training, validation and test images."""
    total = len(indices)
    count = max(1, min(round(TEST_SHARE * total), TEST_MAX)) if test is None else test
    validation = count // 2
    if count + validation > total:
        raise DataError(
            f"{where}: test={count} and {validation} validation images out of {total}; "
            f"accepted: test up to {(2 * total + 1) // 3}"
        )
    train = total - count - validation
    return {"train": indices[:train], "validation": indices[train : total - count], "test": indices[total - count :]}


def _halves(train: Indices, identity: Indices | None, seed: int) -> dict[Split, Indices]:
    """Divide the training images into two random halves; if people are known, no person is in both."""
    draw = generator("data", seed, "halves")
    order = train[torch.randperm(len(train), generator=draw).numpy()]
    if identity is None:
        middle = (len(order) + 1) // 2
        return {"A": order[:middle], "B": order[middle:]}
    people, member, counts = np.unique(identity[order], return_inverse=True, return_counts=True)
    queue = torch.randperm(len(people), generator=draw).numpy()
    before = np.cumsum(counts[queue]) - counts[queue]
    in_a = np.zeros(len(people), dtype=bool)
    # A has the people whose images are mostly in the first half of the queue.
    in_a[queue] = 2 * before + counts[queue] <= len(order)
    return {"A": order[in_a[member]], "B": order[~in_a[member]]}


def distinct_indices(small: Tensor, chunk: int = 1024) -> Tensor:
    """Return the indices of images without near duplicates, given small copies of shape (N, P).

    An image is left out if its mean-removed correlation with an earlier image that is kept is above 0.95. A constant
    image has no correlation, and is kept. Double precision makes all machines agree.
    """
    normed = small.double()
    normed -= normed.mean(1, keepdim=True)
    norms = normed.norm(dim=1, keepdim=True)
    normed /= torch.where(norms > 1e-6, norms, torch.inf)
    kept = torch.empty(0, dtype=torch.long)
    for first in range(0, len(normed), chunk):
        block = normed[first : first + chunk]
        repeats = torch.zeros(len(block), dtype=torch.bool)
        for start in range(0, len(kept), 8 * chunk):
            repeats |= (block @ normed[kept[start : start + 8 * chunk]].mT > THRESHOLD).any(1)
        within = (block @ block.mT > THRESHOLD).tril(-1)
        # Keep the order, since an image is compared only with earlier images that are kept.
        for index in within.any(1).nonzero().flatten().tolist():
            repeats[index] |= (within[index] & ~repeats).any()
        kept = torch.cat([kept, first + (~repeats).nonzero().flatten()])
    return kept
