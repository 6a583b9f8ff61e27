"""Datasets of torchvision."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gahbench import Card, DataError
from gahbench._util.errors import suggestion
from gahbench._util.readable import brief

from .._extras import require
from ._library import Library, Part
from ._reading.cache import cache_folder
from ._reading.preprocess import Colour

#: Names of validation splits in torchvision.
VALIDATION = ("val", "valid")


class Torchvision(Library):
    """A dataset of torchvision, by the name of its class, such as ``CIFAR10``.

    This dataset needs the extra ``torchvision``. The training, validation and test splits are the splits of the source.
    Without a validation split, a random tenth of the training images, at most 1024, is used for validation. Only
    ``gahbench prepare`` downloads a dataset.

    Parameters
    ----------
    name
        Name of a class of ``torchvision.datasets`` with splits for training and for testing.
    path
        Folder of the files, in torchvision's layout; ``null`` for ``torchvision/`` in the cache of gahbench.
    size
        Height and width of the result, in pixels. If it is at least 90 % of the smaller side, the centre is cropped;
        otherwise the largest centred square is resized, bicubic and anti-aliased. By default images keep their size.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    seed
        Seed of the order of the training images, and of the halves A and B.
    """

    display_name = "{name}"
    label_parameters = ("name",)

    def __init__(
        self,
        name: Annotated[str, Field(min_length=1)] = "MNIST",
        path: str | None = None,
        size: Annotated[int, Field(ge=8)] | None = None,
        colour: Colour = "mean",
        seed: int = 0,
    ) -> None:
        require("dataset 'torchvision'", "torchvision", "torchvision")
        super().__init__(name, size, None, colour, seed)
        self.name = name
        self.root = cache_folder() / "torchvision" if path is None else Path(path).expanduser()
        parameters = inspect.signature(self._class).parameters
        self._split_parameter = "train" if "train" in parameters else "split"
        if self._split_parameter not in parameters or "root" not in parameters:
            raise ValueError(f"name={name} has no training split; accepted: a class that has, such as CIFAR10")

    @property
    def card(self) -> Card:
        """Origin and licence of the dataset."""
        return Card(f"{self.name}, by torchvision", "not known; ask its authors")

    def missing(self) -> tuple[str, ...]:
        """Return a description of the dataset if its files are not in the folder."""
        try:
            self._open("test", download=False)
        except (RuntimeError, OSError):
            return (f"{self.name}, downloaded by torchvision into {self.root}",)
        except (TypeError, ValueError) as error:
            raise DataError(f"{self.name} of torchvision has no images for testing: {brief(error)}") from error
        return ()

    def prepare(self) -> None:
        """Download the dataset if it is missing."""
        if not self.missing():
            return
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            for split in ("train", "test"):
                self._open(split, download=True)
            for split in VALIDATION if self._split_parameter == "split" else ():
                with contextlib.suppress(ValueError):  # The dataset has no such split.
                    self._open(split, download=True)
        except (RuntimeError, OSError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.name} cannot be downloaded by torchvision: {error}; by hand: put its files into {self.root}"
            ) from error

    def parts(self) -> Mapping[Part, Iterable[Any]]:
        """Return the images of each split."""
        parts: dict[Part, Iterable[Any]] = {
            "train": self._images("train"),
            "test": self._images("test"),
        }
        if self._split_parameter == "split":
            for split in VALIDATION:
                with contextlib.suppress(ValueError):  # The dataset has no such split.
                    parts["validation"] = self._images(split)
        return parts

    def _images(self, split: str) -> Iterable[Any]:
        source = self._open(split, download=False)
        return (source[index][0] for index in range(len(source)))

    def _open(self, split: str, download: bool) -> Any:
        options: dict[str, Any] = (
            {"download": download} if "download" in inspect.signature(self._class).parameters else {}
        )
        selection = {"train": split == "train"} if self._split_parameter == "train" else {"split": split}
        return self._class(root=str(self.root), **selection, **options)

    @functools.cached_property
    def _class(self) -> Any:
        from torchvision import datasets

        if self.name not in datasets.__all__:
            hint = suggestion(self.name, datasets.__all__) or ""
            raise ValueError(f"name={self.name} is not in torchvision.datasets{hint}")
        return getattr(datasets, self.name)
