"""Datasets of torchvision and of the Hugging Face hub, with the splits of the source."""

from __future__ import annotations

import hashlib
import inspect
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gahbench import Card, DataError, GahbenchError
from gahbench_plugins.datasets import reading
from gahbench_plugins.datasets.images import Images, Source

ACCEPTED = "a class of torchvision.datasets with images for training and testing, such as CIFAR10"


class Library(Images):
    """Base class of the datasets of a package, which only ``gahbench prepare`` downloads."""

    citation = None
    #: The package, and the place of the licence, as texts for the card.
    package: str
    licence: str

    @property
    def card(self) -> Card:
        """Origin and licence of the dataset."""
        return Card(f"{self.where}, {self.package}", self.licence)

    def source(self) -> Source:
        """Return the images before they are cropped, resized and mixed."""
        if missing := self.missing():
            raise DataError(f"{missing[0]}: not downloaded; run 'gahbench prepare' with the suite")
        return Source.of_parts(*self.parts(), self.seed)

    @abstractmethod
    def parts(self) -> tuple[dict[Any, Any], Any]:
        """Return the items of each split, and the key of the image in an item."""


class Torchvision(Library):
    """A dataset of torchvision, by the name of its class, with the splits of the source.

    This dataset needs the extra ``torchvision``. A random tenth of the training images, at most 1024, is used for
    validation. Only ``gahbench prepare`` downloads a dataset.

    Parameters
    ----------
    name
        Name of a class of ``torchvision.datasets`` with splits for training and for testing, such as ``CIFAR10``.
    path
        Folder of the files, in torchvision's layout; ``null`` for ``torchvision/`` in the cache of gahbench.
    size, colour
        As for ``images``.
    seed
        Seed of the order of the training images, and of the halves A and B.
    """

    display_name = "{name}"
    label_parameters = ("name",)
    package, licence = "by torchvision", "not known; ask its authors"

    def __init__(
        self,
        name: str = "MNIST",
        path: str | None = None,
        size: Annotated[int, Field(ge=8)] | None = None,
        colour: reading.Colour = "mean",
        seed: int = 0,
    ) -> None:
        super().__init__(name, size, None, colour, "keep", seed)
        self.root = reading.cache_folder() / "torchvision" if path is None else Path(path).expanduser()
        try:
            from torchvision import datasets
        except ImportError as error:
            raise GahbenchError("it needs the package torchvision: pip install 'gahbench[torchvision]'") from error
        self._class: Any = getattr(datasets, name, None) if name in datasets.__all__ else None
        self._options = set(inspect.signature(self._class).parameters) if self._class else set()
        if not {"train", "split"} & self._options:
            raise ValueError(f"name={name}; accepted: {ACCEPTED}")

    def missing(self) -> tuple[str, ...]:
        """Return a description of the dataset if its files are not in the folder."""
        try:
            self._open("test")
        except (RuntimeError, OSError):
            return (f"{self.where}, downloaded by torchvision into {self.root}",)
        except (TypeError, ValueError) as error:
            raise DataError(f"name={self.where}: {error}; accepted: {ACCEPTED}") from error
        return ()

    def prepare(self) -> None:
        """Download the dataset if it is missing."""
        for part in ("train", "test"):
            self._open(part, download=True)

    def parts(self) -> tuple[dict[Any, Any], Any]:
        """Return the items of each split, and the index of the image in an item."""
        return {part: self._open(part) for part in ("train", "test")}, 0

    def _open(self, split: str, **options: bool) -> Any:
        chosen = {"train": split == "train"} if "train" in self._options else {"split": split}
        return self._class(root=str(self.root), **chosen, **(options if "download" in self._options else {}))


class HuggingFace(Library):
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
    package, licence = "read with the package datasets", "see its card on the hub"

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

    def missing(self) -> tuple[str, ...]:
        """Return a description of the dataset if it is not downloaded."""
        return () if self.folder.is_dir() else (f"{self.where}, from the Hugging Face hub",)

    def prepare(self) -> None:
        """Download the dataset, and write it into the cache."""
        if self.missing():
            partial = self.folder.with_name(f"{self.folder.name}.partial")
            self._library.load_dataset(self.where, self.subset, revision=self.revision).save_to_disk(partial)
            partial.rename(self.folder)

    def parts(self) -> tuple[dict[Any, Any], Any]:
        """Return the rows of each split, and the column of the images."""
        try:
            loaded = self._library.load_from_disk(self.folder)
            splits = dict(loaded) if isinstance(loaded, self._library.DatasetDict) else {"train": loaded}
            features = next(iter(splits.values())).features
            columns = [name for name, feature in features.items() if isinstance(feature, self._library.Image)]
            if self.column not in columns:
                raise ValueError(f"column '{self.column}' has no images; accepted: {', '.join(columns)}")
            images = {name: rows.select_columns([self.column]) for name, rows in splits.items()}
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder}: {error}; accepted: a folder of save_to_disk()") from error
        if len(images) == 1:
            return {"train": next(iter(images.values()))}, self.column
        if not {"train", "test"} <= set(images):
            raise DataError(
                f"{self.where}: its splits are {', '.join(images)}; accepted: train and test, or a single split"
            )
        parts = {name: images[name] for name in ("train", "test")}
        if validation := [images[name] for name in ("validation", "valid", "val", "dev") if name in images]:
            parts["validation"] = validation[0]
        return parts, self.column
