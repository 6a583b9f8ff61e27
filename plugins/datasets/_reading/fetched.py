"""Faces that scikit-image embeds or scikit-learn fetches, each with its origin and licence."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gahbench import Card, DataError, generator

from .arrays import Arrays
from .encoded import CELEBA_HOME, CELEBA_LICENCE, Folder
from .preprocess import Window

#: How many of the rows of scikit-image's sample are faces; the others are not.
EMBEDDED_FACES = 100
#: How many images Labeled Faces in the Wild holds; fewer mean that it was not unpacked to the end.
LFW_IMAGES = 13_233
#: The window of the 250x250 images that scikit-learn takes for the face.
LFW_WINDOW = Window(70, 195, 78, 172)

LFW_LICENCE = (
    "for research; photographs from the news whose rights are with their owners: http://vis-www.cs.umass.edu/lfw/"
)
CARDS = {
    "lfw-subset": Card(
        "100 faces of Labeled Faces in the Wild (Huang et al. 2007), embedded in scikit-image", LFW_LICENCE
    ),
    "lfw": Card("Labeled Faces in the Wild, funneled (Huang et al. 2007), fetched by scikit-learn", LFW_LICENCE),
    "olivetti": Card(
        "Olivetti faces (Samaria & Harter 1994), taken at AT&T Laboratories Cambridge (ORL), fetched by scikit-learn",
        "free for research, with credit to AT&T Laboratories Cambridge: https://cam-orl.co.uk/facedatabase.html",
    ),
    "celeba": Card(f"CelebFaces Attributes, aligned and cropped (Liu et al. 2015): {CELEBA_HOME}", CELEBA_LICENCE),
}


class Download(NamedTuple):
    """A download of scikit-learn."""

    what: str
    address: str
    place: str
    by_hand: str


DOWNLOADS = {
    "lfw": Download(
        "Labeled Faces in the Wild, 230 MB",
        "https://ndownloader.figshare.com/files/5976015",
        "lfw_home/lfw_funneled",
        "the folder that the archive unpacks to",
    ),
    "olivetti": Download(
        "the Olivetti faces, 4 MB",
        "https://ndownloader.figshare.com/files/5976027",
        "olivetti_py3.pkz",
        "a copy from a machine where it was fetched",
    ),
}


class LabeledFaces(Folder):
    """Labeled Faces in the Wild as scikit-learn unpacks it, shuffled; a folder's name is the person's."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if len(self.names) != LFW_IMAGES:
            raise DataError(
                f"{path}: {len(self.names)} images, of {LFW_IMAGES}; remove the folder, and it is fetched again"
            )
        # In the order of names, people at the end of the alphabet alone would be for testing.
        order = torch.randperm(len(self.names), generator=generator("data", "lfw"))
        self.names = [self.names[place] for place in order.tolist()]

    def identity(self) -> NDArray[np.int64]:
        """Return the number of each person, by name."""
        people = [PurePosixPath(name).parent.name for name in self.names]
        return np.unique(people, return_inverse=True)[1].astype(np.int64)


def embedded() -> NDArray[Any]:
    """Read the faces from scikit-image's own folder; its loader would need pooch and may download."""
    faces: NDArray[Any] = np.load(skimage_file("lfw_subset.npy"), allow_pickle=False)
    return faces[:EMBEDDED_FACES]


def skimage_file(name: str) -> Path:
    """Return a file that scikit-image installs with its code."""
    spec = importlib.util.find_spec("skimage")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("skimage")
    file = folder / "data" / name
    if not file.is_file():
        raise DataError(
            f"{file}: not where scikit-image 0.23 to 0.26 has its images; install such a version, or give a 'path'"
        )
    return file


def labeled_faces() -> LabeledFaces:
    """Return Labeled Faces in the Wild from scikit-learn's folder, fetched by it if it is not there."""
    datasets = _scikit_learn("lfw")
    folder = Path(datasets.get_data_home()) / DOWNLOADS["lfw"].place
    if not folder.is_dir():
        # Asking for people with many images alone keeps it from decoding all of them, which is done here.
        _fetch("lfw", lambda: datasets.fetch_lfw_people(min_faces_per_person=500))
    return LabeledFaces(folder)


def olivetti() -> Arrays:
    """Return the 400 Olivetti faces, 64x64, ten of each person in a row, fetched by scikit-learn if need be."""
    datasets = _scikit_learn("olivetti")
    bunch = _fetch("olivetti", datasets.fetch_olivetti_faces)
    return Arrays(np.asarray(bunch.images), np.asarray(bunch.target, dtype=np.int64))


def missing(source: str) -> tuple[str, ...]:
    """Return what scikit-learn has to fetch for a source, in words; nothing is fetched."""
    datasets = _scikit_learn(source)
    home = Path(datasets.get_data_home())
    if source == "lfw":
        here = (home / DOWNLOADS["lfw"].place).is_dir()
    else:
        try:
            datasets.fetch_olivetti_faces(download_if_missing=False)
            here = True
        except OSError:
            here = False
    return () if here else (f"{DOWNLOADS[source].what}, fetched by scikit-learn into {home}",)


def _scikit_learn(source: str) -> Any:
    try:
        return importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise DataError(
            f"source={source} is fetched by scikit-learn, which is not installed; "
            "pip install 'gahbench[faces]', or give a 'path'"
        ) from error


def _fetch(source: str, fetch: Any) -> Any:
    try:
        return fetch()
    except (OSError, RuntimeError, ValueError) as error:
        card, download = CARDS[source], DOWNLOADS[source]
        place = Path(_scikit_learn(source).get_data_home()) / download.place
        raise DataError(
            f"source={source} cannot be fetched by scikit-learn: {error}; it is at {download.address}; by hand: put "
            f"{download.by_hand} at {place}; {card.origin}; {card.licence}"
        ) from error
