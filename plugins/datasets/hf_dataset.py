"""Datasets of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gahbench import Card, DataError
from gahbench._util.readable import brief

from .._extras import require
from ._library import Library, Part
from ._reading.cache import cache_folder
from ._reading.preprocess import Colour

#: Names of validation splits on the hub.
_VALIDATION = ("validation", "valid", "val", "dev")


class HuggingFace(Library):
    """Images of a dataset of the Hugging Face hub, or of a folder written by ``save_to_disk``.

    This dataset needs the extra ``hf-dataset``. The splits ``train``, ``validation`` and ``test`` are the splits of the
    source. Without a validation split, a random tenth of the training images, at most 1024, is used for validation. A
    dataset with a single split is shuffled and cut into training, validation and test images. Only ``gahbench prepare``
    downloads a dataset, and writes it into the cache of gahbench.

    Parameters
    ----------
    name
        Name on the hub, ``owner/name``.
    path
        Folder written by ``save_to_disk`` of the package datasets, instead of a name.
    subset
        Configuration of the dataset; ``null`` for its only configuration.
    column
        Column of the images; ``null`` for the only column of images.
    revision
        Commit or tag; ``null`` for the newest commit.
    size
        Height and width of the result, in pixels. If it is at least 90 % of the smaller side, the centre is cropped;
        otherwise the largest centred square is resized, bicubic and anti-aliased. By default images keep their size.
    test
        Number of test images of a dataset with a single split; by default 24 % of all images, at most 1024.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    seed
        Seed of the order of the training images, and of the halves A and B.
    """

    display_name = "{name}"
    label_parameters = ("name",)

    def __init__(
        self,
        name: str | None = None,
        path: str | None = None,
        subset: str | None = None,
        column: str | None = None,
        revision: str | None = None,
        size: Annotated[int, Field(ge=8)] | None = None,
        test: Annotated[int, Field(ge=1)] | None = None,
        colour: Colour = "mean",
        seed: int = 0,
    ) -> None:
        require("dataset 'hf-dataset'", "datasets", "hf-dataset")
        if (name is None) == (path is None):
            raise ValueError("give either a 'name' on the hub, or the 'path' of a folder written by save_to_disk()")
        if path is not None and (subset or revision):
            raise ValueError("'subset' and 'revision' are accepted only with a 'name' on the hub, not with a 'path'")
        super().__init__(str(name or path), size, test, colour, seed)
        self.name, self.subset, self.column, self.revision = name, subset, column, revision
        digest = hashlib.sha256(repr((name, subset, revision)).encode()).hexdigest()[:16]
        self.folder = cache_folder() / "hf-dataset" / digest if path is None else Path(path).expanduser()

    @property
    def card(self) -> Card:
        """Origin and licence of the dataset."""
        return Card(f"{self.name or self.folder.name}, read with the package datasets", "see its card on the hub")

    def missing(self) -> tuple[str, ...]:
        """Return a description of the dataset if it is not downloaded."""
        return () if self.name is None or self.folder.is_dir() else (f"{self.name}, from the Hugging Face hub",)

    def prepare(self) -> None:
        """Download the dataset, and write it into the cache."""
        if not self.missing():
            return
        import datasets

        partial = self.folder.with_name(f"{self.folder.name}.partial")
        try:
            datasets.load_dataset(self.name, self.subset, revision=self.revision).save_to_disk(partial)
            partial.rename(self.folder)
        except Exception as error:
            # The hub and its loading code may raise any exception.
            shutil.rmtree(partial, ignore_errors=True)
            raise DataError(
                f"{self.name} cannot be downloaded from the Hugging Face hub: {brief(error)}; by hand: save it with "
                "save_to_disk(), and give its folder as 'path'"
            ) from error

    def parts(self) -> Mapping[Part, Iterable[Any]]:
        """Return the images of each split."""
        import datasets

        try:
            loaded = datasets.load_from_disk(self.folder)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder}: not a folder written by save_to_disk(): {brief(error)}") from error
        splits = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
        if len(splits) == 1:
            return {"train": self._images(next(iter(splits.values())))}
        if not {"train", "test"} <= set(splits):
            raise DataError(
                f"{self._where}: its splits are {', '.join(splits)}; accepted: train and test, or a single split"
            )
        validation = next((name for name in _VALIDATION if name in splits), None)
        names: dict[Part, str | None] = {"train": "train", "test": "test", "validation": validation}
        return {part: self._images(splits[name]) for part, name in names.items() if name is not None}

    def _images(self, split: Any) -> Iterable[Any]:
        from datasets import Image

        columns = [name for name, feature in split.features.items() if isinstance(feature, Image)]
        column = self.column or (columns[0] if len(columns) == 1 else None)
        if column not in columns:
            raise DataError(
                f"{self._where}: column={self.column}; its columns of images are {', '.join(columns) or 'none'}"
            )
        # Selecting the column avoids decoding other columns.
        return (row[column] for row in split.select_columns([column]))
