"""Real faces: 100 embedded faces, or the user's images."""

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
from ._reading.cache import cache_folder, cached_facts, load_or_build
from ._reading.encoded import CELEBA, CELEBA_HOME, CELEBA_LICENCE, Encoded, missing_celeba
from ._reading.files import KIND, Images, OnError, from_array, from_encoded, open_encoded, source_path
from ._reading.preprocess import Colour, Preprocessing, colour_notes
from ._reading.splits import distinct_indices, order_notes, similar_neighbours

#: Maximum number of images for which near duplicates are not cached but searched for each time.
QUICK = 2048

Source = Literal["lfw-subset", "lfw", "olivetti", "celeba"]


class Faces(Dataset):
    """Faces: the 100 images embedded in scikit-image (25x25 pixels, grey), or images of a file, folder or known source.

    The best possible denoiser is unknown. Near duplicates are left out: images whose mean-removed correlation with an
    earlier image, both pooled to 20x20 pixels, is above 0.95 (Kadkhodaie 2024). The embedded faces contain no near
    duplicates.

    By default, splits are consecutive in the order of the files: training, validation, then test images, with half as
    many validation as test images. The embedded faces are divided into 64 for training, 12 for validation and 24 for
    testing. A list ``list_eval_partition`` (.txt or .csv) in the folder or archive overrides these splits. A and B are
    random halves of the training images. If people are known, from ``identity_CelebA`` (.txt or .csv), the key
    ``identity`` of an array file, or the source, no person is in both halves. Other splits may share people; the
    published splits of CelebA do not.

    Images of a source with 8 bits per channel are rounded to 8 bits once, after mixing channels and resizing. Image
    files are decoded once, into a cache: $GAHBENCH_CACHE, or else ~/.cache/gahbench; it may be removed at any time.

    Parameters
    ----------
    path
        A folder or zip archive of images, up to two folders deep, in sorted order; a Parquet table from the Hugging
        Face hub; or an .npz, .npy or .pt file of an array, uint8 in 0-255 or floating point in 0-1, of shape (N, H, W),
        (N, H, W, C) or (N, C, H, W), under the key ``images`` if the file has keys. The default is the embedded faces.
    size
        Height and width of the result, in pixels. If it is at least 90 % of the smaller side, the centre is cropped (as
        from 25 to 24); otherwise the largest centred square is resized, bicubic and anti-aliased. By default images
        keep their size, except CelebA's 178x218 pixels: rows 29:-29 and columns 9:-9, resized to 80x80, as in
        Kadkhodaie 2024.
    test
        Number of test images; by default 24 % of all images, at most 1024.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    source
        ``lfw-subset``: the embedded faces. ``lfw``: Labeled Faces in the Wild, 125x94 pixels around the face, and
        ``olivetti``: 400 faces of 64x64 pixels, both fetched by scikit-learn. ``celeba``: CelebA in the folder
        ``path``, in the layout of torchvision or Kaggle; it is never downloaded.
    near_duplicates
        Whether to ``drop`` or to ``keep`` near duplicates of earlier images.
    seed
        Seed of the halves A and B, and of random splits.
    split
        ``consecutive``: the splits follow the order of the files. ``random``: the images are shuffled first, by the
        seed, so that every kind of image is in each split, and the same person or scene may be in several splits.
    on_error
        ``raise``: files that cannot be read, or are smaller than ``size``, raise an error that names all of them.
        ``skip``: such files are left out, and named in a note.

    Raises
    ------
    ValueError
        If a source other than ``celeba`` is given with a path, or ``celeba`` is given without a path.
    """

    display_name = "faces, {path}"
    citation: ClassVar[Citation | None] = KADKHODAIE_2024

    def __init__(
        self,
        path: str | None = None,
        size: Annotated[int, Field(ge=8)] | None = None,
        test: Annotated[int, Field(ge=1)] | None = None,
        colour: Colour = "mean",
        source: Source | None = None,
        near_duplicates: Literal["drop", "keep"] = "drop",
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
            raise ValueError(f"path={path} and source={source}: give only one, or both with source=celeba")
        self.path = path
        self.size = size
        self.test = test
        self.colour = colour
        self.source: Source | None = "lfw-subset" if path is None and source is None else source
        self.near_duplicates = near_duplicates
        self.seed = seed
        self.split: splits.SplitRule = split
        self.on_error: OnError = on_error

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of an image."""
        channels, height, width = self._all.stored.shape[1:]
        return (channels, height, width)

    @property
    def card(self) -> Card:
        """Origin and licence of the source."""
        if self.source is not None:
            return fetched.CARDS[self.source]
        return Card(f"user's images from {Path(str(self.path)).name}", "not known; ask their owners")

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W), float32 in [0, 1]."""
        indices = self._splits[split]
        if start + count > len(indices):
            raise DataError(
                f"{self._where}: {start + count} {split} images requested, but the split holds {len(indices)} "
                f"of {sum(len(self._splits[name]) for name in ('train', 'validation', 'test'))}; "
                f"ask for at most {len(indices)}, or change 'test'"
            )
        return self._all.rows(indices[start : start + count])

    def available(self, split: Split) -> int:
        """Return the number of images of a split."""
        return len(self._splits[split])

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on omitted files and near duplicates, similar neighbours, and dropped colours."""
        colours = colour_notes(self.colour, self._all.had_colours)
        if not self._is_own:
            return colours
        count = len(self._all)
        dropped = count - len(self._kept())
        repeats = f"{dropped} of {count} images are near duplicates and are left out (near_duplicates=drop)"
        return (
            *self._all.unusable_notes(),
            *[repeats] * (dropped > 0),
            *self._order_notes(),
            *colours,
        )

    def missing(self) -> tuple[str, ...]:
        """Return descriptions of the downloads, and of long decoding and searches, whose results are not cached yet."""
        if self.source in fetched.DOWNLOADS and (absent := fetched.missing(self.source)):
            return absent
        encoded = self._opened()
        if encoded is None or not encoded.is_slow:
            return ()
        facts = cached_facts(KIND, encoded.key(self._preprocessing.description))
        description = f"{len(encoded.names):,} images of {encoded.path}"
        if facts is None:
            return (f"{description}, decoded into {cache_folder()}",)
        cache_key = self._near_duplicates_key(facts["digest"])
        if self.near_duplicates == "keep" or len(encoded.names) <= QUICK or cached_facts(*cache_key):
            return ()
        return (f"near duplicates among {description}, found and written into {cache_folder()}",)

    def prepare(self) -> None:
        """Fetch and decode the images, and search for near duplicates."""
        _ = self._splits

    def fingerprint(self) -> str:
        """Return the SHA-256 of the decoded pixels, before cropping and resizing, and of partition and identities."""
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
            return from_array(fetched.load_embedded_faces(), self._preprocessing, self._where)
        stored = fetched.olivetti() if self.source == "olivetti" else read_arrays(source_path(str(self.path)))
        return from_array(stored.images, self._preprocessing, self._where, stored.identity)

    @property
    def _preprocessing(self) -> Preprocessing:
        return Preprocessing(self.size, self.colour, fetched.LFW_WINDOW if self.source == "lfw" else None)

    def _opened(self) -> Encoded | None:
        """Return the image files, fetched if necessary; ``None`` if the source is an array."""
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
    def _splits(self) -> dict[Split, splits.Indices]:
        source = self._all
        kept = self._kept()
        if source.partition is None:
            parts = splits.consecutive(splits.reorder(kept, self.split, self.seed), self.test, self._where)
        elif self.test is not None or self.split == "random":
            raise DataError(
                f"{self._where}: a list of the source sets the splits; accepted: no 'test', and split=consecutive"
            )
        else:
            parts = splits.published_splits(kept, source.partition)
        return parts | splits.halves(parts["train"], source.identity, self.seed)

    @property
    def _is_own(self) -> bool:
        """Whether the images are from the user's files, in the order of these files."""
        return self.path is not None and self.source is None

    def _order_notes(self) -> tuple[str, ...]:
        """Return a note if splits follow the order of the files and neighbours look alike."""
        if self.split == "random" or self._all.partition is not None:
            return ()

        def compare(folder: Path | None = None) -> dict[str, Any]:
            return {"alike": similar_neighbours(self._all.pooled()[self._kept()])}

        if len(self._all) <= QUICK:
            return order_notes(compare()["alike"])
        _, facts = load_or_build("neighbours", [self._all.digest, self.near_duplicates], compare)
        return order_notes(facts["alike"])

    def _kept(self) -> splits.Indices:
        """Return the indices of all images except near duplicates."""
        count = len(self._all)
        if self.near_duplicates == "keep":
            return np.arange(count)
        if count <= QUICK:
            return distinct_indices(self._all.pooled()).numpy()

        def search(folder: Path) -> dict[str, Any]:
            indices = distinct_indices(self._all.pooled(), self._where)
            np.save(folder / "indices.npy", indices.numpy())
            return {"count": len(indices)}

        folder, _ = load_or_build(*self._near_duplicates_key(self._all.digest), search)
        kept: splits.Indices = np.load(folder / "indices.npy", allow_pickle=False)
        return kept

    def _near_duplicates_key(self, digest: str) -> tuple[str, list[str | None]]:
        """Return the kind and the key of the cache entry for near duplicates."""
        return "near-duplicates", [digest, self.source]
