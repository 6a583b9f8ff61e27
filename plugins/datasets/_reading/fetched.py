"""Faces embedded in scikit-image or fetched by scikit-learn, with their origin and licence."""

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

#: Number of faces in scikit-image's sample, which come before other images.
EMBEDDED_FACES = 100
#: Number of images of Labeled Faces in the Wild; fewer images mean that unpacking was interrupted.
LFW_IMAGES = 13_233
#: Window of the face in the 250x250 images, as in scikit-learn.
LFW_WINDOW = Window(70, 195, 78, 172)

LFW_LICENCE = (
    "for research; photographs from the news, whose copyright belongs to their owners: http://vis-www.cs.umass.edu/lfw/"
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

    description: str
    address: str
    path: str
    by_hand: str


DOWNLOADS = {
    "lfw": Download(
        "Labeled Faces in the Wild, 230 MB",
        "https://ndownloader.figshare.com/files/5976015",
        "lfw_home/lfw_funneled",
        "the unpacked folder of the archive",
    ),
    "olivetti": Download(
        "the Olivetti faces, 4 MB",
        "https://ndownloader.figshare.com/files/5976027",
        "olivetti_py3.pkz",
        "a copy from a machine where it was fetched",
    ),
}


class LabeledFaces(Folder):
    """Labeled Faces in the Wild as unpacked by scikit-learn, shuffled; folders are named after people."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if len(self.names) != LFW_IMAGES:
            raise DataError(f"{path}: {len(self.names)} of {LFW_IMAGES} images; remove the folder to fetch it again")
        # Without a shuffle, the test images would show only people at the end of the alphabet.
        order = torch.randperm(len(self.names), generator=generator("data", "lfw"))
        self.names = [self.names[index] for index in order.tolist()]

    def identity(self) -> NDArray[np.int64]:
        """Return the number of the person in each image, in the order of names."""
        people = [PurePosixPath(name).parent.name for name in self.names]
        return np.unique(people, return_inverse=True)[1].astype(np.int64)


def load_embedded_faces() -> NDArray[Any]:
    """Read the faces from scikit-image's folder, since its loader needs pooch and may download."""
    faces: NDArray[Any] = np.load(skimage_file("lfw_subset.npy"), allow_pickle=False)
    return faces[:EMBEDDED_FACES]


def skimage_file(name: str) -> Path:
    """Return a file that scikit-image installs with its code."""
    spec = importlib.util.find_spec("skimage")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("skimage")
    file = folder / "data" / name
    if not file.is_file():
        raise DataError(f"{file}: does not exist; install scikit-image 0.23 to 0.26, which has it, or give a 'path'")
    return file


def labeled_faces() -> LabeledFaces:
    """Return Labeled Faces in the Wild from scikit-learn's folder, fetched by scikit-learn if necessary."""
    datasets = _scikit_learn("lfw")
    folder = Path(datasets.get_data_home()) / DOWNLOADS["lfw"].path
    if not folder.is_dir():
        # A high minimum number of faces keeps scikit-learn from decoding all images, which is done here.
        _fetch("lfw", lambda: datasets.fetch_lfw_people(min_faces_per_person=500))
    return LabeledFaces(folder)


def olivetti() -> Arrays:
    """Return the 400 Olivetti faces, 64x64, ten consecutive images per person, fetched by scikit-learn if necessary."""
    datasets = _scikit_learn("olivetti")
    bunch = _fetch("olivetti", datasets.fetch_olivetti_faces)
    return Arrays(np.asarray(bunch.images), np.asarray(bunch.target, dtype=np.int64))


def missing(source: str) -> tuple[str, ...]:
    """Return descriptions of the downloads that a source still needs."""
    datasets = _scikit_learn(source)
    home = Path(datasets.get_data_home())
    if source == "lfw":
        exists = (home / DOWNLOADS["lfw"].path).is_dir()
    else:
        try:
            datasets.fetch_olivetti_faces(download_if_missing=False)
            exists = True
        except OSError:
            exists = False
    return () if exists else (f"{DOWNLOADS[source].description}, fetched by scikit-learn into {home}",)


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
        path = Path(_scikit_learn(source).get_data_home()) / download.path
        raise DataError(
            f"source={source} cannot be fetched by scikit-learn: {error}; its address is {download.address}; by hand: "
            f"put {download.by_hand} at {path}; {card.origin}; {card.licence}"
        ) from error
