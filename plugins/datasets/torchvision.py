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
    """A dataset of torchvision, by the name of its class, such as ``CIFAR10``; needs the extra ``torchvision``.

    Its test images are those of the source, and so are its validation images where it has some; else they are the last
    tenth of the training images, at most 1024. Nothing is downloaded but by ``gahbench prepare``.

    Parameters
    ----------
    name
        Name of a class of ``torchvision.datasets`` with a split for training and one for testing.
    path
        Folder with its files, as torchvision lays them out; ``null`` for ``torchvision/`` in the cache of gahbench.
    size
        Height and width to give the images: within 10 % of the smaller side the centre is cropped, otherwise the
        largest centred square is resized, bicubic and anti-aliased. By default images keep their size.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    seed
        Seed of the order of the training images, and of the halves A and B.
    """

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
        self._how = "train" if "train" in parameters else "split"
        if self._how not in parameters or "root" not in parameters:
            raise ValueError(f"name={name} has no split for training; accepted are those that have, such as CIFAR10")

    @property
    def card(self) -> Card:
        """Origin and licence."""
        return Card(f"{self.name}, by torchvision", "as its authors say")

    def missing(self) -> tuple[str, ...]:
        """Return the dataset if its files are not in the folder."""
        try:
            self._open("test", download=False)
        except (RuntimeError, OSError):
            return (f"{self.name}, downloaded by torchvision into {self.root}",)
        except (TypeError, ValueError) as error:
            raise DataError(f"{self.name} of torchvision has no images for testing: {brief(error)}") from error
        return ()

    def prepare(self) -> None:
        """Download what is not there."""
        if not self.missing():
            return
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            for split in ("train", "test"):
                self._open(split, download=True)
            for split in VALIDATION if self._how == "split" else ():
                with contextlib.suppress(ValueError):  # It has none of that name.
                    self._open(split, download=True)
        except (RuntimeError, OSError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.name} cannot be downloaded by torchvision: {error}; by hand: put its files into {self.root}"
            ) from error

    def parts(self) -> Mapping[Part, Iterable[Any]]:
        """Return the images of its splits."""
        found: dict[Part, Iterable[Any]] = {
            "train": self._images("train"),
            "test": self._images("test"),
        }
        if self._how == "split":
            # Where it has none of that name, the last of the training images are for validation.
            for split in VALIDATION:
                with contextlib.suppress(ValueError):
                    found["validation"] = self._images(split)
        return found

    def _images(self, split: str) -> Iterable[Any]:
        opened = self._open(split, download=False)
        return (opened[place][0] for place in range(len(opened)))

    def _open(self, split: str, download: bool) -> Any:
        options: dict[str, Any] = (
            {"download": download} if "download" in inspect.signature(self._class).parameters else {}
        )
        chosen = {"train": split == "train"} if self._how == "train" else {"split": split}
        return self._class(root=str(self.root), **chosen, **options)

    @functools.cached_property
    def _class(self) -> Any:
        from torchvision import datasets

        if self.name not in datasets.__all__:
            near = suggestion(self.name, datasets.__all__) or ""
            raise ValueError(f"name={self.name} is not in torchvision.datasets{near}")
        return getattr(datasets, self.name)
