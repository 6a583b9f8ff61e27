"""Datasets of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gahbench import Card, DataError, External
from gahbench._util.readable import brief

from .._extras import require
from ._library import Library, Part
from ._reading.cache import cache_folder
from ._reading.preprocess import Colour

#: Names that validation splits have on the hub.
_VALIDATION = ("validation", "valid", "val", "dev")


class HuggingFace(Library):
    """Images of a dataset of the Hugging Face hub, or of a folder by ``save_to_disk``; needs the extra ``hf-dataset``.

    Its splits ``train``, ``validation`` and ``test`` are those here. Without validation images, the last tenth of the
    training images is for it, at most 1024; a dataset with one split is shuffled and cut into training, validation and
    test images. ``gahbench prepare`` downloads it, and writes it into the cache of gahbench; nothing else does.

    Parameters
    ----------
    name
        Name on the hub, ``owner/name``.
    path
        A folder that ``save_to_disk`` of the package datasets wrote, in place of a name.
    subset
        Configuration of it; ``null`` for its only one.
    column
        Column of the images; ``null`` for the only one of that type.
    revision
        Commit or tag; ``null`` for the newest.
    size
        Height and width to give the images: within 10 % of the smaller side the centre is cropped, otherwise the
        largest centred square is resized, bicubic and anti-aliased. By default images keep their size.
    test
        Number of test images of a dataset with one split; by default 24 % of all, at most 1024.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    seed
        Seed of the order of the training images, and of the halves A and B.
    """

    label_parameters = ("name",)

    def __init__(
        self,
        name: Annotated[str, External()] | None = None,
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
            raise ValueError("give a 'name' on the hub, or the 'path' of a folder of save_to_disk(); accepted is one")
        if path is not None and (subset or revision):
            raise ValueError("subset and revision are of a dataset of the hub; accepted with a 'path': neither")
        super().__init__(str(name or path), size, test, colour, seed)
        self.name, self.subset, self.column, self.revision = name, subset, column, revision
        digest = hashlib.sha256(repr((name, subset, revision)).encode()).hexdigest()[:16]
        self.folder = cache_folder() / "hf-dataset" / digest if path is None else Path(path).expanduser()

    @property
    def card(self) -> Card:
        """Origin and licence."""
        return Card(f"{self.name or self.folder.name}, by the package datasets", "as its card on the hub says")

    def missing(self) -> tuple[str, ...]:
        """Return the dataset if it was not downloaded."""
        return () if self.name is None or self.folder.is_dir() else (f"{self.name}, from the Hugging Face hub",)

    def prepare(self) -> None:
        """Download it, and write it into the cache."""
        if not self.missing():
            return
        import datasets

        part = self.folder.with_name(f"{self.folder.name}.partial")
        try:
            datasets.load_dataset(self.name, self.subset, revision=self.revision).save_to_disk(part)
            part.rename(self.folder)
        except Exception as error:
            # Whatever the hub, and what lies there, raise.
            shutil.rmtree(part, ignore_errors=True)
            raise DataError(
                f"{self.name} cannot be had from the Hugging Face hub: {brief(error)}; by hand: give the folder of its "
                "save_to_disk() as 'path'"
            ) from error

    def parts(self) -> Mapping[Part, Iterable[Any]]:
        """Return the images of its splits."""
        import datasets

        try:
            found = datasets.load_from_disk(self.folder)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder}: not a folder that 'datasets' saved: {brief(error)}") from error
        splits = dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}
        if len(splits) == 1:
            return {"train": self._images(next(iter(splits.values())))}
        if not {"train", "test"} <= set(splits):
            raise DataError(
                f"{self._where}: its splits are {', '.join(splits)}; accepted: train and test, or one alone"
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
        # Others need not be decoded.
        return (row[column] for row in split.select_columns([column]))
