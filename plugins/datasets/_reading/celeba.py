"""The lists that come with CelebA: the images for training, and their persons."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from gahbench import DataError
from gahbench._util.readable import brief

from .encoded import CELEBA, Encoded

#: Names of the lists, as published and as CSV.
PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
IDENTITY = ("identity_CelebA.txt", "identity_CelebA.csv")
IMAGES = CELEBA
LICENCE = "for non-commercial research only"
HOME = "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


def partition(encoded: Encoded) -> NDArray[np.int64] | None:
    """Return 0 (training), 1 (validation) or 2 (testing) for each image, shape (N,), where a list lies beside them."""
    return _listed(encoded, PARTITION, {"0", "1", "2"})


def identity(encoded: Encoded) -> NDArray[np.int64] | None:
    """Return the number of the person on each image, shape (N,), where a list lies beside them."""
    return _listed(encoded, IDENTITY, None)


def missing(path: Path) -> DataError:
    """Return the error for a path where CelebA is not."""
    return DataError(
        f"{path}: no CelebA there; expected, as torchvision has it,\n"
        f"  celeba/{IMAGES}/000001.jpg ... 202599.jpg\n"
        f"  celeba/{PARTITION[0]} (optional: the published splits)\n"
        f"  celeba/{IDENTITY[0]} (optional: the persons on the images)\n"
        f"or, as Kaggle has it, {IMAGES}/{IMAGES}/*.jpg with {PARTITION[1]}. "
        f"CelebA is {LICENCE} and is not downloaded for you: {HOME}"
    )


def _listed(encoded: Encoded, names: tuple[str, ...], accepted: set[str] | None) -> NDArray[np.int64] | None:
    """Return a list's number for each image."""
    for name in names:
        text = encoded.text(name)
        if text is None:
            continue
        values: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            fields = re.split(r"[,\s]+", line.strip())
            # The first line of a CSV file names its columns.
            if fields == [""] or (number == 1 and len(fields) == 2 and not fields[1].isdecimal()):
                continue
            if (
                len(fields) != 2
                or not re.fullmatch(r"[0-9]{1,18}", fields[1])
                or (accepted and fields[1] not in accepted)
            ):
                kinds = f"one of {', '.join(sorted(accepted))}" if accepted else "a number"
                raise DataError(
                    f"{encoded.path}: {name}, line {number}: '{brief(line)}'; accepted: an image's name and {kinds}"
                )
            values[fields[0]] = int(fields[1])
        try:
            found = [values[PurePosixPath(image).name] for image in encoded.names]
        except KeyError as error:
            raise DataError(
                f"{encoded.path}: {name} does not list {brief(error.args[0])}; accepted: a list with every image"
            ) from error
        return np.array(found, dtype=np.int64)
    return None
