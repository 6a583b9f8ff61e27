"""Datasets of the Hugging Face hub."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gahbench import Card, DataError, GahbenchError
from gahbench_plugins.datasets import reading
from gahbench_plugins.datasets.images import Images, Source


class HuggingFace(Images):
    """Images of a dataset of the Hugging Face hub, or of a folder written by ``save_to_disk``, with its splits.

    This dataset needs the extra ``hf-dataset``. Without a validation split, a random tenth of the training images, at
    most 1024, is used for validation. A dataset with a single split is shuffled and cut into training, validation and
    test images. Only ``gahbench prepare`` downloads a dataset, and saves it in the cache of gahbench.

    Parameters
    ----------
    path
        Name on the hub, ``owner/name``, or a folder written by ``save_to_disk`` of the package datasets.
    subset
        Configuration of the dataset; ``null`` for its only configuration.
    column
        Column of the images.
    revision
        Commit or tag; ``null`` for the newest commit.
    size, colour
        As for ``images``.
    test
        Number of test images of a dataset with a single split; by default 24 % of all images, at most 1024.
    seed
        Seed of the order of the training images, and of the halves A and B.
    """

    display_name = "{path}"
    label_parameters = ("path",)
    citation = None

    def __init__(
        self,
        path: str,
        subset: str | None = None,
        column: str = "image",
        revision: str | None = None,
        size: Annotated[int, Field(ge=8)] | None = None,
        test: Annotated[int, Field(ge=1)] | None = None,
        colour: reading.Colour = "mean",
        seed: int = 0,
    ) -> None:
        try:
            import datasets
        except ImportError as error:
            raise GahbenchError("it needs the package datasets: pip install 'gahbench[hf-dataset]'") from error
        super().__init__(path, size, test, colour, "keep", seed)
        self.subset, self.column, self.revision, self._library = subset, column, revision, datasets
        digest = hashlib.sha256(repr((path, subset, revision)).encode()).hexdigest()[:16]
        local = Path(path).expanduser()
        self.folder = local if local.is_dir() else reading.cache_folder() / "hf-dataset" / digest

    @property
    def card(self) -> Card:
        """Origin and licence of the dataset."""
        return Card(f"{self.where}, read with the package datasets", "see its card on the hub")

    def missing(self) -> tuple[str, ...]:
        """Return a description of the dataset if it is not downloaded."""
        return () if self.folder.is_dir() else (f"{self.where}, from the Hugging Face hub",)

    def prepare(self) -> None:
        """Download the dataset, and write it into the cache."""
        if self.missing():
            partial = self.folder.with_name(f"{self.folder.name}.partial")
            self._library.load_dataset(self.where, self.subset, revision=self.revision).save_to_disk(partial)
            partial.rename(self.folder)

    def source(self) -> Source:
        """Return the images before they are cropped, resized and mixed."""
        if missing := self.missing():
            raise DataError(f"{missing[0]}: not downloaded; run 'gahbench prepare' with the suite")
        try:
            loaded = self._library.load_from_disk(self.folder)
            splits = dict(loaded) if isinstance(loaded, self._library.DatasetDict) else {"train": loaded}
            columns = [
                name
                for name, feature in next(iter(splits.values())).features.items()
                if isinstance(feature, self._library.Image)
            ]
            if self.column not in columns:
                raise ValueError(f"column '{self.column}' has no images; accepted: {', '.join(columns)}")
            images = {name: rows.select_columns([self.column]) for name, rows in splits.items()}
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder}: {error}; accepted: a folder of save_to_disk()") from error
        if len(images) == 1:
            images = {"train": next(iter(images.values()))}
        elif not {"train", "test"} <= set(images):
            raise DataError(
                f"{self.where}: its splits are {', '.join(images)}; accepted: train and test, or a single split"
            )
        validation = next((images[name] for name in ("validation", "valid", "val", "dev") if name in images), None)
        parts: dict[Any, Any] = {name: images[name] for name in ("train", "test") if name in images}
        parts |= {} if validation is None else {"validation": validation}
        return Source.of_parts(parts, lambda row: row[self.column], self.seed)
