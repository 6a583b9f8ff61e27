"""Real faces, 100 of them embedded, or images of one's own."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from gahbench import Card, Citation, DataError, Dataset, Shape, Split

from .._papers import KADKHODAIE_2024
from ._reading import fetched, splits
from ._reading.arrays import read_arrays
from ._reading.cache import cache_folder, cached, cached_facts
from ._reading.encoded import CELEBA, CELEBA_HOME, CELEBA_LICENCE, Encoded, missing_celeba
from ._reading.files import KIND, Images, OnError, from_array, from_encoded, open_encoded, source_path
from ._reading.preprocess import Colour, Preprocessing, colour_notes
from ._reading.splits import alike_neighbours, order_notes, without_repeats

#: Number of images up to which near repeats are searched for each time.
QUICK = 2048

Source = Literal["lfw-subset", "lfw", "olivetti", "celeba"]


class Faces(Dataset):
    """Faces: the 100 embedded in scikit-image (25x25 pixels, grey), or those of a file, folder or known source.

    Nothing is known about the best possible denoiser. Near repeats are left out: images whose mean-removed correlation
    with an earlier one, both pooled to 20x20 pixels, is above 0.95 (Kadkhodaie 2024); the embedded faces hold none.

    Splits are consecutive in the order of the files unless ``split`` says otherwise: first training, then validation,
    last test images; there are half as many validation as test images. Of the embedded faces 64 are for training, 12
    for validation, 24 for testing. A list ``list_eval_partition`` (.txt or .csv) in the folder or archive is followed
    instead. A and B are random halves of the training images; no person is in both where people are known, from
    ``identity_CelebA`` (.txt or .csv), the key ``identity`` of an array file, or the source. Other splits may share
    people; the published ones of CelebA do not.

    Where a source has 8 bits a channel, so have the images: they are rounded once, after mixing channels and resizing.
    Image files are decoded once, into a cache: $GAHBENCH_CACHE, or else ~/.cache/gahbench; remove it at any time.

    Parameters
    ----------
    path
        A folder or zip archive of images, up to two folders deep, in sorted order; a Parquet table from the Hugging
        Face hub; or an .npz, .npy or .pt file of an array, uint8 in 0-255 or floating point in 0-1, of shape (N, H, W),
        (N, H, W, C) or (N, C, H, W), under the key ``images`` where there are keys. By default the embedded faces.
    size
        Height and width to give the images: within 10 % of the smaller side the centre is cropped (25 to 24 keeps every
        pixel), else the largest centred square is resized, bicubic and anti-aliased. By default as they are, but 80x80
        of CelebA's 178x218 pixels: rows 29:-29, columns 9:-9, resized, as in Kadkhodaie 2024.
    test
        Number of test images; by default 24 % of all, at most 1024.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    source
        ``lfw-subset``: the embedded faces. ``lfw``: Labeled Faces in the Wild, 125x94 pixels around the face, and
        ``olivetti``: 400 faces of 64x64 pixels, both fetched by scikit-learn. ``celeba``: CelebA below ``path``, as
        torchvision or Kaggle lay it out; it is never downloaded.
    near_repeats
        Whether to ``drop`` or to ``keep`` images that nearly repeat an earlier one.
    seed
        Seed of the halves A and B, and of random splits.
    split
        ``consecutive``: the splits follow the order of the files. ``random``: the images are shuffled first, by the
        seed, so that every kind of image is in each split, and so may be people and scenes.
    on_error
        ``raise``: files that cannot be read, or are smaller than ``size``, are an error that names all of them.
        ``skip``: they are left out, and named in a note.

    Raises
    ------
    ValueError
        If a source other than ``celeba`` is given with a path, or ``celeba`` without one.
    """

    citation: ClassVar[Citation | None] = KADKHODAIE_2024

    def __init__(
        self,
        path: str | None = None,
        size: Annotated[int, Field(ge=8)] | None = None,
        test: Annotated[int, Field(ge=1)] | None = None,
        colour: Colour = "mean",
        source: Source | None = None,
        near_repeats: Literal["drop", "keep"] = "drop",
        seed: int = 0,
        split: splits.SplitRule = "consecutive",
        on_error: OnError = "raise",
    ) -> None:
        if source == "celeba" and path is None:
            raise ValueError(
                f"source=celeba needs the 'path' of a folder with {CELEBA}/; CelebA is {CELEBA_LICENCE} and is "
                f"not downloaded for you: {CELEBA_HOME}"
            )
        if source not in (None, "celeba") and path is not None:
            raise ValueError(f"path={path} and source={source}: accepted is one of them, or both with source=celeba")
        self.path = path
        self.size = size
        self.test = test
        self.colour = colour
        self.source: Source | None = "lfw-subset" if path is None and source is None else source
        self.near_repeats = near_repeats
        self.seed = seed
        self.split: splits.SplitRule = split
        self.on_error: OnError = on_error

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of one image."""
        channels, height, width = self._all.stored.shape[1:]
        return (channels, height, width)

    @property
    def card(self) -> Card:
        """Origin and licence of the source."""
        if self.source is not None:
            return fetched.CARDS[self.source]
        return Card(f"images of one's own, from {Path(str(self.path)).name}", "as their owners say")

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W), float32 in [0, 1]."""
        places = self._splits[split]
        if start + count > len(places):
            raise DataError(
                f"{self._where}: {start + count} {split} images requested, but the split holds {len(places)} "
                f"of {sum(len(self._splits[name]) for name in ('train', 'validation', 'test'))}; "
                f"ask for at most {len(places)}, or change 'test'"
            )
        return self._all.rows(places[start : start + count])

    def available(self, split: Split) -> int:
        """Return how many images a split holds."""
        return len(self._splits[split])

    @property
    def notes(self) -> tuple[str, ...]:
        """Say which files and near repeats were left out, that neighbours look alike, and that colours were dropped."""
        colours = colour_notes(self.colour, self._all.had_colours)
        if not self._is_own:
            return colours
        count = len(self._all)
        dropped = count - len(self._kept())
        repeats = f"{dropped} of {count} images nearly repeat an earlier one and are left out (near_repeats=drop)"
        return (
            *self._all.unusable_notes(),
            *[repeats] * (dropped > 0),
            *self._order_notes(),
            *colours,
        )

    def missing(self) -> tuple[str, ...]:
        """Return what is not fetched yet, or takes long and is not in the cache yet: decoding, or near repeats."""
        if self.source in fetched.DOWNLOADS and (absent := fetched.missing(self.source)):
            return absent
        encoded = self._opened()
        if encoded is None or not encoded.is_long:
            return ()
        facts = cached_facts(KIND, encoded.key(self._preprocessing.description))
        what = f"{len(encoded.names):,} images of {encoded.path}"
        if facts is None:
            return (f"{what}, decoded into {cache_folder()}",)
        repeats = self._repeats(facts["digest"])
        if self.near_repeats == "keep" or len(encoded.names) <= QUICK or cached_facts(*repeats):
            return ()
        return (f"near repeats among {what}, found and written into {cache_folder()}",)

    def prepare(self) -> None:
        """Fetch and decode the images, and look for near repeats."""
        _ = self._splits

    def fingerprint(self) -> str:
        """Return the SHA-256 of the decoded pixels, before any crop or resize, and of the lists that sort them."""
        lists = [labels for labels in (self._all.partition, self._all.identity) if labels is not None]
        if not lists:
            return self._all.digest
        digest = hashlib.sha256(self._all.digest.encode())
        for labels in lists:
            digest.update(labels.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def _where(self) -> str:
        return self.path or ("the embedded faces" if self.source == "lfw-subset" else str(self.source))

    @functools.cached_property
    def _all(self) -> Images:
        images = self._read()
        images.check_usable(self, self.on_error, self._where)
        return images

    def _read(self) -> Images:
        if (encoded := self._opened()) is not None:
            return from_encoded(encoded, self._preprocessing)
        if self.source == "lfw-subset":
            return from_array(fetched.embedded(), self._preprocessing, self._where)
        stored = fetched.olivetti() if self.source == "olivetti" else read_arrays(source_path(str(self.path)))
        return from_array(stored.images, self._preprocessing, self._where, stored.identity)

    @property
    def _preprocessing(self) -> Preprocessing:
        return Preprocessing(self.size, self.colour, fetched.LFW_WINDOW if self.source == "lfw" else None)

    def _opened(self) -> Encoded | None:
        """Return the image files, fetched if need be; ``None`` where images are in an array."""
        if self.source in ("lfw-subset", "olivetti"):
            return None
        if self.source == "lfw":
            return fetched.labeled_faces()
        path = source_path(str(self.path))
        if self.source != "celeba":
            return open_encoded(path)
        try:
            encoded = open_encoded(path, below=CELEBA)
        except DataError as error:
            raise missing_celeba(path) from error
        if encoded is None:
            raise missing_celeba(path)
        return encoded

    @functools.cached_property
    def _splits(self) -> dict[Split, splits.Places]:
        source = self._all
        places = self._kept()
        if source.partition is None:
            parts = splits.consecutive(splits.ordered(places, self.split, self.seed), self.test, self._where)
        elif self.test is not None or self.split == "random":
            raise DataError(
                f"{self._where}: a list says which images are for testing; accepted: no 'test', and split=consecutive"
            )
        else:
            parts = splits.published(places, source.partition)
        return parts | splits.halves(parts["train"], source.identity, self.seed)

    @property
    def _is_own(self) -> bool:
        """Whether the images are from files of the user's, in the order of these."""
        return self.path is not None and self.source is None

    def _order_notes(self) -> tuple[str, ...]:
        """Return what to say of splits that follow the order of the files."""
        if self.split == "random" or self._all.partition is not None:
            return ()

        def find(folder: Path | None = None) -> dict[str, Any]:
            return {"alike": alike_neighbours(self._all.pooled()[self._kept()])}

        if len(self._all) <= QUICK:
            return order_notes(find()["alike"])
        _, facts = cached("neighbours", [self._all.digest, self.near_repeats], find)
        return order_notes(facts["alike"])

    def _kept(self) -> splits.Places:
        """Return the places of all images but near repeats."""
        count = len(self._all)
        if self.near_repeats == "keep":
            return np.arange(count)
        if count <= QUICK:
            return without_repeats(self._all.pooled()).numpy()

        def find(folder: Path) -> dict[str, Any]:
            places = without_repeats(self._all.pooled(), self._where)
            np.save(folder / "places.npy", places.numpy())
            return {"places": len(places)}

        folder, _ = cached(*self._repeats(self._all.digest), find)
        kept: splits.Places = np.load(folder / "places.npy", allow_pickle=False)
        return kept

    def _repeats(self, digest: str) -> tuple[str, list[str | None]]:
        """Return kind and content of the near repeats in the cache."""
        return "repeats", [digest, self.source]
