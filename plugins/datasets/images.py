"""Images from the user's files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ._reading.files import OnError
from ._reading.preprocess import Colour
from ._reading.splits import SplitRule
from .faces import Faces


class Images(Faces):
    """Images of any kind from a folder, an archive, a table or an array file.

    All images must have the same size, unless ``size`` is given. Image files are decoded once, into a cache:
    $GAHBENCH_CACHE, or else ~/.cache/gahbench; it may be removed at any time. There are half as many validation as test
    images, and the remaining images are for training; A and B are random halves of the training images. If the folder
    of the images contains a list ``list_eval_partition`` (.txt or .csv), with 0, 1 or 2 (training, validation, testing)
    after every name, the list determines the splits. For patches of photographs use ``photos``, for whole photographs
    ``whole``.

    Parameters
    ----------
    path
        A folder or zip archive of images, up to two folders deep, in sorted order; a Parquet table from the Hugging
        Face hub; or an .npz, .npy or .pt file of an array, uint8 in 0-255 or floating point in 0-1, of shape (N, H, W),
        (N, H, W, C) or (N, C, H, W), under the key ``images`` if the file has keys.
    size
        Height and width of the result, in pixels. If it is at least 90 % of the smaller side, the centre is cropped,
        which changes no pixel; otherwise the largest centred square is resized, bicubic and anti-aliased. By default
        images keep their size, which must be the same for all images.
    test
        Number of test images; by default 24 % of all images, at most 1024.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    near_duplicates
        Whether to ``drop`` or to ``keep`` near duplicates: images whose mean-removed correlation with an earlier image,
        both pooled to 20x20 pixels, is above 0.95 (Kadkhodaie 2024).
    seed
        Seed of the halves A and B, and of random splits.
    split
        ``consecutive``: training, validation and test images are consecutive in the order of the files. ``random``: the
        images are shuffled first, by the seed, so that every kind of image, and frames of the same scene, are in each
        split.
    on_error
        ``raise``: files that cannot be read, or are smaller than ``size``, raise an error that names all of them.
        ``skip``: such files are left out, and named in a note.
    """

    display_name = "images, {path}"

    def __init__(
        self,
        path: str,
        size: Annotated[int, Field(ge=8)] | None = None,
        test: Annotated[int, Field(ge=1)] | None = None,
        colour: Colour = "mean",
        near_duplicates: Literal["drop", "keep"] = "drop",
        seed: int = 0,
        split: SplitRule = "consecutive",
        on_error: OnError = "raise",
    ) -> None:
        super().__init__(path, size, test, colour, None, near_duplicates, seed, split, on_error)
