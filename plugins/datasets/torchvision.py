"""Datasets of torchvision."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gahbench import Card, DataError, GahbenchError
from gahbench_plugins.datasets import reading
from gahbench_plugins.datasets.images import Images, Source

ACCEPTED = "a class of torchvision.datasets with images for training and testing, such as CIFAR10"


class Torchvision(Images):
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
    citation = None

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

    @property
    def card(self) -> Card:
        """Origin and licence of the dataset."""
        return Card(f"{self.where}, by torchvision", "not known; ask its authors")

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

    def source(self) -> Source:
        """Return the images before they are cropped, resized and mixed."""
        if missing := self.missing():
            raise DataError(f"{missing[0]}: not downloaded; run 'gahbench prepare' with the suite")
        parts: dict[Any, Any] = {part: self._open(part) for part in ("train", "test")}
        return Source.of_parts(parts, lambda item: item[0], self.seed)

    def _open(self, split: str, **options: bool) -> Any:
        chosen = {"train": split == "train"} if "train" in self._options else {"split": split}
        return self._class(root=str(self.root), **chosen, **(options if "download" in self._options else {}))
