"""Real faces: 100 embedded faces, CelebA, or other images of the user."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gahbench import Card, DataError
from gahbench_plugins.datasets.images import Images, Indices, Source

#: Name of the folder of CelebA's images.
CELEBA = "img_align_celeba"
#: First and last row, and first and last column, of the face in images of CelebA's height and width (Kadkhodaie 2024),
#: and of half this height and width, which both have 80x80 pixels by default.
WINDOWS = {(218, 178): (29, 189, 9, 169), (109, 89): (14, 94, 4, 84)}


class Faces(Images):
    """Faces: the 100 images embedded in scikit-image (25x25 pixels, grey), CelebA, or other images of files.

    The parameters are those of ``images``. The embedded faces contain no near duplicates.

    CelebA is recognized in a folder ``path`` with the layout of torchvision or Kaggle; it is never downloaded. Its
    lists ``list_eval_partition`` and ``identity_CelebA`` (.txt or .csv), if they exist, set the published splits, and
    keep each person in one of the halves A and B. Images of 178x218 pixels are cropped to rows 29:-29 and columns 9:-9,
    and by default resized to 80x80, as in Kadkhodaie 2024; images of 89x109 pixels to rows 14:94 and columns 4:84.
    """

    display_name = "faces, {path}"

    @property
    def card(self) -> Card:
        """Origin and licence of the source."""
        if self._celeba() is None:
            return super().card
        return Card(
            "CelebFaces Attributes, aligned and cropped (Liu et al. 2015): http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
            "for non-commercial research only",
        )

    def crop(self, pixels: NDArray[Any]) -> tuple[NDArray[Any], int | None]:
        """Return the face in an image of CelebA's size, and all of another image, with the size of the result."""
        height, width = pixels.shape[1:]
        if (height, width) not in WINDOWS:
            return pixels, self.size
        top, bottom, left, right = WINDOWS[height, width]
        return pixels[:, top:bottom, left:right], self.size or 80

    def source(self) -> Source:
        """Return the images before they are cropped, resized and mixed."""
        if (folder := self._celeba()) is None:
            return super().source()
        source = Source.of_folder(folder)
        # Lists are beside the folder of the images; Kaggle's folder is within a folder of the same name.
        places = folder.resolve().parents[:2]
        return replace(
            source,
            partition=_read_list(places, "list_eval_partition", source.names, "[012]"),
            identity=_read_list(places, "identity_CelebA", source.names, "[0-9]{1,18}"),
        )

    def _celeba(self) -> Path | None:
        """Return the folder of CelebA's images, if the path has one."""
        if self.path is None:
            return None
        root = Path(self.path)
        folders = (root / "celeba" / CELEBA, root / CELEBA / CELEBA, root / CELEBA, root)
        try:
            return next((folder for folder in folders if folder.name == CELEBA and folder.is_dir()), None)
        except OSError:  # The path is too long.
            return None


def _read_list(places: Sequence[Path], stem: str, names: Sequence[str], accepted: str) -> Indices | None:
    """Return the number that a list of CelebA states for each image; ``None`` if there is no list."""
    files = [place / f"{stem}{suffix}" for place in places for suffix in (".txt", ".csv")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    values: dict[str, int] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        fields = re.split(r"[,\s]+", line.strip())
        # The first line of a CSV file names its columns.
        if fields == [""] or (number == 1 and not fields[-1].isdecimal()):
            continue
        if len(fields) != 2 or not re.fullmatch(accepted, fields[1]):
            raise DataError(
                f"{file}, line {number}: {ascii(line)[:100]}; accepted: the name of an image and a number {accepted}"
            )
        values[fields[0]] = int(fields[1])
    if absent := [name for name in names if name not in values]:
        raise DataError(f"{file}: does not list {absent[0]}; accepted: a list with every image")
    return np.array([values[name] for name in names], dtype=np.int64)
